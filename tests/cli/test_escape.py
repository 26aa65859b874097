from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentloop.cli.escape import as_json, call_line, duration, one_line, printable, size
from agentloop.messages import Image, Text, ToolCall, ToolResult

ANY_TEXT = st.text(st.characters(exclude_categories=()))
HOSTILE = st.text(
    st.sampled_from("a \x00\x07\x08\x1b\r\n\t\x7f\x85\x9b\xad\u061c\u200b\u200e\u202e\u2028\u2066\ufeff\ud800\U000e0041é中🙂")
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)


def acting(text: str) -> list[str]:
    """Find the characters that a terminal would obey or hide."""
    kinds = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    return [character for character in text if unicodedata.category(character) in kinds and character not in "\u200c\u200d"]


@given(ANY_TEXT | HOSTILE)
def test_no_text_can_act_on_a_terminal(text: str):
    assert acting(printable(text)) == []
    assert acting(one_line(text)) == []
    assert acting(as_json(text)) == []


@given(ANY_TEXT | HOSTILE, st.integers(1, 300))
def test_a_line_is_one_and_no_longer_than_it_may_be(text: str, length: int):
    line = one_line(text, length)

    assert len(line) <= length
    assert len(line.splitlines()) <= 1


@given(JSON)
def test_json_that_is_safe_to_show_means_the_same(value: object):
    assert json.loads(as_json(value)) == value


def test_what_harms_nobody_is_left_as_it_is():
    words = "Grüße, “日本語” שלום 👩‍👩‍👧 1\u00a0000 €"

    assert printable(words) == words
    assert printable("one\ttwo\n", keep="\n\t") == "one\ttwo\n"


def test_what_acts_is_spelled_out():
    assert printable("\x1b[31mred\u202e\n") == r"\x1b[31mred\u202e\n"
    assert json.loads(as_json("\x9b\u202e\U000e0041\ud800")) == "\x9b\u202e\U000e0041\ud800"


def test_a_value_without_a_json_form_is_described():
    class Strange:
        def __repr__(self) -> str:
            return "<strange>"

    assert json.loads(as_json([Strange(), ValueError("no"), float("inf"), b"\xff"])) == [
        "<strange>",
        {"type": "ValueError", "message": "no"},
        "inf",
        "_w==",
    ]


@pytest.mark.parametrize(
    ("name", "arguments", "line"),
    [
        ("get_weather", '{"city":"Paris"}', 'get_weather(city="Paris")'),
        ("add", '{"a": 1, "b": [1, 2.5, null, true]}', "add(a=1, b=[1,2.5,null,true])"),
        ("now", "{}", "now()"),
        ("now", "", "now()"),
        ("search", '{"query": "Par', 'search({"query": "Par)'),
        ("search", '["a"]', 'search(["a"])'),
        ("a\x1b[2J\nb", '{"x\\u202e": "\\u001b[2J"}', r'a\x1b[2J b(x\u202e="\u001b[2J")'),
        ("write", '{"text": "%s"}' % ("a" * 500), f'write(text="{"a" * 78}…)'),
    ],
)
def test_a_call_is_written_as_python_would(name: str, arguments: str, line: str):
    assert call_line(ToolCall("call", name, arguments)) == line


def test_a_call_with_very_many_arguments_stays_a_line():
    arguments = {f"argument_{number}": "words" for number in range(1000)}

    assert len(call_line(ToolCall("call", "big", json.dumps(arguments)))) < 300


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 ms"),
        (0.0004, "0 ms"),
        (0.0994, "99 ms"),
        (0.0996, "0.1 s"),
        (0.44, "0.4 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 0 s"),
        (125, "2 min 5 s"),
    ],
)
def test_a_time_is_written_for_people(seconds: float, words: str):
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "0 B"),
        ("é", "2 B"),
        ("a" * 999, "999 B"),
        ("a" * 1000, "1.0 kB"),
        ("a" * 1234, "1.2 kB"),
        ("a" * 99_960, "100 kB"),
        ("a" * 999_900, "1.0 MB"),
        ("\ud800", "1 B"),
        ((Text("ab"), Image(data=b"c" * 10), Image(url="https://example.org/a.png")), "12 B"),
    ],
)
def test_a_size_is_written_for_people(content: str, words: str):
    assert size(ToolResult("call", content)) == words
