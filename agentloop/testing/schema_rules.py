"""What a JSON Schema must be for providers to take it; each problem is one sentence that names its place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from typing_extensions import TypeIs

_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_SCHEMAS = ("additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then", "unevaluatedItems")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_MAPPINGS = ("$defs", "definitions", "dependentSchemas", "patternProperties", "properties")
_DEEPEST = 64

# The formats of text that Anthropic's structured outputs know, by its SDK's lib/_parse/_transform.py.
_FORMATS = ("date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid")
_NOT_PLAIN = (
    "contains", "else", "exclusiveMaximum", "exclusiveMinimum", "if", "maximum", "maxItems", "maxLength", "maxProperties", "minimum",
    "minLength", "minProperties", "multipleOf", "not", "oneOf", "pattern", "patternProperties", "prefixItems", "propertyNames", "then",
    "uniqueItems",
)  # fmt: skip

# What Google's plain schemas know, by its SDK's types.Schema and what its API answers.
_OPENAPI = (
    "anyOf", "default", "description", "enum", "example", "format", "items", "maxItems", "maxLength", "maxProperties", "maximum",
    "minItems", "minLength", "minProperties", "minimum", "nullable", "pattern", "properties", "propertyOrdering", "required", "title",
    "type",
)  # fmt: skip

# What OpenAI's strict mode does not take, besides what `strict_problems` asks of objects.
_NOT_STRICT = (
    "allOf", "contains", "default", "maxLength", "maxProperties", "minLength", "minProperties", "oneOf", "patternProperties",
    "propertyNames", "unevaluatedItems", "uniqueItems",
)  # fmt: skip


def is_object(value: Any) -> TypeIs[Mapping[str, Any]]:
    """Whether a JSON value is an object."""
    return isinstance(value, Mapping)


def is_list(value: Any) -> TypeIs[list[Any]]:
    """Whether a JSON value is a list."""
    return isinstance(value, list)


def object_of(value: Any) -> Mapping[str, Any]:
    """Take a JSON value that should be an object; anything else counts as an empty one."""
    return value if is_object(value) else {}


def is_one_of(value: Any, choices: Iterable[Any]) -> bool:
    """Whether a JSON value is one of these; 1 is not true, and what has no hash may be asked about."""
    return any(type(value) is type(choice) and value == choice for choice in choices)


def in_camel_case(name: str) -> str:
    """Name a field as Google does; its API takes `response_schema` for `responseSchema`, too."""
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name)


def is_number(value: Any) -> TypeIs[int | float]:
    """Whether a JSON value is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def parameters_problems(schema: Any) -> Iterator[str]:
    """Look at the schema of a tool's arguments."""
    if not is_object(schema):
        yield f"the schema is {_kind(schema)}, not an object"
        return
    if schema.get("type") != "object":
        yield f"the schema's type is {schema.get('type')!r}; it must be 'object'"
    for place, part in _walk(schema, ""):
        yield from (f"{place or 'the schema'}: {problem}" for problem in _problems(part, schema))


def strict_problems(schema: Mapping[str, Any]) -> Iterator[str]:
    """Look at a schema that OpenAI shall hold the model to (structured outputs, strict tools)."""
    if "anyOf" in schema:
        yield "the schema has anyOf at its root"
    for place, part in _walk(schema, ""):
        if not is_object(part):
            continue
        here = place or "the schema"
        yield from (f"{here}: strict mode takes no {word!r}" for word in _NOT_STRICT if word in part)
        if part.get("type") == "object" or "properties" in part:
            if part.get("additionalProperties") is not False:
                yield f"{here}: strict mode needs additionalProperties: false"
            properties, required = part.get("properties", {}), part.get("required", [])
            if missing := [name for name in properties if name not in required]:
                yield f"{here}: strict mode needs all properties in 'required'; missing: {', '.join(missing)}"


def plain_problems(schema: Mapping[str, Any]) -> Iterator[str]:
    """Look at a schema that Anthropic shall hold the model to (structured outputs, strict tools)."""
    for place, part in _walk(schema, ""):
        if not is_object(part):
            continue
        here = place or "the schema"
        yield from (f"{here}: property {word!r} is not supported" for word in _NOT_PLAIN if word in part)
        if part.get("type") == "object" and part.get("additionalProperties") is not False:
            yield f"{here}: for 'object' type, 'additionalProperties' must be explicitly set to false"
        if not is_one_of(part.get("minItems", 0), (0, 1)):
            yield f"{here}: 'minItems' may only be 0 or 1"
        if part.get("format", "uri") not in _FORMATS:
            yield f"{here}: the format {part['format']!r} is not supported"


