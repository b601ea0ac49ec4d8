"""Go's JSON, seen from outside: what it accepts, how it complains, what it writes."""

import json
import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamalab.standin.ollama.gojson import MAX_DEPTH, NotJson, decode, dumps

documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)  # fmt: skip
nearly_json = st.lists(st.sampled_from('{}[]:,"\\ \t\n-+.0123456789eEtrufalsn/bu\x00é\ud800')).map(
    lambda characters: "".join(characters).encode("utf-8", "surrogatepass")
)


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "missing request body"),
        (b" \t\r\n", "missing request body"),
        (b"{", "unexpected EOF"),
        (b'{"model":"x', "unexpected EOF"),
        (b'{"model"', "unexpected EOF"),
        (b'{"model":tr', "unexpected EOF"),
        (b'{"a":-', "unexpected EOF"),
        (b"[1,", "unexpected EOF"),
        (b"not json", "invalid character 'o' in literal null (expecting 'u')"),
        (b"trye", "invalid character 'y' in literal true (expecting 'u')"),
        (b"model=tiny&prompt=hi", "invalid character 'm' looking for beginning of value"),
        (b"{'model':'tiny'}", r"invalid character '\'' looking for beginning of object key string"),
        (b"{model: tiny}", "invalid character 'm' looking for beginning of object key string"),
        (b'{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        (b"[1, ]", "invalid character ']' looking for beginning of value"),
        (b'{"stream":True}', "invalid character 'T' looking for beginning of value"),
        (b'{"stream":NaN}', "invalid character 'N' looking for beginning of value"),
        (b"\xef\xbb\xbf{}", "invalid character 'ï' looking for beginning of value"),
        (b'{"a":}', "invalid character '}' looking for beginning of value"),
        (b"[1e999]", "json: cannot unmarshal number 1e999 into Go value of type float64"),
        (b'{"a" 1}', "the body is not JSON: Expecting ':' delimiter (character 5)"),
        (b'{"a":1 "b"}', "the body is not JSON: Expecting ',' delimiter (character 7)"),
        (b"[" * 100_000, f"exceeded max depth: more than {MAX_DEPTH} nests"),
        (b'{"a":' * 100_000, f"exceeded max depth: more than {MAX_DEPTH} nests"),
    ],
)
def test_what_is_not_json_is_refused_with_the_reason(body, complaint):
    with pytest.raises(NotJson) as refused:
        decode(body)
    assert str(refused.value) == complaint


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"model":"x"} trailing', {"model": "x"}),
        (b"[]]]", []),
        (b"nullx", None),
        (b" 3 4", 3),
        (b"01", 0),
        (b'"a"b', "a"),
        (b'{"a":1,"a":2}', {"a": 2}),
        (rb'["\ud83d\ude00"]', ["😀"]),
        (rb'["\ud83d", "\ude00", "\ud83d\ud83d\ude00"]', ["\ufffd", "\ufffd", "\ufffd😀"]),
        (rb'["\\ud83d"]', ["\\ud83d"]),
        (b'["\xff\xe2\x82"]', ["\ufffd\ufffd\ufffd"]),
        (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, None),
    ],
)
def test_the_first_value_is_read_and_the_rest_ignored(body, value):
    got = decode(body)
    assert got == value or value is None


def test_a_giant_number_takes_no_time():
    with pytest.raises(NotJson, match="cannot unmarshal number 999"):
        decode(b"[" + b"9" * 10_000_000 + b"]")


@given(documents)
def test_what_is_written_is_read_back(document):
    assert decode(dumps(document)) == document


@given(documents, st.booleans(), st.sampled_from([None, 2]))
def test_valid_documents_are_read_as_python_reads_them(document, ensure_ascii, indent):
    text = json.dumps(document, ensure_ascii=ensure_ascii, indent=indent)
    assert decode(text.encode("utf-8", "surrogatepass")) == json.loads(text)


@given(st.binary() | nearly_json)
def test_every_body_is_read_or_refused(body):
    with suppress(NotJson):  # and nothing else
        decode(body)


@given(nearly_json)
def test_where_python_reads_a_document_go_does_too(body):
    try:
        value = json.loads(body.decode("utf-8"))
    except ValueError:
        return
    if not (isinstance(value, float) and not math.isfinite(value)):
        assert decode(body) == value or rb"\ud" in body.lower()


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("é 😀", '"é 😀"'),
        ("<a> & b", r'"\u003ca\u003e \u0026 b"'),
        ("\u2028\u2029", r'"\u2028\u2029"'),
        ("\n\r\t\b\f\x0b\x00", r'"\n\r\t\b\f\u000b\u0000"'),
        ("\x7f\x85", '"\x7f\x85"'),
        ("\ud800", '"\ufffd"'),
        ('"\\/', r'"\"\\/"'),
    ],
)
def test_strings_are_escaped_as_go_escapes_them(text, written):
    assert dumps(text) == written.encode()


def test_records_are_compact():
    assert dumps({"a": [1, None, True], "b": {}}) == b'{"a":[1,null,true],"b":{}}'
