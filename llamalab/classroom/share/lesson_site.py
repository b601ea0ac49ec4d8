"""The lesson in the browser, at `/lesson/` of the class's server: the built site, served by nginx.

Two things differ from the site as it was built, and both are in `lab/jupyter-lite.json`, which
JupyterLite reads after the site's own: who answers is the class's server, at whatever address the
page was opened; and the browser's storage has the student's login in its name.
"""

import json
import os
import stat
from pathlib import Path

from llamalab.errors import LlamalabError

PATH = "/lesson/"
FIRST = "lab/index.html?path=00-start-here.ipynb"
SETTINGS = "lab/jupyter-lite.json"
BUILD = "uv run --group site python -m llamalab.site FOLDER"
KERNEL = "@jupyterlite/pyodide-kernel-extension:kernel"
STORAGE = ("contentsStorageName", "settingsStorageName", "workspacesStorageName")

TYPES = {
    "text/html": "html",
    "text/css": "css",
    "text/javascript": "js mjs",
    "text/plain": "py md txt",
    "application/json": "json ipynb",
    "application/manifest+json": "webmanifest",
    "application/wasm": "wasm",
    "application/zip": "zip whl",
    "image/svg+xml": "svg",
    "image/png": "png",
    "image/x-icon": "ico",
    "font/woff": "woff",
    "font/woff2": "woff2",
}
# The page's files, without nginx's limits: a page loads a hundred of them at once.
LOCATIONS = """\
        location = /favicon.ico {{ access_log off; return 204; }}  # every browser asks for it
        location = /lesson {{ return 301 $scheme://$http_host{path}; }}
        location = {path} {{
            {key_first}
            return 302 $scheme://$http_host{path}{first};  # a key in the address ends here
        }}
        location = {path}{settings_file} {{
            {key_first}
            add_header Cache-Control no-store;  # each student's own
            return 200 '{settings}';
        }}
        location {path} {{
            {key_first}
            limit_except GET {{ deny all; }}
            alias "{folder}/";
            access_log off;
            add_header Cache-Control no-cache;  # kept, and asked each time whether it is new
            gzip on;
            gzip_comp_level 1;
            gzip_types {gzip};
            default_type application/octet-stream;
            types {{
{types}
            }}
        }}"""


def need_site(name: str) -> str:
    """The folder of a built site, as nginx wants it. Raises `LlamalabError` where it is not one."""
    folder = Path(name).expanduser().resolve()
    try:
        known = read(folder / "jupyter-lite.json").get("appName") == "llamalab"
    except (OSError, ValueError, LookupError):
        known = False
    if not known:
        raise LlamalabError(f"{name} is not a built site of the lesson.", do=f"build it: {BUILD}")
    if any(mark in str(folder) for mark in '"$\n'):
        raise LlamalabError(f"nginx cannot read a folder of this name: {name}", do="rename it")
    if os.name == "posix" and os.geteuid() == 0:
        need_readable(folder)
    return folder.as_posix()


def need_readable(folder: Path) -> None:
    """nginx, started by the administrator, reads files as a user who may do little."""
    for place in (folder, *folder.parents):
        if not place.stat().st_mode & stat.S_IXOTH:
            raise LlamalabError(
                f"nginx may not read what is in {place}.",
                why="the administrator's nginx reads files as a different user",
                do="take a folder that everyone may read, or a port above 1023 without sudo",
            )


def read(file: Path) -> dict:
    """The settings in one of JupyterLite's files."""
    return json.loads(file.read_text(encoding="utf-8"))["jupyter-config-data"]


def locations(site: str, key_first: str) -> str:
    """The part of nginx.conf that serves the site in this folder to those with a key."""
    types = [f"{' ' * 16}{kind} {endings};" for kind, endings in TYPES.items()]
    texts = [kind for kind in TYPES if kind.startswith(("text", "application", "image/svg"))]
    return LOCATIONS.format(
        path=PATH,
        first=FIRST,
        settings_file=SETTINGS,
        settings=settings(Path(site)),
        key_first=key_first,
        folder=site,
        gzip=" ".join(kind for kind in texts if kind not in ("text/html", "application/zip")),
        types="\n".join(types),
    )


def settings(site: Path) -> str:
    """What `lab/jupyter-lite.json` says for a class; nginx puts in what starts with a dollar."""
    whole = read(site / "jupyter-lite.json")
    kernel = whole["litePluginSettings"][KERNEL]
    names = {name: f"{whole[name]} $student" for name in STORAGE}
    environment = {"OLLAMA_HOST": "$scheme://$http_host", "LLAMALAB_STORAGE": names[STORAGE[0]]}
    options = {**kernel["loadPyodideOptions"], "env": environment}
    ours = {
        **read(site / SETTINGS),
        **names,
        "litePluginSettings": {KERNEL: {"loadPyodideOptions": options}},
    }
    text = json.dumps({"jupyter-config-data": ours}, separators=(",", ":"))
    return text.replace("\\", "\\\\").replace("'", "\\'")
