"""Which chat requests the gateway refuses, as a provider would, and which it takes."""

import json
from typing import Any

import pytest

from agentloop.testing import Gateway, says
from agentloop.testing.chat_rules import chat_problem

USER: dict[str, Any] = {"role": "user", "content": "1 + 2, and 3 - 4?"}
ADD = {"id": "call_a", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}
SUB = {"id": "call_b", "type": "function", "function": {"name": "sub", "arguments": "{}"}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [ADD, SUB]}
ADDED = {"role": "tool", "tool_call_id": "call_a", "content": "3"}
SUBBED = {"role": "tool", "tool_call_id": "call_b", "content": "-1"}
NUMBERS = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a"]}
TOOL = {"type": "function", "function": {"name": "add", "description": "Add.", "parameters": NUMBERS}}
LISTS = {"type": "object", "properties": {"a": {"type": "array"}}}
STRICT = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}


def body(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [USER, *messages], **fields}


def calling(**changed: Any) -> dict[str, Any]:
    """Make an assistant message with one call that is different."""
    return {"role": "assistant", "content": None, "tool_calls": [{**ADD, **changed}]}


def showing(**part: Any) -> dict[str, Any]:
    """Make a user message of this part."""
    return {"role": "user", "content": [part]}


def thinking(*parts: Any) -> dict[str, Any]:
    """Make one of Mistral's thoughts."""
    return {"type": "thinking", "thinking": [*parts]}


def arguing(arguments: Any) -> dict[str, Any]:
    """Make an assistant message with one call of these arguments."""
    return calling(function={"name": "add", "arguments": arguments})


def function(**changed: Any) -> list[Any]:
    """Make a list of one tool that is different."""
    return [{"type": "function", "function": {**TOOL["function"], **changed}}]


def output(**changed: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": STRICT, **changed}}


@pytest.mark.parametrize(
    "request_",
    [
        body(),
        body(CALLING, ADDED, SUBBED),
        body(CALLING, SUBBED, ADDED, {"role": "assistant", "content": "3 and -1."}, USER, CALLING, ADDED, SUBBED),
        body({**CALLING, "content": ""}, {**ADDED, "content": [{"type": "text", "text": "3"}]}, SUBBED),
        body({"role": "assistant", "content": None, "refusal": "No."}, USER),
        body({"role": "system", "content": "Be brief."}, {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]}),
        body({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}, {"type": "file", "file": {}}]}),
        body(calling(type="custom", custom={"name": "sql", "input": "select 1"}), ADDED),
        body(tools=[TOOL, *function(name="sub", parameters={"type": "object", "properties": {}}, strict=None)], tool_choice="required"),
        body(tools=function(parameters=STRICT, strict=True), tool_choice={"type": "function", "function": {"name": "add"}}),
        body(tools=None, tool_choice=None, parallel_tool_calls=None, temperature=None, stream=None),
        body(stream=True, stream_options={"include_usage": True}, temperature=0, top_p=1.0, max_tokens=1, stop=["a", "b"], n=1),
        body(response_format=output(strict=True), reasoning_effort="high", seed=1, metadata={"a": "b"}, store=True),
        body(metadata={}),
        body({"role": "assistant", "content": [thinking({"type": "text", "text": "hm"}), {"type": "text", "text": "3."}]}, USER),
        body(enable_thinking=True),
    ],
)
def test_what_a_provider_takes_is_taken(request_):
    assert chat_problem(request_) is None


