"""What a JSON Schema must be for providers to take it; each problem is one sentence that names its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_SCHEMAS = ("additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then", "unevaluatedItems")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_MAPPINGS = ("$defs", "definitions", "dependentSchemas", "patternProperties", "properties")
_DEEPEST = 64

# What OpenAI's strict mode does not take, besides what `strict_problems` asks of objects.
_NOT_STRICT = (
    "allOf", "contains", "default", "maxLength", "maxProperties", "minLength", "minProperties", "oneOf", "patternProperties",
    "propertyNames", "unevaluatedItems", "uniqueItems",
)  # fmt: skip


def parameters_problems(schema: Any) -> Iterator[str]:
    """Look at the schema of a tool's arguments."""
    if not isinstance(schema, Mapping):
        yield f"the schema is {_kind(schema)}, not an object"
        return
    root = cast("Mapping[str, Any]", schema)
    if root.get("type") != "object":
        yield f"the schema's type is {root.get('type')!r}; it must be 'object'"
    for place, part in _walk(root, ""):
        yield from (f"{place or 'the schema'}: {problem}" for problem in _problems(part, root))


def strict_problems(schema: Mapping[str, Any]) -> Iterator[str]:
    """Look at a schema that OpenAI shall hold the model to (structured outputs, strict tools)."""
    if "anyOf" in schema:
        yield "the schema has anyOf at its root"
    for place, part in _walk(schema, ""):
        if not isinstance(part, Mapping):
            continue
        here = place or "the schema"
        words = cast("Mapping[str, Any]", part)
        yield from (f"{here}: strict mode takes no {word!r}" for word in _NOT_STRICT if word in words)
        if words.get("type") == "object" or "properties" in words:
            if words.get("additionalProperties") is not False:
                yield f"{here}: strict mode needs additionalProperties: false"
            properties, required = words.get("properties", {}), words.get("required", [])
            if missing := [name for name in properties if name not in required]:
                yield f"{here}: strict mode needs all properties in 'required'; missing: {', '.join(missing)}"


def _walk(schema: Any, place: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    yield place, schema
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return
    words = cast("Mapping[str, Any]", schema)
    for word in _SCHEMAS:
        if word in words:
            yield from _walk(words[word], f"{place}/{word}", depth + 1)
    for word in _LISTS:
        if isinstance(words.get(word), list):
            for number, part in enumerate(words[word]):
                yield from _walk(part, f"{place}/{word}/{number}", depth + 1)
    for word in _MAPPINGS:
        if isinstance(words.get(word), Mapping):
            for name, part in words[word].items():
                yield from _walk(part, f"{place}/{word}/{name}", depth + 1)


def _problems(schema: Any, root: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, Mapping):
        yield f"{_kind(schema)} is no schema; it must be an object, true or false"
        return
    words = cast("Mapping[str, Any]", schema)
    yield from _type_problems(words)
    yield from (f"{word!r} must be a number" for word in _NUMBERS if word in words and not _is_number(words[word]))
    yield from (f"{word!r} must be a count" for word in _COUNTS if word in words and not _is_count(words[word]))
    yield from (f"{word!r} must be a list with a schema in it" for word in _LISTS if word in words and not _is_full_list(words[word]))
    yield from (f"{word!r} must be an object" for word in _MAPPINGS if word in words and not isinstance(words[word], Mapping))
    if "enum" in words and not _is_full_list(words["enum"]):
        yield "'enum' must be a list with a value in it"
    yield from _required_problems(words)
    if "$ref" in words and not _resolves(words["$ref"], root):
        yield f"'$ref' {words['$ref']!r} leads nowhere in this schema"


def _type_problems(words: Mapping[str, Any]) -> Iterator[str]:
    said = words.get("type")
    kinds: list[Any] = said if isinstance(said, list) else [] if said is None else [said]
    yield from (f"the type {kind!r} is none of {', '.join(_TYPES)}" for kind in kinds if kind not in _TYPES)
    # OpenAI refuses an array that does not say what is in it.
    if "array" in kinds and "items" not in words and "prefixItems" not in words:
        yield "an array must say what is in it, with 'items'"


def _required_problems(words: Mapping[str, Any]) -> Iterator[str]:
    required = words.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in cast("list[Any]", required)):
        yield "'required' must be a list of names"
        return
    names = cast("list[str]", required)
    if len(set(names)) != len(names):
        yield "'required' names a property twice"
    properties = words.get("properties")
    if isinstance(properties, Mapping) and (unknown := [name for name in names if name not in properties]):
        yield f"'required' names {', '.join(map(repr, unknown))}, which 'properties' does not have"


def _resolves(reference: Any, root: Mapping[str, Any]) -> bool:
    if not isinstance(reference, str) or not reference.startswith("#"):
        return False
    place: Any = root
    for step in reference.removeprefix("#").removeprefix("/").split("/") if reference != "#" else []:
        key = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(place, Mapping) or key not in place:
            return False
        place = cast("Mapping[str, Any]", place)[key]
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_full_list(value: Any) -> bool:
    return isinstance(value, list) and bool(cast("list[Any]", value))


def _kind(value: Any) -> str:
    return {"NoneType": "null", "str": "a string", "list": "a list", "int": "a number", "float": "a number"}.get(
        type(value).__name__, type(value).__name__
    )
