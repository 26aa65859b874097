"""Schemas that are malformed, that point nowhere or to themselves, and bombs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from agentloop.errors import ToolDefinitionError
from agentloop.tools.dialects import anthropic_strict, gemini, openai_strict, plain
from agentloop.tools.inlining import MAX_DEPTH, MAX_LEVELS, MAX_SIZE, allows_null, merged, recursive, target, written_out

Schema = dict[str, Any]
DIALECTS: list[Callable[[Schema], Schema | None]] = [plain, openai_strict, anthropic_strict, gemini]
STRING = {"type": "string"}


def an_object(**properties: Any) -> Schema:
    return {"type": "object", "properties": properties}


def ref(name: object) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def with_definitions(definitions: Schema) -> Schema:
    return {**an_object(a=ref(0)), "$defs": definitions}


def nested(levels: int) -> Schema:
    schema: Schema = STRING
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return an_object(a=schema)


def in_itself() -> Schema:
    schema = an_object()
    schema["properties"]["a"] = schema
    return schema


@pytest.mark.parametrize(
    ("it", "words"),
    [
        ([], "has [] where a schema must stand; write an object, true or false"),
        ("string", "has 'string' where a schema must stand"),
        ({"type": "text"}, "says 'type': 'text', which JSON Schema 2020-12 does not know; correct it"),
        ({"type": ["string", 5]}, "says 'type': ['string', 5]"),
        ({"type": []}, "says 'type': []"),
        ({"properties": []}, "says 'properties': []"),
        ({"required": "a"}, "says 'required': 'a'"),
        ({"required": True}, "says 'required': True"),
        ({"items": [STRING]}, "has [{'type': 'string'}] where a schema must stand"),
        ({"anyOf": {}}, "says 'anyOf': {}"),
        ({"anyOf": []}, "says 'anyOf': []"),
        ({"enum": "ab"}, "says 'enum': 'ab'"),
        ({"minimum": "1"}, "says 'minimum': '1'"),
        ({"exclusiveMinimum": True}, "says 'exclusiveMinimum': True"),
        ({"description": None}, "says 'description': None"),
        ({"$ref": 5}, "says '$ref': 5"),
        ({"properties": {1: STRING}}, "says 'properties': {1: {'type': 'string'}}"),
        (
            {"description": 9 * "long " * 9, "title": [9 * "long " * 9]},
            "says 'title': ['long long long long long long long long long long long lon...,",
        ),
        (ref("Nowhere"), "points to '#/$defs/Nowhere', which is not in it; write the definition under '$defs'"),
        ({"$ref": "https://example.com/schema"}, "points to 'https://example.com/schema', which is not in it"),
        ({"$ref": "#/properties/it/type"}, "points to '#/properties/it/type', which is not in it"),
        ({"$ref": "#/properties/0"}, "points to '#/properties/0', which is not in it"),
    ],
)
def test_a_malformed_schema_is_refused_in_every_dialect(it: Any, words: str):
    for dialect in DIALECTS:
        with pytest.raises(ToolDefinitionError) as caught:
            dialect(an_object(it=it))

        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (an_object(a={"description": MAX_SIZE * "a"}), "larger than 1,000,000 characters; describe less"),
        (an_object(**{f"p{number}": True for number in range(200_000)}), "larger than 1,000,000 characters"),
        (an_object(a={"default": nested(MAX_DEPTH)}), "nested deeper than 100 values; move parts of it under '$defs'"),
        (in_itself(), "nested deeper than 100 values"),
        (with_definitions({"0": ref(1), "1": ref(0)}), "leads only back to itself; point it to a definition"),
        ({"$ref": "#"}, "reference '#' leads only back to itself"),
        (
            {"allOf": [ref(0)], "$defs": {str(n): {"allOf": [ref(n + 1)]} for n in range(99)} | {"99": STRING}},
            f"nested deeper than {MAX_LEVELS}",
        ),
    ],
    ids=["ten megabytes", "many names", "deep", "inside itself", "references in a circle", "a root that is itself", "a root far away"],
)
def test_a_bomb_is_refused_with_its_reason(schema: Schema, words: str):
    for dialect in (plain, gemini):
        with pytest.raises(ToolDefinitionError) as caught:
            dialect(schema)

        assert words in str(caught.value)


BOMBS: dict[str, Schema] = {
    "doubling": with_definitions({str(n): an_object(x=ref(n + 1), y=ref(n + 1)) for n in range(40)} | {"40": STRING}),
    "doubling union": with_definitions({str(n): {"anyOf": [ref(n + 1), ref(n + 1)]} for n in range(40)} | {"40": STRING}),
    "doubling root": {
        "anyOf": [ref(0)],
        "$defs": {str(n): {"allOf": [ref(n + 1), ref(n + 1)]} for n in range(14)} | {"14": an_object(x=STRING)},
    },
    "long chain": with_definitions({str(n): an_object(x=ref(n + 1)) for n in range(900)} | {"900": STRING}),
    "long chain of unions": with_definitions({str(n): {"anyOf": [ref(n + 1), STRING]} for n in range(900)} | {"900": STRING}),
    "all in all": with_definitions({str(n): an_object(**{f"p{m}": ref(m) for m in range(10)}) for n in range(10)}),
    "a union of itself": with_definitions({"0": {"anyOf": [ref(0), ref(0), STRING]}}),
    "all of itself": with_definitions({"0": {"allOf": [ref(0), ref(0), STRING]}}),
    "a thousand copies": {
        **an_object(**{f"p{n}": ref(0) for n in range(900)}),
        "$defs": {"0": an_object(**{f"q{n}": STRING for n in range(400)})},
    },
    "deep": nested(MAX_DEPTH // 2 - 5),
    "deep in deep": with_definitions(
        {str(n): nested(20)["properties"]["a"] | {"contains": ref(n + 1)} for n in range(30)} | {"30": STRING}
    ),
    "wide": an_object(**{f"p{n}": {"type": "string", "default": n} for n in range(5_000)}),
    "wide union": {"anyOf": [an_object(**{f"p{n}": STRING}) for n in range(3_000)]},
    "wide all": {"allOf": [an_object(**{f"p{n}": STRING}) for n in range(3_000)]},
}


@pytest.mark.parametrize("schema", BOMBS.values(), ids=BOMBS)
def test_a_bomb_ends_soon_and_stays_small(schema: Schema):
    size = len(json.dumps(schema))

    for dialect in DIALECTS:
        started = time.process_time()
        rendered = dialect(schema)

        assert time.process_time() - started < 5
        assert len(json.dumps(rendered)) < 4 * size + 200_000


def test_a_reference_is_a_json_pointer():
    root = {"$defs": {"a/b~c": {"title": "escaped"}, "ä %": {"title": "encoded"}}, "allOf": [{"title": "in a list"}]}

    assert target("#/$defs/a~1b~0c", root=root) == {"title": "escaped"}
    assert target("#/$defs/%C3%A4%20%25", root=root) == {"title": "encoded"}
    assert target("#/allOf/0", root=root) == {"title": "in a list"}
    assert target("#", root=root) is root


def test_what_stands_beside_a_reference_holds_too():
    root = {
        **an_object(a={**ref("A"), "description": "Mine.", "maxLength": 3}),
        "$defs": {"A": {**STRING, "description": "Its own.", "minLength": 1}},
    }

    assert written_out(root) == an_object(a={**STRING, "description": "Mine.", "minLength": 1, "maxLength": 3})


def test_a_definition_inside_itself_is_written_out_twice_and_then_named():
    root = {**an_object(a=ref("Tree")), "$defs": {"Tree": an_object(left=ref("Tree"))}}

    assert written_out(root) == an_object(
        a=an_object(left=an_object(left={"type": "object", "description": "Another Tree, of the form described above."}))
    )


def test_a_root_inside_itself_is_written_out_too():
    root = an_object(next={"$ref": "#"})

    again = {"type": "object", "description": "The whole form once more."}
    assert written_out(root) == an_object(next=an_object(next=an_object(next=again)))


def test_a_small_definition_is_written_out_even_when_the_room_is_used_up():
    schema = {
        **an_object(**{f"p{n}": ref("Big") for n in range(50)}, last=ref("Word")),
        "$defs": {"Big": an_object(**{f"q{n}": ref("Word") for n in range(100)}), "Word": {"enum": ["a"]}},
    }

    written = written_out(schema)

    assert written["properties"]["p0"] == an_object(**{f"q{n}": {"enum": ["a"]} for n in range(100)})
    assert written["properties"]["p49"] == {"type": "object", "description": "Another Big, of the form described above."}
    assert written["properties"]["last"] == {"enum": ["a"]}


def test_recursion_is_found_wherever_it_is():
    assert recursive({"$defs": {"A": an_object(b=ref("B")), "B": {"anyOf": [STRING, ref("A")]}}})
    assert recursive(an_object(a={"$ref": "#"}))
    assert recursive({"$defs": {"A": an_object(a={"$ref": "#/%24defs/A"})}})
    assert not recursive({"$defs": {"A": an_object(a=ref("B"), b=ref("B")), "B": STRING}})
    assert not recursive(an_object(**{"$ref": {"const": {"$ref": "#"}}}))


@pytest.mark.parametrize(
    ("schema", "allowed"),
    [
        (True, True),
        (False, False),
        ({}, True),
        ({"type": "null"}, True),
        ({"type": ["string", "null"]}, True),
        ({"type": "string"}, False),
        ({"const": None}, True),
        ({"const": 0}, False),
        ({"enum": [1, None]}, True),
        ({"enum": [1], "type": ["integer", "null"]}, False),
        ({"anyOf": [{"type": "string"}, {"const": None}]}, True),
        ({"oneOf": [{"type": "string"}]}, False),
        ({"type": "string", "anyOf": [{}]}, False),
        ({"allOf": [{}, {"type": "string"}]}, False),
        (ref("Maybe"), True),
        (ref("Word"), False),
        (ref("Loop"), False),
        ({"minLength": 1}, True),
    ],
)
def test_null_is_allowed_where_a_schema_says_so(schema: Any, allowed: bool):
    root = {"$defs": {"Maybe": {"anyOf": [ref("Word"), {"type": "null"}]}, "Word": STRING, "Loop": {"anyOf": [ref("Loop"), STRING]}}}

    assert allows_null(schema, root=root, known={}) is allowed


def test_merging_unites_names_and_lets_the_later_limit_win():
    one = {"properties": {"a": {"minLength": 1}, "b": True}, "required": ["b", "a"], "minProperties": 1}
    other = {"properties": {"a": {"maxLength": 2}, "c": False}, "required": ["a", "c"], "minProperties": 2}

    assert merged(one, other) == {
        "properties": {"a": {"minLength": 1, "maxLength": 2}, "b": True, "c": False},
        "required": ["b", "a", "c"],
        "minProperties": 2,
    }
    assert one["properties"] == {"a": {"minLength": 1}, "b": True}
