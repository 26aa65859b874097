"""Whatever can be called can be a tool, and stays what it is."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from types import MethodType
from typing import Any

import pytest

from agentloop.errors import ToolDefinitionError
from agentloop.messages import ToolCall
from agentloop.tools.context import Context
from agentloop.tools.function import Tool, tool


def add(a: int, b: int = 2) -> int:
    """Add."""
    return a + b


async def add_later(a: int, b: int = 2) -> int:
    """Add."""
    await asyncio.sleep(0)
    return a + b


def numbers(a: int, b: int = 2) -> Iterator[int]:
    """Add."""
    yield a
    yield b


async def numbers_later(a: int, b: int = 2) -> AsyncIterator[int]:
    """Add."""
    yield a
    yield b


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def around(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return around


class Adder:
    """Adds."""

    def __init__(self, start: int = 0) -> None:
        self.start = start
        self.name = "not the tool's"

    def plain(self, a: int, b: int = 2) -> int:
        """Add."""
        return self.start + a + b

    @tool
    def method(self, a: int, b: int = 2) -> int:
        """Add."""
        return self.start + a + b

    @tool
    async def later(self, a: int, b: int = 2) -> int:
        """Add."""
        return self.start + a + b

    @tool
    @staticmethod
    def static(a: int, b: int = 2) -> int:
        """Add."""
        return a + b

    @staticmethod
    @tool
    def static_too(a: int, b: int = 2) -> int:
        """Add."""
        return a + b

    @tool
    @classmethod
    def of_class(cls, a: int, b: int = 2) -> int:
        """Add."""
        return len(cls.__name__) - 5 + a + b

    @classmethod
    @tool
    def of_class_too(cls, a: int, b: int = 2) -> int:
        """Add."""
        return len(cls.__name__) - 5 + a + b

    @tool
    @functools.cache  # noqa: B019
    def cached(self, a: int, b: int = 2) -> int:
        """Add."""
        return self.start + a + b

    def __call__(self, a: int, b: int = 2) -> int:
        """Add."""
        return self.start + a + b


class LaterAdder:
    async def __call__(self, a: int, b: int = 2) -> int:
        """Add."""
        return a + b


class Longer(Adder):
    pass


def three(a: int, b: int, secret: str) -> int:
    """Add."""
    return a + b + len(secret)


CALLABLES: dict[str, tuple[Any, str, str]] = {
    "function": (tool(add), "add", "3"),
    "coroutine function": (tool(add_later), "add_later", "3"),
    "generator function": (tool(numbers), "numbers", "[1,2]"),
    "async generator function": (tool(numbers_later), "numbers_later", "[1,2]"),
    "wrapped function": (tool(wrapped(add)), "add", "3"),
    "wrapped coroutine function": (tool(wrapped(add_later)), "add_later", "3"),
    "bound method": (tool(Adder(10).plain), "plain", "13"),
    "method": (Adder(10).method, "method", "13"),
    "coroutine method": (Adder(10).later, "later", "13"),
    "cached method": (Adder(10).cached, "cached", "13"),
    "cached function": (tool(functools.cache(add)), "add", "3"),
    "inherited method": (Longer(10).method, "method", "13"),
    "static method": (Adder().static, "static", "3"),
    "static method of the class": (Adder.static, "static", "3"),
    "static method the other way": (Adder.static_too, "static_too", "3"),
    "class method": (Adder.of_class, "of_class", "3"),
    "class method of an instance": (Adder().of_class, "of_class", "3"),
    "inherited class method": (Longer.of_class, "of_class", "4"),
    "class method the other way": (tool(Longer.of_class_too), "of_class_too", "4"),
    "class method from Python 3.13 on": (tool(MethodType(Adder.__dict__["of_class_too"].__func__, Longer)), "of_class_too", "4"),
    "object that can be called": (tool(Adder(10)), "Adder", "13"),
    "object that can be called later": (tool(LaterAdder()), "LaterAdder", "3"),
    "partial": (tool(functools.partial(add, b=5), name="add_five"), "add_five", "6"),
    "partial of a partial": (tool(functools.partial(functools.partial(three, secret="12"), b=1)), "three", "4"),
    "partial of a method": (tool(functools.partial(Adder(10).plain, b=5)), "plain", "16"),
    "partial of a coroutine function": (tool(functools.partial(add_later, b=5)), "add_later", "6"),
}


@pytest.mark.parametrize(("made", "name", "result"), CALLABLES.values(), ids=CALLABLES)
async def test_whatever_can_be_called_can_be_a_tool(made: Tool[..., Any], name: str, result: str):
    schema = made.description.parameters

    answer = await made.call(ToolCall("7", name, '{"a": 1}'), Context())

    assert (answer.call_id, answer.name, answer.content, answer.is_error) == ("7", name, result, False)
    assert made.description.name == name
    assert made.description.description == "Add."
    assert [*schema["properties"]] in (["a"], ["a", "b"])
    assert schema["required"] == ["a"]


def test_what_a_partial_binds_is_shown_to_nobody():
    made = tool(functools.partial(three, 1, secret="s3cret"), name="made")

    assert list(made.description.parameters["properties"]) == ["b"]
    assert "s3cret" not in str(made.description)


@pytest.mark.parametrize("given", ["first", "secret", "self", "context"])
async def test_the_model_cannot_give_through_kwargs_what_is_bound(given: str):
    class Holder:
        def act(self, first: str, context: Context, secret: str = "", **rest: str) -> str:
            return f"{first} {secret} {rest}"

    made = tool(functools.partial(Holder().act, "first", secret="bound"))

    answer = await made.call(ToolCall("1", "act", f'{{"{given}": "stolen"}}'), Context())

    assert answer.is_error
    assert answer.text == f"The arguments do not fit: {given}: is unknown; known: none."


async def test_a_lambda_needs_a_name_and_a_schema():
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}

    made = tool(lambda x: x + 1, name="next", parameters=schema)

    assert (await made.call(ToolCall("1", "next", '{"x": 1}'), Context())).text == "2"
    with pytest.raises(ToolDefinitionError, match="a lambda has no name"):
        tool(lambda x: x, parameters=schema)


async def test_a_tool_works_as_the_function_it_is():
    made, made_later = tool(add), tool(add_later)

    assert made(1, b=5) == 6
    assert await made_later(1) == 3
    assert Adder(10).method(1) == 13
    assert Adder.method(Adder(10), 1) == 13
    assert Adder.static(1) == Adder().static_too(1) == Longer.of_class(0) == Longer.of_class_too(0) == 3
    assert (made.__name__, made.__doc__, made.__module__) == ("add", "Add.", __name__)
    assert inspect.signature(made) == inspect.signature(add)
    assert repr(made) == "<Tool add>"


def test_a_tool_is_a_toolset_of_one():
    made = tool(add)

    assert made.tools() == (made,)


@pytest.mark.parametrize("method", [Adder.method, Adder.__dict__["of_class"], tool(Adder.plain)])
async def test_a_method_without_an_instance_says_so(method: Tool[..., Any]):
    with pytest.raises(ToolDefinitionError, match=r"is a method and has no instance; take it from one: Adder\(\.\.\.\)\."):
        method.tools()

    assert (await method.call(ToolCall("1", "x", '{"a": 1}'), Context())).is_error


def test_a_method_that_is_overridden_is_another_tool():
    class Other(Adder):
        @tool
        def method(self, a: int, c: str) -> int:
            """Override."""
            return 0

    assert list(Other().method.description.parameters["properties"]) == ["a", "c"]
    assert list(super(Other, Other()).method.description.parameters["properties"]) == ["a", "b"]


def test_bound_tools_share_what_was_worked_out_once():
    assert Adder(1).method.description is Adder(2).method.description


def test_a_tool_of_a_tool_is_the_same_tool():
    made = tool(add)

    assert tool(made) is made
    with pytest.raises(ToolDefinitionError, match="'add' is a tool already; give name where it is made"):
        tool(made, name="plus")


def test_a_function_in_a_class_body_may_call_its_instance_as_it_likes():
    class Toolset:
        @tool
        def act(this, x: int) -> int:  # noqa: N805
            return x

        @tool
        def typed(self: Toolset, x: int) -> int:
            return x

    assert list(Toolset().act.description.parameters["properties"]) == ["x"]
    assert list(Toolset().typed.description.parameters["properties"]) == ["x"]
