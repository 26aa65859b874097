"""Finds where a request differs from what was recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, cast

import httpx

from agentloop.testing.cassette_file import RecordedRequest
from agentloop.testing.cassette_masks import KEY_PARAMETERS

_NOTHING = object()
_SHOWN = 80
_SHOWN_BEFORE = 20

_Pair = tuple[str, object, object]


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place in which two requests differ."""

    path: str
    """As in "messages[2].content"; "the method", "the URL" or "the body" where there is none."""
    recorded: str
    asked: str
    """Both as JSON, shortened."""
    equal_before: int
    """How many values before it are equal."""


def first_difference(recorded: RecordedRequest, asked: RecordedRequest) -> Difference | None:
    """Compare two requests, but for the host, the key and what expires; None where they are equal."""
    for position, (path, before, now) in enumerate(_pairs_of_requests(recorded, asked)):
        # True is 1 in Python, and not in JSON.
        if before != now or isinstance(before, bool) is not isinstance(now, bool):
            return Difference(path, *_shown(before, now), position)
    return None


def are_equal(recorded: RecordedRequest, asked: RecordedRequest) -> bool:
    """Whether one request can stand for the other."""
    # Bodies of different runs differ early for ==; our own walk is a hundred times slower.
    return _lasting(recorded.body) == _lasting(asked.body) and first_difference(recorded, asked) is None


def _pairs_of_requests(recorded: RecordedRequest, asked: RecordedRequest) -> Iterator[_Pair]:
    yield "the method", recorded.method, asked.method
    yield "the URL", _target(recorded.url), _target(asked.url)
    for path, before, now in _pairs(_lasting(recorded.body), _lasting(asked.body), ""):
        yield path or "the body", before, now


def _lasting(body: Any) -> Any:
    """Leave out Anthropic's container, of which only those requests tell that are made before it expires."""
    if not isinstance(body, dict):
        return body
    return {name: value for name, value in cast("Mapping[str, Any]", body).items() if name != "container"}


def _target(url: str) -> str:
    parsed = httpx.URL(url)
    parameters = parsed.params
    for name in KEY_PARAMETERS:
        parameters = parameters.remove(name)
    return parsed.path + (f"?{parameters}" if parameters else "")


def _pairs(recorded: object, asked: object, path: str) -> Iterator[_Pair]:
    """Walk through both at once, in the order of what was recorded."""
    match recorded, asked:
        case dict(), dict():
            before, now = cast("Mapping[str, Any]", recorded), cast("Mapping[str, Any]", asked)
            for name in dict.fromkeys([*before, *now]):
                yield from _pairs(before.get(name, _NOTHING), now.get(name, _NOTHING), f"{path}.{name}" if path else name)
        case list(), list():
            items = zip_longest(cast("list[Any]", recorded), cast("list[Any]", asked), fillvalue=_NOTHING)
            for index, (one, other) in enumerate(items):
                yield from _pairs(one, other, f"{path}[{index}]")
        case _:
            yield path, recorded, asked


def _shown(recorded: object, asked: object) -> tuple[str, str]:
    before, now = _as_json(recorded), _as_json(asked)
    same = next((index for index, (one, other) in enumerate(zip(before, now, strict=False)) if one != other), 0)
    start = max(0, same - _SHOWN_BEFORE)
    return _shortened(before, start), _shortened(now, start)


def _as_json(value: object) -> str:
    if value is _NOTHING:
        return "nothing"
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()


def _shortened(text: str, start: int) -> str:
    """Cut a long text so that what differs can be seen."""
    if len(text) <= _SHOWN:
        return text
    piece = text[start : start + _SHOWN]
    return ("…" if start else "") + piece + ("…" if start + _SHOWN < len(text) else "")
