"""Typed dicts of the standard library arrive like those of typing_extensions."""

from __future__ import annotations

import json
from typing import Annotated, Any, NotRequired, Optional, Required, TypedDict

import pytest

from agentloop import Agent, tool
from agentloop.messages import ToolCall
from agentloop.testing import Scripted, says
from agentloop.tools.context import Context


class Point(TypedDict, total=False):
    x: Required[int]
    label: str


class Path(Point):
    points: list[Point]
    by_name: NotRequired[dict[str, Point]]


POINT = {"type": "object", "properties": {"x": {"type": "integer"}, "label": {"type": "string"}}, "required": ["x"]}


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Point, {"x": 1}),
        (list[Point], [{"x": 1, "label": "a"}]),
        (dict[str, Point], {"a": {"x": 1}}),
        (tuple[Point, ...], ({"x": 1},)),
        (Point | None, {"x": 1}),
        (Optional[list[Point]], None),  # noqa: UP045  # an object of another class than X | None
        (Annotated[list[Point], "Where"], []),
        (Path, {"x": 1, "points": [{"x": 2}]}),
    ],
)
async def test_a_typed_dict_of_the_standard_library_is_described_and_arrives(annotation: Any, value: Any):
    given: list[Any] = []

    def take(it):
        """Take it."""
        given.append(it)

    take.__annotations__ = {"it": annotation}
    taken = tool(take)
    text = ToolCall("1", "take", json.dumps({"it": value}))

    result = await taken.call(text, Context())

    assert (result.is_error, result.content, given) == (False, "null", [value])


def test_what_is_required_of_a_typed_dict_is_shown():
    @tool
    def mark(point: Point) -> None:
        """Mark."""

    shown = mark.description.parameters
    definition = shown.get("$defs", {}).get("Point") or shown["properties"]["point"]
    assert {key: definition[key] for key in POINT} == POINT


async def test_an_answer_may_be_a_typed_dict_of_the_standard_library():
    result = await Agent(Scripted(says('{"x": 3}')), output=Point).run("Where?")

    assert result.output == {"x": 3}
