"""From what a tool returned or raised to what the model reads of it."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence, ValuesView
from collections.abc import Set as AbstractSet
from contextlib import aclosing, closing
from dataclasses import replace
from pathlib import PurePath
from typing import Any, cast

from pydantic_core import to_json, to_jsonable_python

from agentloop.messages import File, Image, ResultPart, Text, ToolResult
from agentloop.tools.threads import abandoned

MOST_CHARACTERS = 100_000
"""How much of a result a model reads at once."""
READ_ON = "read_result"
"""The tool by which it reads the rest."""

_MOST_OF_AN_ERROR = 2_000
_MOST_YIELDS = 100_000
_log = logging.getLogger("agentloop.tools")


class NoJsonForm(TypeError):
    """A tool returned what JSON cannot say."""


def to_result(value: Any, *, call_id: str, name: str) -> ToolResult:
    """Write down what a tool returned, once: what happens to the value later changes nothing.

    Raises:
        NoJsonForm: JSON cannot say it.
    """
    match value:
        case str():
            # The characters of a string enumeration's member, not its name.
            return _told(_strict(str.__str__(value)), call_id=call_id, name=name)
        case ToolResult():
            return replace(value, call_id=call_id, name=name)
        case Text() | Image() | File():
            return ToolResult(call_id, _parts([value]), name=name)
        case list() | tuple() if _are_parts(values := cast("Sequence[Any]", value)):
            return ToolResult(call_id, _parts(values), name=name)
        case _:
            return _told(_json(value, name), call_id=call_id, name=name)


def to_failure(error: BaseException, *, call_id: str, name: str) -> ToolResult:
    """Say what a tool raised: its type and its words, and nothing of where it happened, which is for the log."""
    _log.debug("tool %r failed", name, exc_info=error)
    words = str(error) if isinstance(error, NoJsonForm) else _described(error)
    return ToolResult(call_id, _strict(words), is_error=True, name=name)


def gather(generator: Generator[Any, Any, Any], say: Callable[[object], None]) -> list[Any]:
    """Run a generator to its end, saying each yield; or until nobody waits for it, or nobody could read it all."""
    found: list[Any] = []
    with closing(generator):
        for value in generator:
            if abandoned():
                break
            say(value)
            found.append(value)
            if len(found) >= _MOST_YIELDS:
                break
    return found


async def gather_async(generator: AsyncGenerator[Any, Any], say: Callable[[object], None]) -> list[Any]:
    """Run an asynchronous generator to its end, saying each yield; or until nobody could read it all."""
    found: list[Any] = []
    async with aclosing(generator):
        async for value in generator:
            say(value)
            found.append(value)
            if len(found) >= _MOST_YIELDS:
                break
    return found


def _told(text: str, *, call_id: str, name: str) -> ToolResult:
    if len(text) <= MOST_CHARACTERS:
        return ToolResult(call_id, text, name=name)
    how = f'{READ_ON}(call_id="{call_id}", start={MOST_CHARACTERS})'
    remark = f"\n[cut here, after {MOST_CHARACTERS:,} of {len(text):,} characters; read on with {how}]"
    return ToolResult(call_id, text[:MOST_CHARACTERS] + remark, name=name, whole=text)


def _are_parts(values: Sequence[Any]) -> bool:
    kinds = (Text, Image, File)
    return any(isinstance(value, kinds) for value in values) and all(isinstance(value, (str, *kinds)) for value in values)


def _parts(values: Sequence[str | ResultPart]) -> tuple[ResultPart, ...]:
    left = MOST_CHARACTERS
    parts: list[ResultPart] = []
    for value in values:
        if isinstance(value, Image | File):
            parts.append(value)
            continue
        words = _strict(value if isinstance(value, str) else value.text)
        parts.append(Text(_capped(words, left)))
        left = max(0, left - len(words))
    return tuple(parts)


def _json(value: Any, tool: str) -> str:
    unknown: list[str] = []

    def familiar(odd: Any) -> Any:
        match odd:
            case Mapping():
                return dict(odd)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            case memoryview():
                return odd.tobytes()
            case PurePath():
                return str(odd)
            case Sequence() | AbstractSet() | ValuesView():
                return list(odd)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            case _:
                unknown.append(type(odd).__name__)
                raise TypeError

    try:
        return to_json(value, bytes_mode="base64", inf_nan_mode="null", fallback=familiar).decode()
    except ValueError as error:
        if not unknown and (text := _json_of_odd_text(value, familiar)) is not None:
            return text
        what = _what(value, unknown, error)
        _log.warning("tool %r returned %s, which has no JSON form; return text, numbers, lists or dicts", tool, what)
        raise NoJsonForm(f"tool {tool!r} returned {what}, which has no JSON form") from error


def _json_of_odd_text(value: Any, familiar: Callable[[Any], Any]) -> str | None:
    """Write JSON of what holds half surrogate pairs, as file names do that are not UTF-8."""
    try:
        plain = to_jsonable_python(_with_strict_keys(value), bytes_mode="base64", inf_nan_mode="null", fallback=familiar)
        return _strict(json.dumps(plain, ensure_ascii=False, separators=(",", ":"), allow_nan=False))
    except (ValueError, RecursionError):
        return None


def _with_strict_keys(value: Any) -> Any:
    match value:
        case dict():
            entries = cast("dict[Any, Any]", value).items()
            return {_strict(key) if isinstance(key, str) else key: _with_strict_keys(inner) for key, inner in entries}
        case list():
            return [_with_strict_keys(inner) for inner in cast("list[Any]", value)]
        case _:
            return value


def _what(value: Any, unknown: list[str], error: ValueError) -> str:
    name = type(value).__name__
    if unknown:
        return _a(name) if unknown[0] == name else f"{_a(name)} that holds {_a(unknown[0])}"
    if "Circular reference" in str(error):
        return f"{_a(name)} that holds itself or is nested too deeply"
    return _a(name)


def _a(noun: str) -> str:
    return f"an {noun}" if noun[:1].lower() in "aeiou" else f"a {noun}"


def _strict(text: str) -> str:
    """Replace half surrogate pairs, and join whole ones, so that the text can be sent as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _capped(text: str, most: int = MOST_CHARACTERS) -> str:
    if len(text) <= most:
        return text
    return f"{text[:most]}\n[cut here: {len(text) - most:,} more characters]"


def _described(error: BaseException) -> str:
    name = type(error).__name__
    try:
        words = _words(error)
    except Exception:  # noqa: BLE001  # the error's own code, which may fail as well
        return name
    return f"{name}: {words}"[:_MOST_OF_AN_ERROR] if words else name


def _words(error: BaseException) -> str:
    if not isinstance(error, BaseExceptionGroup):
        return str(error)
    group = cast("BaseExceptionGroup[BaseException]", error)
    return f"{group.message}: {'; '.join(_described(each) for each in group.exceptions)}"
