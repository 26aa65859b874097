"""Arguments that are not JSON are mended where they can mean one object only, and the model is told."""

from __future__ import annotations

import ast
import json
import logging
import random
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentloop.errors import InvalidArguments
from agentloop.messages import Image, Text, ToolCall, ToolResult
from agentloop.tools.context import Context
from agentloop.tools.function import tool
from agentloop.tools.repair import repaired, told


def meant(text: str) -> Any:
    repair = repaired(text)
    return None if repair is None else json.loads(repair.text)


MARK, FENCE, STRING = "a byte order mark stood before them", "they stood in a Markdown fence", "they were written as a string"
QUOTES, WORDS = "strings stood in single quotes", "True, False or None stood for true, false or null"
BREAKS = "line breaks or tabs in strings were not escaped"
BRACE, COMMA = "a brace too many stood at the end", "a comma stood before a closing bracket"

CERTAIN: list[tuple[str, dict[str, Any], list[str]]] = [
    ('\ufeff{"a": 1}', {"a": 1}, [MARK]),
    ('```json\n{"a": 1}\n```', {"a": 1}, [FENCE]),
    ('```\n{"a": "```"}```', {"a": "```"}, [FENCE]),
    (' ```JSON {"a": 1} ```\n', {"a": 1}, [FENCE]),
    ('"{\\"a\\": \\"b\\\\n\\"}"', {"a": "b\n"}, [STRING]),
    ('"{\n  \\"a\\": 1\n}"', {"a": 1}, [STRING]),
    ('"{}"', {}, [STRING]),
    ("{'a': 'b'}", {"a": "b"}, [QUOTES]),
    ("{'a': 'it\\'s \"so\" \\\\ \\n\\u00e9'}", {"a": 'it\'s "so" \\ \né'}, [QUOTES]),
    ("""{'a': "it's", 'b': ''}""", {"a": "it's", "b": ""}, [QUOTES]),
    ('{"a": True, "b": [False, None]}', {"a": True, "b": [False, None]}, [WORDS]),
    ("{'a': 'True'}", {"a": "True"}, [QUOTES]),
    ('{"a": "b\n\tc\r\n"}', {"a": "b\n\tc\r\n"}, [BREAKS]),
    ('{"a": 1,}', {"a": 1}, [COMMA]),
    ('{"a": [1, 2,\n],\n}', {"a": [1, 2]}, [COMMA]),
    ('{"a": {"b": 1}}}', {"a": {"b": 1}}, [BRACE]),
    ('{"a": [{"b": 1}, {"c": 2}]}}} ', {"a": [{"b": 1}, {"c": 2}]}, [BRACE]),
    ('{"a": "}, {", "b": 2}}', {"a": "}, {", "b": 2}, [BRACE]),
    ("```python\n{'a': None,}\n```", {"a": None}, [FENCE, QUOTES, WORDS, COMMA]),
]


@pytest.mark.parametrize(("text", "meaning", "flaws"), CERTAIN, ids=[repr(case[0]) for case in CERTAIN])
def test_what_can_mean_one_object_only_is_mended_and_its_flaws_are_named(text: str, meaning: dict[str, Any], flaws: list[str]):
    repair = repaired(text)

    assert repair is not None
    assert (json.loads(repair.text), list(repair.flaws)) == (meaning, flaws)


