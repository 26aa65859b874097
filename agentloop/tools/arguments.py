"""From the JSON text that a model wrote to the arguments of a tool, or to words that tell it what was wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable
from collections.abc import Set as AbstractSet
from typing import Any, NoReturn, cast

from pydantic_core import ErrorDetails, SchemaValidator, ValidationError

from agentloop.errors import InvalidArguments

_MOST_BYTES = 2 * 2**20
_DEEPEST = 64
_MOST_ERRORS = 10
_MOST_EXPLAINED = 1_000
_SHORT = 80


class NotAnObject(InvalidArguments):
    """The text is not one JSON object, which a repair may make of it."""


def read_arguments(
    text: str, validator: SchemaValidator, *, known: Collection[str], reserved: AbstractSet[str], plain: bool
) -> dict[str, Any]:
    """Turn the model's JSON text into arguments by the parameters' names.

    Args:
        text: What the model wrote; nothing means no arguments.
        validator: Of the arguments.
        known: The names that the model was shown.
        reserved: Names that are not the model's to give.
        plain: Whether no argument is of a type that lets numbers through which are none, or fills in its own default.

    Raises:
        NotAnObject: The text is not one JSON object.
        InvalidArguments: It is one that the validator does not want, or whose meaning is not certain.
    """
    text = text.strip(" \t\r\n")
    if text in {"", "null"}:
        text = "{}"
    if plain and not reserved and (found := _at_a_glance(text, validator)) is not None:
        return found
    raw = decoded(text)
    try:
        values: dict[str, Any] = validator.validate_json(text)
    except ValidationError as error:
        kind = InvalidArguments if isinstance(raw, dict) else NotAnObject
        raise kind(_explained(error, raw, known)) from error
    if reserved and (taken := reserved & values.keys()):
        raise InvalidArguments(_listed([f"{name}: {_unknown(known)}" for name in sorted(taken)]))
    return values


def _at_a_glance(text: str, validator: SchemaValidator) -> dict[str, Any] | None:
    """Read the arguments if it is plain that nothing is wrong with them, which is most often so, at half the cost."""
    try:
        values: dict[str, Any] | None = validator.validate_json(text) if len(text) < _MOST_BYTES // 4 else None
    except ValidationError:
        return None
    # With as many colons as names, no name stands there twice and no object is nested.
    return values if values is not None and text.count(":") == len(values) else None


def decoded(text: str) -> Any:
    """Decode JSON text whose meaning is certain: numbers are finite, no key stands twice, nothing is nested too deep.

    Raises:
        NotAnObject: It is not JSON.
        InvalidArguments: It is, but not such.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidArguments(f"The arguments hold half a surrogate pair at character {error.start}; write whole characters.") from error
    if size > _MOST_BYTES:
        raise InvalidArguments(f"The arguments are {size:,} bytes long, and {_MOST_BYTES:,} are read; send less.")
    try:
        raw, end = _DECODER.raw_decode(text)
    except RecursionError:
        _too_deep()
    except ValueError as error:
        raise NotAnObject(f"The arguments are not JSON: {error}.") from error
    if end < len(text):
        raise NotAnObject(f"The arguments go on after their JSON, at character {end}; write one object.")
    if text.count("{") + text.count("[") > _DEEPEST and _deeper_than(_DEEPEST, raw):
        _too_deep()
    return raw


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Readers disagree on which of two equal keys holds: who checks a call and who runs it must see the same.
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise InvalidArguments(f"The arguments name {twice!r} twice; name it once.")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise InvalidArguments(f"The arguments hold {text[:_SHORT]}, which is too large a number; write a smaller one.")
    return number


def _no_constant(text: str) -> NoReturn:
    raise InvalidArguments(f"The arguments hold {text}, which JSON does not know; write a number, a string or null.")


_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_float=_finite, parse_constant=_no_constant)


def _deeper_than(limit: int, value: Any) -> bool:
    level: list[Any] = [value]
    for _ in range(limit):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return False
    return any(isinstance(each, dict | list) for each in level)


def _inside(value: Any) -> Iterable[Any]:
    match value:
        case dict():
            return cast("dict[str, Any]", value).values()
        case list():
            return cast("list[Any]", value)
        case _:
            return ()


def _too_deep() -> NoReturn:
    raise InvalidArguments(f"The arguments are nested more than {_DEEPEST} levels deep; flatten them.")


def _explained(error: ValidationError, raw: Any, known: Collection[str]) -> str:
    if error.error_count() > _MOST_EXPLAINED:
        return f"The arguments do not fit in {error.error_count():,} places; send fewer, in the form that was described."
    wrong: dict[str, list[str]] = {}
    got: dict[str, str] = {}
    for each in error.errors(include_url=False, include_context=False, include_input=False):
        if each["type"] == "json_invalid":
            return f"The arguments are not JSON: {each['msg'].removeprefix('Invalid JSON: ')}."
        path, value = _place(each, raw)
        wrong.setdefault(path, []).append(_reason(each, known, at_root=len(each["loc"]) == 1))
        if each["type"] not in _WITHOUT_VALUE:
            got[path] = f"; got {_short(value)}"
    return _listed([f"{path}: {' or '.join(dict.fromkeys(reasons))}{got.get(path, '')}" for path, reasons in wrong.items()])


_WITHOUT_VALUE = {"missing", "missing_argument", "extra_forbidden", "unexpected_keyword_argument"}


def _place(error: ErrorDetails, raw: Any) -> tuple[str, Any]:
    path = ""
    place: Any = raw
    for key in error["loc"]:
        step = f"[{key}]" if isinstance(key, int) else f".{key}"
        if found := _under(key, place):
            path, (place,) = path + step, found
        elif error["type"] in _WITHOUT_VALUE and key == error["loc"][-1]:
            path += step
        # What is neither is the branch of a union that was tried.
    return path.lstrip(".") or "the arguments", place


def _under(key: int | str, place: Any) -> tuple[Any, ...]:
    kind: type[Any] = list if isinstance(key, int) else dict
    try:
        return (place[key],) if isinstance(place, kind) else ()
    except LookupError:
        return ()


def _reason(error: ErrorDetails, known: Collection[str], *, at_root: bool) -> str:
    match error["type"]:
        case "missing" | "missing_argument":
            return "is missing"
        case "extra_forbidden" | "unexpected_keyword_argument":
            return _unknown(known) if at_root else "is unknown"
        case _:
            return error["msg"].removeprefix("Input ")


def _unknown(known: Collection[str]) -> str:
    return f"is unknown; known: {', '.join(known) or 'none'}"


def _short(value: Any) -> str:
    if isinstance(value, dict | list) and (size := len(cast("list[Any]", value))) > _SHORT:
        return f"{'an object' if isinstance(value, dict) else 'an array'} of {size}"
    text = json.dumps(value[: _SHORT + 1] if isinstance(value, str) else value, ensure_ascii=False)
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}..."


def _listed(wrong: list[str]) -> str:
    if len(wrong) == 1:
        return f"The arguments do not fit: {wrong[0]}."
    more = [f"and {len(wrong) - _MOST_ERRORS} more"] if len(wrong) > _MOST_ERRORS else []
    return "The arguments do not fit:" + "".join(f"\n- {each}" for each in [*wrong[:_MOST_ERRORS], *more])
