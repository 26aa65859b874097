"""What a JSON Schema consists of and points to: checked, merged, and written out in one piece."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any, TypeGuard, cast

from agentloop.errors import ToolDefinitionError

Schema = dict[str, Any]
AnySchema = Schema | bool

MAX_SIZE = 1_000_000
"""Characters and values in a schema; a larger one is refused."""
MAX_DEPTH = 100
"""JSON values inside one another, which is about 50 levels of schemas."""
MAX_LEVELS = 32
"""Levels at which references are still followed."""
_TIMES = 2
"""How often a definition is written out inside itself."""
_ROOM = 1_000
"""Parts after which definitions that have parts are no longer written out."""
_MAX_WRITTEN = 50_000

_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
# Where schemas stand: as the value of a keyword, in a list, under names. All else is data, even where it looks like a schema.
_ONE = frozenset((
    "additionalProperties", "contains", "contentSchema", "else", "if", "items", "not", "propertyNames", "then",
    "unevaluatedItems", "unevaluatedProperties",
))  # fmt: skip
_SEVERAL = frozenset(("allOf", "anyOf", "oneOf", "prefixItems"))
_NAMED = frozenset(("$defs", "definitions", "dependentSchemas", "patternProperties", "properties"))


def checked(schema: Mapping[str, Any]) -> Schema:
    """Give the schema back when all that is done with it here must work and end.

    Raises:
        ToolDefinitionError: It is too large or too deep, malformed, or points to what is not in it.
    """
    root = dict(schema)
    _measure(root)
    aliases: dict[str, set[str]] = {}
    waiting: list[Any] = [root]
    seen: set[int] = set()
    while waiting:
        found = waiting.pop()
        if isinstance(found, bool) or id(found) in seen:
            continue
        seen.add(id(found))
        _check_form(found)
        waiting.extend(inside(found))
        if (reference := found.get("$ref")) is not None:
            aim = target(reference, root=root)
            aliases[reference] = {aim["$ref"]} if isinstance(aim, dict) and "$ref" in aim else set()
            waiting.append(aim)
    if loop := _loop(aliases):
        raise ToolDefinitionError(f"the schema's reference {loop[0]!r} leads only back to itself; point it to a definition")
    return root


def inside(schema: Schema) -> Iterator[AnySchema]:
    """List the schemas directly inside."""
    for keyword, value in schema.items():
        if keyword in _ONE:
            yield value
        elif keyword in _SEVERAL:
            yield from value
        elif keyword in _NAMED:
            yield from value.values()


def mapped(schema: Schema, change: Callable[[AnySchema], AnySchema]) -> Schema:
    """Rebuild the schema with each schema directly inside it changed."""
    return {keyword: _mapped(keyword, value, change) for keyword, value in schema.items()}


def as_schema(schema: AnySchema) -> Schema:
    """Write true and false as objects."""
    match schema:
        case True:
            return {}
        case False:
            return {"not": {}}
        case _:
            return schema


def types(schema: Schema) -> list[str]:
    """List the types that the schema names or implies; none means any."""
    match schema:
        case {"type": str() as name}:
            return [name]
        case {"type": [*names]}:
            return [str(name) for name in names]
        case {"const": value}:
            return [_type(value)]
        case {"enum": [*values]}:
            return list(dict.fromkeys(_type(value) for value in values))
        case {"properties": _}:
            return ["object"]
        case {"items": _} | {"prefixItems": _}:
            return ["array"]
        case _:
            return []


def is_object(value: Any) -> TypeGuard[Schema]:
    """Tell whether JSON calls this an object."""
    return isinstance(value, dict)


def is_list(value: Any) -> TypeGuard[list[Any]]:
    """Tell whether JSON calls this an array."""
    return isinstance(value, list)


def same(one: Any, other: Any) -> bool:
    """Compare as JSON does, where true is not 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def target(reference: str, *, root: Schema) -> AnySchema:
    """Find what a reference points to.

    Raises:
        ToolDefinitionError: It is not in the schema.
    """
    found: Any = root
    try:
        for step in _steps(reference):
            found = found[int(step) if type(found) is list else step]
    except (KeyError, IndexError, TypeError, ValueError):
        found = None
    if not isinstance(found, dict | bool):
        raise ToolDefinitionError(f"the schema points to {reference!r}, which is not in it; write the definition under '$defs'")
    return cast("AnySchema", found)


