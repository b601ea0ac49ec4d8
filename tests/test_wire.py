"""The four functions of the lesson, where the first idea goes wrong, and on any text at all."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamalab.errors import BadAnswer, BrokenStream
from llamalab.wire import join_fragments, load_answers, split_lines, tokens_per_second


def records_of(fragments: list[str]) -> list[dict]:
    records = [{"response": fragment, "done": False} for fragment in fragments]
    return [*records, {"response": "", "done": True}]


def ndjson(records: list[dict]) -> bytes:
    return b"".join(json.dumps(r, ensure_ascii=False).encode() + b"\n" for r in records)


@given(st.lists(st.text(st.characters(codec="utf-8"))))
def test_any_text_cut_into_any_fragments_comes_back_whole(fragments):
    lines = split_lines(ndjson(records_of(fragments)))
    assert len(lines) == len(fragments) + 1
    assert join_fragments(load_answers(lines)) == "".join(fragments)


def test_the_documents_first_line_is_cut_off_its_newline():
    assert split_lines(b'{"response":"Yes"}\n{"response":","}\n') == [
        '{"response":"Yes"}',
        '{"response":","}',
    ]


@pytest.mark.parametrize("character", ["\x85", "\u2028", "\u2029", "\x0b", "\x0c", "\x1c"])
def test_a_character_that_str_splitlines_cuts_at_stays_in_its_line(character):
    line = json.dumps({"response": f"a{character}b"}, ensure_ascii=False)
    assert split_lines(f"{line}\n".encode()) == [line]


def test_a_missing_last_newline_is_no_harm():
    assert split_lines(b'{"a":1}\n{"b":2}') == ['{"a":1}', '{"b":2}']


def test_blank_lines_are_dropped():
    assert split_lines(b'\n{"a":1}\n\n \r\n{"b":2}\n\n') == ['{"a":1}', '{"b":2}']


def test_windows_newlines_are_no_harm():
    assert load_answers(split_lines(b'{"a":1}\r\n{"b":2}\r\n')) == [{"a": 1}, {"b": 2}]


def test_bytes_that_are_not_utf8_are_a_bad_answer():
    with pytest.raises(BadAnswer, match="not UTF-8"):
        split_lines(b'{"response":"\xff"}\n')


def test_a_line_that_is_not_json_is_shown():
    with pytest.raises(BadAnswer, match="oops"):
        load_answers(['{"a":1}', "oops"])


def test_a_login_page_is_called_a_web_page():
    with pytest.raises(BadAnswer, match="proxy or a Wi-Fi login"):
        load_answers(["<!DOCTYPE html><html>"])


@pytest.mark.parametrize("line", ["[]", "3", '"text"', "null"])
def test_json_that_is_no_record_is_a_bad_answer(line):
    with pytest.raises(BadAnswer, match="no record"):
        load_answers([line])


def test_json_nested_without_end_is_a_bad_answer():
    with pytest.raises(BadAnswer):
        load_answers(["[" * 100_000])


def test_an_error_record_keeps_the_text_so_far():
    answers = [{"response": "Yes", "done": False}, {"error": "out of memory"}]
    with pytest.raises(BrokenStream, match="out of memory") as caught:
        join_fragments(answers)
    assert caught.value.partial == "Yes"
    assert "Yes" in str(caught.value)


def test_text_on_the_done_record_is_not_lost():
    answers = [{"response": "Yes", "done": False}, {"response": "!", "done": True}]
    assert join_fragments(answers) == "Yes!"


def test_the_records_of_a_chat_are_joined_too():
    message = {"role": "assistant", "content": "Hello"}
    assert join_fragments([{"message": message, "done": False}]) == "Hello"


@pytest.mark.parametrize("message", [{"tool_calls": []}, {"thinking": "Hm", "content": None}])
def test_a_message_without_content_is_no_text(message):
    assert join_fragments([{"message": message}, {"message": {"content": "Hi"}}]) == "Hi"


def test_a_newline_may_be_a_crlf_and_a_cr_elsewhere_stays():
    assert split_lines(b'{"a":1}\r\n\r\n"b\rc"\r\n') == ['{"a":1}', '"b\rc"']


@pytest.mark.parametrize("record", [{}, {"response": None}, {"response": 3}, {"message": "x"}])
def test_a_record_without_text_is_a_bad_answer(record):
    with pytest.raises(BadAnswer, match="no text") as caught:
        join_fragments([{"response": "Yes"}, record])
    assert caught.value.partial == "Yes"


def test_thirteen_tokens_in_the_documents_time():
    assert tokens_per_second({"eval_count": 13, "eval_duration": 1083890000}) == pytest.approx(
        11.99, abs=0.01
    )


@pytest.mark.parametrize("record", [{}, {"eval_duration": 5}, {"eval_count": 5}])
def test_a_metric_that_was_left_out_gives_no_speed(record):
    assert tokens_per_second(record) is None
