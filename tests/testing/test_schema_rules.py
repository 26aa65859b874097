"""Which schemas are valid, judged side by side with jsonschema."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from agentloop.testing.schema_rules import parameters_problems, strict_problems

TREE = {
    "type": "object",
    "properties": {"root": {"$ref": "#/$defs/Node"}, "tags": {"type": ["array", "null"], "items": {"enum": ["a", 1, None]}}},
    "required": ["root"],
    "$defs": {"Node": {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}}}},
}


def of(**schema: Any) -> dict[str, Any]:
    """Make a schema of one parameter."""
    return {"type": "object", "properties": {"a": schema}}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        TREE,
        of(),
        of(type="array", items={}),
        of(type="array", prefixItems=[{"type": "string"}], minItems=1, maxItems=1),
        of(type="number", minimum=0, exclusiveMaximum=1.5, multipleOf=0.1),
        of(type="object", additionalProperties={"type": "string"}, patternProperties={"^x": True}),
        {**of(**{"$ref": "#"}), "additionalProperties": False},
        {**of(**{"$ref": "#/$defs/a~1b"}), "$defs": {"a/b": {}}},
    ],
)
def test_valid_schemas_have_no_problem(schema):
    Draft202012Validator.check_schema(schema)

    assert [*parameters_problems(schema)] == []


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (of(type="text"), "'text'"),
        (of(type=["string", "text"]), "'text'"),
        (of(minimum="0"), "'minimum'"),
        (of(maxLength=-1), "'maxLength'"),
        (of(anyOf=[]), "'anyOf'"),
        (of(anyOf={}), "'anyOf'"),
        (of(properties=[]), "'properties'"),
        (of(items=[{"type": "string"}]), "no schema"),
        (of(enum="ab"), "'enum'"),
        (of(required="a"), "'required'"),
        (of(required=["a", "a"]), "twice"),
        ({"type": "object", "properties": {"a": None}}, "no schema"),
        (of(type="array", items={"anyOf": [{"type": "text"}]}), "/properties/a/items/anyOf/0"),
    ],
)
def test_what_jsonschema_refuses_is_a_problem(schema, words):
    with pytest.raises(SchemaError):
        Draft202012Validator.check_schema(schema)

    assert any(words in problem for problem in parameters_problems(schema))


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (None, "null, not an object"),
        ([], "a list, not an object"),
        ({}, "must be 'object'"),
        ({"type": "array", "items": {}}, "must be 'object'"),
        (of(type="array"), "must say what is in it"),
        ({"type": "object", "properties": {}, "required": ["b"]}, "does not have"),
        (of(**{"$ref": "#/$defs/Gone"}), "leads nowhere"),
        (of(**{"$ref": "http://elsewhere.test/schema"}), "leads nowhere"),
    ],
)
def test_what_only_providers_refuse_is_a_problem_too(schema, words):
    assert any(words in problem for problem in parameters_problems(schema))


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (of(type="string"), "additionalProperties"),
        ({**of(type="string"), "additionalProperties": False}, "missing: a"),
        ({**of(type="string", default="x"), "additionalProperties": False, "required": ["a"]}, "'default'"),
        ({"anyOf": [{"type": "object"}]}, "anyOf at its root"),
        (TREE, "/$defs/Node: strict mode needs additionalProperties"),
    ],
)
def test_what_strict_mode_does_not_take_is_a_problem_of_it(schema, words):
    assert any(words in problem for problem in strict_problems(schema))


def test_a_strict_schema_has_no_problem():
    node = {**TREE["$defs"]["Node"], "additionalProperties": False, "required": ["next"]}
    schema = {**TREE, "additionalProperties": False, "required": ["root", "tags"], "$defs": {"Node": node}}

    assert [*strict_problems(schema)] == []
