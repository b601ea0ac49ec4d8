"""llamalab: what a notebook uses, and nothing else.

    SERVER = llamalab.server()                        find a model server, or start one
    llamalab.generate(prompt), .stream(prompt)        ask it; .chat(messages)
    llamalab.models(), .pull(model)                   which models it has; fetch one
    llamalab.record(prompt, file)                     keep an answer, to replay it later
    llamalab.split_lines, .load_answers, .join_fragments, .tokens_per_second
    llamalab.check("split_lines", my_function)        how is my exercise?
    llamalab.doctor()                                 is everything there? what mends it?
    llamalab.inspector(content), .waterfall(answer), .race(answer), .time_bars([answer, ...])
    llamalab.chat_box()                               look at answers; a small chat

The errors are in `llamalab.errors`, all under `LlamalabError`.
"""

from importlib import import_module

from llamalab.checkup import doctor
from llamalab.client import MODEL, Answer, chat, generate, models, post, pull, stream
from llamalab.errors import (
    BadAnswer,
    BrokenStream,
    LlamalabError,
    ModelNotFound,
    ServerBusy,
    ServerNotFound,
)
from llamalab.exercises.checking import check
from llamalab.find import server
from llamalab.recorder import record
from llamalab.wire import join_fragments, load_answers, split_lines, tokens_per_second

__version__ = "0.1.0"

__all__ = [
    "MODEL",
    "Answer",
    "BadAnswer",
    "BrokenStream",
    "LlamalabError",
    "ModelNotFound",
    "ServerBusy",
    "ServerNotFound",
    "chat",
    "chat_box",
    "check",
    "doctor",
    "generate",
    "inspector",
    "join_fragments",
    "load_answers",
    "models",
    "post",
    "pull",
    "race",
    "record",
    "server",
    "split_lines",
    "stream",
    "time_bars",
    "tokens_per_second",
    "waterfall",
]

_VIEWS = {"chat_box", "inspector", "race", "time_bars", "waterfall"}


def __getattr__(name: str):
    """The views are loaded only when one of them is used."""
    if name not in _VIEWS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"llamalab.views.{name}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_VIEWS})
