"""The model in the box, fetched before it is needed, with a bar to watch."""

import importlib.util
import os
import sys
from pathlib import Path

from llamalab.errors import LlamalabError
from llamalab.standin.answers import builtin_model


def fetch() -> None:
    """Pull the model's file with a bar in the terminal. Raises `PullFailed`."""
    if builtin_model.is_whole():
        return
    from tqdm import tqdm

    with tqdm(
        total=builtin_model.SIZE, unit="B", unit_scale=True, desc=f"pulling {builtin_model.NAME}"
    ) as bar:
        builtin_model.pull(lambda done, total: bar.update(done - bar.n))


def fetch_or_go_on() -> None:
    """`fetch`; where that cannot be, one sentence, and the recordings have to do."""
    other = os.environ.get("LLAMALAB_MODEL", "").strip()
    without = "Without a model, the server only plays its recordings"
    if importlib.util.find_spec("xllamacpp") is None:
        say(f"{without}: the engine, xllamacpp, has no wheel for this machine.")
    elif other and not Path(os.path.expanduser(other)).is_file():
        say(f"{without}: LLAMALAB_MODEL names no file ({other}).")
    elif not other and not builtin_model.is_there():
        try:
            fetch()
        except LlamalabError as error:
            say(f"{without}: {error.why or error.what}. To get it: {error.do}")


def say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