def resolved(schema: AnySchema, *, root: Schema) -> Schema:
    """Follow the reference at the top, if there is one; what stands beside it is merged in."""
    schema = as_schema(schema)
    while "$ref" in schema:
        schema = merged(as_schema(target(schema["$ref"], root=root)), without(schema, "$ref"))
    return schema


def recursive(schema: Schema) -> bool:
    """Tell whether a definition contains itself."""
    holds: dict[int, set[int]] = {}
    waiting: list[AnySchema] = [schema]
    while waiting:
        part = waiting.pop()
        if id(part) not in holds:
            aims = [target(reference, root=schema) for reference in _references(part)]
            holds[id(part)] = {id(aim) for aim in aims}
            waiting.extend(aims)
    return bool(_loop(holds))


def allows_null(schema: AnySchema, *, root: Schema, known: dict[int, bool], depth: int = 0) -> bool:
    """Tell whether null is accepted; `known` remembers the answers for one root's definitions."""

    def inner(part: AnySchema) -> bool:
        return allows_null(part, root=root, known=known, depth=depth + 1)

    def at(reference: str) -> bool:
        aim = target(reference, root=root)
        if id(aim) not in known:
            # A definition that leads only to itself accepts nothing on that way.
            known[id(aim)] = False
            known[id(aim)] = depth <= MAX_LEVELS and inner(aim)
        return known[id(aim)]

    schema = as_schema(schema)
    return (
        ("type" not in schema or "null" in types(schema))
        and ("const" not in schema or schema["const"] is None)
        and ("enum" not in schema or None in schema["enum"])
        and ("$ref" not in schema or at(schema["$ref"]))
        and all(inner(part) for part in schema.get("allOf", ()))
        and all(any(inner(part) for part in schema[union]) for union in ("anyOf", "oneOf") if union in schema)
        and "not" not in schema
    )


def merged(*schemas: Schema) -> Schema:
    """Put schemas that all hold into one; where two limits clash, the later one is kept."""
    whole: Schema = {}
    for schema in schemas:
        for keyword, value in schema.items():
            match keyword:
                case "properties":
                    properties: dict[str, AnySchema] = whole.setdefault(keyword, {})
                    for name, part in value.items():
                        properties[name] = merged(as_schema(properties[name]), as_schema(part)) if name in properties else part
                case "required":
                    whole.setdefault(keyword, {}).update(dict.fromkeys(value))
                case _:
                    whole[keyword] = value
    if "required" in whole:
        whole["required"] = list(whole["required"])
    return whole


def without(schema: Schema, *keywords: str) -> Schema:
    """Leave keywords out."""
    return {keyword: value for keyword, value in schema.items() if keyword not in keywords}


def written_out(schema: Schema) -> Schema:
    """Write every reference out in place.

    A definition inside itself is written out twice; deeper, or when there is no room left, words say what belongs there. Breadth comes
    first, so what is cut lies deepest.

    Raises:
        ToolDefinitionError: It grows too large even so.
    """
    page: dict[str, Any] = {}
    waiting: deque[_Place] = deque([(page, "whole", schema, (), 0)])
    placed = 1
    while waiting:
        holder, key, found, opened, depth = waiting.popleft()
        if placed > _MAX_WRITTEN:
            raise ToolDefinitionError(f"the schema has over {_MAX_WRITTEN:,} parts with its references written out; share fewer of them")
        if isinstance(found, bool):
            holder[key] = found
            continue
        part, opened = _opened(found, opened, root=schema, room=placed <= _ROOM and depth <= MAX_LEVELS)
        holder[key], places = _spread(without(part, "$defs", "definitions"))
        waiting.extend((*place, opened, depth + 1) for place in places)
        placed += len(places)
    return cast("Schema", page["whole"])


_Place = tuple[Any, Any, AnySchema, tuple[str, ...], int]


def _measure(root: Schema) -> None:
    size = 0
    waiting: list[tuple[Any, int]] = [(root, 1)]
    while waiting:
        value, depth = waiting.pop()
        size += 1
        if isinstance(value, str):
            size += len(value)
        elif is_object(value):
            size += sum(len(str(name)) for name in value)
            waiting.extend((inner, depth + 1) for inner in value.values())
        elif is_list(value):
            waiting.extend((inner, depth + 1) for inner in value)
        if size > MAX_SIZE:
            raise ToolDefinitionError(f"the schema is larger than {MAX_SIZE:,} characters; describe less")
        if depth > MAX_DEPTH:
            raise ToolDefinitionError(f"the schema is nested deeper than {MAX_DEPTH} values; move parts of it under '$defs'")


