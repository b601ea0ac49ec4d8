"""Files that cells write, kept in the browser where JupyterLite cannot keep them.

JupyterLite shares the folder of a notebook with its kernel through a service worker, which no
browser has on plain HTTP. There, the kernel itself keeps its files in a database of the browser
(IndexedDB): before each cell it takes what another page has kept, after each it keeps what is new.
"""

import asyncio
import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from llamalab.lesson.copying import lesson_files, lesson_source

SHARED = Path("/drive")  # where JupyterLite's own way works
LARGEST = 2**20  # bytes of one file
NAME = "LLAMALAB_STORAGE"  # a class's page has the student's login in it
OPEN_DATABASE = """name => {
    const ended = request => new Promise((resolve, reject) => {
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => reject(request.error);
    });
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => request.result.createObjectStore('files');
    const opened = ended(request);
    const files = async mode => (await opened).transaction('files', mode).objectStore('files');
    return {
        all: async () => {
            const store = await files('readonly');
            const both = await Promise.all([ended(store.getAllKeys()), ended(store.getAll())]);
            return both[0].map((name, place) => [name, both[1][place]]);
        },
        put: async (name, content) => ended((await files('readwrite')).put(content, name)),
        remove: async name => ended((await files('readwrite')).delete(name)),
    };
}"""


class Database:
    """Names and contents of files in the browser's database."""

    def __init__(self, name: str):
        from pyodide.code import run_js

        self._files = run_js(OPEN_DATABASE)(name)

    async def all(self) -> list[tuple[str, bytes]]:
        return [(name, content.to_bytes()) for name, content in await self._files.all()]

    def put(self, name: str, content: bytes) -> None:
        from pyodide.ffi import to_js

        self._files.put(name, to_js(content))

    def remove(self, name: str) -> None:
        self._files.remove(name)


class Kept:
    """A kernel's folder, whose files are in a `database` too; `known` is what both had last."""

    def __init__(self, folder: Path, database: Any):
        self.folder, self.database = folder, database
        self.known: dict[str, bytes] = {}
        self._looking: asyncio.Future | None = None

    def begin(self) -> None:
        """The lesson's own scripts, which are beside the notebooks elsewhere."""
        for name in lesson_files(lesson_source()):
            if name.endswith(".py") and not (self.folder / name).exists():
                self.take([(name, (lesson_source() / name).read_bytes())])

    def take(self, files: Iterable[tuple[str, bytes]]) -> None:
        """Write the files that are new in the database."""
        for name, content in files:
            if self.known.get(name) != content:
                self.known[name] = content
                (self.folder / name).write_bytes(content)

    def keep(self, *_: Any) -> None:
        """Keep what is new in the folder, and forget what is not there any more."""
        there = {
            file.name: file.read_bytes()
            for file in self.folder.iterdir()
            if file.is_file() and file.stat().st_size <= LARGEST
        }
        for name, content in there.items():
            if self.known.get(name) != content:
                self.known[name] = content
                self.database.put(name, content)
        for name in self.known.keys() - there.keys():
            del self.known[name]
            self.database.remove(name)

    async def look(self) -> None:
        """Take what another page has kept."""
        self.take(await self.database.all())

    def look_now(self, *_: Any) -> None:
        """The same before a cell runs; where the browser cannot wait for it, a little later."""
        from pyodide.ffi import JsException, can_run_sync, run_sync

        with contextlib.suppress(JsException):  # a private window may have no database
            if can_run_sync():
                run_sync(self.look())
            else:
                self._looking = asyncio.ensure_future(self.look())


def keep_files() -> bool:
    """Keep the files of this kernel, and say whether they are kept: by JupyterLite or from here."""
    if Path.cwd().is_relative_to(SHARED):
        return True
    from IPython import get_ipython
    from js import indexedDB

    shell = get_ipython()
    if shell is None or not indexedDB:
        return False
    kept = Kept(Path.cwd(), Database(f"{os.environ.get(NAME, 'llamalab')} files"))
    kept.begin()
    shell.events.register("pre_run_cell", kept.look_now)
    shell.events.register("post_run_cell", kept.keep)
    return True
