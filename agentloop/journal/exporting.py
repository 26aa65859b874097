"""A run in a file of its own: to keep, to show, to test against."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import pydantic
from pydantic_core import ValidationError, from_json, to_json

from agentloop.errors import ConfigurationError
from agentloop.journal.store import Record


@dataclass(frozen=True, slots=True)
class _Kept:
    run: str
    key: str
    value: Any
    at: float


@dataclass(frozen=True, slots=True)
class _Document:
    run: str
    records: tuple[_Kept, ...]
    format: Literal[1]


@cache
def _document() -> pydantic.TypeAdapter[_Document]:
    # With the first use, since it brings half of pydantic along.
    return pydantic.TypeAdapter(_Document)


def exported(records: Iterable[Record], run_id: str) -> bytes:
    """Write a run, with those that it has spawned, as JSON text that people can read and compare."""
    kept = [{"run": each.run_id, "key": each.key, "value": from_json(each.value), "at": each.at} for each in records]
    text = json.dumps({"format": 1, "run": run_id, "records": kept}, ensure_ascii=False, indent=1)
    return f"{text}\n".encode()


def imported(data: bytes | str, *, source: str) -> tuple[Record, ...]:
    """Read what `exported` wrote.

    Args:
        data: The text.
        source: Where it comes from, for people.

    Raises:
        ConfigurationError: It is something else.
    """
    try:
        document = _document().validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "its top"
        raise ConfigurationError(
            f"{source} is no exported run ({first['msg']} at {place}); write it with `agentloop runs export`"
        ) from error
    return tuple(
        Record(number, each.run, each.key, to_json(each.value).decode(), each.at) for number, each in enumerate(document.records, start=1)
    )
