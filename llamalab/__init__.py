"""llamalab: what a notebook uses, and nothing else.

    SERVER = llamalab.server()                        find a model server, or start one
    llamalab.generate(prompt), .stream(prompt)        ask it; .chat(messages)
    llamalab.models(), .pull(model)                   which models it has; fetch one
    llamalab.record(prompt, file)                     keep an answer, to replay it later
    llamalab.split_lines, .load_answers, .join_fragments, .tokens_per_second
    llamalab.check("split_lines", my_function)        how is my exercise, my script, my guess?
    llamalab.hint("split_lines"), .solution(...)      a step more; the solution
    llamalab.progress()                               which chapters are done? what is next?
    llamalab.doctor()                                 is everything there? what fixes it?
    llamalab.inspector(content), .waterfall(answer), .race(answer), .time_bars([answer, ...])
    llamalab.chat_box()                               look at answers; a small chat

The errors are in `llamalab.errors`, all under `LlamalabError`.
"""

from importlib import import_module

__version__ = "0.1.0"

# What is where. A module is loaded when one of its names is first used: `requests` alone takes
# longer to load than `llamalab --help` takes to answer.
_MODULES = {
    "find": ["server"],
    "client": ["MODEL", "Answer", "chat", "generate", "models", "post", "pull", "stream"],
    "wire": ["join_fragments", "load_answers", "split_lines", "tokens_per_second"],
    "errors": [
        *("LlamalabError", "BadAnswer", "BrokenStream"),
        *("ModelNotFound", "ServerBusy", "ServerNotFound"),
    ],
    "recorder": ["record"],
    "exercises.checking": ["check", "hint", "solution"],
    "lesson.progress": ["progress"],
    "checkup.checks": ["doctor"],
    "views.inspector": ["inspector"],
    "views.waterfall": ["waterfall"],
    "views.race": ["race"],
    "views.time_bars": ["time_bars"],
    "views.chat_box": ["chat_box"],
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}
_ROOMS = {module.partition(".")[0] for module in _MODULES}  # llamalab.errors, llamalab.views, ...

__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name in _HOME:
        return getattr(import_module(f"llamalab.{_HOME[name]}"), name)
    if name in _ROOMS:
        return import_module(f"llamalab.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_ROOMS})
