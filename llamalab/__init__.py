"""llamalab: what a notebook uses, and nothing else."""

from llamalab.errors import (
    BadAnswer,
    BrokenStream,
    LlamalabError,
    ModelNotFound,
    ServerBusy,
    ServerNotFound,
)
from llamalab.wire import join_fragments, load_answers, split_lines, tokens_per_second

__version__ = "0.1.0"

__all__ = [
    "BadAnswer",
    "BrokenStream",
    "LlamalabError",
    "ModelNotFound",
    "ServerBusy",
    "ServerNotFound",
    "join_fragments",
    "load_answers",
    "split_lines",
    "tokens_per_second",
]
