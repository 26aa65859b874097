"""What holds of every schema in every dialect: random schemas, and random values of them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from agentloop.testing.schema_rules import parameters_problems, strict_problems
from agentloop.tools.dialects import anthropic_strict, drop_strict_nulls, gemini, openai_strict, plain

Schema = dict[str, Any]
DIALECTS: list[Callable[[Schema], Schema | None]] = [plain, openai_strict, anthropic_strict, gemini]
SOME = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])

NAMES = st.sampled_from(["a", "b", "c", "title", "default", "type", "properties", "$ref", "required", "items", "anyOf"])
ANNOTATIONS: dict[str, st.SearchStrategy[Any]] = {
    "title": st.sampled_from(["A", "B"]),
    "description": st.sampled_from(["", "Some words.", "Ein Wörtchen."]),
    "default": st.sampled_from([None, False, 0, "x", {"$ref": "#/nowhere"}]),
    "examples": st.just([1]),
    "x-unknown": st.just({"type": 7}),
}
STRINGS: dict[str, st.SearchStrategy[Any]] = {
    "minLength": st.integers(0, 2),
    "maxLength": st.integers(2, 5),
    "pattern": st.sampled_from(["^", "(?=.*)", "[a-z]*"]),
    "format": st.sampled_from(["date", "date-time", "uri", "color"]),
}
NUMBERS: dict[str, st.SearchStrategy[Any]] = {
    "minimum": st.integers(-3, 0),
    "maximum": st.integers(0, 9),
    "exclusiveMinimum": st.integers(-9, -4),
    "multipleOf": st.just(1),
}
LISTS: dict[str, st.SearchStrategy[Any]] = {"minItems": st.integers(0, 1), "maxItems": st.integers(1, 3), "uniqueItems": st.booleans()}


def schema_of(
    required: dict[str, st.SearchStrategy[Any]], optional: dict[str, st.SearchStrategy[Any]] | None = None
) -> st.SearchStrategy[Schema]:
    return st.fixed_dictionaries(required, optional={**(optional or {}), **ANNOTATIONS})


NO_REFERENCES = st.one_of(
    schema_of({"type": st.just("string")}, STRINGS),
    schema_of({"type": st.sampled_from(["integer", "number"])}, NUMBERS),
    schema_of({"type": st.sampled_from(["boolean", "null"])}),
    schema_of({"type": st.sampled_from([["string", "null"], ["integer", "string"]])}, {**STRINGS, **NUMBERS}),
    schema_of({"const": st.sampled_from([1, True, None, "a", 1.5])}),
    schema_of({"enum": st.lists(st.sampled_from(["a", "", "b", 1, 2, None, False]), min_size=1, max_size=4, unique_by=repr)}),
)
SCALARS = NO_REFERENCES | schema_of({"$ref": st.sampled_from(["#/$defs/One", "#/$defs/Two"])})
UNSAYABLE = st.one_of(
    st.just({}),
    st.booleans(),
    schema_of({"type": st.just("object"), "additionalProperties": st.sampled_from([True, {"type": "integer"}])}),
    schema_of({"type": st.just("array"), "prefixItems": st.just([{"type": "integer"}, {"type": "string"}])}),
    schema_of({"allOf": st.just([{"type": "object", "properties": {"a": {"type": "string"}}}, {"required": ["a"]}])}),
    schema_of({"type": st.just("string"), "not": st.just({"const": "a"})}),
)


@st.composite
def objects(draw: st.DrawFn, parts: st.SearchStrategy[Any], least: int = 0) -> Schema:
    properties = draw(st.dictionaries(NAMES, parts, min_size=least, max_size=4))
    required = [name for name in properties if draw(st.booleans())]
    more = {"additionalProperties": False} if draw(st.booleans()) else {}
    return {"type": "object", "properties": properties, "required": required, **more, **draw(schema_of({}))}


def containers(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    same = st.one_of(st.just([{"type": "integer"}] * 2), st.just([{"type": "string"}]))
    return st.one_of(
        objects(parts),
        schema_of({"type": st.just("array"), "items": parts}, LISTS),
        schema_of({"type": st.just("array"), "prefixItems": same, "items": st.just(False)}),
        schema_of({"anyOf": st.lists(parts, min_size=1, max_size=3)}),
        schema_of({"oneOf": st.lists(parts, min_size=1, max_size=3)}),
        parts.map(lambda part: {"allOf": [part], "description": "Around one."}),
    )


def roots(scalars: st.SearchStrategy[Any]) -> st.SearchStrategy[Schema]:
    parts = st.recursive(scalars, containers, max_leaves=6)
    defined = st.fixed_dictionaries({"One": objects(parts), "Two": containers(NO_REFERENCES) | NO_REFERENCES})
    return st.builds(lambda root, definitions: {**root, "$defs": definitions}, objects(parts, least=2), defined)


SAYABLE = roots(SCALARS)
SCHEMAS = roots(SCALARS | UNSAYABLE)


def every(schema: Any) -> Iterator[Schema]:
    """List the schema and all in it; written apart from the package's own walk, to judge it."""
    if not isinstance(schema, dict):
        return
    yield schema
    for keyword, value in schema.items():
        if keyword in {"items", "additionalProperties", "not", "contains"}:
            yield from every(value)
        elif keyword in {"anyOf", "oneOf", "allOf", "prefixItems"}:
            yield from (inner for part in value for inner in every(part))
        elif keyword in {"properties", "$defs"}:
            yield from (inner for part in value.values() for inner in every(part))


