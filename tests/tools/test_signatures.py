"""What a function takes is read from its code, as `inspect.signature` would read it."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import pytest

from agentloop.tools.context import Context
from agentloop.tools.function import tool
from agentloop.tools.parameters import read_parameters


def nothing() -> None: ...
def some(a: str, b: int = 1) -> None: ...
def only_positional(a: str, b: int = 1, /) -> None: ...
def only_named(*, a: str, b: int = 1, c: bool) -> None: ...
def stars(*rest: int, **named: str) -> None: ...
def everything(a: str, /, b: int, c: float = 0.5, *rest: int, d: bool, e: str = "e", **named: str) -> None: ...
def with_locals(a: str = "a", *, b: int = 2) -> None:
    c = d = a
    del c, d


async def async_everything(a: str, /, b: int = 1, *rest: int, c: bool = True, **named: str) -> None: ...


FUNCTIONS = [nothing, some, only_positional, only_named, stars, everything, with_locals, async_everything]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_a_function_takes_what_its_signature_says(function: Any):
    read = read_parameters(function, tool="any", in_class=False, untyped=False, module_names={}, local={})

    wanted = inspect.signature(function, eval_str=True).parameters.values()
    assert [tuple(each) for each in read.all] == [(each.name, each.kind, each.annotation, each.default) for each in wanted]


def test_a_decorator_that_keeps_the_signature_is_looked_through():
    @functools.wraps(some)
    def around(*args: Any, **kwargs: Any) -> None: ...

    read = tool(around).description.parameters["properties"]

    assert read == {"a": {"type": "string"}, "b": {"type": "integer", "default": 1}}


def test_a_signature_that_was_given_goes_before_the_code():
    def around(*args: Any, **kwargs: Any) -> None: ...

    around.__signature__ = inspect.signature(some)  # type: ignore[attr-defined]

    read = tool(around).description.parameters["properties"]

    assert list(read) == ["a", "b"]


def test_a_context_can_be_made_with_the_type_of_its_deps():
    context = Context[int](deps=1)

    assert context.deps == 1
    with pytest.raises(AttributeError):
        context.deps = 2  # type: ignore[misc]
