"""A model that gives wrong arguments is told which, what was expected and what came."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass
from time import monotonic
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, field_validator
from typing_extensions import TypedDict

from agentloop.errors import InvalidArguments
from agentloop.messages import ToolCall
from agentloop.tools.context import Context
from agentloop.tools.function import tool


class Colour(enum.Enum):
    RED = "red"


class Guest(BaseModel):
    name: str
    age: int = 0

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name == "nobody":
            raise ValueError("nobody is not invited")
        return name


@dataclass
class Room:
    beds: int


class Extras(TypedDict):
    breakfast: bool


@tool
def book(
    city: str = "",
    nights: Annotated[int, Field(ge=1)] = 1,
    price: float = 0.0,
    unit: Literal["day", "week"] = "day",
    colour: Colour = Colour.RED,
    guests: list[Guest] = [],  # noqa: B006
    rooms: dict[str, Room] | None = None,
    either: int | list[int] = 0,
    extras: Extras | None = None,
    anything: Any = None,
) -> str:
    """Book."""
    return "booked"


@tool
def both(a: int, b: str) -> str:
    """Take both."""
    return "done"


KNOWN = "city, nights, price, unit, colour, guests, rooms, either, extras, anything"

WRONG: list[tuple[str, str]] = [
    ('{"city": 3}', "city: should be a valid string; got 3"),
    ('{"nights": "many"}', 'nights: should be a valid integer, unable to parse string as an integer; got "many"'),
    ('{"nights": 0}', "nights: should be greater than or equal to 1; got 0"),
    ('{"unit": "month"}', "unit: should be 'day' or 'week'; got \"month\""),
    ('{"colour": "blue"}', "colour: should be 'red'; got \"blue\""),
    ('{"price": "nan"}', 'price: should be a finite number; got "nan"'),
    ('{"price": null}', "price: should be a valid number; got null"),
    ('{"town": "x"}', f"town: is unknown; known: {KNOWN}"),
    ('{"guests": [{"name": "a"}, {"name": 1}]}', "guests[1].name: should be a valid string; got 1"),
    ('{"guests": [{}]}', "guests[0].name: is missing"),
    ('{"guests": [{"name": "nobody"}]}', 'guests[0].name: Value error, nobody is not invited; got "nobody"'),
    ('{"rooms": {"a": {"beds": "x"}}}', 'rooms.a.beds: should be a valid integer, unable to parse string as an integer; got "x"'),
    ('{"rooms": {"a": {"beds": 1, "doors": 2}}}', "rooms.a.doors: is unknown"),
    ('{"extras": {"breakfast": true, "dinner": true}}', "extras.dinner: is unknown"),
    ('{"extras": {}}', "extras.breakfast: is missing"),
    ('{"either": "x"}', 'either: should be a valid integer, unable to parse string as an integer or should be a valid array; got "x"'),
    ('{"either": [1, "x"]}', 'either: should be a valid integer; got [1, "x"]'),
    ("[1]", "the arguments: should be an object; got [1]"),
    ('"text"', 'the arguments: should be an object; got "text"'),
    ("3", "the arguments: should be an object; got 3"),
    (json.dumps({"nights": "x" * 500}), f'got "{"x" * 79}...'),
    (json.dumps({"nights": [0] * 500}), "nights: should be a valid integer; got an array of 500"),
]


async def told(arguments: str) -> str:
    answer = await book.call(ToolCall("1", "book", arguments), Context())
    assert answer.is_error
    return answer.text


@pytest.mark.fault(80, 81)
@pytest.mark.parametrize(("arguments", "words"), WRONG)
async def test_wrong_arguments_are_named_with_what_was_expected_and_what_came(arguments: str, words: str):
    assert words in await told(arguments)
    assert (await told(arguments)).startswith("The arguments do not fit:")


async def test_all_wrong_arguments_are_listed_at_once():
    answer = await both.call(ToolCall("1", "both", '{"a": "x", "c": 1}'), Context())

    assert answer.text == (
        "The arguments do not fit:\n"
        '- a: should be a valid integer, unable to parse string as an integer; got "x"\n'
        "- b: is missing\n"
        "- c: is unknown; known: a, b"
    )


async def test_very_many_wrong_arguments_are_counted():
    text = await told(json.dumps({f"x{n}": n for n in range(500)}))

    assert text.endswith("\n- and 490 more")
    assert len(text) < 2_000


async def test_arguments_that_are_wrong_in_very_many_places_are_refused_in_a_moment():
    started = monotonic()

    text = await told(json.dumps({"guests": [{}] * 100_000}))

    assert text == "The arguments do not fit in 100,000 places; send fewer, in the form that was described."
    assert monotonic() - started < 5


HOSTILE: list[tuple[str, str]] = [
    ("[" * 10_000_000, "The arguments are 10,000,000 bytes long"),
    ('{"anything": ' + '{"a":' * 400_000, "The arguments are nested more than 64 levels deep"),
    ('{"anything": ' + "[" * 900_000 + "]" * 900_000 + "}", "The arguments are nested more than 64 levels deep"),
    ('{"nights": ' + "9" * 2_000_000 + "}", "The arguments are not JSON: Exceeds the limit (4300 digits)"),
    ('{"price": 1e' + "9" * 2_000_000 + "}", "The arguments hold 1e9999"),
    ('{"city": "' + '\\"' * 600_000, "The arguments are not JSON"),
    ('{"city": "' + '\\"' * 600_000 + "'", "The arguments are not JSON"),
    ("{" + '"city": "a", ' * 100_000 + "}", "The arguments are not JSON"),
    ("{'city': " + "[" * 500_000, "The arguments are not JSON"),
    ("{" + "'city', " * 100_000, "The arguments are not JSON"),
    ("```" * 300_000, "The arguments are not JSON"),
    ("/*" * 500_000, "The arguments are not JSON"),
    ("{}" + "}" * 1_000_000, "The arguments go on after their JSON"),
]


@pytest.mark.fault(76)
@pytest.mark.parametrize(("arguments", "words"), HOSTILE, ids=range(len(HOSTILE)))
async def test_hostile_text_is_refused_in_linear_time(arguments: str, words: str):
    started = monotonic()

    text = await told(arguments)

    assert text.startswith(words)
    assert len(text) < 500
    assert monotonic() - started < 2


NOT_JSON: list[tuple[str, str]] = [
    ("{", "The arguments are not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)."),
    ('{"city": "a"', "The arguments are not JSON: Expecting ',' delimiter: line 1 column 13 (char 12)."),
    ('{"city": "a"} {}', "The arguments go on after their JSON, at character 13; write one object."),
    ("city=Paris", "The arguments are not JSON: Expecting value: line 1 column 1 (char 0)."),
    ('{"city": "a\x07b"}', "The arguments are not JSON: Invalid control character at: line 1 column 12 (char 11)."),
    ('{"price": NaN}', "The arguments hold NaN, which JSON does not know; write a number, a string or null."),
    ('{"anything": [-Infinity]}', "The arguments hold -Infinity, which JSON does not know; write a number, a string or null."),
    ('{"anything": 1e400}', "The arguments hold 1e400, which is too large a number; write a smaller one."),
    ('{"price": -1e400}', "The arguments hold -1e400, which is too large a number; write a smaller one."),
    ('{"city": "a", "city": "b"}', "The arguments name 'city' twice; name it once."),
    ('{"anything": {"a": 1, "b": 2, "a": 1}}', "The arguments name 'a' twice; name it once."),
    ('{"city": "a", "\\u0063ity": "b"}', "The arguments name 'city' twice; name it once."),
    ('{"city": "\ud800"}', "The arguments hold half a surrogate pair at character 10; write whole characters."),
    ('{"city": "\\ud800"}', "The arguments are not JSON: unexpected end of hex escape at line 1 column 17."),
    ('{"anything": ' + "[" * 64 + "]" * 64 + "}", "The arguments are nested more than 64 levels deep; flatten them."),
    ('{"anything": ' + "[" * 100_000, "The arguments are nested more than 64 levels deep; flatten them."),
    ("[" * 300 + "]" * 300, "The arguments are nested more than 64 levels deep; flatten them."),
    ('{"city": "' + "é" * 2**20 + '"}', "The arguments are 2,097,164 bytes long, and 2,097,152 are read; send less."),
    ('{"anything": ' + "1" * 5_000 + "}", "The arguments are not JSON: Exceeds the limit (4300 digits) for integer string conversion"),
]


@pytest.mark.fault(72, 73, 74, 75)
@pytest.mark.parametrize(("arguments", "words"), NOT_JSON, ids=[case[1][:50] + str(n) for n, case in enumerate(NOT_JSON)])
async def test_what_is_not_json_is_refused_with_its_place(arguments: str, words: str):
    assert (await told(arguments)).startswith(words)


@tool
def measure(x: float = 0.0, words: list[str] | None = None, note: str = "") -> str:
    """Measure: a tool of plain types only, whose arguments take a shorter way."""
    return f"{x} {words} {note}"


@pytest.mark.fault(72)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ('{"x": 1, "x": 1}', "The arguments name 'x' twice; name it once."),
        ('{"x": 1, "note": "", "x": 1}', "The arguments name 'x' twice; name it once."),
        ('{"x": 1, "note": "", "\\u0078": 1}', "The arguments name 'x' twice; name it once."),
        ('{"x": NaN}', "The arguments hold NaN, which JSON does not know; write a number, a string or null."),
        ('{"x": 1e400}', "The arguments hold 1e400, which is too large a number; write a smaller one."),
        ('{"x": "nan"}', 'The arguments do not fit: x: should be a finite number; got "nan".'),
        ('{"x": "Infinity"}', 'The arguments do not fit: x: should be a finite number; got "Infinity".'),
        ('{"note": "\ud800"}', "The arguments hold half a surrogate pair at character 10; write whole characters."),
        ('{"y": ' + "[" * 64 + "]" * 64 + "}", "The arguments are nested more than 64 levels deep; flatten them."),
        ('{"note": "' + "é" * 2**20 + '"}', "The arguments are 2,097,164 bytes long, and 2,097,152 are read; send less."),
        ('{"x": 1} {"x": 1}', "The arguments go on after their JSON, at character 8; write one object."),
    ],
    ids=range(11),
)
async def test_a_tool_of_plain_types_is_as_careful(arguments: str, words: str):
    answer = await measure.call(ToolCall("1", "measure", arguments), Context())

    assert (answer.is_error, answer.text) == (True, words)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("", "0.0 None "),
        ('{"note": "at 10:30, see https://a.example:80/"}', "0.0 None at 10:30, see https://a.example:80/"),
        ('{"note": "\\u003a", "words": [":", "{"]}', "0.0 [':', '{'] :"),
    ],
)
async def test_a_tool_of_plain_types_takes_what_fits(arguments: str, text: str):
    answer = await measure.call(ToolCall("1", "measure", arguments), Context())

    assert (answer.is_error, answer.text) == (False, text)


def test_long_arguments_are_read_whole():
    note = "é" * 1_000_000

    assert measure.arguments(json.dumps({"note": note}, ensure_ascii=False)) == {"note": note}


@pytest.mark.parametrize(
    "arguments", ["", "{}", "null", " \n{ }\t", '{"anything": ' + "[" * 63 + "]" * 63 + "}", '{"city": "[[[[{{{{\\"" }']
)
async def test_what_is_meant_well_is_taken(arguments: str):
    answer = await book.call(ToolCall("1", "book", arguments), Context())

    assert answer.text == "booked"


async def test_many_brackets_side_by_side_are_not_deep():
    answer = await book.call(ToolCall("1", "book", json.dumps({"anything": [[{}]] * 1_000})), Context())

    assert answer.text == "booked"


@pytest.mark.fault(82)
@pytest.mark.parametrize(
    ("written", "arrives"),
    [('{"nights": "2"}', {"nights": 2}), ('{"nights": 2.0}', {"nights": 2}), ('{"price": "1.5"}', {"price": 1.5})],
)
def test_numbers_are_taken_out_of_strings(written: str, arrives: dict[str, Any]):
    assert book.arguments(written) == arrives


def test_the_arguments_can_be_asked_for_without_a_call():
    assert book.arguments('{"city": "Paris", "rooms": {"a": {"beds": 2}}}') == {"city": "Paris", "rooms": {"a": Room(2)}}
    with pytest.raises(InvalidArguments, match="The arguments do not fit: nights: should be a valid integer"):
        book.arguments('{"nights": []}')


def test_arguments_are_new_each_time():
    text = '{"guests": [{"name": "a"}]}'

    first, second = book.arguments(text), book.arguments(text)
    first["guests"].clear()

    assert len(second["guests"]) == 1


async def test_a_validator_that_breaks_answers_the_model():
    class Broken(BaseModel):
        x: int

        @field_validator("x")
        @classmethod
        def _break(cls, x: int) -> int:
            return x // 0

    @tool
    def take(it: Broken) -> None:
        """Take."""

    answer = await take.call(ToolCall("1", "take", '{"it": {"x": 1}}'), Context())

    assert (answer.is_error, answer.text) == (True, "ZeroDivisionError: integer division or modulo by zero")


async def test_a_null_that_a_strict_model_writes_for_an_argument_left_out_is_the_default():
    @tool(strict=True)
    def book(city: str, nights: int = 2, note: str | None = None) -> str:
        """Book."""
        return f"{city} {nights} {note}"

    strict = await book.call(ToolCall("1", "book", '{"city": "Rome", "nights": null, "note": null}'), Context())

    assert strict.content == "Rome 2 None"
