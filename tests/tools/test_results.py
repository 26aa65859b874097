"""What a tool returns reaches the model once, as text or JSON."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import json
import logging
import pathlib
import types
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from agentloop.messages import File, Image, Text, ToolCall, ToolResult
from agentloop.tools.context import Context
from agentloop.tools.function import tool
from agentloop.tools.results import to_result


class Colour(enum.Enum):
    RED = "red"


class Word(enum.StrEnum):
    YES = "yes"


class Old(str, enum.Enum):  # noqa: UP042
    NO = "no"


class Guest(BaseModel):
    name: str
    score: float = 0.0


@dataclasses.dataclass
class Point:
    x: int
    raw: bytes = b""


class Connection:
    """Nothing that JSON can say."""


def cyclic() -> list[Any]:
    inner: list[Any] = []
    inner.append(inner)
    return inner


RETURNED: list[tuple[Any, str]] = [
    ("text", "text"),
    ("", ""),
    ('"quoted"', '"quoted"'),
    ([], "[]"),
    ({}, "{}"),
    (None, "null"),
    (True, "true"),
    (3, "3"),
    (10**30, "1" + "0" * 30),
    (10**5_000, "1" + "0" * 5_000),
    (2.5, "2.5"),
    (float("nan"), "null"),
    ([float("inf"), float("-inf")], "[null,null]"),
    (["a", None, 1], '["a",null,1]'),
    (("a", 1), '["a",1]'),
    ({"b": 1, "a": 2}, '{"b":1,"a":2}'),
    ({1: "a", None: "b", Colour.RED: "c", 1.5: "d"}, '{"1":"a","None":"b","red":"c","1.5":"d"}'),
    ({3}, "[3]"),
    (frozenset({3}), "[3]"),
    (dt.datetime(2026, 11, 21, 10, tzinfo=dt.UTC), '"2026-11-21T10:00:00Z"'),
    (dt.date(2026, 11, 21), '"2026-11-21"'),
    (dt.timedelta(hours=1), '"PT1H"'),
    (decimal.Decimal("0.10"), '"0.10"'),
    (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
    (pathlib.PurePosixPath("a/b"), '"a/b"'),
    (Colour.RED, '"red"'),
    (Word.YES, "yes"),
    (Old.NO, "no"),
    (b"\xfb\xff", '"-_8="'),
    (bytearray(b"a"), '"YQ=="'),
    (memoryview(b"a"), '"YQ=="'),
    (Point(1, b"a"), '{"x":1,"raw":"YQ=="}'),
    (Guest(name="a", score=float("nan")), '{"name":"a","score":null}'),
    ([Guest(name="a")], '[{"name":"a","score":0.0}]'),
    (collections.namedtuple("Pair", "a b")(1, 2), "[1,2]"),  # noqa: PYI024
    (collections.deque([1]), "[1]"),
    (collections.OrderedDict(a=1), '{"a":1}'),
    (collections.UserDict(a=1), '{"a":1}'),
    (types.MappingProxyType({"a": 1}), '{"a":1}'),
    (range(3), "[0,1,2]"),
    ({"a": 1}.keys(), '["a"]'),
    ({"a": 1}.values(), "[1]"),
    (map(str, [1]), '["1"]'),
    ("a\ud800b", "a\ufffdb"),
    ("\ud83d\ude00", "😀"),
    (["\udcff", {"\ud800": 1}], '["\ufffd",{"\ufffd":1}]'),
    (pathlib.PurePosixPath("\udcff"), '"\ufffd"'),
    (Text("words"), (Text("words"),)),
    (Image(url="https://a.example/b.png"), (Image(url="https://a.example/b.png"),)),
    (["See:", Image(data=b"x"), Text("!")], (Text("See:"), Image(data=b"x"), Text("!"))),
    ((File(data=b"x", name="a.pdf"),), (File(data=b"x", name="a.pdf"),)),
    ([Text("a"), 1], '[{"text":"a","state":null,"kind":"text"},1]'),
    (Text("\ud800"), (Text("\ufffd"),)),
    (ToolResult("", "no", is_error=True), "no"),
]


async def answered(value: Any) -> ToolResult:
    @tool
    def give() -> Any:
        """Give it."""
        return value

    return await give.call(ToolCall("7", "give", "{}"), Context())


@pytest.mark.fault(105, 107, 108)
@pytest.mark.parametrize(("returned", "content"), RETURNED, ids=[str(n) for n in range(len(RETURNED))])
async def test_what_a_tool_returns_is_one_text_or_its_parts(returned: Any, content: Any):
    result = await answered(returned)

    assert result.content == content
    assert (result.call_id, result.name) == ("7", "give")
    assert type(result.content) in (str, tuple)
    result.text.encode()


async def test_a_tool_may_say_itself_that_it_failed():
    result = await answered(ToolResult("made up", "no", is_error=True, name="other"))

    assert result == ToolResult("7", "no", is_error=True, name="give")


NO_FORM: list[tuple[Any, str]] = [
    (Connection(), "tool 'give' returned a Connection, which has no JSON form"),
    ([Connection()], "tool 'give' returned a list that holds a Connection, which has no JSON form"),
    ({"a": (1, object())}, "tool 'give' returned a dict that holds an object, which has no JSON form"),
    (Connection, "tool 'give' returned a type, which has no JSON form"),
    (print, "tool 'give' returned a builtin_function_or_method, which has no JSON form"),
    (ValueError("x"), "tool 'give' returned a ValueError, which has no JSON form"),
    (cyclic(), "tool 'give' returned a list that holds itself or is nested too deeply, which has no JSON form"),
]


@pytest.mark.fault(103)
@pytest.mark.parametrize(("returned", "words"), NO_FORM, ids=[case[1][22:50] for case in NO_FORM])
async def test_what_has_no_json_form_is_a_failure_that_names_it(returned: Any, words: str, caplog: pytest.LogCaptureFixture):
    result = await answered(returned)

    assert (result.is_error, result.text) == (True, words)
    assert [record.name for record in caplog.records if record.levelno == logging.WARNING] == ["agentloop.tools"]


async def test_later_changes_to_what_was_returned_change_no_result():
    shared = {"n": 1}

    first = await answered(shared)
    shared["n"] = 2

    assert first.text == '{"n":1}'


@pytest.mark.fault(106)
async def test_a_long_result_is_cut_with_a_mark():
    result = await answered("é" * 123_456)

    words = 'cut here, after 100,000 of 123,456 characters; read on with read_result(call_id="7", start=100000)'
    assert result.text == f"{'é' * 100_000}\n[{words}]"
    assert result.whole == "é" * 123_456


async def test_long_parts_are_cut_together():
    result = await answered([Text("a" * 60_000), Image(data=b"x"), Text("b" * 60_000), Text("c" * 10)])

    assert [type(part).__name__ for part in result.content] == ["Text", "Image", "Text", "Text"]
    assert result.text == "a" * 60_000 + "b" * 40_000 + "\n[cut here: 20,000 more characters]" + "\n[cut here: 10 more characters]"


def yields() -> Iterator[Any]:
    """Yield."""
    yield "one"
    yield {"two": 2}


async def yields_later() -> AsyncIterator[Any]:
    """Yield."""
    yield "one"
    yield {"two": 2}


def returns_a_generator() -> Iterator[Any]:
    """Yield."""
    return (each for each in ["one", {"two": 2}])


async def returns_a_generator_later() -> Iterator[Any]:
    """Yield."""
    return (each for each in ["one", {"two": 2}])


def returns_an_async_generator() -> AsyncIterator[Any]:
    """Yield."""
    return yields_later()


@pytest.mark.fault(104)
@pytest.mark.parametrize("function", [yields, yields_later, returns_a_generator, returns_a_generator_later, returns_an_async_generator])
async def test_each_yield_is_progress_and_all_together_are_the_result(function: Callable[[], Any]):
    said: list[object] = []

    result = await tool(function).call(ToolCall("1", "x", "{}"), Context(progress=said.append))

    assert result.text == '["one",{"two":2}]'
    assert said == ["one", {"two": 2}]


async def test_pictures_that_are_yielded_are_pictures():
    @tool
    def draw() -> Iterator[Any]:
        """Draw."""
        yield "Here:"
        yield Image(data=b"x")

    result = await draw.call(ToolCall("1", "draw", "{}"), Context())

    assert result.content == (Text("Here:"), Image(data=b"x"))


@pytest.mark.fault(104)
@pytest.mark.parametrize("asynchronous", [True, False])
async def test_a_generator_without_end_is_closed_when_nobody_could_read_more(asynchronous: bool):
    closed: list[bool] = []

    def numbers() -> Iterator[int]:
        """Count."""
        try:
            while True:
                yield 7
        finally:
            closed.append(True)

    async def numbers_later() -> AsyncIterator[int]:
        """Count."""
        try:
            while True:
                yield 7
        finally:
            closed.append(True)

    made = tool(numbers_later if asynchronous else numbers)

    result = await made.call(ToolCall("1", "numbers", "{}"), Context())

    assert closed == [True]
    assert result.text.startswith("[7,7,")
    assert result.text.endswith("start=100000)]")


@pytest.mark.fault(107)
async def test_a_coroutine_that_is_returned_is_awaited():
    async def inner() -> str:
        return "inner"

    async def outer() -> Awaitable[str]:
        """Give a coroutine."""
        return inner()

    def sooner() -> Awaitable[str]:
        """Give a coroutine."""
        return inner()

    results = [await tool(each).call(ToolCall("1", "x", "{}"), Context()) for each in (outer, sooner)]

    assert [result.text for result in results] == ["inner", "inner"]


def test_json_that_is_returned_is_json():
    value = {"a": [1, 2.5, None, 'é\n"', {"b": True}]}

    assert json.loads(to_result(value, call_id="1", name="x").text) == value
