"""Schemas of real types in each dialect, compared whole."""

from __future__ import annotations

import datetime as dt
import enum
import json
import os
import subprocess
import sys
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from agentloop.errors import ToolDefinitionError
from agentloop.tools.dialects import anthropic, anthropic_strict, gemini, openai_strict, plain

Schema = dict[str, Any]
KEYWORDS_AS_NAMES = ("title", "default", "$ref", "type", "properties", "enum", "required", "items", "anyOf", "$defs", "const", "allOf")


def parameters(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def closed(properties: Schema, **more: Any) -> Schema:
    """What OpenAI's strict mode wants of an object."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False, **more}


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str | None = None


class Node(BaseModel):
    value: int
    children: list[Node] = []


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int


# Each type as pydantic describes it, and what OpenAI's strict mode and Gemini are told instead. None: strict mode cannot say it.
STRING: Schema = {"type": "string"}
NULL: Schema = {"type": "null"}
CAT: Schema = {"title": "Cat", "type": "object"}
TYPES: list[tuple[str, Any, Schema | None, Schema]] = [
    ("text", str, STRING, STRING),
    ("whole numbers", list[int], {"type": "array", "items": {"type": "integer"}}, {"type": "array", "items": {"type": "integer"}}),
    ("maybe", str | None, {"anyOf": [STRING, NULL]}, {"type": "string", "nullable": True}),
    (
        "one of two",
        int | list[str],
        {"anyOf": [{"type": "integer"}, {"type": "array", "items": STRING}]},
        {"anyOf": [{"type": "integer"}, {"type": "array", "items": STRING}]},
    ),
    (
        "limits",
        Annotated[str, Field(min_length=1, max_length=5, pattern="^a", description="A word.")],
        {"type": "string", "pattern": "^a", "description": "A word. [maxLength: 5; minLength: 1]"},
        {"type": "string", "maxLength": 5, "minLength": 1, "pattern": "^a", "description": "A word."},
    ),
    (
        "bounds",
        Annotated[int, Field(gt=0, le=9, multiple_of=3)],
        {"type": "integer", "exclusiveMinimum": 0, "maximum": 9, "multipleOf": 3},
        {"type": "integer", "maximum": 9, "description": "[exclusiveMinimum: 0; multipleOf: 3]"},
    ),
    (
        "look-around",
        Annotated[str, Field(json_schema_extra={"pattern": "^(?!x)"})],
        {"type": "string", "description": '[pattern: "^(?!x)"]'},
        {"type": "string", "description": '[pattern: "^(?!x)"]'},
    ),
    ("moment", dt.datetime, {"type": "string", "format": "date-time"}, {"type": "string", "format": "date-time"}),
    ("day", dt.date, {"type": "string", "format": "date"}, {"type": "string", "description": '[format: "date"]'}),
    ("bytes", bytes, *[{"type": "string", "description": '[format: "binary"]'}] * 2),
    ("decimal", Decimal, *[{"anyOf": [{"type": "number"}, STRING]}] * 2),
    (
        "set",
        Annotated[set[str], Field(min_length=1)],
        {"type": "array", "items": STRING, "minItems": 1, "description": "[uniqueItems: true]"},
        {"type": "array", "items": STRING, "minItems": 1, "description": "[uniqueItems: true]"},
    ),
    ("one word", Literal["a"], {"type": "string", "const": "a"}, {"type": "string", "enum": ["a"]}),
    ("one number", Literal[5], {"type": "integer", "const": 5}, {"type": "integer", "description": "[const: 5]"}),
    ("words", Literal["a", "b"], *[{"type": "string", "enum": ["a", "b"]}] * 2),
    ("words and nothing", Literal["", "b"], {"type": "string", "enum": ["", "b"]}, {"type": "string", "description": '[enum: ["", "b"]]'}),
    (
        "mixed values",
        Literal[1, "a", None],  # noqa: PYI061 - pydantic makes one enum of it, and not a union
        {"enum": [1, "a", None], "type": ["integer", "string", "null"]},
        {
            "anyOf": [
                {"type": "integer", "description": '[enum: [1, "a", null]]', "nullable": True},
                {"type": "string", "enum": ["a"]},
            ]
        },
    ),
    ("nothing", None, NULL, {"type": "string", "description": "[const: null]", "nullable": True}),
    (
        "tuple of equals",
        tuple[float, float],
        {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
        {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
    ),
    (
        "tuple",
        tuple[int, str],
        None,
        {
            "type": "array",
            "items": {"anyOf": [{"type": "integer"}, STRING]},
            "minItems": 2,
            "maxItems": 2,
            "description": '[prefixItems: [{"type": "integer"}, {"type": "string"}]]',
        },
    ),
    ("free names", dict[str, int], None, {"type": "object", "description": '[additionalProperties: {"type": "integer"}]'}),
]
ANY_ITEM = {"anyOf": [{"type": "string", "nullable": True}, {"type": "number"}, {"type": "boolean"}, {"type": "object"}]}
ANY = {"anyOf": [*ANY_ITEM["anyOf"], {"type": "array", "items": ANY_ITEM}]}


@pytest.mark.parametrize(("kind", "strict", "for_gemini"), [row[1:] for row in TYPES], ids=[row[0] for row in TYPES])
def test_a_type_is_said_in_each_dialect(kind: Any, strict: Schema | None, for_gemini: Schema):
    schema = parameters(it=TypeAdapter(kind).json_schema())

    assert openai_strict(schema) == (strict and closed({"it": strict}))
    assert gemini(schema) == parameters(it=for_gemini)
    assert plain(schema) == anthropic(schema) == with_items(schema)


def with_items(schema: Schema) -> Schema:
    """What `plain` adds: a tuple says that nothing is said of the values after it."""
    it = schema["properties"]["it"]
    return parameters(it={**it, "items": {}}) if "prefixItems" in it else schema


def test_an_enum_behind_a_reference_keeps_its_description_beside_it():
    class Paint(BaseModel):
        color: Color = Field(default=Color.RED, description="Which one.")
        level: Level
        frame: Color = Field(description="Around it.")

    schema = TypeAdapter(Paint).json_schema()

    assert openai_strict(schema) == closed(
        {
            "color": {"anyOf": [{"$ref": "#/$defs/Color"}, NULL], "description": 'Which one. [default: "red"]'},
            "level": {"$ref": "#/$defs/Level"},
            "frame": {"anyOf": [{"$ref": "#/$defs/Color"}], "description": "Around it."},
        },
        title="Paint",
        **{"$defs": {name: schema["$defs"][name] for name in ("Color", "Level")}},
    )
    assert gemini(schema) == {
        "type": "object",
        "title": "Paint",
        "properties": {
            "color": {"type": "string", "enum": ["red", "blue"], "title": "Color", "description": 'Which one. [default: "red"]'},
            "level": {"type": "integer", "title": "Level", "description": "[enum: [1, 2]]"},
            "frame": {"type": "string", "enum": ["red", "blue"], "title": "Color", "description": "Around it."},
        },
        "required": ["level", "frame"],
    }


def test_a_discriminated_union_becomes_an_any_of():
    class Home(BaseModel):
        pet: Annotated[Cat | Dog, Field(discriminator="kind", description="Who lives there.")]

    schema = TypeAdapter(Home).json_schema()
    strict_cat = {
        "kind": {"const": "cat", "title": "Kind", "type": "string"},
        "lives": {"anyOf": [{"type": "integer"}, NULL], "title": "Lives", "description": "[default: 9]"},
    }
    strict_dog = {"kind": {"const": "dog", "title": "Kind", "type": "string"}, "name": {"anyOf": [STRING, NULL], "title": "Name"}}

    assert openai_strict(schema) == closed(
        {"pet": {"anyOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}], "title": "Pet", "description": "Who lives there."}},
        title="Home",
        **{"$defs": {"Cat": closed(strict_cat, title="Cat"), "Dog": closed(strict_dog, title="Dog")}},
    )
    assert anthropic_strict(schema) == closed(
        {"pet": {"anyOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}], "title": "Pet", "description": "Who lives there."}},
        title="Home",
        **{
            "$defs": {
                "Cat": closed({**strict_cat, "lives": {"type": "integer", "title": "Lives", "description": "[default: 9]"}}, title="Cat")
                | {"required": ["kind"]},
                "Dog": closed(strict_dog, title="Dog") | {"required": ["kind"]},
            }
        },
    )
    assert gemini(schema)["properties"]["pet"] == {
        "anyOf": [
            {
                "type": "object",
                "title": "Cat",
                "description": "Who lives there.",
                "properties": {
                    "kind": {"type": "string", "enum": ["cat"], "title": "Kind"},
                    "lives": {"type": "integer", "title": "Lives", "description": "[default: 9]"},
                },
                "required": ["kind"],
            },
            {
                "type": "object",
                "title": "Dog",
                "properties": {
                    "kind": {"type": "string", "enum": ["dog"], "title": "Kind"},
                    "name": {"type": "string", "title": "Name", "nullable": True},
                },
                "required": ["kind"],
            },
        ]
    }


def test_a_type_that_contains_itself_keeps_its_reference_or_is_cut_or_cannot_be_said():
    schema = TypeAdapter(Node).json_schema()
    value = {"title": "Value", "type": "integer"}
    strict_node = {
        "value": value,
        "children": {
            "anyOf": [{"type": "array", "items": {"$ref": "#/$defs/Node"}}, NULL],
            "title": "Children",
            "description": "[default: []]",
        },
    }

    def written(inner: Schema) -> Schema:
        children = {"type": "array", "items": inner, "title": "Children", "description": "[default: []]"}
        return {"type": "object", "title": "Node", "properties": {"value": value, "children": children}, "required": ["value"]}

    assert openai_strict(schema) == closed(strict_node, title="Node", **{"$defs": {"Node": closed(strict_node, title="Node")}})
    assert anthropic_strict(schema) is None
    assert gemini(schema) == written(written(written({"type": "object", "description": "Another Node, of the form described above."})))


@pytest.mark.parametrize(
    "it",
    [
        pytest.param({}, id="any value"),
        pytest.param(True, id="any value, said shorter"),
        pytest.param({"type": "object"}, id="an object of any form"),
        pytest.param(TypeAdapter(dict[str, int]).json_schema(), id="free names"),
        pytest.param(TypeAdapter(Open).json_schema(), id="further names"),
        pytest.param({"type": "array"}, id="a list of anything"),
        pytest.param({"type": "array", "prefixItems": [STRING], "minItems": 1}, id="a tuple with an open end"),
        pytest.param({"type": "object", "properties": {"a": STRING}, "patternProperties": {"^b": STRING}}, id="names by pattern"),
        pytest.param({"type": "object", "properties": {"a": STRING}, "unevaluatedProperties": STRING}, id="unevaluated names"),
        pytest.param({"type": "object", "properties": {"a": STRING}, "anyOf": [{"required": ["a"]}]}, id="a condition in a union"),
        pytest.param({"allOf": [{"type": "object", "properties": {"a": STRING}}, {"required": ["a"]}]}, id="several at once"),
        pytest.param({"type": "string", "not": {"const": "a"}}, id="a not"),
        pytest.param({"type": "string", "if": {"minLength": 3}, "then": {"pattern": "a"}}, id="an if"),
        pytest.param({"enum": [["a"], {"b": 1}]}, id="values with parts"),
        pytest.param({"$ref": "#/properties/it/$defs/x", "$defs": {"x": STRING}}, id="a reference to no definition of the root"),
    ],
)
def test_what_a_strict_subset_cannot_say_is_none(it: Any):
    schema = parameters(it=it)

    assert openai_strict(schema) is None
    assert anthropic_strict(schema) is None
    assert openai_strict(parameters(it=STRING)) is not None


def test_a_union_at_the_root_cannot_be_strict_and_stands_side_by_side_elsewhere():
    schema = {
        "description": "Find somebody.",
        "anyOf": [
            {"type": "object", "properties": {"id": {"type": "integer"}, "deep": {"type": "boolean"}}, "required": ["id"]},
            {"type": "object", "properties": {"id": STRING, "name": STRING}, "required": ["id", "name"]},
        ],
    }
    flat = {
        "type": "object",
        "properties": {"id": {"anyOf": [{"type": "integer"}, STRING]}, "deep": {"type": "boolean"}, "name": STRING},
        "required": ["id"],
        "description": "Find somebody. [give one of these: nothing more | name]",
    }

    assert plain(schema) == flat
    assert gemini(schema) == flat
    assert (openai_strict(schema), anthropic_strict(schema)) == (None, None)


def test_a_condition_on_the_names_of_the_root_moves_into_the_description():
    schema = {"type": "object", "properties": {"a": STRING, "b": STRING}, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}

    assert plain(schema) == {
        "type": "object",
        "properties": {"a": STRING, "b": STRING},
        "required": [],
        "description": "[give one of these: a | b]",
    }


def test_what_all_of_asks_for_at_the_root_stands_side_by_side():
    schema = {
        "allOf": [{"$ref": "#/$defs/Base"}, {"properties": {"b": STRING}, "required": ["b"]}],
        "not": {"required": ["c"]},
        "$defs": {"Base": parameters(a=STRING)},
    }

    assert plain(schema) == {
        **parameters(a=STRING, b=STRING),
        "$defs": schema["$defs"],
        "description": '[not: {"required": ["c"]}]',
    }


@pytest.mark.parametrize("schema", [{}, {"type": "object"}, {"type": ["object", "null"]}, {"type": "object", "properties": {}}])
def test_a_tool_without_parameters_is_a_full_object_everywhere_but_for_gemini(schema: Schema):
    assert plain(schema) == {"type": "object", "properties": {}}
    assert openai_strict(schema) == anthropic_strict(schema) == closed({})
    assert gemini(schema) == {}


@pytest.mark.parametrize(
    "schema", [{"type": "integer"}, {"type": ["string", "null"]}, {"anyOf": [STRING, {"type": "integer"}]}, {"enum": [1]}]
)
def test_arguments_that_are_no_object_are_refused(schema: Schema):
    for dialect in (plain, anthropic, gemini):
        with pytest.raises(ToolDefinitionError, match=r"a tool's arguments must be an object, not .*; make the value a parameter"):
            dialect(schema)


def test_names_that_are_keywords_survive_everywhere():
    properties = {name: {"type": "string", "title": name} for name in KEYWORDS_AS_NAMES}
    schema = parameters(**properties, nested=parameters(**properties))

    assert plain(schema) == schema
    assert openai_strict(schema) == anthropic_strict(schema) == closed({**properties, "nested": closed(properties)})
    assert gemini(schema) == schema


def test_values_that_look_like_schemas_survive_everywhere():
    data = {"$ref": "#/nowhere", "type": 5, "properties": []}
    schema = parameters(it={"type": "string", "default": data})

    assert plain(schema) == schema
    assert (openai_strict(schema) or {})["properties"]["it"]["description"] == f"[default: {json.dumps(data)}]"
    assert gemini(schema)["properties"]["it"]["description"] == f"[default: {json.dumps(data)}]"


def test_plain_says_what_is_in_an_array_and_declares_what_is_required():
    schema = {"properties": {"a": {"type": "array"}}, "required": ["a", "b", "a"]}

    assert plain(schema) == {"type": "object", "properties": {"a": {"type": "array", "items": {}}, "b": {}}, "required": ["a", "b"]}


def test_anthropic_strict_keeps_optional_properties_and_tells_the_limits():
    class Search(BaseModel):
        words: Annotated[list[str], Field(min_length=1, max_length=3)]
        site: Annotated[str, Field(json_schema_extra={"format": "uri"})] = ""
        pages: Annotated[int, Field(ge=1)] = 1
        pairs: Annotated[list[int], Field(min_length=2)] = []

    assert anthropic_strict(TypeAdapter(Search).json_schema()) == {
        "type": "object",
        "title": "Search",
        "properties": {
            "words": {"type": "array", "items": STRING, "title": "Words", "minItems": 1, "description": "[maxItems: 3]"},
            "site": {"type": "string", "title": "Site", "format": "uri", "description": '[default: ""]'},
            "pages": {"type": "integer", "title": "Pages", "description": "[default: 1; minimum: 1]"},
            "pairs": {"type": "array", "items": {"type": "integer"}, "title": "Pairs", "description": "[default: []; minItems: 2]"},
        },
        "required": ["words"],
        "additionalProperties": False,
    }


def test_gemini_gives_a_value_of_any_form_every_type():
    assert gemini(parameters(it={"description": "Whatever."})) == parameters(
        it={"anyOf": [{"type": "string", "nullable": True, "description": "Whatever."}, *ANY["anyOf"][1:]]}
    )
    assert gemini(parameters(it={"type": "array"})) == parameters(it={"type": "array", "items": ANY})


def test_gemini_merges_all_of_and_splits_lists_of_types():
    both = {"allOf": [parameters(a=STRING), {"properties": {"b": {"type": ["integer", "string", "null"], "minimum": 1, "minLength": 2}}}]}

    assert gemini(parameters(it=both)) == parameters(
        it={
            "type": "object",
            "properties": {
                "a": STRING,
                "b": {"anyOf": [{"type": "integer", "minimum": 1, "nullable": True}, {"type": "string", "minLength": 2}]},
            },
            "required": ["a"],
        }
    )


def test_gemini_is_told_in_words_of_a_union_beside_other_limits():
    it = {"type": "object", "properties": {"a": STRING}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}

    assert gemini(parameters(it=it))["properties"]["it"] == {
        "type": "object",
        "properties": {"a": STRING},
        "description": '[anyOf: [{"required": ["a"]}, {"required": ["b"]}]]',
    }


def test_gemini_shares_a_type_and_limits_among_the_branches_beside_them():
    it = {"type": ["string", "null"], "maxLength": 9, "oneOf": [{"minLength": 5}, {"type": "string", "maxLength": 3}]}

    assert gemini(parameters(it=it))["properties"]["it"] == {
        "anyOf": [
            {"type": "string", "minLength": 5, "maxLength": 9, "nullable": True},
            {"type": "string", "maxLength": 3},
        ]
    }


def test_the_same_schema_gives_the_same_bytes_in_every_process():
    script = (
        "import json, sys; from agentloop.tools.dialects import *; schema = json.loads(sys.argv[1]);"
        "print([json.dumps(dialect(schema)) for dialect in (plain, openai_strict, anthropic_strict, gemini)])"
    )
    schema = TypeAdapter(dict[str, Cat]).json_schema()["$defs"]["Cat"] | {
        "oneOf": [{"required": ["kind"]}, {"required": ["lives", "a", "b"]}]
    }

    def printed(seed: str) -> str:
        command = [sys.executable, "-c", script, json.dumps(schema)]
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.check_output(command, env=environment, text=True, timeout=60)  # noqa: S603 - a script of ours

    assert printed("1") == printed("2") != ""
