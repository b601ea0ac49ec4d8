r"""JSON as a real Ollama, which is written in Go, reads and writes it.

Python's own scanner reads it. Only the reasons that a student or a real client meets are put in
Go's words, such as `invalid character 'm' looking for beginning of value` for a posted form.
"""

import codecs
import json
import math
import re
from itertools import accumulate
from typing import Any

from llamalab.standin.limits import MAX_DEPTH

SPACE = " \t\r\n"
VALUE, KEY = "looking for beginning of value", "looking for beginning of object key string"
# Where Python's scanner stops -> what Go looks for there. Python 3.13 names the comma itself.
PLACES = {"Expecting value": VALUE, "Expecting property name enclosed in double quotes": KEY}
PLACES |= {f"Illegal trailing comma before end of {nest}": KEY for nest in ("object", "array")}
LITERALS = ("true", "false", "null")

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)  # the last one may be cut
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS = bytes(set(range(256)) - _STEPS.keys())
_SURROGATES = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\."
)
_HTML = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class NotJson(ValueError):
    """The body is not JSON; the message says why."""


def decode(body: bytes) -> Any:
    """The first JSON value of a body; what follows it is not looked at.

    As in Go, bytes that are not UTF-8 and halves of surrogate pairs become U+FFFD. Raises
    `NotJson`, and nothing else.

    >>> decode(b'{"model":"mistral"} trailing')
    {'model': 'mistral'}
    >>> decode(b"model=mistral")
    Traceback (most recent call last):
    llamalab.standin.ollama.gojson.NotJson: invalid character 'm' looking for beginning of value
    """
    if too_deep(body):
        raise NotJson(f"exceeded max depth: more than {MAX_DEPTH} nests")
    text = body.decode("utf-8", "go-replace")
    if "\\u" in text:
        text = _SURROGATES.sub(lambda m: r"\ufffd" if m[1] else m[0], text)
    try:
        return _decoder.raw_decode(text, len(text) - len(text.lstrip(SPACE)))[0]
    except json.JSONDecodeError as error:
        raise NotJson(_reason(text, error)) from None


def dumps(record: Any) -> bytes:
    r"""A record as Ollama writes it: compact, UTF-8, and safe inside an HTML page.

    `<`, `>`, `&` and the line separators U+2028 and U+2029 are escaped, nothing else above
    U+007F is.

    >>> dumps({"response": "a<b é", "done": False})
    b'{"response":"a\\u003cb \xc3\xa9","done":false}'
    """
    text = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _LONE_SURROGATE.sub("\ufffd", text.translate(_HTML)).encode("utf-8")


def quote(text: str) -> str:
    r"""A text in double quotes, as error messages show it.

    >>> print(quote('a "yaml" file'))
    "a \"yaml\" file"
    """
    return json.dumps(text, ensure_ascii=False)


def too_deep(body: bytes) -> bool:
    """Whether more than `MAX_DEPTH` nests lie in one another.

    >>> too_deep(b"[" * 501), too_deep(b'["' + b"[" * 501 + b'"]')
    (True, False)
    """
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:  # soon told
        return False
    brackets = _STRING.sub(b"", body).translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > MAX_DEPTH


def _reason(text: str, error: json.JSONDecodeError) -> str:
    """Why a text is not JSON: in Go's words where it was cut, or a value or a key is missing."""
    rest = text[error.pos :].lstrip(SPACE)
    place = PLACES.get(error.msg)
    if error.msg.startswith("Illegal trailing comma"):
        rest = rest[1:].lstrip(SPACE)
        place = VALUE if rest[:1] == "]" else KEY
    if not text.strip(SPACE):
        return "missing request body"
    cut = place is VALUE and any(word.startswith(rest) for word in (*LITERALS, "-"))
    if not rest or cut or error.msg.startswith("Unterminated string"):
        return "unexpected EOF"
    if place is None:
        return f"the body is not JSON: {error.msg} (character {error.pos})"
    for word in LITERALS if place is VALUE else ():
        if rest[0] == word[0]:
            at = next(i for i, (a, b) in enumerate(zip(rest, word, strict=False)) if a != b)
            place = f"in literal {word} (expecting '{word[at]}')"
            return f"invalid character {_shown(rest[at])} {place}"
    return f"invalid character {_shown(rest[0])} {place}"


def _shown(character: str) -> str:
    """Go shows the first byte of a character, as the Latin-1 character of that number."""
    first = chr(character.encode("utf-8", "replace")[0])
    return "'" + ("\\'" if first == "'" else repr(first)[1:-1]) + "'"


def _finite(literal: str) -> float:
    """A number as Go's float64."""
    value = float(literal)
    if math.isinf(value):
        shown = literal if len(literal) < 40 else literal[:40] + "..."
        raise NotJson(f"json: cannot unmarshal number {shown} into Go value of type float64")
    return value


def _integer(literal: str) -> int:
    _finite(literal)  # before int(), which takes time squared for a million digits
    return int(literal)


def _constant(literal: str) -> None:
    """Python reads NaN and Infinity, which are not JSON."""
    raise NotJson(f"invalid character '{literal.lstrip('-')[0]}' {VALUE}")


codecs.register_error("go-replace", lambda error: ("\ufffd", error.start + 1))
_decoder = json.JSONDecoder(parse_float=_finite, parse_int=_integer, parse_constant=_constant)
