"""Which Responses requests the scripted gateway refuses, and which it takes."""

import pytest

from agentloop.testing import Gateway, says
from agentloop.testing.answers import seal
from tests.testing.served import sent

USER = {"role": "user", "content": "Hello"}
REQUEST = {"model": "gpt-5", "input": "Hello"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
ADD = {"type": "function", "name": "add", "description": "Add.", "parameters": SCHEMA, "strict": False}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "add", "arguments": '{"a":1}', "status": "completed"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "1"}
SAID = {"type": "message", "role": "assistant", "id": "msg_1", "content": [{"type": "output_text", "text": "Hi", "annotations": []}]}
THOUGHT = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "hm"}],
    "encrypted_content": seal(0, "reasoning", ["hm"]),
}


def items(*said, **settings):
    return {**REQUEST, "input": [USER, *said], **settings}


def part(role="user", **said):
    return items({"role": role, "content": [said]})


def tool(**changes):
    return {**REQUEST, "tools": [{**ADD, **changes}]}


def without(value, name):
    return {key: each for key, each in value.items() if key != name}


REFUSED = {
    "no model": ({"input": "Hello"}, "A model must be named"),
    "no input": ({"model": "gpt-5"}, "'input' must be"),
    "an empty input": ({**REQUEST, "input": []}, "'input' must be"),
    "a field of chat completions": ({**REQUEST, "max_completion_tokens": 99}, "Unknown parameter: 'max_completion_tokens'"),
    "messages": ({**REQUEST, "messages": [USER]}, "Unknown parameter: 'messages'"),
    "an unknown item": (items({"type": "tool_call"}), "no item of the type 'tool_call'"),
    "an unknown field in an item": (items({**CALL, "extra": 1}, OUTPUT), "Unknown parameter: 'input[1].extra'"),
    "a role of chat completions": (items({"role": "tool", "content": "1"}), "A message needs a role"),
    "a message without content": (items({"role": "user", "content": []}), "must have content"),
    "a part of chat completions": (part(type="text", text="Hi"), "none of input_text, input_image, input_file"),
    "the user's words from the assistant": (part("assistant", type="input_text", text="Hi"), "none of output_text, refusal"),
    "the assistant's words from the user": (part(type="output_text", text="Hi"), "none of input_text"),
    "a picture of chat completions": (part(type="input_image", image_url={"url": "https://x"}), "needs its data or its address"),
    "a part without text": (part(type="input_text"), "Missing required parameter: 'input[1].content[0].text'"),
    "a file without a name": (part(type="input_file", file_data="data:,x"), "filename"),
    "an id of another kind": (items({**SAID, "id": "rs_1"}), "begins with 'msg'"),
    "a call nobody answers": (items(CALL), "No tool output found for function call call_1"),
    "an output of no call": (items(OUTPUT), "No tool call found for the output with call_id call_1"),
    "an output before its call": (items(OUTPUT, CALL), "No tool call found"),
    "an output twice": (items(CALL, OUTPUT, OUTPUT), "No tool call found"),
    "an output of the item's id": (items(CALL, {**OUTPUT, "call_id": "fc_1"}), "No tool call found"),
    "a call_id of two calls": (items(CALL, CALL, OUTPUT), "belongs to two calls"),
    "a call without a call_id": (items(without(CALL, "call_id")), "Missing required parameter: 'input[1].call_id'"),
    "a long call_id": (items({**CALL, "call_id": "x" * 65}, {**OUTPUT, "call_id": "x" * 65}), "The call_id"),
    "arguments that do not parse": (items({**CALL, "arguments": '{"a":'}, OUTPUT), "the text of a JSON object"),
    "arguments as an object": (items({**CALL, "arguments": {}}, OUTPUT), "the text of a JSON object"),
    "an output as an object": (items(CALL, {**OUTPUT, "output": {"sum": 1}}), "Content must be a string or a list"),
    "a thought at the end": (items(THOUGHT), "without its required following item"),
    "a thought before the user's words": (items(THOUGHT, USER), "without its required following item"),
    "a thought before an output": (items(CALL, THOUGHT, OUTPUT), "without its required following item"),
    "a thought without a summary": (items(without(THOUGHT, "summary"), SAID), "Missing required parameter: 'input[1].summary'"),
    "a thought that was changed": (
        items({**THOUGHT, "summary": [{"type": "summary_text", "text": "ha"}]}, SAID),
        "could not be verified",
    ),
    "a thought for a model that has none": (items(THOUGHT, SAID, model="gpt-4.1"), "a reasoning or computer use model"),
    "a thought for a model behind a gateway that has none": (items(THOUGHT, SAID, model="openai/gpt-4o"), "a reasoning or computer use"),
    "llama.cpp's output without a name": (
        {**REQUEST, "response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}},
        "none that an output can have",
    ),
    "tools of chat completions": ({**REQUEST, "tools": [{"type": "function", "function": ADD}]}, "Unknown parameter: 'tools[0].function'"),
    "a tool without parameters": ({**REQUEST, "tools": [without(ADD, "parameters")]}, "Missing required parameter: 'tools[0].parameters'"),
    "a strict tool that is open": (tool(strict=True), "Invalid schema for function 'add'"),
    "strictness as a number": (tool(strict=1), "'strict' must be"),
    "a tool with a dot": (tool(name="math.add"), "none that a tool can have"),
    "a tool twice": ({**REQUEST, "tools": [ADD, ADD]}, "Two tools have the name 'add'"),
    "an unknown hosted tool": ({**REQUEST, "tools": [{"type": "googleSearch"}]}, "no tool of the type 'googleSearch'"),
    "an MCP server without an address": ({**REQUEST, "tools": [{"type": "mcp", "server_label": "x"}]}, "needs 'server_url'"),
    "the choice of chat completions": ({**tool(), "tool_choice": {"type": "function", "function": {"name": "add"}}}, "none of the tools"),
    "a choice of no tool": ({**tool(), "tool_choice": {"type": "function", "name": "sub"}}, "none of the tools: add"),
    "a choice without tools": ({**REQUEST, "tool_choice": "required"}, "needs 'tools'"),
    "an output of chat completions": (
        {**REQUEST, "text": {"format": {"type": "json_schema", "json_schema": {}}}},
        "text.format.json_schema",
    ),
    "an output without a name": (
        {**REQUEST, "text": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        "none that an output can have",
    ),
    "an unknown include": ({**REQUEST, "include": ["reasoning"]}, "'reasoning' is none of"),
    "few tokens": ({**REQUEST, "max_output_tokens": 15}, "at least 16"),
    "an unknown effort": ({**REQUEST, "reasoning": {"effort": "huge"}}, "'effort' is one of"),
    "numbers in the metadata": ({**REQUEST, "metadata": {"a": 1}}, "'metadata' must be"),
    "too much temperature": ({**REQUEST, "temperature": 3}, "'temperature' must be"),
}


@pytest.mark.parametrize(("body", "words"), REFUSED.values(), ids=REFUSED.keys())
async def test_a_request_that_openai_refuses_is_refused(body, words):
    gateway = Gateway(says("Hi"))

    answer = await sent(gateway, "/v1/responses", body)

    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]
    assert gateway.turns_left == 1


TAKEN = {
    "words": REQUEST,
    "null for what is left out": {**REQUEST, "temperature": None, "tools": None, "reasoning": None, "text": None},
    "a call and its output": items(CALL, OUTPUT),
    "parallel calls": items(CALL, {**CALL, "call_id": "call_2"}, {**OUTPUT, "call_id": "call_2"}, OUTPUT),
    "a call_id used again": items(CALL, OUTPUT, CALL, OUTPUT),
    "a picture as output": items(CALL, {**OUTPUT, "output": [{"type": "input_image", "image_url": "data:image/png;base64,AA=="}]}),
    "thoughts before words": items(THOUGHT, SAID, USER, store=False),
    "thoughts before thoughts before a call": items(THOUGHT, THOUGHT, CALL, OUTPUT),
    "thoughts before a search": items(THOUGHT, {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {}}, SAID, USER),
    "thoughts of a real model": items({**THOUGHT, "encrypted_content": "gAAA", "summary": []}, SAID, USER),
    "thoughts of a model in the open": items(THOUGHT, SAID, USER, model="gpt-oss-20b"),
    "llama.cpp's output": {**REQUEST, "response_format": {"type": "json_schema", "json_schema": {"name": "sum", "schema": SCHEMA}}},
    "an output of a call that the server keeps": {**REQUEST, "input": [OUTPUT], "previous_response_id": "resp_1"},
    "a strict tool": tool(strict=True, parameters={**SCHEMA, "additionalProperties": False}),
    "a choice of a tool": {**tool(), "tool_choice": {"type": "function", "name": "add"}},
    "a hosted tool": {**REQUEST, "tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}},
    "an output": {**REQUEST, "text": {"format": {"type": "json_schema", "name": "sum", "schema": SCHEMA, "strict": False}}},
}


@pytest.mark.parametrize("body", TAKEN.values(), ids=TAKEN.keys())
async def test_a_request_that_openai_takes_is_taken(body):
    answer = await sent(Gateway(says("Hi")), "/v1/responses", body)

    assert answer.status_code == 200, answer.text


async def test_thoughts_that_the_server_was_told_not_to_keep_must_come_along():
    answer = await sent(Gateway(says("Hi")), "/v1/responses", items(without(THOUGHT, "encrypted_content"), SAID, USER, store=False))

    assert answer.status_code == 404
    assert "Items are not persisted" in answer.json()["error"]["message"]