CALL = "messages.[1].tool_calls[0]"
FUNCTION = "tools[0].function"
OUTPUT = "response_format.json_schema"
PART = "messages.[1].content[0]"
PICTURE = {"content": [{"type": "image_url", "image_url": {"url": "data:"}}]}
BROKEN: list[Any] = [
    ("no object", [USER], "", "JSON object"),
    ("no model", {"messages": [USER]}, "model", "must be named"),
    ("empty model", {"model": "", "messages": [USER]}, "model", "must be named"),
    ("no messages", {"model": "m"}, "messages", "list of messages"),
    ("empty messages", {"model": "m", "messages": []}, "messages", "list of messages"),
    ("unknown role", body({"role": "robot", "content": "Hi"}), "messages.[1].role", "'robot'"),
    ("message of no object", body("Hi"), "messages.[1].role", "needs a role"),
    ("no content", body({"role": "user"}), "messages.[1].content", "must have content"),
    ("content of a number", body({"role": "user", "content": 1}), "messages.[1].content", "string or a list"),
    ("content of no parts", body({"role": "user", "content": []}), "messages.[1].content", "string or a list"),
    ("unknown part", body(showing(type="song")), f"{PART}.type", "'song'"),
    ("text part without text", body(showing(type="text")), f"{PART}.text", "needs 'text'"),
    ("picture without address", body(showing(type="image_url", image_url={})), f"{PART}.image_url", "'url'"),
    ("thought of the user", body({"role": "user", "content": [thinking()]}), f"{PART}.type", "'thinking'"),
    ("thought of no parts", body({"role": "assistant", "content": [thinking("hm")]}), f"{PART}.thinking", "parts with 'text'"),
    ("metadata of what is not stored", body(metadata={"a": "b"}), "metadata", "only allowed when 'store'"),
    ("picture in a result", body(CALLING, {**ADDED, **PICTURE}), "messages.[2].content[0].type", "image_url"),
    ("assistant that says nothing", body({"role": "assistant", "content": None}), "messages.[1].content", "must have content"),
    ("no call answered, at the end", body(CALLING), "messages", "call_a, call_b"),
    ("one call unanswered, at the end", body(CALLING, ADDED), "messages", "call_b"),
    ("one call unanswered, in the middle", body(CALLING, ADDED, USER), "messages.[3]", "call_b"),
    ("call answered too late", body(CALLING, ADDED, USER, SUBBED), "messages.[3]", "call_b"),
    ("call answered twice", body(CALLING, ADDED, ADDED, SUBBED), "messages.[3].tool_call_id", "answered twice"),
    ("call answered again later", body(CALLING, ADDED, SUBBED, USER, ADDED), "messages.[5].tool_call_id", "did not call"),
    ("result without a call", body(ADDED), "messages.[1].tool_call_id", "did not call"),
    ("result of another call", body(CALLING, {**ADDED, "tool_call_id": "call_c"}), "messages.[2].tool_call_id", "'call_c'"),
    ("result without an id", body(CALLING, {"role": "tool", "content": "3"}), "messages.[2].tool_call_id", "must say"),
    ("empty list of calls", body({"role": "assistant", "content": "Hi", "tool_calls": []}), "messages.[1].tool_calls", "be left out"),
    ("calls that are null", body({"role": "assistant", "content": "Hi", "tool_calls": None}), "messages.[1].tool_calls", "be left out"),
    ("call of no type", body(calling(type=None)), f"{CALL}.type", "needs the type"),
    ("call without an id", body(calling(id="")), f"{CALL}.id", "needs an id"),
    ("two calls of one id", body({**CALLING, "tool_calls": [ADD, ADD]}), "messages.[1].tool_calls[1].id", "two tool calls"),
    ("call without a name", body(calling(function={"arguments": "{}"})), f"{CALL}.function.name", "None"),
    ("call of a name with a dot", body(calling(function={"name": "a.b", "arguments": "{}"})), f"{CALL}.function.name", "a.b"),
    ("arguments of an object", body(arguing({})), f"{CALL}.function.arguments", "a string"),
    ("arguments that do not parse", body(arguing('{"a":')), f"{CALL}.function.arguments", "JSON text"),
    ("arguments with NaN", body(arguing('{"a":NaN}')), f"{CALL}.function.arguments", "JSON text"),
    ("arguments of a list", body(arguing("[]")), f"{CALL}.function.arguments", "JSON object"),
    ("empty arguments", body(arguing("")), f"{CALL}.function.arguments", "JSON text"),
    ("empty list of tools", body(tools=[]), "tools", "be left out"),
    ("tool of no type", body(tools=[{"function": {}}]), "tools[0]", "needs the type"),
    ("tool without a name", body(tools=function(name=None)), f"{FUNCTION}.name", "None"),
    ("tool of a name too long", body(tools=function(name="a" * 65)), f"{FUNCTION}.name", "aaa"),
    ("two tools of one name", body(tools=[TOOL, TOOL]), "tools", "'add'"),
    ("description of a list", body(tools=function(description=["Add."])), f"{FUNCTION}.description", "a string"),
    ("parameters of no object", body(tools=function(parameters={"type": "string"})), f"{FUNCTION}.parameters", "'string'"),
    ("parameters of no schema", body(tools=function(parameters={})), f"{FUNCTION}.parameters", "must be 'object'"),
    ("array of nothing", body(tools=function(parameters=LISTS)), f"{FUNCTION}.parameters", "'items'"),
    ("strict that is none", body(tools=function(strict=True)), f"{FUNCTION}.parameters", "strict mode"),
    ("strict that is no flag", body(tools=function(strict="yes")), f"{FUNCTION}.strict", "true, false"),
    ("choice without tools", body(tool_choice="auto"), "tool_choice", "beside 'tools'"),
    ("parallel without tools", body(parallel_tool_calls=True), "parallel_tool_calls", "beside 'tools'"),
    ("unknown choice", body(tools=[TOOL], tool_choice="any"), "tool_choice", "'any'"),
    ("choice of no tool", body(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "sub"}}), "tool_choice", "'sub'"),
    ("parallel that is no flag", body(tools=[TOOL], parallel_tool_calls="no"), "parallel_tool_calls", "true or false"),
    ("stream that is no flag", body(stream="yes"), "stream", "true or false"),
    ("stream options of a whole reply", body(stream_options={}), "stream_options", "when 'stream' is true"),
    ("temperature too high", body(temperature=3), "temperature", "0 to 2"),
    ("top_p of text", body(top_p="1"), "top_p", "0 to 1"),
    ("no tokens", body(max_tokens=0), "max_tokens", "above 0"),
    ("two ways to say tokens", body(max_tokens=1, max_completion_tokens=1), "max_tokens", "both"),
    ("five stops", body(stop=list("abcde")), "stop", "at most 4"),
    ("two choices", body(n=2), "n", "one choice"),
    ("unknown effort", body(reasoning_effort="much"), "reasoning_effort", "minimal"),
    ("unknown format", body(response_format={"type": "xml"}), "response_format.type", "'xml'"),
    ("output without a name", body(response_format=output(name=None)), f"{OUTPUT}.name", "None"),
    ("output without a schema", body(response_format=output(schema=None)), f"{OUTPUT}.schema", "null"),
    ("output that is not strict", body(response_format=output(schema=NUMBERS, strict=True)), f"{OUTPUT}.schema", "strict mode"),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "param", "words"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_what_a_provider_refuses_is_refused_with_its_place(request_, param, words):
    problem = chat_problem(request_)

    assert problem is not None
    assert problem.status == 400
    assert problem.param == (param or None)
    assert words in problem.message


