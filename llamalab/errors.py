"""The errors of llamalab: one small family.

Each message has up to three lines: what happened, why, and the one command that fixes it.
A notebook shows just these lines (IPython asks an exception for `_render_traceback_`), because
sixty lines of somebody else's code teach a beginner nothing.
"""

import sys


class LlamalabError(Exception):
    """What went wrong, why, and what to do about it.

    `partial` holds the text that had arrived before things went wrong ("" if none), `status` the
    HTTP status of a refusal (None for any other trouble).

    >>> print(LlamalabError("The kettle is cold.", why="It is not plugged in.", do="plug it in"))
    The kettle is cold.
      Why: It is not plugged in.
      Do:  plug it in
    """

    def __init__(
        self,
        what: str,
        why: str = "",
        do: str = "",
        partial: str = "",
        status: int | None = None,
    ):
        super().__init__(what)
        self.what, self.why, self.do, self.partial = what, why, do, partial
        self.status = status

    def __str__(self) -> str:
        lines = [self.what]
        if self.partial:
            lines.append(f"  Got: {shorten(self.partial)}")
        if self.why:
            lines.append(f"  Why: {self.why}")
        if self.do:
            lines.append(f"  Do:  {self.do}")
        return "\n".join(lines)

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


class ServerNotFound(LlamalabError):
    """Nothing answers at the server's address, or what answers is not a model server."""


class ModelNotFound(LlamalabError):
    """The server is there, but it does not have this model (HTTP 404)."""


class ServerBusy(LlamalabError):
    """The server is there, but it has no time: too many requests, or a long wait (HTTP 503)."""


class BadAnswer(LlamalabError):
    """What came is not the answer the protocol promises: a refusal, a login page, a broken line."""


class BrokenStream(LlamalabError):
    """The answer began and did not come to its end; `partial` keeps what had arrived."""


class PullFailed(LlamalabError):
    """The built-in model's file could not be fetched; whatever was there is still there."""


def shorten(text: str, width: int = 60) -> str:
    """A text in quotes, the middle of a long one left out.

    >>> print(shorten("Yes, I am"))
    'Yes, I am'
    """
    half = width // 2
    return repr(text if len(text) <= width else f"{text[:half]} ... {text[-half:]}")


def command(posix: str, windows: str) -> str:
    """The command for the system this runs on."""
    return windows if sys.platform == "win32" else posix