SAMPLES: dict[str, list[Any]] = {
    "string": ["", "a", "ab", "null", "abc"],
    "integer": [-2, -1, 0, 1, 5, 9],
    "number": [-2, -0.5, 0, 1, 1.5, 9],
    "boolean": [True, False],
    "null": [None],
    "any": [None, 1, "a", [], {"a": 1}],
}


@st.composite
def values(draw: st.DrawFn, schema: Any, root: Schema, depth: int = 0) -> Any:
    """Make a value that a schema probably takes."""
    assume(schema is not False and depth < 9)

    def inner(part: Any) -> Any:
        return draw(values(part, root, depth + 1))

    match schema:
        case {"$ref": reference}:
            return inner(root["$defs"][reference.rpartition("/")[2]])
        case {"anyOf": parts} | {"oneOf": parts} | {"allOf": [_] as parts}:
            return inner(draw(st.sampled_from(parts)))
        case {"const": value}:
            return value
        case {"enum": choices}:
            return draw(st.sampled_from(choices))
        case {"type": "object"}:
            properties, required = schema.get("properties", {}), schema.get("required", ())
            return {name: inner(part) for name, part in properties.items() if name in required or (depth < 4 and draw(st.booleans()))}
        case {"type": "array"}:
            named, least = schema.get("prefixItems", []), schema.get("minItems", 0)
            count = len(named) or draw(st.integers(least, max(least, 2 if depth < 4 else 0)))
            return [inner(part) for part in [*named, *[schema.get("items")] * (count - len(named))]]
        case {"type": kinds}:
            return draw(st.sampled_from([value for kind in ([kinds] if isinstance(kinds, str) else kinds) for value in SAMPLES[kind]]))
        case _:
            return draw(st.sampled_from(SAMPLES["any"]))


def takes(schema: Schema, value: Any) -> bool:
    return Draft202012Validator(schema).is_valid(value)


@pytest.mark.parametrize("dialect", DIALECTS)
@SOME
@given(schema=SCHEMAS)
def test_a_schema_is_never_changed_and_its_rendering_is_always_a_schema(dialect: Callable[[Schema], Schema | None], schema: Schema):
    before = copy.deepcopy(schema)

    rendered = dialect(schema)

    assert json.dumps(schema) == json.dumps(before)
    if rendered is not None:
        Draft202012Validator.check_schema(rendered)
        assert [*parameters_problems(rendered or {"type": "object"})] == []


@pytest.mark.parametrize("dialect", DIALECTS)
@SOME
@given(schema=SAYABLE | SCHEMAS)
def test_rendering_a_rendering_changes_nothing(dialect: Callable[[Schema], Schema | None], schema: Schema):
    rendered = dialect(schema)
    assume(rendered is not None)

    assert dialect(rendered or {}) == rendered


OPENAI_WORDS = {
    "$defs", "$ref", "additionalProperties", "anyOf", "const", "description", "enum", "exclusiveMaximum", "exclusiveMinimum", "format",
    "items", "maxItems", "maximum", "minItems", "minimum", "multipleOf", "pattern", "properties", "required", "title", "type",
}  # fmt: skip
ANTHROPIC_WORDS = {
    "$defs", "$ref", "additionalProperties", "anyOf", "const", "description", "enum", "format", "items", "minItems", "properties",
    "required", "title", "type",
}  # fmt: skip
GEMINI_WORDS = {
    "anyOf", "description", "enum", "format", "items", "maxItems", "maxLength", "maxProperties", "maximum", "minItems", "minLength",
    "minProperties", "minimum", "nullable", "pattern", "properties", "required", "title", "type",
}  # fmt: skip


