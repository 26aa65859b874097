"""Each kind of parameter: what the model is shown of it, and what arrives."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import enum
import json
import pathlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NewType, NotRequired, Optional, Union

import pytest
from pydantic import BaseModel, Field
from typing_extensions import Doc, TypedDict

from agentloop.messages import ToolCall
from agentloop.tools.context import Context
from agentloop.tools.function import Tool, tool


class Colour(enum.Enum):
    """A colour of paint."""

    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Single(enum.Enum):
    ONLY = "only"


@dataclass
class Point:
    x: int
    title: str = "here"
    raw: bytes = b""
    more: list[Point] = field(default_factory=list)


class Tree(BaseModel):
    """A tree of names."""

    name: str
    children: list[Tree] = []


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]
    loud: bool = True


class Options(TypedDict):
    limit: int
    verbose: NotRequired[bool]


UserId = NewType("UserId", int)

STRING = {"type": "string"}
INTEGER = {"type": "integer"}

POINT = {
    "type": "object",
    "properties": {
        "x": INTEGER,
        "title": {"type": "string", "default": "here"},
        "raw": {"type": "string", "contentEncoding": "base64", "default": ""},
        "more": {"type": "array", "items": {"$ref": "#/$defs/Point"}},
    },
    "required": ["x"],
    "additionalProperties": False,
}
TREE = {
    "type": "object",
    "description": "A tree of names.",
    "properties": {"name": STRING, "children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}, "default": []}},
    "required": ["name"],
}
OPTIONS = {
    "type": "object",
    "properties": {"limit": INTEGER, "verbose": {"type": "boolean"}},
    "required": ["limit"],
    "additionalProperties": False,
}

# annotation, what the model is shown of it, the $defs beside it, what the model writes, what arrives
KINDS: list[tuple[Any, dict[str, Any], dict[str, Any], Any, Any]] = [
    (str, STRING, {}, "Bogotá", "Bogotá"),
    (int, INTEGER, {}, 3, 3),
    (float, {"type": "number"}, {}, 2.5, 2.5),
    (bool, {"type": "boolean"}, {}, True, True),
    (None, {"type": "null"}, {}, None, None),
    (Any, {}, {}, {"a": [1, None]}, {"a": [1, None]}),
    (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}, {}, "b", "b"),
    (Literal["a"], {"type": "string", "enum": ["a"]}, {}, "a", "a"),
    (Literal[1, "b"] | None, {"anyOf": [{"enum": [1, "b"]}, {"type": "null"}]}, {}, None, None),
    (Colour, {"type": "string", "enum": ["red", "blue"], "description": "A colour of paint."}, {}, "blue", Colour.BLUE),
    (Level, {"type": "integer", "enum": [1, 2]}, {}, 2, Level.HIGH),
    (Single, {"type": "string", "enum": ["only"]}, {}, "only", Single.ONLY),
    (str | int, {"anyOf": [STRING, INTEGER]}, {}, 3, 3),
    (Union[str, list[int]], {"anyOf": [STRING, {"type": "array", "items": INTEGER}]}, {}, [1], [1]),  # noqa: UP007
    (Optional[str], {"anyOf": [STRING, {"type": "null"}]}, {}, None, None),  # noqa: UP045
    (list, {"type": "array", "items": {}}, {}, [1, "a"], [1, "a"]),
    (list[int], {"type": "array", "items": INTEGER}, {}, [1, 2], [1, 2]),
    (Sequence[int], {"type": "array", "items": INTEGER}, {}, [1, 2], [1, 2]),
    (
        list[Colour],
        {"type": "array", "items": {"type": "string", "enum": ["red", "blue"], "description": "A colour of paint."}},
        {},
        ["red"],
        [Colour.RED],
    ),
    (tuple[int, ...], {"type": "array", "items": INTEGER}, {}, [1, 2], (1, 2)),
    (
        tuple[int, str],
        {"type": "array", "prefixItems": [INTEGER, STRING], "minItems": 2, "maxItems": 2},
        {},
        [1, "a"],
        (1, "a"),
    ),
    (set[int], {"type": "array", "items": INTEGER, "uniqueItems": True}, {}, [1, 2], {1, 2}),
    (frozenset[str], {"type": "array", "items": STRING, "uniqueItems": True}, {}, ["a"], frozenset({"a"})),
    (dict, {"type": "object", "additionalProperties": True}, {}, {"a": 1}, {"a": 1}),
    (dict[str, int], {"type": "object", "additionalProperties": INTEGER}, {}, {"a": 1}, {"a": 1}),
    (dict[str, Any], {"type": "object", "additionalProperties": True}, {}, {"a": [1]}, {"a": [1]}),
    (Mapping[str, int], {"type": "object", "additionalProperties": INTEGER}, {}, {"a": 1}, {"a": 1}),
    (
        dt.datetime,
        {"type": "string", "format": "date-time"},
        {},
        "2026-11-21T10:30:00Z",
        dt.datetime(2026, 11, 21, 10, 30, tzinfo=dt.UTC),
    ),
    (dt.date, {"type": "string", "format": "date"}, {}, "2026-11-21", dt.date(2026, 11, 21)),
    (dt.time, {"type": "string", "format": "time"}, {}, "10:30:00", dt.time(10, 30)),
    (dt.timedelta, {"type": "string", "format": "duration"}, {}, "PT1H", dt.timedelta(hours=1)),
    (uuid.UUID, {"type": "string", "format": "uuid"}, {}, str(uuid.UUID(int=7)), uuid.UUID(int=7)),
    (pathlib.Path, {"type": "string", "format": "path"}, {}, "a/b", pathlib.Path("a/b")),
    (bytes, {"type": "string", "contentEncoding": "base64"}, {}, base64.b64encode(b"\xfb\xff").decode(), b"\xfb\xff"),
    (Annotated[str, "A city."], {"type": "string", "description": "A city."}, {}, "x", "x"),
    (Annotated[str, Doc("A city.")], {"type": "string", "description": "A city."}, {}, "x", "x"),
    (Annotated[str, Field(description="A city.")], {"type": "string", "description": "A city."}, {}, "x", "x"),
    (Annotated[str, "said", Field(description="described")], {"type": "string", "description": "described"}, {}, "x", "x"),
    (Annotated[int, Field(ge=1, le=9)], {"type": "integer", "minimum": 1, "maximum": 9}, {}, 9, 9),
    (
        Annotated[str, Field(min_length=2, pattern="^[a-z]+$"), "Letters."],
        {"type": "string", "minLength": 2, "pattern": "^[a-z]+$", "description": "Letters."},
        {},
        "ab",
        "ab",
    ),
    (Annotated[bytes, Field(max_length=2)], {"type": "string", "contentEncoding": "base64"}, {}, "-_8=", b"\xfb\xff"),
    (UserId, INTEGER, {}, 5, 5),
    (
        Point,
        {"$ref": "#/$defs/Point"},
        {"Point": POINT},
        {"x": 1, "raw": "+/8=", "more": [{"x": 2}]},
        Point(1, raw=b"\xfb\xff", more=[Point(2)]),
    ),
    (
        list[Tree] | None,
        {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/Tree"}}, {"type": "null"}]},
        {"Tree": TREE},
        [{"name": "a", "children": [{"name": "b"}]}],
        [Tree(name="a", children=[Tree(name="b")])],
    ),
    (
        Annotated[Cat | Dog, Field(discriminator="kind")],
        {"oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]},
        {
            "Cat": {"type": "object", "properties": {"kind": {"type": "string", "enum": ["cat"]}}, "required": ["kind"]},
            "Dog": {
                "type": "object",
                "properties": {"kind": {"type": "string", "enum": ["dog"]}, "loud": {"type": "boolean", "default": True}},
                "required": ["kind"],
            },
        },
        {"kind": "dog"},
        Dog(kind="dog"),
    ),
    (Options, {"$ref": "#/$defs/Options"}, {"Options": OPTIONS}, {"limit": 3}, {"limit": 3}),
    (
        "list[Colour] | None",
        {
            "anyOf": [
                {"type": "array", "items": {"type": "string", "enum": ["red", "blue"], "description": "A colour of paint."}},
                {"type": "null"},
            ]
        },
        {},
        None,
        None,
    ),
]


def described(function: Callable[..., Any]) -> dict[str, Any]:
    return dict(tool(function).description.parameters)


async def arrived(made: Tool[..., Any], **arguments: Any) -> str:
    """Call with the arguments as JSON, as a model does."""
    result = await made.call(ToolCall("1", made.name, json.dumps(arguments)), Context())
    assert not result.is_error, result.text
    return result.text


@pytest.mark.parametrize(("annotation", "shown", "definitions", "written", "expected"), KINDS, ids=lambda value: str(value)[:40])
async def test_a_parameter_is_shown_whole_and_arrives_as_its_type(
    annotation: Any, shown: Any, definitions: Any, written: Any, expected: Any
):
    came: list[Any] = []

    def take(value: Any) -> None:
        came.append(value)

    take.__annotations__["value"] = annotation
    made = tool(take)
    schema = {"type": "object", "properties": {"value": shown}, "required": ["value"], "additionalProperties": False}

    await arrived(made, value=written)

    assert made.description.parameters == (schema | {"$defs": definitions} if definitions else schema)
    assert came == [expected]
    assert type(came[0]) is type(expected)


def test_a_decimal_arrives_exactly():
    @tool
    def pay(amount: decimal.Decimal) -> None: ...

    assert pay.arguments('{"amount": "0.10"}') == {"amount": decimal.Decimal("0.10")}
    assert [kind["type"] for kind in pay.description.parameters["properties"]["amount"]["anyOf"]] == ["number", "string"]


def test_the_gateways_example_comes_out_word_for_word():
    @tool
    def get_current_weather(location: str, unit: Literal["celsius", "fahrenheit"] | None = None) -> str:
        """Get the current weather in a given location.

        Args:
            location: The city and state, e.g. San Francisco, CA
            unit: Of the temperature
        """
        return f"{location} {unit}"

    assert get_current_weather.description.description == "Get the current weather in a given location."
    assert get_current_weather.description.parameters == {
        "type": "object",
        "properties": {
            "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "description": "Of the temperature"},
        },
        "required": ["location"],
        "additionalProperties": False,
    }


def test_a_function_without_parameters_takes_an_empty_object():
    def ping() -> None: ...

    assert described(ping) == {"type": "object", "properties": {}, "additionalProperties": False}


def test_defaults_are_shown_where_json_can_say_them():
    no_form = object()

    def search(
        query: str = "all",
        limit: int | None = 10,
        colour: Colour = Colour.RED,
        since: dt.date = dt.date(2026, 1, 1),
        tags: tuple[str, ...] = ("a",),
        ratio: float = float("inf"),
        missing: str | int | None = None,
        either: Literal["a", None] = None,  # noqa: PYI061  # as people write it
        odd: Any = no_form,
    ) -> None: ...

    assert described(search)["properties"] == {
        "query": {"type": "string", "default": "all"},
        "limit": {"anyOf": [INTEGER, {"type": "null"}], "default": 10},
        "colour": {"type": "string", "enum": ["red", "blue"], "description": "A colour of paint.", "default": "red"},
        "since": {"type": "string", "format": "date", "default": "2026-01-01"},
        "tags": {"type": "array", "items": STRING, "default": ["a"]},
        "ratio": {"type": "number"},
        "missing": {"anyOf": [STRING, INTEGER]},
        "either": {"type": "string", "enum": ["a"]},
        "odd": {},
    }
    assert "required" not in described(search)


async def test_a_default_is_the_functions_own_when_the_model_leaves_it_out():
    sentinel: list[int] = []
    came: list[Any] = []

    @tool
    def take(a: Any = sentinel, b: int | None = None, c: Annotated[int, Field(default=4)] = 5) -> None:
        came.append((a, b, c))

    await arrived(take)
    await arrived(take, b=None, c=1)

    assert came == [(sentinel, None, 5), (sentinel, None, 1)]
    assert came[0][0] is sentinel


async def test_a_default_in_a_field_stands_in_for_the_functions():
    @tool
    def take(a: Annotated[int, Field(default=4)], b: Annotated[list[int], Field(default_factory=lambda: [1])]) -> list[Any]:
        return [a, b]

    assert await arrived(take) == "[4,[1]]"
    assert take.description.parameters["properties"]["a"] == {"type": "integer", "default": 4}
    assert "required" not in take.description.parameters


async def test_an_alias_is_the_name_that_the_model_uses():
    @tool
    def move(from_: Annotated[str, Field(alias="from")], to: str) -> str:
        """Move.

        Args:
            from_: Where it is.
            to: Where it shall be.
        """
        return f"{from_} to {to}"

    assert move.description.parameters["properties"]["from"] == {"type": "string", "description": "Where it is."}
    assert list(move.description.parameters["properties"]) == ["from", "to"]
    assert move.description.parameters["required"] == ["from", "to"]
    assert await arrived(move, **{"from": "a", "to": "b"}) == "a to b"


@pytest.mark.fault(119)
async def test_every_way_of_passing_a_parameter_works():
    @tool
    def everything(a: int, b: int = 2, /, c: int = 3, *rest: Annotated[int, "More."], d: int, e: int = 5, **extra: float) -> list[Any]:
        return [a, b, c, rest, d, e, extra]

    assert everything.description.parameters == {
        "type": "object",
        "properties": {
            "a": INTEGER,
            "b": {"type": "integer", "default": 2},
            "c": {"type": "integer", "default": 3},
            "rest": {"type": "array", "items": INTEGER, "description": "More."},
            "d": INTEGER,
            "e": {"type": "integer", "default": 5},
        },
        "required": ["a", "d"],
        "additionalProperties": {"type": "number"},
    }
    assert await arrived(everything, a=1, d=4) == "[1,2,3,[],4,5,{}]"
    assert await arrived(everything, a=1, c=9, rest=[7, 8], d=4, x=0.5) == '[1,2,9,[7,8],4,5,{"x":0.5}]'


async def test_a_model_in_kwargs_has_its_definition():
    @tool
    def plant(**trees: Tree) -> list[str]:
        return [type(tree).__name__ + tree.name for tree in trees.values()]

    assert plant.description.parameters == {
        "type": "object",
        "properties": {},
        "additionalProperties": {"$ref": "#/$defs/Tree"},
        "$defs": {"Tree": TREE},
    }
    assert await arrived(plant, oak={"name": "a"}) == '["Treea"]'


async def test_any_name_of_a_parameter_works():
    @tool
    def odd(
        self: str, func: str, args: str, kwargs: str, name: str, json: str, model_config: str, _private: str, call: str, context: str
    ) -> str:
        return self + func + args + kwargs + name + json + model_config + _private + call + context

    names = ["self", "func", "args", "kwargs", "name", "json", "model_config", "_private", "call", "context"]

    assert list(odd.description.parameters["properties"]) == names
    assert await arrived(odd, **dict(zip(names, "abcdefghij", strict=True))) == "abcdefghij"


async def test_a_property_named_title_stays_where_titles_are_left_out():
    class Book(TypedDict):
        title: str

    def file(title: str, book: Book) -> None: ...

    assert described(file)["properties"]["title"] == STRING
    assert described(file)["$defs"]["Book"]["properties"] == {"title": STRING}
    assert "'title': 'Book'" not in str(described(file))


async def test_two_types_of_one_name_are_kept_apart():
    class First(BaseModel):
        a: int

    first = First

    class First(BaseModel):  # type: ignore[no-redef]
        b: int

    def take(x: Any, y: Any) -> list[str]:
        return [*x.__class__.model_fields, *y.__class__.model_fields]

    take.__annotations__ |= {"x": first, "y": First}
    made = tool(take)

    assert len(made.description.parameters["$defs"]) == 2
    assert await arrived(made, x={"a": 1}, y={"b": 1}) == '["a","b"]'


@pytest.mark.fault(119)
async def test_names_of_the_function_around_are_found():
    @dataclass
    class Node:
        name: str
        below: Node | None = None

    class Toolset:
        class Inner(enum.Enum):
            A = 1

        @tool
        def show(self, node: Node, kind: list[Inner]) -> str:
            return f"{node} {kind}"

    def later(node: Node) -> None: ...

    assert Toolset().show.description.parameters["properties"]["kind"]["items"] == {"type": "integer", "enum": [1]}
    assert described(later)["$defs"]["Node"]["properties"]["below"]["anyOf"][0] == {"$ref": "#/$defs/Node"}


def test_types_that_name_types_of_the_function_around_are_described():
    @dataclass
    class Leaf:
        size: int

    class Branch(TypedDict):
        leaf: Leaf

    @tool
    def grow(branch: Branch) -> None: ...

    assert grow.description.parameters["$defs"]["Branch"]["properties"] == {"leaf": {"$ref": "#/$defs/Leaf"}}


def grown_elsewhere() -> Tool[..., Any]:
    @tool
    def take(it: Options) -> None: ...

    return take


def test_names_of_a_function_that_is_not_around_are_not_used():
    Options = int  # noqa: F841, N806

    made = grown_elsewhere()

    assert list(made.description.parameters["$defs"]) == ["Options"]


async def test_a_context_is_filled_in_and_never_shown():
    @tool
    def whoami(greeting: str, context: Context[str]) -> str:
        """Say who runs this.

        Args:
            greeting: What to say first.
            context: Secret words.
        """
        return f"{greeting} {context.deps}"

    @tool
    async def positional(here: Context, /, x: int) -> str:
        return f"{here.deps} {x}"

    @tool
    def annotated(x: int = 1, *, context: Annotated[Context[str], "hidden"]) -> str:
        return f"{context.deps} {x}"

    @tool
    def optional(x: int = 1, context: Context[str] | None = None) -> str:
        return f"{context and context.deps} {x}"

    results = [
        await each.call(ToolCall("1", each.name, arguments), Context(deps="ada"))
        for each, arguments in [(whoami, '{"greeting": "hi"}'), (positional, '{"x": 2}'), (annotated, "{}"), (optional, "{}")]
    ]

    assert [result.text for result in results] == ["hi ada", "ada 2", "ada 1", "ada 1"]
    assert optional() == "None 1"
    assert "context" not in str(whoami.description)
    assert "Secret" not in str(whoami.description)
    assert list(positional.description.parameters["properties"]) == ["x"]
    assert list(annotated.description.parameters["properties"]) == ["x"]


async def test_the_model_cannot_give_the_context_through_kwargs():
    @tool
    def take(context: Context, **rest: str) -> str:
        return f"{context.deps} {rest}"

    result = await take.call(ToolCall("1", "take", '{"context": "mine"}'), Context(deps="ours"))

    assert result.is_error
    assert result.text == "The arguments do not fit: context: is unknown; known: none."


async def test_the_description_of_an_annotation_goes_before_the_docstrings():
    def take(a: Annotated[str, Field(description="field")], b: Annotated[str, "string"], c: str, d: Colour, e: Tree) -> None:
        """Take.

        Args:
            a: doc a
            b: doc b
            c: doc c
            d: doc d
            e: doc e
        """

    shown = described(take)["properties"]

    assert {name: each["description"] for name, each in shown.items()} == {
        "a": "field",
        "b": "string",
        "c": "doc c",
        "d": "doc d",
        "e": "doc e",
    }


async def test_a_return_annotation_that_means_nothing_does_not_matter():
    def take(a: int) -> NowhereDefined:  # type: ignore[name-defined]  # noqa: F821
        return a

    assert await arrived(tool(take), a=1) == "1"


@pytest.mark.fault(109)
async def test_what_the_tool_does_to_its_arguments_stays_its_own():
    @tool
    def grow(items: list[int]) -> int:
        items.append(1)
        return len(items)

    call = ToolCall("1", "grow", '{"items": [1]}')

    results = [await grow.call(call, Context()) for _ in range(2)]

    assert [result.text for result in results] == ["2", "2"]
    assert call.arguments == '{"items": [1]}'
