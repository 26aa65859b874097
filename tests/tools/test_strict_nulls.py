"""The nulls with which a model leaves a property out."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field, TypeAdapter

from agentloop.tools.dialects import drop_strict_nulls, openai_strict, plain

Schema = dict[str, Any]


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9
    owner: str | None = "nobody"


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    lives: int | None
    tricks: list[str] = ["sit"]


class Node(BaseModel):
    value: int = 1
    children: list[Node] = []


class Everything(BaseModel):
    word: str = "w"
    maybe: str | None = "m"
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] = Cat()
    either: Cat | Dog | int = 5
    pets: list[Cat] = []
    pair: tuple[Cat, Cat] = (Cat(), Cat())
    node: Node = Node()


EVERYTHING: Schema = TypeAdapter(Everything).json_schema()


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({"word": None}, {}),
        ({"maybe": None}, {"maybe": None}),
        ({"pet": None, "pets": None, "pair": None}, {}),
        ({"pet": {"kind": "cat", "lives": None, "owner": None}}, {"pet": {"kind": "cat", "owner": None}}),
        ({"pet": {"kind": "dog", "lives": None, "tricks": None}}, {"pet": {"kind": "dog", "lives": None}}),
        ({"either": {"kind": "dog", "lives": None, "tricks": None}}, {"either": {"kind": "dog", "lives": None}}),
        ({"either": None}, {}),
        ({"pets": [{"lives": None}, {"lives": 1}]}, {"pets": [{}, {"lives": 1}]}),
        ({"pair": [{"lives": None}, {"kind": None}]}, {"pair": [{}, {}]}),
        ({"node": {"value": None, "children": [{"value": None, "children": None}]}}, {"node": {"children": [{}]}}),
        ({"word": None, "unknown": None}, {"unknown": None}),
        ({"word": [None], "maybe": {"word": None}}, {"word": [None], "maybe": {"word": None}}),
    ],
)
def test_a_null_is_dropped_where_it_can_only_mean_left_out(given: Schema, left: Schema):
    assert json.loads(drop_strict_nulls(EVERYTHING, json.dumps(given))) == left


@pytest.mark.parametrize(
    "arguments",
    [
        '{"maybe" : null,  "word":"1.50"}',
        '{"word": "null"}',
        '{"word": null',
        "null",
        "[null]",
        "",
        '{"word": null, "n": 1e999}',
        '{"word": null, "n": NaN}',
        '{"word": null, "n": ' + 5_000 * "9" + "}",
        '{"word": null, "n": ' + 100_000 * "[" + 100_000 * "]" + "}",
    ],
)
def test_text_with_nothing_to_drop_or_that_cannot_be_said_again_comes_back_untouched(arguments: str):
    assert drop_strict_nulls(EVERYTHING, arguments) == arguments


def test_words_that_are_no_unicode_survive():
    left = drop_strict_nulls(EVERYTHING, '{"word": null, "maybe": "\\ud800 ä"}')

    assert left.encode() == b'{"maybe": "\\ud800 \\u00e4"}'


def test_a_required_null_stays():
    schema = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "required": ["a"]}

    assert drop_strict_nulls(schema, '{"a": null, "b": null}') == '{"a": null}'


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"const": 1}, {"const": True}),
        ({"enum": ["x"]}, {"enum": ["y", True]}),
        ({"type": "number", "maximum": 0}, {"type": "number", "minimum": 1}),
        ({"type": "number", "exclusiveMaximum": 1}, {"type": "number", "exclusiveMinimum": 0}),
        ({"type": "array", "items": {"type": "string"}, "maxItems": 0}, {"type": "array", "items": {"type": "string"}, "minItems": 1}),
        ({"type": "array", "items": {"type": "string"}}, {"type": "array", "items": {"type": "integer"}}),
        ({"type": "string"}, {"type": "integer"}),
        ({"$ref": "#/$defs/Word"}, {"allOf": [{"type": "integer"}]}),
        ({"oneOf": [{"type": "string"}]}, {"type": "boolean"}),
        (False, {"type": "boolean"}),
    ],
)
def test_the_branch_that_the_value_fits_is_followed(one: Any, other: Any):
    word = {"type": "string"}
    branches = [
        {"type": "object", "properties": {"key": one, "word": word}},
        {"type": "object", "properties": {"key": other, "word": {"anyOf": [word, {"type": "null"}]}}},
    ]
    schema = {"type": "object", "properties": {"it": {"anyOf": branches}}, "$defs": {"Word": word}}
    fitting: list[Any] = [True, 5, 1, "x", "y", ["a"], [1], [], 0.0, 2.0]

    for key in fitting:
        value = {"it": {"key": key, "word": None}}
        takes_other = not Draft202012Validator({**branches[0], "$defs": schema["$defs"]}).is_valid({"key": key})
        expected = value if takes_other else {"it": {"key": key}}

        assert json.loads(drop_strict_nulls(schema, json.dumps(value))) == expected


def test_a_value_that_fits_no_branch_is_left_alone():
    arguments = '{"pet": {"kind": "cow", "lives": null}}'

    assert drop_strict_nulls(EVERYTHING, arguments) == arguments


def test_a_branch_that_is_closed_takes_no_further_names():
    closed = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
    opened = {"type": "object", "properties": {"a": {"type": ["string", "null"]}, "b": {"type": "string"}}}
    schema = {"type": "object", "properties": {"it": {"anyOf": [closed, opened]}}}

    assert drop_strict_nulls(schema, '{"it": {"a": null, "b": "x"}}') == '{"it": {"a": null, "b": "x"}}'
    assert drop_strict_nulls(schema, '{"it": {"a": null}}') == '{"it": {}}'


def test_definitions_that_lead_to_themselves_end():
    definitions = {"Loop": {"anyOf": [{"$ref": "#/$defs/Loop"}, {"type": "object", "properties": {"a": {"type": "string"}}}]}}
    schema = {"type": "object", "properties": {"it": {"$ref": "#/$defs/Loop"}}, "$defs": definitions}

    assert drop_strict_nulls(schema, '{"it": {"a": null}}') == '{"it": {}}'


def test_many_branches_in_many_branches_end():
    definitions = {
        str(n): {"anyOf": [{"type": "object", "properties": {"x": {"$ref": f"#/$defs/{n + 1}"}, "y": {"const": m}}} for m in range(4)]}
        for n in range(40)
    }
    schema = {"type": "object", "properties": {"it": {"$ref": "#/$defs/0"}}, "$defs": {**definitions, "40": {"type": "string"}}}
    value: Any = {"y": None}
    for _ in range(39):
        value = {"x": value, "y": 3}

    left = json.loads(drop_strict_nulls(schema, json.dumps({"it": value})))

    assert "null" not in json.dumps(left)


def test_all_of_all_ends():
    definitions = {str(n): {"allOf": [{"$ref": f"#/$defs/{n + 1}"}] * 2} for n in range(40)}
    last = {"type": "object", "properties": {"a": {"type": "string"}}}
    schema = {"type": "object", "properties": {"it": {"$ref": "#/$defs/0"}}, "$defs": {**definitions, "40": last}}

    assert drop_strict_nulls(schema, '{"it": {"a": null, "b": {"c": null}}}') == '{"it": {"b": {"c": null}}}'


def test_what_a_tool_was_given_in_full_can_be_said_in_strict_mode_and_is_read_back():
    class Home(BaseModel):
        pet: Annotated[Cat | Dog, Field(discriminator="kind")] = Cat()
        pets: list[Cat | Dog] = []
        node: Node = Node()
        maybe: str | None = "m"

    schema = plain(TypeAdapter(Home).json_schema())
    homes = [Home(), Home(pet=Dog(lives=None), pets=[Cat(owner=None), Dog(lives=1)], node=Node(children=[Node()]), maybe=None)]

    for home in homes:
        said = home.model_dump_json()

        assert Draft202012Validator(openai_strict(schema) or False).is_valid(json.loads(said))
        assert Home.model_validate_json(drop_strict_nulls(schema, said)) == home


def test_a_model_that_leaves_everything_out_gets_every_default():
    class Home(BaseModel):
        word: str = "w"
        pet: Annotated[Cat | Dog, Field(discriminator="kind")] = Cat()
        node: Node = Node()

    schema = TypeAdapter(Home).json_schema()
    said = json.dumps(dict.fromkeys(Home.model_fields))

    assert Draft202012Validator(openai_strict(schema) or False).is_valid(json.loads(said))
    assert Home.model_validate_json(drop_strict_nulls(schema, said)) == Home()
