"""A tool's JSON Schema in the dialect of each provider.

What a dialect has no keyword for moves into the description, where the model still reads it; the tool checks its arguments in any case.
All of it is pure: the same schema gives the same text, byte for byte, with its names in the order in which they were written. All of it
raises `ToolDefinitionError` for a schema that is malformed, too large, or points to what is not in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agentloop.errors import ToolDefinitionError
from agentloop.tools.inlining import (
    MAX_LEVELS,
    AnySchema,
    Schema,
    allows_null,
    as_schema,
    checked,
    mapped,
    merged,
    recursive,
    resolved,
    same,
    target,
    types,
    without,
    written_out,
)
from agentloop.tools.strict_nulls import drop_strict_nulls

__all__ = ["anthropic", "anthropic_strict", "drop_strict_nulls", "gemini", "openai_strict", "plain"]


def plain(schema: Mapping[str, Any]) -> Schema:
    """Give the schema as it is, made such that every provider takes it for the parameters of a tool.

    Its root is an object with `properties`: a reference there is followed, and what the branches of a union ask for stands side by side.
    Below, an array says what is in it, and `required` names only properties.
    """
    root = checked(schema)
    kinds = types(root)
    if any(keyword in root for keyword in _NOT_AT_ROOT):
        flat = _side_by_side(root, root=root, known={}, depth=0)
        kinds = types(flat)
        root = checked(_telling(without(flat, *_NOT_AT_ROOT), {keyword: flat[keyword] for keyword in _NOT_AT_ROOT if keyword in flat}))
    if kinds and "object" not in kinds:
        raise ToolDefinitionError(f"a tool's arguments must be an object, not {' or '.join(kinds)}; make the value a parameter")
    return _completed({**root, "type": "object", "properties": root.get("properties", {})})


def anthropic(schema: Mapping[str, Any]) -> Schema:
    """Render for Anthropic's `input_schema`, which takes ordinary JSON Schema with an object at its root."""
    return plain(schema)


def openai_strict(schema: Mapping[str, Any]) -> Schema | None:
    """Render the subset to which OpenAI holds its models, or None where it cannot say what the schema says.

    It has no optional properties: here all are required, and null means left out; `drop_strict_nulls` reads the arguments back. It has no
    objects with free names, no values of any form, no tuples of several types, no conditions, and no union at the root.
    """
    return _strict(schema, keeps=_OPENAI_KEEPS, all_required=True)


def anthropic_strict(schema: Mapping[str, Any]) -> Schema | None:
    """Render the subset to which Anthropic holds its models, or None where it cannot say what the schema says.

    As OpenAI's, but properties may be left out, almost all limits move into the descriptions, and no definition may contain itself.
    """
    rendered = _strict(schema, keeps=_ANTHROPIC_KEEPS, all_required=False)
    return None if rendered is None or recursive(rendered) else rendered


def gemini(schema: Mapping[str, Any]) -> Schema:
    """Render the subset of OpenAPI that Gemini's `parameters` and `responseSchema` take; empty where there are no parameters.

    Gemini refuses an object without properties at the root: leave an empty rendering out. References are written out; what contains
    itself is cut the third time, with words in its place. Numbers in `enum` become words too, for Gemini lists only strings.
    """
    root = written_out(plain(schema))
    return _gemini(root) if root["properties"] else {}


class _Unsayable(Exception):
    """A strict subset has no words for the schema."""


_Keeps = Mapping[str, Callable[[Any], bool]]


def _always(_: object) -> bool:
    return True


def _no_look_around(pattern: str) -> bool:
    return re.search(r"\(\?<?[=!]", pattern) is None


def _are_scalars(values: list[Any]) -> bool:
    return not any(isinstance(value, dict | list) for value in values)


# OpenAI and Anthropic refuse these at the root, even of a tool that is not strict.
_NOT_AT_ROOT = ("$ref", "allOf", "anyOf", "const", "enum", "not", "oneOf")
_LIMITS = ("exclusiveMaximum", "exclusiveMinimum", "maxItems", "maximum", "minItems", "minimum", "multipleOf")
_COUNTS = ("maxItems", "maxLength", "maxProperties", "minItems", "minLength", "minProperties")

# What a description can say as well; the rest of what is known only describes, and is left out.
_TOLD = frozenset((
    *_LIMITS, *_COUNTS, "const", "contains", "contentEncoding", "contentMediaType", "contentSchema", "default", "enum", "examples",
    "format", "maxContains", "minContains", "pattern", "propertyNames", "uniqueItems",
))  # fmt: skip
# What changes the form of a value so much that a strict subset without it would say something else.
_FORMATIVE = frozenset((
    "$dynamicRef", "allOf", "dependentRequired", "dependentSchemas", "else", "if", "not", "oneOf", "patternProperties", "prefixItems",
    "then", "unevaluatedItems", "unevaluatedProperties",
))  # fmt: skip

