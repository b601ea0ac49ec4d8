"""Checks of this machine: the model's file, the disk, the console."""

import codecs
import os
import shutil
import sys
from pathlib import Path

from llamalab.checkup.report import Finding, amount, export, fail, note, ok, tidy, unset

LITTLE, MODEL_NEEDS = 20e6, 200e6  # bytes: JupyterLab cannot save; a pull finds no room


def model_file() -> Finding:
    from llamalab.standin.answers import builtin_model

    other = os.environ.get("LLAMALAB_MODEL", "").strip()
    if other:
        return other_model(Path(other).expanduser())
    file = builtin_model.model_path()
    if not file.is_file():
        said = "not fetched yet; recordings play all the same"
        return note(said, "llamalab pull   (98 MB, once)")
    if builtin_model.is_whole(file):
        return ok(f"{builtin_model.NAME}, whole, in {tidy(file.parent)}")
    size = file.stat().st_size
    broken = "its SHA-256 is not the right one"
    if size != builtin_model.SIZE:
        broken = f"{size:,} bytes of {builtin_model.SIZE:,}"
    return fail(f"{tidy(file)} is broken: {broken}", "llamalab pull   (fetches it again)")


def other_model(file: Path) -> Finding:
    """The file that LLAMALAB_MODEL names."""
    if not file.is_file():
        return note(f"LLAMALAB_MODEL names no file ({tidy(file)})", unset("LLAMALAB_MODEL"))
    with file.open("rb") as opened:
        if opened.read(4) != b"GGUF":
            return fail(f"LLAMALAB_MODEL: {tidy(file)} is not a GGUF file", unset("LLAMALAB_MODEL"))
    return ok(f"{tidy(file)}, from LLAMALAB_MODEL")


def disk() -> Finding:
    from llamalab.standin.answers import builtin_model

    cache = builtin_model.folder()
    there = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
    free = {folder: shutil.disk_usage(folder).free for folder in (Path.cwd(), there)}
    least = min(free, key=free.__getitem__)
    said = f"{amount(free[least])} free in {tidy(least)}"
    if free[least] < LITTLE:
        return fail(f"{said}: nothing can be saved", f"make room in {tidy(least)}")
    if locked := [folder for folder in free if not os.access(folder, os.W_OK)]:
        do = "llamalab lab FOLDER   (your own folder)"
        do = builtin_model.ELSEWHERE if locked == [there] else do
        return note(f"{tidy(locked[0])} is not for you to write to: nothing is kept there", do)
    if free[there] < MODEL_NEEDS and not builtin_model.model_path().is_file():
        said = f"{amount(free[there])} free in {tidy(there)}: too little to fetch the model"
        return note(said, f"make {amount(MODEL_NEEDS)} of room there")
    return ok(said)


def console() -> Finding:
    encoding = sys.stdout.encoding
    if codecs.lookup(encoding).name == "utf-8":
        return ok(encoding)
    chosen = "PYTHONIOENCODING" in os.environ
    do = unset("PYTHONIOENCODING") if chosen else export("PYTHONUTF8", "1")
    return note(f"{encoding}: a character that it lacks is shown as ?", do)