@SOME
@given(schema=SAYABLE)
def test_openai_strict_says_only_what_strict_mode_takes(schema: Schema):
    rendered = openai_strict(schema)
    event(f"sayable: {rendered is not None}")
    assume(rendered is not None)

    assert [*strict_problems(rendered or {})] == []
    for part in every(rendered):
        assert part.keys() <= OPENAI_WORDS
        assert "$ref" not in part or part.keys() == {"$ref"}
        assert part.keys() & {"type", "anyOf", "$ref"}
        assert part.get("format") in {None, "date", "date-time"}
        assert "(?" not in part.get("pattern", "")


@SOME
@given(schema=SAYABLE)
def test_anthropic_strict_says_only_what_strict_mode_takes(schema: Schema):
    rendered = anthropic_strict(schema)
    assume(rendered is not None)

    for part in every(rendered):
        assert part.keys() <= ANTHROPIC_WORDS
        assert part.get("minItems", 0) in {0, 1}
        assert part.get("type") != "object" or part["additionalProperties"] is False


@SOME
@given(schema=SCHEMAS)
def test_gemini_says_only_what_its_subset_of_openapi_takes(schema: Schema):
    for part in every(gemini(schema) or {"type": "object"}):
        assert part.keys() <= GEMINI_WORDS
        assert (part.keys() == {"anyOf"}) == ("type" not in part)
        assert isinstance(part.get("type", ""), str)
        assert part.get("type") != "null"
        assert all(isinstance(word, str) and word for word in part.get("enum", ()))
        assert "enum" not in part or part["type"] == "string"
        assert part.get("properties") != {}
        assert "items" in part or part.get("type") != "array"
        assert part.get("format") in {None, "date-time"}


TOLD = ("minLength", "maxLength", "format", "pattern", "uniqueItems")


def without_told(schema: Any) -> Any:
    """The schema without what strict mode moves into words, and with oneOf as the anyOf that it becomes."""
    if isinstance(schema, list):
        return [without_told(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    left = {keyword: value for keyword, value in schema.items() if keyword not in TOLD}
    for keyword in left.keys() & {"properties", "$defs"}:
        left[keyword] = {name: without_told(part) for name, part in left[keyword].items()}
    for keyword in left.keys() & {"items", "anyOf", "allOf", "prefixItems", "oneOf"}:
        left[keyword] = without_told(left[keyword])
    return {"anyOf" if keyword == "oneOf" else keyword: value for keyword, value in left.items()}


@SOME
@given(data=st.data(), schema=SAYABLE)
def test_what_strict_mode_allows_is_what_the_tool_takes_once_its_nulls_are_dropped(data: st.DataObject, schema: Schema):
    strict = openai_strict(schema)
    assume(strict is not None)
    value = data.draw(values(strict, strict or {}))
    assume(takes(strict or {}, value))

    left = json.loads(drop_strict_nulls(schema, json.dumps(value)))

    event(f"dropped: {left != value}")
    assert takes(without_told(schema), left)


@SOME
@given(data=st.data(), schema=SCHEMAS)
def test_gemini_forbids_nothing_that_the_tool_takes(data: st.DataObject, schema: Schema):
    value = data.draw(values(schema, schema))
    assume(takes(schema, value))
    rendered = gemini(schema)

    assert takes(as_json_schema(rendered), value)


@SOME
@given(data=st.data(), schema=SAYABLE)
def test_anthropic_strict_forbids_nothing_that_the_tool_takes_but_undeclared_names(data: st.DataObject, schema: Schema):
    rendered = anthropic_strict(schema)
    assume(rendered is not None)
    value = data.draw(values(schema, schema))
    assume(takes(schema, value))

    assert takes(rendered or {}, value)


def as_json_schema(rendered: Schema) -> Schema:
    """Read `nullable` as OpenAPI 3.0 does."""
    whole = {keyword: value for keyword, value in rendered.items() if keyword != "nullable"}
    if "properties" in whole:
        whole["properties"] = {name: as_json_schema(part) for name, part in whole["properties"].items()}
    if "items" in whole:
        whole["items"] = as_json_schema(whole["items"])
    if "anyOf" in whole:
        whole["anyOf"] = [as_json_schema(part) for part in whole["anyOf"]]
    return {"anyOf": [whole, {"type": "null"}]} if rendered.get("nullable") else whole