_FORMATS = ("date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uuid")
_STRICT_KEEPS: _Keeps = {
    **dict.fromkeys(("$defs", "$ref", "anyOf", "const", "description", "items", "properties", "title", "type"), _always),
    "enum": _are_scalars,
}
_OPENAI_KEEPS: _Keeps = {
    **_STRICT_KEEPS,
    **dict.fromkeys(_LIMITS, _always),
    "format": frozenset(_FORMATS).__contains__,
    "pattern": _no_look_around,
}
_ANTHROPIC_KEEPS: _Keeps = {**_STRICT_KEEPS, "format": frozenset((*_FORMATS, "uri")).__contains__, "minItems": (0, 1).__contains__}
_GEMINI_KEEPS: _Keeps = {
    **dict.fromkeys(("maximum", "minimum", *_COUNTS), _always),
    # The server's words for others: "only 'enum' and 'date-time' are supported for STRING type".
    "format": frozenset(("date-time", "double", "float", "int32", "int64")).__contains__,
    "pattern": _no_look_around,
}
# Which types a keyword says something about; those not listed, about all.
_OWNERS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum", "multipleOf"), ("integer", "number")),
    **dict.fromkeys(("contentEncoding", "contentMediaType", "contentSchema", "maxLength", "minLength", "pattern"), ("string",)),
    **dict.fromkeys(("contains", "items", "maxContains", "maxItems", "minContains", "minItems", "prefixItems", "uniqueItems"), ("array",)),
    **dict.fromkeys(
        ("additionalProperties", "dependentRequired", "dependentSchemas", "maxProperties", "minProperties", "patternProperties",
         "properties", "propertyNames", "required"), ("object",)),
}  # fmt: skip

_TOLD_TO_GEMINI = (_TOLD | _FORMATIVE | {"additionalProperties", "anyOf"}) - {"default", "examples"}
_SAYS_NOTHING = (
    ("additionalProperties", False), ("default", None), ("unevaluatedItems", False), ("unevaluatedProperties", False),
    ("uniqueItems", False),
)  # fmt: skip
# What the branches of a union are told of what stands beside it.
_SHARED = ("type", *_LIMITS, *_COUNTS, "uniqueItems")
_ANYTHING = ("string", "number", "boolean", "object", "array")


def _telling(schema: Schema, told: Mapping[str, Any]) -> Schema:
    """Say in the description what the dialect has no keyword for."""
    worth = {keyword: value for keyword, value in told.items() if (keyword, value) not in _SAYS_NOTHING}
    words = "; ".join(f"{keyword}: {json.dumps(value, ensure_ascii=False)}" for keyword, value in worth.items())
    return _described(schema, f"{schema.get('description', '')} [{words}]") if words else schema


def _described(schema: Schema, text: str) -> Schema:
    return {**schema, "description": text.strip()}


def _side_by_side(schema: AnySchema, *, root: Schema, known: dict[int, Schema], depth: int) -> Schema:
    """Put what a reference and the branches of a root ask for into one object; `known` holds the definitions that were visited."""
    if depth > MAX_LEVELS:
        raise ToolDefinitionError(f"the schema's root is made of definitions nested deeper than {MAX_LEVELS}; write it out")

    def inner(part: AnySchema) -> Schema:
        return _side_by_side(part, root=root, known=known, depth=depth + 1)

    schema = as_schema(schema)
    parts: list[Schema] = []
    if "$ref" in schema:
        aim = target(schema["$ref"], root=root)
        if id(aim) not in known:
            known[id(aim)] = {}
            known[id(aim)] = inner(aim)
        parts.append(known[id(aim)])
    parts.extend(inner(part) for part in schema.get("allOf", ()))
    whole = merged(*parts, without(schema, "$ref", "allOf", "anyOf", "oneOf"))
    for union in ("anyOf", "oneOf"):
        if union in schema:
            whole = _joined(whole, [inner(part) for part in schema[union]])
    return whole