async def test_a_refused_request_gets_a_400_in_the_words_of_the_api_and_costs_no_turn(way):
    gateway = Gateway(says("Hi"))

    async with way.to(gateway) as client:
        refused = await client.post("/chat/completions", json=body(CALLING, ADDED))
        taken = await client.post("/chat/completions", json=body(CALLING, ADDED, SUBBED))

    assert [refused.status_code, taken.status_code] == [400, 200]
    assert refused.json()["error"]["type"] == "invalid_request_error"
    assert refused.json()["error"]["param"] == "messages"
    assert "call_b" in refused.json()["error"]["message"]
    assert [request.status for request in gateway.requests] == [400, 200]
    assert [bool(request.refused) for request in gateway.requests] == [True, False]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"{", "no JSON"),
        (b"[]", "JSON object"),
        (b'{"model": "\xff"}', "no JSON"),
        (b'{"model": "\\ud800"}', "no JSON"),
        (b'{"temperature": NaN}', "no JSON"),
    ],
)
async def test_what_is_no_json_is_refused(way, content, words):
    async with way.to(Gateway(says("Hi"))) as client:
        answer = await client.post("/chat/completions", content=content, headers={"content-type": "application/json"})

    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


async def test_a_body_that_is_not_said_to_be_json_is_refused(way):
    async with way.to(Gateway(says("Hi"))) as client:
        answer = await client.post("/chat/completions", content=json.dumps(body()))

    assert answer.status_code == 400
    assert "content-type" in answer.json()["error"]["message"]