UNCERTAIN = [
    *("", "null", "{}", '{"a": 1}', "[]", "[1]", '"text"', '""', "'{}'", "3", "a=1"),
    # Cut off: what is missing may be anything.
    *("{", '{"a"', '{"a":', '{"a": 1', '{"a": 1,', '{"a": "b', '{"a": "b"', '{"a": [1, 2', '{"a": [1, 2}', "{'a': 'b"),
    *('```json\n{"a": 1}', '```json\n{"a": 1\n```', '"{\\"a\\": 1}', '{"a": 1 /* }', '{"a": 1 // }'),
    # A comment, or what lacks a quote.
    *('{"a": 1 // so\n}', '{"a": 1,\n#b": 2\n}', '{"a": 1, /* so */ "b": 2}', '{"a": [1,\n//host/b,\n]}'),
    # More than one thing, or words around it.
    *('{"a": 1} {"a": 1}', '{"a": 1}, {"a": 2}', '{"a": 1},', '{"a": 1},}', '{"a": 1}]', "```\n{}\n```\n```\n{}\n```"),
    *('{"a": 1} Done.', 'Here it is: {"a": 1}'),
    # Either brace may be the one too many.
    *('{"a": {"b": 1}, "c": 2}}', '{"a": {"b": 1} "c": 2}}', '{"a": {"b": 1} c: 2}}', '{"a": {"b": {"c": 1}}, "d": {}}}'),
    # A quote that was not escaped, or a missing comma; a number with a space in it, or two.
    *('{"a": "say "hi""}', '{"a": "say " "}', '{"a": "b" "c"}', '{"a": ["b" "c"]}', "{'a': 'it's'}", "{'a': 'b' 'c'}"),
    *('{"a": [1 2]}', '{"a": 1 2}'),
    # A backslash that is meant, or one too many.
    *('{"a": "it\\\'s"}', '{"a": "C:\\dir"}', "{'a': 'C:\\dir'}", "{'a': '\\x41'}", "{'a': '\\/'}", '{"a": "\\u12"}'),
    # A value that is missing, or in no form of JSON.
    *('{"a": }', '{"a"}', '{"a": ,}', "{,}", '{"a": [,]}', '{"a": [1,,2]}', '{"a": [1,,]}', '{"a": 1,,}', '{"a": b}', '{"a": yes}'),
    *('{"a": 01}', '{"a": +1}', '{"a": .5}', '{"a": 1.}', '{"a": 0x1F}', '{"a": 1_000}', '{"a": 1e}', '{"a": 1-2}', '{"a": - 1}'),
    *('{"a": (1, 2)}', '{"a": {1, 2}}', '{"a": b"x"}', '{"a": r"x"}', '{"a": “x”}', '{"a": `x`}', '{"a": "\x07"}', '{"a": #fff}'),
    *('{"a": https://b.example\n}', '{"a" 1}', '{"a" = 1}', '{"a": 1; "b": 2}', "{1: 2}", "{True: 1}", '{"a": x y: 1}'),
    *("\ufeff\ufeff{}", '"\\"{}\\""'),
    # Too much of it.
    *("[" * 100_000, "{'a': " + "[" * 4_000 + "]" * 4_000 + "}", '{"a": [' + "1, " * 20_000 + "]}", "{'a': '" + "b" * 2**20 + "'}"),
]


@pytest.mark.parametrize("text", UNCERTAIN, ids=[f"{number}: {text[:40]!r}" for number, text in enumerate(UNCERTAIN)])
def test_what_is_not_certain_stays_as_it_is(text: str):
    assert repaired(text) is None


OF_LIBRARY: list[tuple[str, dict[str, Any]]] = [
    ('{"a": "x" "b": 2}', {"a": "x", "b": 2}),
    ('{"a": {"b": 1} "c": [2]\n"d": 3}', {"a": {"b": 1}, "c": [2], "d": 3}),
    ('{"a": [{"b": 1} {"b": 2} [3]]}', {"a": [{"b": 1}, {"b": 2}, [3]]}),
    ("{a: 1, b_2: {c: 'x'}}", {"a": 1, "b_2": {"c": "x"}}),
    ("```\n{a: True 'b': 1.50,}\n```", {"a": True, "b": 1.5}),
]


@pytest.mark.parametrize(("text", "meaning"), OF_LIBRARY)
def test_with_the_extra_missing_commas_and_quotes_of_keys_are_added(text: str, meaning: dict[str, Any]):
    pytest.importorskip("json_repair")

    assert meant(text) == meaning
    assert "commas were missing, or keys had no quotes" in repaired(text).flaws


@pytest.mark.parametrize("text", [case[0] for case in OF_LIBRARY])
def test_without_the_extra_they_are_not(text: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "json_repair", None)

    assert repaired(text) is None


@pytest.mark.parametrize(
    "made", [{"a": 1, "b": 3}, {"a": 1}, {"a": 1, "b": 2, "c": 3}, {"b": 2, "a": 1}, {"a": True, "b": 2}, [1, 2], "", None, {"a": {1}}]
)
def test_what_the_library_makes_is_not_taken_if_it_says_something_else(made: Any, monkeypatch: pytest.MonkeyPatch):
    library = pytest.importorskip("json_repair")
    monkeypatch.setattr(library, "repair_json", lambda *_, **__: made)

    assert repaired('{"a": 1 "b": 2}') is None


def test_numbers_keep_their_digits():
    pytest.importorskip("json_repair")

    assert repaired('{"a": 0.10000000000000000555 "b": 1.0,}').text == '{ "a" : 0.10000000000000000555 , "b" : 1.0 }'


# What a model is told.


@tool
def book(city: str = "", nights: int = 1, anything: Any = None) -> str:
    """Book."""
    return f"{city} {nights} {anything}"