def _joined(whole: Schema, branches: list[Schema]) -> Schema:
    objects = [branch for branch in branches if "object" in (types(branch) or ("object",))]
    if not objects:
        return {**whole, "type": types(branches[0])}
    found: dict[str, dict[str, AnySchema]] = {}
    for branch in objects:
        for name, part in branch.get("properties", {}).items():
            found.setdefault(name, {})[json.dumps(part, sort_keys=True)] = part
    properties = {name: next(iter(parts.values())) if len(parts) == 1 else {"anyOf": [*parts.values()]} for name, parts in found.items()}
    asked = [dict.fromkeys(branch.get("required", ())) for branch in objects]
    always = [name for name in asked[0] if all(name in names for names in asked)]
    choices = dict.fromkeys(", ".join(name for name in names if name not in always) or "nothing more" for names in asked)
    union = merged({"properties": properties, "required": always}, whole)
    if len(choices) == 1:
        return union
    return _described(union, f"{whole.get('description', '')} [give one of these: {' | '.join(choices)}]")


def _completed(schema: Schema) -> Schema:
    whole = mapped(schema, lambda part: part if isinstance(part, bool) else _completed(part))
    # "array schema missing items", says OpenAI, of tuples too.
    if "array" in types(whole) and "items" not in whole:
        whole["items"] = {}
    if "properties" in whole and "required" in whole:
        whole["required"] = list(dict.fromkeys(whole["required"]))
        whole["properties"] |= {name: {} for name in whole["required"] if name not in whole["properties"]}
    return whole


def _strict(schema: Mapping[str, Any], *, keeps: _Keeps, all_required: bool) -> Schema | None:
    top = resolved(checked(schema), root=dict(schema))
    if top.keys() & set(_NOT_AT_ROOT):
        return None
    root = plain(schema)
    try:
        return _Strict(root, keeps, all_required=all_required).render(root)
    except _Unsayable:
        return None


@dataclass(frozen=True, slots=True)
class _Strict:
    """Renders one schema to a strict subset."""

    root: Schema
    keeps: _Keeps
    all_required: bool
    nulls: dict[int, bool] = field(default_factory=dict[int, bool])

    def render(self, schema: AnySchema) -> Schema:
        given = _simpler(as_schema(schema))
        if given.keys() & _FORMATIVE:
            raise _Unsayable
        kept = {keyword: value for keyword, value in given.items() if keyword in self.keeps and self.keeps[keyword](value)}
        told = {keyword: value for keyword, value in given.items() if keyword in _TOLD and keyword not in kept}
        said = _typed(_telling(mapped(kept, self.render), told))
        if "$ref" in said:
            return _pointing(said)
        if "anyOf" in said and said.keys() - {"$defs", "anyOf", "description", "title"}:
            raise _Unsayable
        if "array" in types(said) and "items" not in said:
            raise _Unsayable
        return self._closed(said, given) if "object" in types(said) else said

    def _closed(self, said: Schema, given: Schema) -> Schema:
        """Allow only the properties there are."""
        properties, required = said.get("properties", {}), given.get("required", [])
        if given.get("additionalProperties", "properties" not in given) is not False or set(required) - properties.keys():
            raise _Unsayable
        if self.all_required:
            parts = given.get("properties", {})
            needed = set(required)
            properties = {name: part if name in needed else self._optional(part, parts[name]) for name, part in properties.items()}
            required = list(properties)
        return {**said, "properties": properties, "required": required, "additionalProperties": False}

    def _optional(self, said: Schema, given: AnySchema) -> Schema:
        if allows_null(given, root=self.root, known=self.nulls):
            return said
        words: Schema = {keyword: said[keyword] for keyword in ("title", "description") if keyword in said}
        core = without(said, *words)
        branches = core["anyOf"] if core.keys() == {"anyOf"} else [core]
        return {"anyOf": [*branches, {"type": "null"}], **words}


def _simpler(schema: Schema) -> Schema:
    """Say the same in words that a strict subset has: oneOf as anyOf, allOf of one merged in, a tuple of equals as an array."""
    while len(schema.get("allOf", ())) == 1:
        [part] = schema["allOf"]
        rest = without(schema, "allOf")
        if as_schema(part).keys() & rest.keys() - {"description", "title"}:
            break
        schema = merged(as_schema(part), rest)
    if "oneOf" in schema and "anyOf" not in schema:
        # Not the same where a value fits two branches; that is left to the tool.
        schema = {"anyOf" if keyword == "oneOf" else keyword: value for keyword, value in schema.items()}
    if "prefixItems" in schema:
        length = len(schema["prefixItems"])
        if schema.get("items") is False:
            schema = {**schema, "items": {}, "maxItems": min(length, schema.get("maxItems", length))}
        first, *others = _parts(schema)
        if all(same(first, part) for part in others):
            schema = {**without(schema, "prefixItems"), "items": first}
    return schema


def _parts(schema: Schema) -> list[AnySchema]:
    """List the schemas of a tuple's values: of the first ones, and of those after them if there may be any."""
    named = schema["prefixItems"]
    return [*named] if schema.get("maxItems", len(named) + 1) <= len(named) else [*named, schema.get("items", True)]


