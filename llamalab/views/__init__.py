"""What one looks at, each with one call; loaded only when used. The upper floor's window.

    inspector(content)      bytes -> lines -> records -> text, step by step
    waterfall(x)            when each fragment came
    race(x)                 the same answer in one piece and as a stream, side by side
    time_bars([x, ...])     where the time went, in several answers
    chat_box(model)         a small chat on the server found

x is an Answer, a body (bytes), a list of records, or a recording (a path, or the short name of
one that comes with llamalab). Whatever a call returns shows itself in a notebook, and has a twin
that needs no kernel: `print(view)` is a text that says the same (see `look.View`).
"""

from llamalab.views.chat_box import chat_box
from llamalab.views.inspector import inspector
from llamalab.views.race import race
from llamalab.views.time_bars import time_bars
from llamalab.views.waterfall import waterfall

__all__ = ["chat_box", "inspector", "race", "time_bars", "waterfall"]
