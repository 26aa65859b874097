"""Whatever the signature: what fits the schema goes in, and what goes in comes out."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import decimal
import enum
import inspect
import json
import keyword
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from inspect import Parameter
from typing import Any, Literal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel
from pydantic_core import to_json
from typing_extensions import TypedDict

from agentloop.messages import ToolCall
from agentloop.tools.context import Context
from agentloop.tools.function import tool


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Point:
    x: int
    label: str = "here"


class Tree(BaseModel):
    name: str
    children: list[Tree] = []


class Entry(TypedDict):
    key: str
    count: int


Kind = tuple[Any, st.SearchStrategy[Any]]
"""A type, and values of it."""

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = st.integers(-(2**60), 2**60)
trees = st.recursive(
    st.builds(Tree, name=words), lambda inner: st.builds(Tree, name=words, children=st.lists(inner, max_size=2)), max_leaves=4
)

SIMPLE: list[Kind] = [
    (str, words),
    (int, numbers),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (bool, st.booleans()),
    (Literal["a", "b"], st.sampled_from(["a", "b"])),
    (Colour, st.sampled_from(Colour)),
    (bytes, st.binary(max_size=8)),
    (dt.date, st.dates()),
    (dt.datetime, st.datetimes(timezones=st.just(dt.UTC)).map(lambda moment: moment.replace(fold=0))),
    (dt.timedelta, st.timedeltas(dt.timedelta(-1000), dt.timedelta(1000))),
    (uuid.UUID, st.uuids()),
    (decimal.Decimal, st.decimals(-1000, 1000, places=2)),
    (Point, st.builds(Point, numbers, words)),
    (Tree, trees),
    (Entry, st.builds(lambda key, count: {"key": key, "count": count}, words, numbers)),
]


def containers(inner: st.SearchStrategy[Kind]) -> st.SearchStrategy[Kind]:
    def around(kind: Kind) -> st.SearchStrategy[Kind]:
        annotation, values = kind
        return st.sampled_from(
            [
                (list[annotation], st.lists(values, max_size=3)),
                (tuple[annotation, ...], st.lists(values, max_size=3).map(tuple)),
                (tuple[annotation, int], st.tuples(values, numbers)),
                (dict[str, annotation], st.dictionaries(words, values, max_size=3)),
                (annotation | None, st.none() | values),
            ]
        )

    return inner.flatmap(around)


kinds = st.recursive(st.sampled_from(SIMPLE), containers, max_leaves=3)
names = st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True) | st.sampled_from(
    ["self", "args", "kwargs", "name", "title", "type", "call"]
)
names = names.filter(lambda name: not keyword.iskeyword(name))


@dataclass
class Drawn:
    """A signature, and arguments for it."""

    parameters: list[Parameter]
    arguments: dict[str, Any]


@st.composite
def signatures(draw: st.DrawFn) -> Drawn:
    drawn: list[Parameter] = []
    arguments: dict[str, Any] = {}
    optional = False
    for kind in [
        Parameter.POSITIONAL_ONLY,
        Parameter.POSITIONAL_OR_KEYWORD,
        Parameter.VAR_POSITIONAL,
        Parameter.KEYWORD_ONLY,
        Parameter.VAR_KEYWORD,
    ]:
        starred = kind in {Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD}
        for name in draw(st.lists(names, max_size=1 if starred else 2)):
            if name in {parameter.name for parameter in drawn} or name in arguments:
                continue
            annotation, values = draw(kinds)
            if kind is Parameter.VAR_POSITIONAL:
                arguments[name] = tuple(draw(st.lists(values, max_size=2)))
            elif kind is Parameter.VAR_KEYWORD:
                taken = {parameter.name for parameter in drawn} | {name}
                arguments |= {each: draw(values) for each in draw(st.sets(names, max_size=2)) if each not in taken}
            default = Parameter.empty
            if not starred:
                optional = draw(st.booleans()) or (optional and kind is not Parameter.KEYWORD_ONLY)
                given = not optional or draw(st.booleans())
                default = draw(values) if optional else default
                if given:
                    arguments[name] = draw(values)
            drawn.append(Parameter(name, kind, annotation=annotation, default=default))
    return Drawn(drawn, arguments)


def function_of(parameters: list[Parameter], came: list[dict[str, Any]]) -> Callable[..., None]:
    signature = inspect.Signature(parameters)

    def take(*args: Any, **kwargs: Any) -> None:
        """Take all."""
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        came.append(dict(bound.arguments))

    take.__signature__ = signature  # type: ignore[attr-defined]
    return take


def flat(drawn: Drawn) -> dict[str, Any]:
    """List what the function must receive."""
    received: dict[str, Any] = {}
    rest = dict(drawn.arguments)
    for parameter in drawn.parameters:
        if parameter.kind is Parameter.VAR_KEYWORD:
            received[parameter.name] = rest
        elif parameter.kind is Parameter.VAR_POSITIONAL:
            received[parameter.name] = rest.pop(parameter.name, ())
        else:
            received[parameter.name] = rest.pop(parameter.name, parameter.default)
    return received


def shape(value: Any) -> str:
    """Tell 1, 1.0 and True apart, but not one name of UTC from another."""
    return re.sub(r"TzInfo\(\w+\)|datetime\.timezone\.utc", "UTC", repr(value))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(signatures())
def test_what_goes_in_comes_out(drawn: Drawn):
    came: list[dict[str, Any]] = []
    made = tool(function_of(drawn.parameters, came), name="take")
    schema = json.loads(json.dumps(made.description.parameters))
    nulls = {name for name, value in drawn.arguments.items() if value is None}
    hidden = {parameter.name for parameter in drawn.parameters if parameter.default is None}
    written = to_json({name: value for name, value in drawn.arguments.items() if name not in nulls & hidden}, bytes_mode="base64").decode()

    result = asyncio.run(made.call(ToolCall("1", "take", written), Context()))

    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(json.loads(written))
    assert (result.is_error, result.text) == (False, "null")
    assert came == [flat(drawn)]
    assert shape(came[0]) == shape(flat(drawn))


@settings(max_examples=50, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | numbers | st.floats(allow_nan=False, allow_infinity=False) | words,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
        max_leaves=12,
    )
)
def test_any_json_comes_through_a_tool_unchanged(value: Any):
    @tool
    async def echo(value: Any) -> Any:
        """Echo."""
        return [value]

    result = asyncio.run(echo.call(ToolCall("1", "echo", json.dumps({"value": value})), Context()))

    assert json.loads(result.text) == [value]


def test_base64_of_either_alphabet_is_taken():
    @tool
    def size(data: bytes) -> int:
        """Measure."""
        return len(data)

    raw = b"\xfb\xef\xff"

    assert [size.arguments(json.dumps({"data": encode(raw).decode()})) for encode in (base64.b64encode, base64.urlsafe_b64encode)] == [
        {"data": raw}
    ] * 2
