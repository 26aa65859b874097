"""Puts together the arguments of a call that Gemini sends value by value."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, cast

from agentloop.errors import BadReply
from agentloop.wire.lenient import as_list, as_object, as_text

_STEP = re.compile(r"""\.([^.\[\]]+)|\[(\d+)\]|\['((?:[^'\\]|\\.)*)'\]|\["((?:[^"\\]|\\.)*)"\]""")
_VALUES = ("stringValue", "numberValue", "boolValue")


class StreamedArguments:
    """The arguments of one call on their way: an object at once, or `partialArgs`, whose texts come in pieces."""

    def __init__(self) -> None:
        self._root: dict[str, Any] = {}
        self._pieces: dict[str, list[str]] = {}

    def add(self, call: Mapping[str, Any]) -> None:
        """Take in the next piece of the call.

        Raises:
            BadReply: It says a place that is in no object or list.
        """
        self._root.update(as_object(call.get("args")))
        for piece in as_list(call.get("partialArgs")):
            self._add(as_object(piece))

    def text(self) -> str:
        """Say what has come, as JSON."""
        for path, pieces in self._pieces.items():
            self._put(path, "".join(pieces))
        return json.dumps(self._root, ensure_ascii=False)

    def _add(self, piece: Mapping[str, Any]) -> None:
        path = as_text(piece.get("jsonPath"))
        if isinstance(text := piece.get("stringValue"), str):
            # The first piece settles where among the others the value stands.
            self._put(path, "")
            self._pieces.setdefault(path, []).append(text)
            return
        value = next((piece[name] for name in _VALUES if name in piece), None)
        if value is not None or "nullValue" in piece:
            self._put(path, value)

    def _put(self, path: str, value: object) -> None:
        steps = _steps(path)
        inside: Any = self._root
        for step, following in pairwise(steps):
            if not _has(inside, step):
                _set(inside, step, [] if isinstance(following, int) else {})
            inside = inside[step]
        _set(inside, steps[-1], value)


def _steps(path: str) -> list[str | int]:
    """Read a path of RFC 9535, of names and indexes only: "$.stops[0].city"."""
    steps: list[str | int] = []
    at = 1
    while (found := _STEP.match(path, at)) and path.startswith("$"):
        name, index, *quoted = found.groups()
        steps.append(int(index) if index else name or re.sub(r"\\(.)", r"\1", next(text for text in quoted if text is not None)))
        at = found.end()
    if not steps or at != len(path):
        raise BadReply(f"the arguments of a call stand at {path!r}, which is no place; ask again")
    return steps


def _has(inside: object, step: str | int) -> bool:
    match inside, step:
        case dict(), str():
            return step in cast("dict[str, Any]", inside)
        case list(), int():
            return step < len(cast("list[Any]", inside))
        case _:
            return False


def _set(inside: object, step: str | int, value: object) -> None:
    match inside, step:
        case dict(), str():
            cast("dict[str, Any]", inside)[step] = value
        case list(), int() if step < len(items := cast("list[Any]", inside)):
            items[step] = value
        case list(), int() if step == len(items := cast("list[Any]", inside)):
            items.append(value)
        case _:
            raise BadReply(f"the arguments of a call stand at {step!r} in what is no place for it; ask again")
