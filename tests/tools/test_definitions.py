"""What cannot become a tool says why where it is decorated."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from pydantic import AliasChoices, Field
from typing_extensions import TypedDict, Unpack

from agentloop.errors import ToolDefinitionError
from agentloop.messages import ToolCall
from agentloop.tools.context import Context
from agentloop.tools.function import tool
from agentloop.tools.options import Options

if TYPE_CHECKING:
    from decimal import Decimal


@dataclass
class Lost:
    """A class whose field names nothing."""

    inner: Nowhere  # type: ignore[name-defined]  # noqa: F821


class Given(TypedDict):
    x: int


def ok(x: int) -> int:
    """Do."""
    return x


def untyped(x): ...
def locked(lock: threading.Lock): ...
def calling(back: Callable[[int], int]): ...
def classes(kind: type[int]): ...
def iterating(items: Iterator[int]): ...
def nameless(x: Nowhere): ...  # type: ignore[name-defined]  # noqa: F821
def nested(x: list[Nowhere]): ...  # type: ignore[name-defined]  # noqa: F821
def lost(first: int, inner: Lost): ...
def checked_only(x: Decimal): ...
def broken(x: "1 +"): ...  # type: ignore  # noqa: F722, PGH003
def no_type(x: "3 @ 4"): ...  # type: ignore  # noqa: PGH003, UP037
def contexts(a: Context, b: Context[int]): ...
def starred(*all_of: Context): ...
def field_default(x: int = Field(default=3)): ...
def unpacked(**given: Unpack[Given]): ...
def aliases(a: Annotated[str, Field(alias="b")], b: str): ...
def choices(a: Annotated[str, Field(validation_alias=AliasChoices("b", "c"))]): ...
def lookahead(x: Annotated[str, Field(pattern="(?=a)")]): ...


REFUSED: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
    (untyped, {}, "tool 'untyped': parameter 'x' has no type; add an annotation"),
    (locked, {}, "tool 'locked': parameter 'lock' has the type allocate_lock, which JSON cannot say; take"),
    (calling, {}, "tool 'calling': parameter 'back' has the type collections.abc.Callable[[int], int], which JSON cannot say; take"),
    (classes, {}, "tool 'classes': parameter 'kind' has the type type[int], which JSON cannot say; take"),
    (iterating, {}, "tool 'iterating': parameter 'items' has the type collections.abc.Iterator[int], which JSON cannot say; take"),
    (nameless, {}, "tool 'nameless': parameter 'x' names 'Nowhere', which is not defined; define or import it above the tool"),
    (nested, {}, "tool 'nested': parameter 'x' names 'Nowhere', which is not defined; define or import it above the tool"),
    (lost, {}, "tool 'lost': parameter 'inner' names 'Nowhere', which is not defined; define or import it above the tool"),
    (checked_only, {}, "tool 'checked_only': parameter 'x' names 'Decimal', which is not defined; define or import it above the tool"),
    (broken, {}, "tool 'broken': parameter 'x' is annotated \"'1 +'\", which cannot be read"),
    (no_type, {}, "tool 'no_type': parameter 'x' is annotated \"'3 @ 4'\", which cannot be read"),
    (contexts, {}, "tool 'contexts' takes more than one context, 'a' and 'b'; keep one of them"),
    (starred, {}, "tool 'starred': parameter 'all_of' would take many contexts; drop its star"),
    (field_default, {}, "tool 'field_default': parameter 'x' has a Field as its default; write Annotated[..., Field(...)]"),
    (unpacked, {}, "tool 'unpacked': parameter '**given' unpacks a type, which is not supported; list its fields as parameters"),
    (aliases, {}, "tool 'aliases': two parameters have one name for the model; give them different aliases"),
    (choices, {}, "tool 'choices': parameter 'a' has several aliases; give it one"),
    (ok, {"name": ""}, "'' cannot name a tool"),
    (lookahead, {}, "tool 'lookahead': parameter 'x' cannot be described: "),
    (ok, {"name": "no spaces"}, "'no spaces' cannot name a tool; use 1 to 64 letters, digits, - and _ of ASCII"),
    (ok, {"name": "größe"}, "'größe' cannot name a tool"),
    (ok, {"name": "x" * 65}, "cannot name a tool"),
    (ok, {"name": "line\n"}, "cannot name a tool"),
    (ok, {"effect": "twice"}, "tool 'ok': there is no effect 'twice'; choose 'read', 'idempotent' or 'once'"),
    (ok, {"retries": -1, "effect": "read"}, "tool 'ok': retries=-1 is less than none; give 0 or more"),
    (ok, {"retries": 2}, "tool 'ok': retries=2 would never be used, as a call with the effect 'once' may do harm when it is repeated; set"),
    (ok, {"timeout": 0}, "tool 'ok': timeout=0 leaves no time; give seconds, or None to wait for ever"),
    (ok, {"timeout": -1.5}, "tool 'ok': timeout=-1.5 leaves no time"),
    (ok, {"timeout": float("nan")}, "tool 'ok': timeout=nan leaves no time"),
    (ok, {"max_concurrency": 0}, "tool 'ok': max_concurrency=0 lets no call run; give 1 or more, or None"),
    (ok, {"parameters": {"type": "array"}}, "tool 'ok': its parameters are no object; write {'type': 'object', 'properties': ...}"),
    (ok, {"parameters": {}}, "tool 'ok': its parameters are no object"),
    (ok, {"parameters": {"type": "object", "x": object()}}, "tool 'ok': its parameters are no JSON Schema"),
    (
        ok,
        {"parameters": {"type": "object", "properties": {"y": {}}}},
        "tool 'ok': its parameters name 'y', which the function does not take; it takes: x",
    ),
    (dict, {}, "'dict' is a class; make tools of its methods, or of an instance that can be called"),
    (3, {}, "3 cannot be called; give a function"),  # type: ignore[list-item]
    (min, {}, "tool 'min': its parameters are not known to Python; wrap it in a function that has some"),
]


@pytest.mark.parametrize(("function", "given", "words"), REFUSED, ids=lambda value: getattr(value, "__name__", str(value)[:30]))
def test_what_cannot_become_a_tool_says_why(function: Callable[..., Any], given: Any, words: str):
    with pytest.raises(ToolDefinitionError) as caught:
        tool(function, **given)

    assert words in str(caught.value)


def test_an_unknown_option_is_an_error():
    with pytest.raises(TypeError, match="effects"):
        tool(ok, effects="read")  # type: ignore[call-overload]


def test_options_are_kept_as_they_were_given():
    def key(arguments: Any) -> str:
        return str(arguments["x"])

    made = tool(effect="idempotent", retries=2, timeout=None, max_concurrency=3, lock=key, needs_approval=True, destructive=True)(ok)
    other = tool(ok, open_world=True, poll=True, strict=True)

    assert made.options == Options(
        effect="idempotent", retries=2, timeout=None, max_concurrency=3, lock=key, needs_approval=True, destructive=True
    )
    assert other.options == Options(open_world=True, poll=True)
    assert (made.description.strict, other.description.strict) == (None, True)


def test_a_schema_written_by_hand_is_shown_as_it_is():
    schema = {
        "type": "object",
        "properties": {"x": {"type": "integer", "title": "X", "minimum": 3}},
        "required": ["x"],
        "$comment": "mine",
    }
    made = tool(ok, parameters=schema)

    schema["properties"]["x"] = {"type": "string"}  # type: ignore[index]

    assert made.description.parameters == {
        "type": "object",
        "properties": {"x": {"type": "integer", "title": "X", "minimum": 3}},
        "required": ["x"],
        "$comment": "mine",
    }


async def test_a_schema_written_by_hand_still_holds_the_model_to_the_annotations():
    made = tool(ok, parameters={"type": "object", "properties": {"x": {}}})

    answer = await made.call(ToolCall("1", "ok", '{"x": "many"}'), Context())

    assert answer.text.startswith("The arguments do not fit: x: should be a valid integer")


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ('{"a": 1}', '{"a":1}'),
        ('{"a": 1, "b": [2]}', '{"a":1,"b":[2]}'),
        ("{}", "The arguments do not fit: a: is missing."),
        ('{"a": 1, "c": 3}', "The arguments do not fit: c: is unknown; known: a, b."),
    ],
)
async def test_kwargs_take_what_a_schema_written_by_hand_lists(arguments: str, answer: str):
    @tool(parameters={"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a"], "additionalProperties": False})
    def forward(**anything: Any) -> dict[str, Any]:
        return anything

    assert (await forward.call(ToolCall("1", "forward", arguments), Context())).text == answer


async def test_a_schema_written_by_hand_may_ask_for_what_has_a_default():
    @tool(parameters={"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
    def take(a: int = 1, b: int = 2) -> list[int]:
        return [a, b]

    assert (await take.call(ToolCall("1", "take", "{}"), Context())).text == "The arguments do not fit: a: is missing."
    assert (await take.call(ToolCall("1", "take", '{"a": 5}'), Context())).text == "[5,2]"
