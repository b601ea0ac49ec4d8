"""What a model's file says of itself: the header of a GGUF file, read without loading it.

For /api/tags and /api/show. (The `gguf` package takes two seconds for this.)
Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import math
import struct
from pathlib import Path
from typing import Any, BinaryIO

SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?"}
SCALARS |= {10: "<Q", 11: "<q", 12: "<d"}
STRING, ARRAY = 8, 9
DIMENSIONS = 4  # a tensor has no more of them
LONGEST = 2**20  # bytes a text may have: a length that is nonsense must not fill the memory
LONG = 64  # a list longer than this (the vocabulary) is left out, as Ollama leaves it out

# `general.file_type` -> how the weights are quantised (llama.cpp's `llama_ftype`).
FILE_TYPES = {0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1"}
FILE_TYPES |= {10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M"}
FILE_TYPES |= {16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 32: "BF16"}

# What reading a file raises that ends too early, or says things that cannot be: lists nested a
# thousand deep (RecursionError), a jump further than files are long (OSError), an unknown type.
BROKEN = (struct.error, ValueError, OverflowError, OSError, RecursionError, KeyError)


def read_header(file: Path) -> dict[str, Any]:
    """The file's metadata by name, its keys sorted; long lists are None.

    `general.parameter_count` is counted, whatever the file says. Raises ValueError where this
    is not a GGUF file, or only the start of one; OSError as `open` does.
    """
    with file.open("rb") as opened:
        if opened.read(4) != b"GGUF":
            raise ValueError(f"{file} is not a GGUF file")
        try:
            version, tensors, entries = _unpack(opened, "<IQQ")
            if version < 2:  # it was soon replaced: lengths had 32 bits
                raise ValueError
            header = {}
            for _ in range(entries):
                name = _text(opened)
                header[name] = _value(opened, *_unpack(opened, "<I"))
            header["general.parameter_count"] = sum(_tensor_size(opened) for _ in range(tensors))
        except BROKEN:
            raise ValueError(f"{file} is not a complete GGUF file") from None
    return dict(sorted(header.items()))


def details(header: dict[str, Any]) -> dict:
    """The `details` of /api/tags and /api/show."""
    family = str(header.get("general.architecture", "unknown"))
    found = {
        "parent_model": "",
        "format": "gguf",
        "family": family,
        "families": [family],
        "parameter_size": human(header["general.parameter_count"]),
        "quantization_level": FILE_TYPES.get(header.get("general.file_type"), "unknown"),
    }
    for key in ("context_length", "embedding_length"):
        if isinstance(header.get(f"{family}.{key}"), int):
            found[key] = header[f"{family}.{key}"]
    return found


def human(count: int) -> str:
    """A number of parameters as Ollama shows it.

    >>> human(134_515_008), human(7_248_023_552)
    ('134.52M', '7.2B')
    """
    if count >= 10**9:
        return f"{count / 1e9:.1f}B"
    return f"{count / 1e6:.2f}M" if count >= 10**6 else str(count)


def _unpack(opened: BinaryIO, form: str) -> tuple:
    return struct.unpack(form, opened.read(struct.calcsize(form)))


def _text(opened: BinaryIO) -> str:
    (length,) = _unpack(opened, "<Q")
    data = opened.read(min(length, LONGEST))
    if len(data) < length:
        raise struct.error
    return data.decode("utf-8")


def _value(opened: BinaryIO, kind: int) -> Any:
    if kind == STRING:
        return _text(opened)
    if kind != ARRAY:
        return _unpack(opened, SCALARS[kind])[0]
    item, length = _unpack(opened, "<IQ")
    if item in SCALARS and length > LONG:
        opened.seek(length * struct.calcsize(SCALARS[item]), 1)
        return None
    if item == STRING and length > LONG:
        for _ in range(length):
            opened.seek(_unpack(opened, "<Q")[0], 1)
        return None
    return [_value(opened, item) for _ in range(length)]


def _tensor_size(opened: BinaryIO) -> int:
    """How many numbers a tensor holds; its name, type and place are read over."""
    _text(opened)
    (dimensions,) = _unpack(opened, "<I")
    if dimensions > DIMENSIONS:
        raise struct.error
    size = math.prod(_unpack(opened, f"<{dimensions}Q"))
    _unpack(opened, "<IQ")
    return size