def _typed(said: Schema) -> Schema:
    """Name the type, without which strict modes take nothing but a union or a reference."""
    if said.keys() & {"$ref", "anyOf", "type"}:
        return said
    kinds = types(said)
    if not kinds:
        raise _Unsayable
    return {**said, "type": kinds[0] if len(kinds) == 1 else kinds}


def _pointing(said: Schema) -> Schema:
    """Put a reference into a union of one when something stands beside it, which strict modes refuse."""
    is_definition = re.fullmatch(r"#(/\$defs/[^/]+)?", said["$ref"])
    if is_definition is None or said.keys() - {"$defs", "$ref", "description", "title"}:
        raise _Unsayable
    return said if len(said) == 1 else {"anyOf": [{"$ref": said["$ref"]}], **without(said, "$ref")}


def _gemini(schema: AnySchema, anything: tuple[str, ...] = _ANYTHING) -> Schema:
    given = as_schema(schema)
    while "allOf" in given:
        given = merged(*(as_schema(part) for part in given["allOf"]), without(given, "allOf"))
    union = _only_union(given)
    if union is None:
        kinds = types(given) or (*anything, "null")
        branches = [_gemini_value(given, kind) for kind in kinds if kind != "null"]
        nullable = "null" in kinds
    else:
        beside = {keyword: given[keyword] for keyword in _SHARED if keyword in given}
        parts = [beside | as_schema(part) for part in given[union]]
        branches = [_gemini(part) for part in parts if types(part) != ["null"]]
        nullable = any(types(part) == ["null"] for part in parts)
    return _introduced(branches, given, nullable=nullable or given.get("nullable") is True)


def _only_union(given: Schema) -> str | None:
    """Find the union whose branches the schema leaves all else to."""
    limits = given.keys() & (_TOLD | _FORMATIVE | _OWNERS.keys() | {"anyOf"}) - {*_SHARED, "default", "examples"}
    return limits.pop() if limits in ({"anyOf"}, {"oneOf"}) else None


def _gemini_value(given: Schema, kind: str) -> Schema:
    """Render what the schema says about values of one type."""
    own = {keyword: value for keyword, value in given.items() if kind in _OWNERS.get(keyword, (kind,))}
    said: Schema = {"type": kind}
    match kind:
        case "object":
            said |= _gemini_object(own)
        case "array":
            own = _simpler(own)
            # An array of anything may hold arrays, but that has to end somewhere.
            said["items"] = _gemini(_any_part(own)) if "items" in own else _gemini({}, _ANYTHING[:-1])
        case "string" if words := _words(own):
            said["enum"] = words
            own = without(own, "const", "enum")
        case _:
            pass
    kept = {keyword: value for keyword, value in own.items() if keyword in _GEMINI_KEEPS and _GEMINI_KEEPS[keyword](value)}
    told = {keyword: own[keyword] for keyword in own if keyword in _TOLD_TO_GEMINI and keyword not in kept}
    return _telling(said | kept, told)


def _gemini_object(own: Schema) -> Schema:
    properties = {name: _gemini(part) for name, part in own.get("properties", {}).items()}
    required = [name for name in own.get("required", ()) if name in properties]
    return {keyword: value for keyword, value in (("properties", properties), ("required", required)) if value}


def _any_part(own: Schema) -> AnySchema:
    if "prefixItems" not in own:
        part: AnySchema = own["items"]
        return part
    parts = {json.dumps(part, sort_keys=True): part for part in _parts(own)}
    return {"anyOf": [*parts.values()]}


def _words(own: Schema) -> list[str]:
    """List the words that a string may be; Gemini refuses numbers and the empty word among them."""
    values = [own["const"]] if "const" in own else own.get("enum", ())
    words = [value for value in values if isinstance(value, str)]
    return words if all(words) else []


def _introduced(branches: list[Schema], given: Schema, *, nullable: bool) -> Schema:
    """Unite rendered branches, the first of which bears what is said of them all."""
    flat: list[Schema] = [inner for branch in branches for inner in branch.get("anyOf", [branch])]
    first, *others = flat or [{"type": "string", "description": "[const: null]"}]
    told = {keyword: given[keyword] for keyword in ("default", "examples") if given.get(keyword) is not None}
    words = _telling({"description": given.get("description", "")}, told)["description"]
    if words:
        first = _described(first, f"{words} {first.get('description', '')}")
    if nullable:
        first = {**first, "nullable": True}
    if others:
        # "When using any_of, it must be the only field set", says Vertex.
        return {"anyOf": [first, *others]}
    return {**first, "title": given["title"]} if "title" in given else first
