"""Go's `encoding/json`, seen from outside: what a real Ollama accepts, refuses and writes.

The ground floor of the server: `protocol` and `app` enter, this module imports only `limits`.
Ollama is written in Go, and its error texts are what a student meets first:
`invalid character 'm' looking for beginning of value`. Python's own scanner reads what is
valid; only for a body it refuses is the reason looked for, in Go's words.
"""

import codecs
import json
import math
import re
from itertools import accumulate
from typing import Any

from llamalab.standin.limits import MAX_DEPTH

# The places Go's scanner can be in, named by the words of its error there.
VALUE = "looking for beginning of value"
KEY = "looking for beginning of object key string"
COLON = "after object key"
MEMBER = "after object key:value pair"
ELEMENT = "after array element"
# What leads on from a place: a byte, and the place behind it.
NEXT = {COLON: {b":": VALUE}, MEMBER: {b",": KEY}, ELEMENT: {b",": VALUE}}
# What opens a nest: the byte that closes it, the place behind it, the place after a value in it.
NESTS = {b"{": (b"}", KEY, MEMBER), b"[": (b"]", VALUE, ELEMENT)}

_SPACE = re.compile(rb"[ \t\n\r]*")
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)  # the last one may be cut
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS = bytes(set(range(256)) - _STEPS.keys())
_PLAIN = re.compile(rb'[^"\\\x00-\x1f]*')
_SURROGATES = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\."
)
_HTML = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_NAMED = {"\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v"}


class NotJson(ValueError):
    """The body is not JSON; the message is Go's."""


def decode(body: bytes) -> Any:
    """The first JSON value of a body; whatever follows it is not looked at.

    As in Go, bytes that are not UTF-8 and halves of surrogate pairs become U+FFFD. Raises
    `NotJson`, and nothing else, with the text that Go's decoder has for it.

    >>> decode(b'{"model":"mistral"} trailing')
    {'model': 'mistral'}
    >>> decode(b"model=mistral")
    Traceback (most recent call last):
    llamalab.standin.ollama.gojson.NotJson: invalid character 'm' looking for beginning of value
    """
    text = body.decode("utf-8", "go-replace")
    start = _SPACE.match(body).end()
    if too_deep(body) or body[start : start + 1] not in (b"{", b"["):
        check(body)  # what Python would read its own way: deep nests, bare numbers such as 1.
    if "\\u" in text:
        text = _SURROGATES.sub(lambda m: r"\ufffd" if m[1] else m[0], text)
    try:
        return _decoder.raw_decode(text, start)[0]
    except ValueError as error:
        check(body)
        raise NotJson(str(error)) from None


def too_deep(body: bytes) -> bool:
    """Whether more than `MAX_DEPTH` nests lie in one another.

    >>> too_deep(b"[" * 501), too_deep(b'["' + b"[" * 501 + b'"]')
    (True, False)
    """
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:  # which is soon told
        return False
    brackets = _STRING.sub(b"", body).translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > MAX_DEPTH


def check(body: bytes) -> None:
    """Raise `NotJson` at the first byte that Go's scanner refuses."""
    try:
        _scan(body)
    except IndexError:  # Go would read on, and there is nothing more
        blank = not body.strip(b" \t\n\r")
        raise NotJson("missing request body" if blank else "unexpected EOF") from None


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
    r"""A text in double quotes as Go's `strconv.Quote` writes it.

    >>> print(quote('"yaml" \x01'))
    "\"yaml\" \x01"
    """
    return '"' + "".join(map(_quoted, text)) + '"'


def _quoted(c: str) -> str:
    if c in '"\\':
        return "\\" + c
    if c in _NAMED:
        return _NAMED[c]
    if c.isprintable():
        return c
    code = ord(c)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _scan(body: bytes) -> None:
    """Walk over the first value. Raises `NotJson`, or IndexError at a premature end."""
    opened: list[bytes] = []
    place, may_close = VALUE, False
    at = 0
    while True:
        at = _SPACE.match(body, at).end()
        c = body[at : at + 1]
        if may_close and c == NESTS[opened[-1]][0]:
            opened.pop()
            at += 1
        elif place in NEXT:
            place, may_close = NEXT[place].get(c) or _refuse(body, at, place), False
            at += 1
            continue
        elif place is KEY:
            at = _string(body, at) if c == b'"' else _refuse(body, at, KEY)
            place, may_close = COLON, False
            continue
        elif c in NESTS:
            if len(opened) == MAX_DEPTH:
                _refuse(body, at, "exceeded max depth")
            opened.append(c)
            place, may_close = NESTS[c][1], True
            at += 1
            continue
        else:
            at = _scalar(body, at)
        if not opened:
            return
        place, may_close = NESTS[opened[-1]][2], True


def _scalar(body: bytes, at: int) -> int:
    """Where the string, number or literal that begins here ends."""
    c = body[at : at + 1]
    if c == b'"':
        return _string(body, at)
    if c and c in b"-0123456789":
        return _number(body, at)
    for literal in ("true", "false", "null"):
        if c == literal[:1].encode():
            for i, letter in enumerate(literal[1:], 1):
                if body[at + i] != ord(letter):
                    _refuse(body, at + i, f"in literal {literal} (expecting '{letter}')")
            return at + len(literal)
    return _refuse(body, at, VALUE)


def _string(body: bytes, at: int) -> int:
    at += 1
    while True:
        at = _PLAIN.match(body, at).end()
        if body[at] == ord('"'):
            return at + 1
        if body[at] != ord("\\"):
            _refuse(body, at, "in string literal")
        escape = body[at + 1]
        if escape not in b'bfnrt\\/"u':
            _refuse(body, at + 1, "in string escape code")
        at += 2
        if escape == ord("u"):
            for _ in range(4):
                if body[at] not in b"0123456789abcdefABCDEF":
                    _refuse(body, at, "in \\u hexadecimal character escape")
                at += 1


def _number(body: bytes, at: int) -> int:
    def digits(at: int, pattern: bytes, context: str) -> int:
        found = re.compile(pattern).match(body, at)
        return found.end() if found else _refuse(body, at, context)

    at = digits(at + (body[at] == ord("-")), rb"0|[1-9][0-9]*", "in numeric literal")
    if body[at : at + 1] == b".":
        at = digits(at + 1, rb"[0-9]+", "after decimal point in numeric literal")
    if body[at : at + 1] in (b"e", b"E"):
        sign = body[at + 1 : at + 2] in (b"+", b"-")
        at = digits(at + 1 + sign, rb"[0-9]+", "in exponent of numeric literal")
    return at


def _refuse(body: bytes, at: int, context: str) -> Any:
    """Go shows the byte as the Latin-1 character of that number."""
    c = chr(body[at])
    shown = {"'": r"\'", '"': '"'}.get(c) or _quoted(c)
    raise NotJson(f"invalid character '{shown}' {context}")


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
    raise ValueError(f"{literal} is Python's, not JSON's")  # check() says it in Go's words


codecs.register_error("go-replace", lambda error: ("\ufffd", error.start + 1))
_decoder = json.JSONDecoder(parse_float=_finite, parse_int=_integer, parse_constant=_constant)