async def test_the_model_reads_that_its_call_was_repaired_and_how_to_write_it(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "agentloop.tools")

    answer = await book.call(ToolCall("1", "book", "```json\n{'city': 'Rome'}\n```"), Context())

    flaws = "they stood in a Markdown fence; strings stood in single quotes"
    remark = f"[The arguments of this call were not valid JSON and were repaired: {flaws}. Write one plain JSON object.]"
    assert (answer.is_error, answer.text) == (False, f"Rome 1 None\n\n{remark}")
    assert caplog.messages == [f"'book' was called with arguments that were not valid JSON and were repaired: {flaws}"]


async def test_a_call_in_good_json_is_answered_without_a_remark():
    answer = await book.call(ToolCall("1", "book", '{"city": "Rome"}'), Context())

    assert answer.text == "Rome 1 None"


def test_a_remark_stands_after_the_parts_of_a_result():
    picture = Image(data=b"x")

    answer = told(ToolResult("1", (Text("a"), picture)), repaired('{"a": 1,}'))

    assert answer.content[:2] == (Text("a"), picture)
    assert answer.content[2].text.startswith("\n\n[The arguments of this call were not valid JSON")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("{'nights': 'many'}", "The arguments do not fit: nights: should be a valid integer, unable to parse string as an integer; got"),
        ("{'town': 'Rome'}", "The arguments do not fit: town: is unknown; known: city, nights, anything."),
        ("{'city': 'Rome', 'city': 'Bonn'}", "The arguments name 'city' twice; name it once."),
        ("{'anything': NaN}", "The arguments hold NaN, which JSON does not know; write a number, a string or null."),
        ("{'anything': 1e400}", "The arguments hold 1e400, which is too large a number; write a smaller one."),
        ("{'anything': " + "[" * 64 + "]" * 64 + "}", "The arguments are nested more than 64 levels deep; flatten them."),
        ("{'city': '\ud800'}", "The arguments hold half a surrogate pair"),
        ("{'city': '\\ud800'}", "The arguments are not JSON: unexpected end of hex escape"),
    ],
)  # fmt: skip
async def test_repaired_arguments_are_checked_as_all_others(arguments: str, words: str):
    answer = await book.call(ToolCall("1", "book", arguments), Context())

    assert answer.is_error
    assert answer.text.startswith(words)


async def test_a_destructive_tool_is_called_with_the_models_own_words_only():
    deleted: list[str] = []

    @tool(destructive=True)
    def delete(path: str) -> None:
        """Delete."""
        deleted.append(path)

    answer = await delete.call(ToolCall("1", "delete", '{"path": "a",}'), Context())

    assert (answer.is_error, deleted) == (True, [])
    assert answer.text.startswith("The arguments are not JSON: ")


async def test_who_approves_sees_the_repaired_arguments():
    assert book.arguments("{'city': 'Rome',}") == {"city": "Rome"}


async def test_a_null_for_an_argument_left_out_is_the_default_in_repaired_arguments_too():
    @tool(strict=True)
    def stay(city: str, nights: int = 2) -> str:
        """Stay."""
        return f"{city} {nights}"

    answer = await stay.call(ToolCall("1", "stay", "{'city': 'Rome', 'nights': None}"), Context())

    assert answer.text.startswith("Rome 2\n\n[The arguments of this call")


# Over many texts.

TEXTS = st.text(st.sampled_from("ab \"'\\{}[],:/*#\n\t`1e-é\u2028😀True"), max_size=8) | st.text(st.characters(codec="utf-8"), max_size=5)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=3)

# In JSON written with indentation, line breaks stand only between tokens, and before the end of what is not empty.
BROKEN: dict[str, Callable[[dict[str, Any]], str]] = {
    "mark": lambda value: "\ufeff" + json.dumps(value),
    "fence": lambda value: f"```json\n{json.dumps(value, ensure_ascii=False)}\n```",
    "string": lambda value: json.dumps(json.dumps(value)),
    "commas": lambda value: re.sub(r"(\n *[}\]])", r",\1", json.dumps(value, indent=1)),
    "breaks": lambda value: re.sub(r"(?<!\\)((?:\\\\)*)\\n", "\\1\n", json.dumps(value)),
    "brace": lambda value: json.dumps(value) + "}",
    "python": repr,
    "both": lambda value: f"\ufeff```{value!r}```",
}


def may_stay(kind: str, text: str) -> bool:
    match kind:
        case "brace":
            return re.search(r"\}, *\"", text) is not None
        case "python" | "both":
            return re.search(r"\\[xU]", text) is not None
        case _:
            return False


