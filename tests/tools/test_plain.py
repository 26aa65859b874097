"""The table of plain types says what pydantic says."""

from __future__ import annotations

import json
from typing import Any, Literal, Optional, Union

import pytest
from pydantic import ConfigDict, TypeAdapter
from pydantic_core import SchemaValidator, ValidationError

from agentloop.tools.plain import plain
from agentloop.tools.rendering import render

TYPES: list[Any] = [
    str,
    int,
    float,
    bool,
    Literal["a", "b"],
    Literal["a"],
    str | None,
    Optional[int],  # noqa: UP045
    Union[bool, None],  # noqa: UP007
    list[str],
    list[float | None],
    list[list[int]],
    dict[str, int],
    dict[str, list[Literal["a"]]],
    dict[str, int] | None,
]
NOT_IN_THE_TABLE: list[Any] = [bytes, None, int | str, dict[int, str], tuple[int], Literal[1, "a"], list, Any, set[int]]
WRITTEN: list[Any] = ["a", "b", "1", "", 1, 0, 1.5, True, None, [], ["a"], [1, None], [[1]], {}, {"a": 1}, {"a": ["a"]}, {"a": None}]


@pytest.mark.parametrize("annotation", TYPES, ids=str)
def test_the_table_shows_what_pydantic_would(annotation: Any):
    described = plain(annotation)

    assert described is not None
    assert described[1] == render(TypeAdapter(annotation).core_schema)


@pytest.mark.parametrize("written", WRITTEN, ids=json.dumps)
@pytest.mark.parametrize("annotation", TYPES, ids=str)
def test_the_table_takes_what_pydantic_would(annotation: Any, written: Any):
    described = plain(annotation)
    assert described is not None
    text = json.dumps(written)

    def outcome(validate: Any) -> Any:
        try:
            return validate(text)
        except ValidationError as error:
            return error.errors(include_url=False)

    ours = outcome(SchemaValidator(described[0]).validate_json)
    theirs = outcome(TypeAdapter(annotation, config=ConfigDict()).validate_json)

    assert ours == theirs
    assert type(ours) is type(theirs)


@pytest.mark.parametrize("annotation", NOT_IN_THE_TABLE, ids=str)
def test_the_table_leaves_the_rest_to_pydantic(annotation: Any):
    assert plain(annotation) is None
