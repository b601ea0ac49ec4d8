"""How a test waits for what another thread, process or server does in its own time.

No test says how fast a machine is: it waits until something holds, however long that takes, and
fails where it waits in vain.
"""

import time
from collections.abc import Callable

PATIENCE = 60  # seconds before a test that hangs fails instead


def eventually(holds: Callable[[], object]) -> None:
    """Wait for what sends no event; a test that waits in vain fails."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.02)
