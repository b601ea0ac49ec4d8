"""Things to look at, each with one call; loaded only when used.

    llamalab.inspector(content)      bytes -> lines -> records -> text, step by step
    llamalab.waterfall(x)            when each fragment came
    llamalab.race(x)                 the same answer in one piece and as a stream, side by side
    llamalab.time_bars([x, ...])     where the time went, in several answers
    llamalab.chat_box(model)         a small chat on the server found

x is an Answer, a body (bytes), a list of records, or a recording (a path, or the short name of
one that comes with llamalab). What a call returns shows itself in a notebook, and has a twin
that needs no kernel: `print(view)` is a text that says the same (see `base.View`).

Each function is in the module of its name.
"""