def _check_form(schema: Any) -> None:
    if not is_object(schema):
        raise ToolDefinitionError(f"the schema has {_shown(schema)} where a schema must stand; write an object, true or false")
    for keyword, value in schema.items():
        if not _FORMS.get(keyword, _anything)(value):
            raise ToolDefinitionError(f"the schema says {keyword!r}: {_shown(value)}, which JSON Schema 2020-12 does not know; correct it")


def _anything(_: Any) -> bool:
    return True


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_type(value: Any) -> bool:
    return value in _TYPES if isinstance(value, str) else _is_full_list(value) and all(name in _TYPES for name in value)


def _is_names(value: Any) -> bool:
    return is_list(value) and all(isinstance(name, str) for name in value)


def _is_full_list(value: Any) -> bool:
    return is_list(value) and bool(value)


def _is_named(value: Any) -> bool:
    return is_object(value) and all(isinstance(name, str) for name in value)  # pyright: ignore[reportUnnecessaryIsInstance] - unchecked data


_NUMBERS = (
    "exclusiveMaximum", "exclusiveMinimum", "maxItems", "maxLength", "maxProperties", "maximum", "minItems", "minLength", "minProperties",
    "minimum", "multipleOf",
)  # fmt: skip
_FORMS: Mapping[str, Callable[[Any], bool]] = {
    "type": _is_type,
    "required": _is_names,
    **dict.fromkeys(("$ref", "description", "format", "pattern", "title"), _is_text),
    **dict.fromkeys(_NUMBERS, _is_number),
    **dict.fromkeys(("enum", *_SEVERAL), _is_full_list),
    **dict.fromkeys(_NAMED, _is_named),
}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."  # noqa: PLR2004 - as much as fits into a sentence


def _loop(graph: Mapping[Any, set[Any]]) -> list[Any]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def _mapped(keyword: str, value: Any, change: Callable[[AnySchema], AnySchema]) -> Any:
    if keyword in _ONE:
        return change(value)
    if keyword in _SEVERAL:
        return [change(part) for part in value]
    if keyword in _NAMED:
        return {name: change(part) for name, part in value.items()}
    return value


def _type(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _steps(reference: str) -> list[str]:
    # A JSON pointer as the fragment of a URI: RFC 6901, section 6.
    if reference == "#":
        return []
    if not reference.startswith("#/"):
        raise ValueError(reference)
    return [_decoded(step).replace("~1", "/").replace("~0", "~") for step in reference[2:].split("/")]


def _decoded(step: str) -> str:
    escaped = step.encode("utf-8", "surrogatepass")
    return re.sub(rb"%([0-9A-Fa-f]{2})", lambda found: bytes((int(found[1], 16),)), escaped).decode("utf-8", "surrogatepass")


def _references(schema: AnySchema) -> set[str]:
    found: set[str] = set()
    waiting: list[AnySchema] = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            found |= {part["$ref"]} if "$ref" in part else set()
            waiting.extend(inside(part))
    return found


def _opened(schema: Schema, opened: tuple[str, ...], *, root: Schema, room: bool) -> tuple[Schema, tuple[str, ...]]:
    while "$ref" in schema:
        reference: str = schema["$ref"]
        beside = without(schema, "$ref")
        found = as_schema(target(reference, root=root))
        has_parts = next(inside(found), None) is not None
        if has_parts and (not room or opened.count(reference) >= _TIMES):
            return merged(_cut(reference, found), beside), opened
        opened = (*opened, reference)
        schema = merged(found, beside)
    return schema, opened


def _cut(reference: str, found: Schema) -> Schema:
    name = found.get("title") or reference.rpartition("/")[2]
    words = f"Another {name}, of the form described above." if name != "#" else "The whole form once more."
    return {key: found[key] for key in ("type",) if key in found} | {"description": words}


def _spread(schema: Schema) -> tuple[Schema, list[tuple[Any, Any, AnySchema]]]:
    """Copy the schema with room for the schemas inside it, and list the places where they belong."""
    copy: Schema = {}
    places: list[tuple[Any, Any, AnySchema]] = []
    for keyword, value in schema.items():
        copy[keyword] = value
        if keyword in _ONE:
            places.append((copy, keyword, value))
        elif keyword in _SEVERAL:
            copy[keyword] = [None] * len(value)
            places.extend((copy[keyword], number, part) for number, part in enumerate(value))
        elif keyword in _NAMED:
            copy[keyword] = dict.fromkeys(value)
            places.extend((copy[keyword], name, part) for name, part in value.items())
    return copy, places