@pytest.mark.parametrize("kind", BROKEN)
@settings(max_examples=80, deadline=None)
@given(value=OBJECTS)
def test_what_is_broken_in_a_certain_way_comes_back_as_it_was(kind: str, value: dict[str, Any]):
    text = BROKEN[kind](value)

    meaning = json_of(text) if repaired(text) is None else meant(text)

    assert exactly(meaning) == exactly(value) or (meaning is None and may_stay(kind, text))


@pytest.mark.parametrize("kind", BROKEN)
@settings(max_examples=80, deadline=None)
@given(value=OBJECTS, data=st.data())
def test_what_is_cut_off_is_never_mended(kind: str, value: dict[str, Any], data: st.DataObject):
    text = BROKEN[kind](value)

    cut = text[: data.draw(st.integers(0, len(text) - 1))]

    assert repaired(cut) is None


@settings(max_examples=200, deadline=None)
@given(value=OBJECTS, indent=st.sampled_from([None, 1]), seed=st.integers(0, 2**32))
def test_with_one_mark_too_many_or_too_few_the_arguments_are_as_before_or_refused(value: dict[str, Any], indent: int | None, seed: int):
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    places = [place for place, each in enumerate(text) if each in '{}[]":,']
    chance = random.Random(seed)  # noqa: S311  # no secret is made of it

    for _ in range(10):
        less, more = chance.choice(places), chance.randrange(len(text) + 1)
        for changed in (text[:less] + text[less + 1 :], text[:more] + chance.choice("{}[]\":,'") + text[more:]):
            assert repaired(changed) is None or exactly(meant(changed)) == exactly(value)


@settings(max_examples=200, deadline=None)
@given(value=OBJECTS, kind=st.sampled_from([json.dumps, repr, BROKEN["commas"]]), seed=st.integers(0, 2**32))
def test_what_python_can_read_means_the_same_there(value: dict[str, Any], kind: Callable[[dict[str, Any]], str], seed: int):
    for text in mutated(kind(value), seed):
        of_python = python_of(text)

        assert repaired(text) is None or of_python is None or exactly(meant(text)) == exactly(of_python)


@settings(max_examples=250, deadline=None)
@given(value=OBJECTS, kind=st.sampled_from([json.dumps, *BROKEN.values()]), seed=st.integers(0, 2**32))
def test_whatever_a_model_writes_ends_in_arguments_or_in_words_for_it(
    value: dict[str, Any], kind: Callable[[dict[str, Any]], str], seed: int
):
    for text in mutated(kind({"city": "Rome", "anything": value}), seed):
        words, arguments = read(text)

        assert len(words) < 2_000
        assert arguments.keys() <= {"city", "nights", "anything"}
        assert isinstance(arguments.get("city", ""), str)


PIECES = [
    *"{}[]\":,'\\\n/*#`\x00\ufeff\ud800 ",
    "true",
    "None",
    "NaN",
    "1e999",
    "-",
    "0",
    "//",
    "\\u12",
    "```",
    "null",
    "}}",
    '"nights": "2"',
]


def mutated(text: str, seed: int) -> Iterator[str]:
    """Give the text, and 20 others of it with one to three places changed."""
    chance = random.Random(seed)  # noqa: S311  # no secret is made of it
    yield text
    for _ in range(20):
        other = text
        for _ in range(chance.randint(1, 3)):
            start = chance.randrange(len(other) + 1)
            other = other[:start] + chance.choice(["", *PIECES]) + other[start + chance.randint(0, 2) :]
        yield other


def read(text: str) -> tuple[str, dict[str, Any]]:
    try:
        return "", book.arguments(text)
    except InvalidArguments as error:
        return str(error), {}


def json_of(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def python_of(text: str) -> Any:
    try:
        tree = ast.parse(text.strip(), mode="eval")
        names = {"true": True, "false": False, "null": None}
        for node in ast.walk(tree):
            for field, inner in ast.iter_fields(node):
                if isinstance(inner, ast.Name) and inner.id in names:
                    setattr(node, field, ast.Constant(names[inner.id]))
                if isinstance(inner, list):
                    inner[:] = [ast.Constant(names[each.id]) if isinstance(each, ast.Name) and each.id in names else each for each in inner]
        value = ast.literal_eval(tree)
    except (ValueError, SyntaxError, TypeError, MemoryError):
        return None
    return python_of(value) if isinstance(value, str) else value


def exactly(value: Any) -> str:
    """Tell 1 from 1.0 and from true, and the order of keys; the two escapes of one character, which Python keeps apart, are one."""
    return json.dumps(value)
