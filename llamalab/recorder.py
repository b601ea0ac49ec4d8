"""Recording: an answer of any server, kept in a file as the bytes that came.

`llamalab serve --recordings FOLDER` plays it again, at its own pace, to anyone who asks the same.
"""

import contextlib
import hashlib
import json
import os
import re
import secrets
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

from llamalab.client import MODEL, post, records
from llamalab.errors import LlamalabError
from llamalab.wire import fragments_of


class NotRecorded(LlamalabError):
    """Nothing was written; what was there before is still there."""


def record(
    asked: str | list[dict],
    file: Path | str | None = None,
    model: str = MODEL,
    server: str | None = None,
    force: bool = False,
    show: Callable[[str], object] = lambda fragment: None,
    **fields,
) -> Path:
    """Ask, and keep request and answer in a file; returns its path.

    `asked` is a prompt (`/api/generate`), or a list of messages (`/api/chat`). Without `file`, or
    where that is a folder, the name comes from the model and the prompt:
    "mistral-are-you-listening.ndjson". `show` is given each fragment as it arrives; `fields` go
    into the request, as in `generate`. The file's first line is the request, the rest is the
    body, byte for byte.

    Raises `NotRecorded` where the file is there already (`force=True` replaces it) or cannot be
    written, and what `stream` raises. In each case no part of a file is left: it appears complete
    or not at all.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = record("Are you listening?", Path(folder, "again.ndjson"))
    ...     print(file.read_text().splitlines()[0])
    {"path": "/api/generate", "json": {"model": "mistral", "prompt": "Are you listening?"}}
    """
    chat = not isinstance(asked, str)
    path, key = ("/api/chat", "messages") if chat else ("/api/generate", "prompt")
    request = {"model": model, key: asked, **fields}
    if fields.get("stream", True) is not True:
        what = "A recording is a stream: its records say when each fragment came."
        raise NotRecorded(what, do="leave out stream=False")
    prompt = (asked[-1].get("content") if asked else "") if chat else asked
    file = Path(os.path.expanduser(file or ""))
    if os.path.isdir(file):
        file /= file_name(model, prompt)
    if os.path.exists(file) and not force:
        raise _taken(file)
    head = json.dumps({"path": path, "json": request}, ensure_ascii=False)
    with _kept(file, force) as part, part.open("xb") as content:
        content.write(head.encode(errors="backslashreplace") + b"\n")
        response = None
        try:  # before there is a response: see `client._whole`
            response = post(path, request, server)
            for fragment in fragments_of(records(response, keep=content.write)):
                show(fragment)
        finally:
            if response is not None:
                response.close()
    return file


def file_name(model: str, prompt: str) -> str:
    """The name of a recording's file: letters and digits on every system, 60 of them at most.

    A prompt whose letters have no ASCII form keeps its name apart with a checksum.

    >>> file_name("smollm2:135m", "Why is the sky blue?"), file_name("m", "Ça va ?")
    ('smollm2-135m-why-is-the-sky-blue.ndjson', 'm-ca-va.ndjson')
    >>> file_name("m", "你好"), file_name("m", "Привет")
    ('m-670d9743.ndjson', 'm-dd679c0b.ndjson')
    """
    plain = [c for c in unicodedata.normalize("NFKD", prompt) if not unicodedata.combining(c)]
    words = re.findall(r"[a-z0-9]+", f"{model} {''.join(plain)}".lower())
    name = "-".join(words)
    lost = any(c.isalnum() and not c.isascii() for c in plain)
    if lost or not any(c.isalnum() for c in plain):
        checksum = hashlib.sha256(prompt.encode(errors="backslashreplace")).hexdigest()[:8]
        name = f"{name[:51].strip('-')}-{checksum}"
    return name[:60].strip("-") + ".ndjson"


@contextlib.contextmanager
def _kept(file: Path, force: bool) -> Iterator[Path]:
    """A path to write to, which takes the file's place once it is known to be a recording."""
    from llamalab.standin.answers import recordings  # only when used: the server's rooms are heavy

    part = file.with_name(f".{file.name}.{secrets.token_hex(8)}.part")
    try:
        yield part
        recordings.read(part)
        if force:
            part.replace(file)
        else:
            _place(part, file)
    except recordings.BadRecording as error:
        what = "The answer cannot be replayed, so it was not kept."
        raise NotRecorded(what, str(error).replace(str(part), str(file))) from None
    except OSError as error:
        if isinstance(error, FileExistsError) and file.exists():
            raise _taken(file) from None
        what, why = f"{file} cannot be written.", error.strerror or str(error)
        raise NotRecorded(what, why, do="name another file: --to FILE") from None
    finally:
        with contextlib.suppress(OSError):  # where there is no such folder, nothing is left
            part.unlink()


def _place(part: Path, file: Path) -> None:
    """Give a file its name, all at once, unless another has it: the first one keeps it."""
    try:
        os.link(part, file)
    except FileExistsError:
        raise
    except OSError:  # a stick's file system knows no links
        file.open("xb").close()
        part.replace(file)


def _taken(file: Path) -> NotRecorded:
    return NotRecorded(
        f"{file} is there already, and stays as it is.",
        do="name another file (--to FILE), or replace it: --force (in Python: force=True)",
    )
