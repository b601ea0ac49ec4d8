"""A JSON schema that llama.cpp would not come to an end with, or to the end of the memory.

llama.cpp makes a grammar of a schema, in the process and while all of its
readers wait, and nothing can stop it: so what it cannot do is refused before. Each rule has the
schema that was seen to break it (xllamacpp 2026.10).
"""

import re
from collections.abc import Iterator
from typing import Any

from llamalab.standin import limits

BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
COUNTS = (("minLength", "maxLength"), ("minItems", "maxItems"))
COUNTED = re.compile(r"\{(\d+),(\d+)\}")  # of a pattern


def trouble_in(response_format: Any) -> str:
    """What is wrong with the schema in an OpenAI request's `response_format`; "" if nothing is."""
    try:
        schemas = (node["schema"] for node in nodes(response_format) if "schema" in node)
        return next(filter(None, map(trouble, schemas)), "")
    except RecursionError:
        return "too many nests"


def trouble(schema: Any) -> str:
    """What is wrong with a schema, such as "minItems above maxItems"; "" if nothing is.

    >>> trouble({"type": "array", "minItems": 2, "maxItems": 1})
    'minItems above maxItems'
    >>> trouble({"type": "string", "maxLength": 9})
    ''
    """
    if size(schema, schema, {}) > limits.MAX_EXPANSION:
        return f"more than {limits.MAX_EXPANSION} parts, counted through each $ref"
    return next(filter(None, map(trouble_of, nodes(schema))), "")


def trouble_of(node: dict) -> str:
    """What is wrong with one part of a schema, beside its own parts."""
    for key in BOUNDS:  # a bound of 2**63 - 1: 23 GB
        if is_number(node.get(key)) and abs(node[key]) > limits.MAX_BOUND:
            return f"{key} beyond {limits.MAX_BOUND:.0e}"
    for low, high in COUNTS:  # from 5 to 2: 4 GB
        if is_number(node.get(low)) and is_number(node.get(high)) and node[low] > node[high]:
            return f"{low} above {high}"
    pattern = node.get("pattern")
    if not isinstance(pattern, str):
        return ""
    if len(pattern) > limits.MAX_PATTERN:
        return f"a pattern longer than {limits.MAX_PATTERN} characters"
    if "){" in pattern:  # ^(a?){1000}$: hours
        return "a pattern that counts a group, as in (ab){2}"
    if any(int(low) > int(high) for low, high in COUNTED.findall(pattern)):  # a{9,3}: 4 GB
        return "a pattern that counts from more to less"
    return ""


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def nodes(part: Any) -> Iterator[dict]:
    """Every dict in a schema."""
    if isinstance(part, dict):
        yield part
    for inner in parts_of(part):
        yield from nodes(inner)


def parts_of(part: Any) -> list:
    return list(part.values()) if isinstance(part, dict) else part if isinstance(part, list) else []


def size(part: Any, schema: dict, sizes: dict[str, int]) -> int:
    """How many parts it has once each `$ref` is written out; one that leads back counts once.

    Sixty definitions, each of which names the next one twice, are 4 KB, and 2**60 parts.
    """
    total = 1 + sum(size(inner, schema, sizes) for inner in parts_of(part))
    reference = part.get("$ref") if isinstance(part, dict) else None
    if isinstance(reference, str):
        if reference not in sizes:
            sizes[reference] = 1
            sizes[reference] = size(target(reference, schema), schema, sizes)
        total += sizes[reference]
    return total


def target(reference: str, schema: Any) -> Any:
    """What "#/$defs/name" points to; None where that is nothing."""
    for name in reference.split("/")[1:]:
        schema = schema.get(name) if isinstance(schema, dict) else None
    return schema
