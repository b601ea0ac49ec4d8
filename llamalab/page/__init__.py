"""The lesson inside a web page: a browser's Python has no sockets, no threads and no programs.

    loop      an event loop that turns only while someone waits for an answer
    server    the built-in server in the same interpreter, and how `requests` reaches it
    elsewhere requests to other machines, which the browser makes
    kept      files that cells write, where JupyterLite cannot keep them
    scripts   `!python my_script.py`, and the runs that `check` makes of a student's script
    pictures  matplotlib, loaded when a cell draws

`find.page` is the only door: on a desktop, nothing of this is imported.
"""
