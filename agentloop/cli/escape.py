"""Makes the words of strangers safe to show: nothing in them acts on a terminal, and nothing hides."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, cast

from pydantic_core import from_json, to_jsonable_python

from agentloop.messages import ToolCall, ToolResult

_SUSPECT = re.compile(r"[^ -~]")
# Persian, Indic scripts and emoji are misspelled without them, and no terminal acts on them.
_JOINERS = frozenset("\u200c\u200d")
_NAME_LENGTH = 64
_VALUE_LENGTH = 80
_CALL_LENGTH = 240
_RESULT_LENGTH = 100
_ERROR_LENGTH = 400
_UNITS = ("B", "kB", "MB", "GB")


def printable(text: str, *, keep: str = "") -> str:
    r"""Spell out what a terminal would obey or hide, such as `\x1b` and `\u202e`; `keep` are characters that stay."""
    return _SUSPECT.sub(lambda found: found[0] if found[0] in keep else _spelled(found[0]), text)


def one_line(text: str, length: int = _CALL_LENGTH) -> str:
    """Make a line of at most `length` characters, with an ellipsis where it was cut."""
    # What is cut away is not looked at: a result may have megabytes.
    line = printable(" ".join(text[: 4 * length].split()))
    return line if len(line) <= length and len(text) <= 4 * length else f"{line[: length - 1]}…"


def as_json(value: Any) -> str:
    """Write any value as one line of JSON that is safe to show and still means the same."""
    try:
        plain = to_jsonable_python(value, bytes_mode="base64", fallback=_described)
    except UnicodeEncodeError:
        # pydantic-core takes no half of a surrogate pair for a name; json spells it out.
        plain = value
    text = json.dumps(_finite(plain), ensure_ascii=False, separators=(",", ":"), default=_described)
    return _SUSPECT.sub(lambda found: _spelled_in_json(found[0]), text)


def call_line(call: ToolCall) -> str:
    """Write a call as Python would: `get_weather(city="Paris")`."""
    arguments = arguments_of(call)
    if isinstance(arguments, str):
        inside = one_line(arguments, _VALUE_LENGTH)
    else:
        inside = ", ".join(f"{one_line(name, _NAME_LENGTH)}={one_line(as_json(value), _VALUE_LENGTH)}" for name, value in arguments.items())
    return one_line(f"{one_line(call.name, _NAME_LENGTH)}({inside})")


def arguments_of(call: ToolCall) -> Mapping[str, Any] | str:
    """Read the arguments; the model's own text where it is no JSON object."""
    try:
        read = from_json(call.arguments or "{}")
    except ValueError:
        return call.arguments
    return cast("Mapping[str, Any]", read) if isinstance(read, dict) else call.arguments


def duration(seconds: float) -> str:
    """Write a time for people: `3 ms`, `0.4 s`, `2 min 5 s`."""
    if seconds < 0.0995:  # noqa: PLR2004 - what would round to 0.1 s
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:  # noqa: PLR2004 - what would round to a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def size(result: ToolResult) -> str:
    """Write for people how much a tool gave: `12 B`, `1.2 kB`."""
    parts = () if isinstance(result.content, str) else result.content
    count = float(len(result.text.encode("utf-8", "replace")) + sum(len(getattr(part, "data", None) or b"") for part in parts))
    unit = 0
    while count >= 999.5 and unit < len(_UNITS) - 1:  # noqa: PLR2004 - what would round to 1000
        count /= 1000
        unit += 1
    return f"{count:.1f} {_UNITS[unit]}" if unit and count < 99.95 else f"{count:.0f} {_UNITS[unit]}"  # noqa: PLR2004 - three digits


def outcome(result: ToolResult, *, seconds: float | None, verbose: bool) -> str:
    """Say in a few words what a call came to: `0.4 s 1.2 kB`, or what went wrong."""
    if result.is_error:
        return one_line(result.text, _ERROR_LENGTH)
    figures = f"{duration(seconds)} {size(result)}" if seconds is not None else size(result)
    return f"{figures} → {one_line(result.text, _RESULT_LENGTH)}" if verbose else figures


@lru_cache(4096)
def _spelled(character: str) -> str:
    return character if _is_shown(character) else character.encode("unicode_escape").decode("ascii")


@lru_cache(4096)
def _spelled_in_json(character: str) -> str:
    return character if _is_shown(character) else json.dumps(character)[1:-1]


def _is_shown(character: str) -> bool:
    return character.isprintable() or character in _JOINERS or unicodedata.category(character) == "Zs"


def _finite(value: Any) -> Any:
    """Write as words the numbers that JSON does not know."""
    match value:
        case float() if not math.isfinite(value):
            return str(value)
        case dict():
            return {name: _finite(inner) for name, inner in cast("dict[str, Any]", value).items()}
        case list():
            return [_finite(inner) for inner in cast("Iterable[Any]", value)]
        case _:
            return value


def _described(value: Any) -> Any:
    if isinstance(value, BaseException):
        return {"type": type(value).__name__, "message": str(value)}
    return repr(value)