def openapi_problems(schema: Any, *, is_object_needed: bool = False) -> Iterator[str]:
    """Look at a schema in Google's plain form; each problem begins with its place.

    Args:
        schema: What stands in `parameters` or `responseSchema`.
        is_object_needed: Whether it must be of an object, as a function's arguments are.
    """
    if not is_object(schema):
        yield f": it must be an object, not {_kind(schema)}."
        return
    if is_object_needed and str(schema.get("type")).lower() != "object":
        yield f".type: it must be OBJECT, not {schema.get('type')!r}."
    for place, part in _walk(schema, ""):
        here = place.replace("/", ".")
        if not is_object(part):
            yield f"{here}: it must be a schema, not {_kind(part)}."
            continue
        yield from (f'{here}: Unknown name "{word}": Cannot find field.' for word in part if in_camel_case(word) not in _OPENAPI)
        yield from (f"{here}{wrong}" for wrong in _openapi_type_problems(part))


def _openapi_type_problems(schema: Mapping[str, Any]) -> Iterator[str]:
    kind = schema.get("type")
    if kind is None:
        if "anyOf" not in schema:
            yield ".type: it must be set."
        return
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        yield f".type: {kind!r} is none of {', '.join(name.upper() for name in _TYPES)}."
        return
    # An empty object of properties is taken, as recorded exchanges show.
    if kind.lower() == "object" and "properties" not in schema:
        yield ".properties: should be non-empty for OBJECT type"
    if kind.lower() == "array" and "items" not in schema:
        yield ".items: missing field."
    required, values = (schema.get(word, []) for word in ("required", "enum"))
    known = object_of(schema.get("properties"))
    unknown = [name for name in required if not is_one_of(name, known)] if is_list(required) else [required]
    if unknown:
        yield f".required: property {unknown[0]!r} is not defined"
    if not is_list(values) or not all(isinstance(value, str) for value in values):
        yield ".enum: only strings are allowed"


def _walk(schema: Any, place: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    yield place, schema
    if not is_object(schema) or depth > _DEEPEST:
        return
    for word in _SCHEMAS:
        if word in schema:
            yield from _walk(schema[word], f"{place}/{word}", depth + 1)
    for word in _LISTS:
        if is_list(parts := schema.get(word)):
            for number, part in enumerate(parts):
                yield from _walk(part, f"{place}/{word}/{number}", depth + 1)
    for word in _MAPPINGS:
        if is_object(named := schema.get(word)):
            for name, part in named.items():
                yield from _walk(part, f"{place}/{word}/{name}", depth + 1)


def _problems(schema: Any, root: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(schema, bool):
        return
    if not is_object(schema):
        yield f"{_kind(schema)} is no schema; it must be an object, true or false"
        return
    yield from _type_problems(schema)
    yield from (f"{word!r} must be a number" for word in _NUMBERS if word in schema and not is_number(schema[word]))
    yield from (f"{word!r} must be a count" for word in _COUNTS if word in schema and not _is_count(schema[word]))
    yield from (f"{word!r} must be a list with a schema in it" for word in _LISTS if word in schema and not _is_full_list(schema[word]))
    yield from (f"{word!r} must be an object" for word in _MAPPINGS if word in schema and not is_object(schema[word]))
    if "enum" in schema and not _is_full_list(schema["enum"]):
        yield "'enum' must be a list with a value in it"
    yield from _required_problems(schema)
    if "$ref" in schema and not _resolves(schema["$ref"], root):
        yield f"'$ref' {schema['$ref']!r} leads nowhere in this schema"


def _type_problems(schema: Mapping[str, Any]) -> Iterator[str]:
    said = schema.get("type")
    kinds = said if is_list(said) else [] if said is None else [said]
    yield from (f"the type {kind!r} is none of {', '.join(_TYPES)}" for kind in kinds if kind not in _TYPES)
    # OpenAI refuses an array that does not say what is in it.
    if "array" in kinds and "items" not in schema and "prefixItems" not in schema:
        yield "an array must say what is in it, with 'items'"


def _required_problems(schema: Mapping[str, Any]) -> Iterator[str]:
    required = schema.get("required", [])
    if not is_list(required) or not all(isinstance(name, str) for name in required):
        yield "'required' must be a list of names"
        return
    if len(set(required)) != len(required):
        yield "'required' names a property twice"
    properties = schema.get("properties")
    if is_object(properties) and (unknown := [name for name in required if name not in properties]):
        yield f"'required' names {', '.join(map(repr, unknown))}, which 'properties' does not have"


def _resolves(reference: Any, root: Mapping[str, Any]) -> bool:
    if not isinstance(reference, str) or not reference.startswith("#"):
        return False
    place: Any = root
    for step in reference.removeprefix("#").removeprefix("/").split("/") if reference != "#" else []:
        key = step.replace("~1", "/").replace("~0", "~")
        if not is_object(place) or key not in place:
            return False
        place = place[key]
    return True


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_full_list(value: Any) -> bool:
    return is_list(value) and bool(value)


def _kind(value: Any) -> str:
    return {"NoneType": "null", "str": "a string", "list": "a list", "int": "a number", "float": "a number"}.get(
        type(value).__name__, type(value).__name__
    )
