"""Runs a script as `python script.py` does, but no timeout of a connection is longer than a second.

So the judge sees in a second whether a script has a `timeout`, and need not know how long it is: a
script without one waits as before. The judge runs this file by its path: it imports nothing of
llamalab.
"""

import os
import runpy
import socket
import sys

LONGEST = 1.0  # seconds

_settimeout = socket.socket.settimeout


def _settimeout_soon(self: socket.socket, seconds: float | None) -> None:
    _settimeout(self, None if seconds is None else min(seconds, LONGEST))


if __name__ == "__main__":
    socket.socket.settimeout = _settimeout_soon
    del sys.argv[0]
    sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
    runpy.run_path(sys.argv[0], run_name="__main__")
