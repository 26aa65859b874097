"""Which requests to Anthropic's Messages the scripted gateway refuses, and which it takes."""

import pytest

from agentloop.testing import Gateway, says
from agentloop.testing.answers import seal
from tests.testing.served import sent

HELLO = {"role": "user", "content": "Hello"}
REQUEST = {"model": "claude-sonnet-4-5", "max_tokens": 4096, "messages": [HELLO]}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
ADD = {"name": "add", "description": "Add.", "input_schema": SCHEMA}
USE = {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 1}}
USE_2 = {**USE, "id": "toolu_2"}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "1"}
RESULT_2 = {**RESULT, "tool_use_id": "toolu_2"}
TEXT = {"type": "text", "text": "So be it."}
CODE = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "code_execution", "input": {"code": "add(1)"}}
BY_CODE = {**USE, "caller": {"type": "code_execution_20260521", "tool_id": "srvtoolu_1"}}
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": seal(0, "thinking", "hm")}
THINKING = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
MARK = {"cache_control": {"type": "ephemeral"}}


def user(*blocks):
    return {"role": "user", "content": [*blocks]}


def assistant(*blocks):
    return {"role": "assistant", "content": [*blocks]}


def talk(*messages, **settings):
    return {**REQUEST, "messages": [*messages], **settings}


def tool(**changes):
    return {**REQUEST, "tools": [{**ADD, **changes}]}


REFUSED = {
    "no model": ({"max_tokens": 1, "messages": [HELLO]}, "model: Field required"),
    "no max_tokens": ({"model": "claude", "messages": [HELLO]}, "max_tokens: Field required"),
    "two ways of sampling": ({**REQUEST, "temperature": 0.5, "top_p": 0.9}, "cannot both be specified for this model"),
    "a call out of code without its container": (talk(HELLO, assistant(CODE, BY_CODE), user(RESULT)), "container_id is required"),
    "a container of a number": ({**REQUEST, "container": 1}, "container: Input should be"),
    "max_tokens of 0": ({**REQUEST, "max_tokens": 0}, "max_tokens: Input should be greater"),
    "no messages": (talk(), "at least one message is required"),
    "an unknown field": ({**REQUEST, "reasoning_effort": "low"}, "reasoning_effort: Extra inputs are not permitted"),
    "a field of a beta": ({**REQUEST, "mcp_servers": []}, "mcp_servers: Extra inputs are not permitted"),
    "the system as a message": (talk({"role": "system", "content": "Be kind."}, HELLO), "messages.0.role"),
    "results as a role": (talk(HELLO, {"role": "tool", "content": "1"}), "messages.1.role"),
    "the assistant first": (talk(assistant(TEXT), HELLO), 'first message must use the "user" role'),
    "an unknown field in a message": (talk({**HELLO, "name": "Ann"}), "messages.0.name: Extra inputs"),
    "no content": (talk({"role": "user", "content": ""}), "must have non-empty content"),
    "no blocks": (talk(user()), "must have non-empty content"),
    "an empty text": (talk(user({"type": "text", "text": ""})), "text content blocks must be non-empty"),
    "an empty text of the assistant": (talk(HELLO, assistant({"type": "text", "text": ""}), HELLO), "must be non-empty"),
    "white space": (talk(user({"type": "text", "text": " \n"})), "must contain non-whitespace text"),
    "an unknown block": (talk(user({"type": "input_text", "text": "Hi"})), "Input tag 'input_text'"),
    "an unknown field in a block": (talk(user({**TEXT, "annotations": []})), "annotations: Extra inputs"),
    "a call of the user": (talk(user(USE)), "Input tag 'tool_use'"),
    "a result of the assistant": (talk(HELLO, assistant(RESULT)), "Input tag 'tool_result'"),
    "a picture without a source": (talk(user({"type": "image", "image_url": "x"})), "source: Field required"),
    "a picture of an unknown source": (talk(user({"type": "image", "source": {"type": "data"}})), "source.type"),
    "a last word with white space": (talk(HELLO, assistant({"type": "text", "text": "So "})), "trailing whitespace"),
    "a call nobody answers": (talk(HELLO, assistant(USE), HELLO), "without `tool_result` blocks immediately after: toolu_1"),
    "a call at the end": (talk(HELLO, assistant(USE)), "without `tool_result` blocks immediately after: toolu_1"),
    "one of two calls answered": (talk(HELLO, assistant(USE, USE_2), user(RESULT)), "immediately after: toolu_2"),
    "results in two messages": (talk(HELLO, assistant(USE, USE_2), user(RESULT), user(RESULT_2)), "immediately after: toolu_2"),
    "a result behind words": (talk(HELLO, assistant(USE), user(TEXT, RESULT)), "must come first"),
    "a result of no call": (talk(HELLO, assistant(TEXT), user(RESULT)), "unexpected `tool_use_id`"),
    "a result twice": (talk(HELLO, assistant(USE), user(RESULT, RESULT)), "must have a single result"),
    "an empty text in a result": (
        talk(HELLO, assistant(USE), user({**RESULT, "content": [{"type": "text", "text": ""}]})),
        "must be non-empty",
    ),
    "an object for a result": (talk(HELLO, assistant(USE), user({**RESULT, "content": {"sum": 1}})), "valid string or list"),
    "an id twice": (talk(HELLO, assistant(USE, USE), user(RESULT)), "ids must be unique"),
    "an id used again": (talk(HELLO, assistant(USE), user(RESULT), assistant(USE), user(RESULT)), "ids must be unique"),
    "an id with a dot": (talk(HELLO, assistant({**USE, "id": "a.b"}), user(RESULT)), "String should match pattern"),
    "arguments as text": (talk(HELLO, assistant({**USE, "input": "{}"}), user(RESULT)), "input: Input should be a valid dictionary"),
    "a thought without a signature": (talk(HELLO, assistant({"type": "thinking", "thinking": "hm"}, TEXT), HELLO), "signature"),
    "a thought that was changed": (talk(HELLO, assistant({**THOUGHT, "thinking": "ha"}, TEXT), HELLO), "Invalid `signature`"),
    "a thought behind words": (talk(HELLO, assistant(TEXT, THOUGHT), HELLO), "must come first"),
    "little time to think": ({**REQUEST, "thinking": {"type": "enabled", "budget_tokens": 1000}}, "greater than or equal to 1024"),
    "more thoughts than tokens": ({**REQUEST, **THINKING, "max_tokens": 1024}, "`max_tokens` must be greater than"),
    "a temperature of thoughts": ({**REQUEST, **THINKING, "temperature": 0.5}, "`temperature` may only be set to 1"),
    "a forced call beside thoughts": ({**tool(), **THINKING, "tool_choice": {"type": "any"}}, "Thinking may not be enabled"),
    "a call without its thoughts": (talk(HELLO, assistant(USE), user(RESULT), **THINKING), "Expected `thinking`"),
    "a budget of adaptive thoughts": ({**REQUEST, "thinking": {"type": "adaptive", "budget_tokens": 2000}}, "Extra inputs"),
    "five cache marks": (talk(*[user({**TEXT, **MARK})] * 5), "A maximum of 4 blocks"),
    "a cache mark of another kind": (talk(user({**TEXT, "cache_control": {"type": "for_ever"}})), "cache_control"),
    "OpenAI's tools": ({**REQUEST, "tools": [{"type": "function", "function": ADD}]}, "Input tag 'function'"),
    "a schema under OpenAI's name": ({**REQUEST, "tools": [{"name": "add", "parameters": SCHEMA}]}, "parameters: Extra inputs"),
    "a tool without a schema": ({**REQUEST, "tools": [{"name": "add"}]}, "input_schema: Field required"),
    "a schema of no object": (tool(input_schema={"type": "string"}), "input_schema.type: Input should be 'object'"),
    "a name with a dot": (tool(name="math.add"), "String should match pattern"),
    "a tool twice": ({**REQUEST, "tools": [ADD, ADD]}, "Tool names must be unique"),
    "a strict schema that is open": (tool(strict=True), "'additionalProperties' must be explicitly set to false"),
    "a choice as a word": ({**tool(), "tool_choice": "auto"}, "tool_choice: Input should be an object"),
    "OpenAI's choice": ({**tool(), "tool_choice": {"type": "function", "name": "add"}}, "tool_choice: Input should be"),
    "a choice of no tool": ({**tool(), "tool_choice": {"type": "tool", "name": "sub"}}, "not found in provided tools"),
    "a choice without tools": ({**REQUEST, "tool_choice": {"type": "auto"}}, "while providing tools"),
    "a web search without a date": ({**REQUEST, "tools": [{"type": "web_searching"}]}, "Input tag 'web_searching'"),
    "an output of an unknown form": ({**REQUEST, "output_config": {"format": {"type": "json_object"}}}, "should be 'json_schema'"),
    "an output with limits": (
        {**REQUEST, "output_config": {"format": {"type": "json_schema", "schema": {"type": "integer", "minimum": 1}}}},
        "property 'minimum' is not supported",
    ),
    "an empty stop": ({**REQUEST, "stop_sequences": [" "]}, "must contain non-whitespace"),
    "too much temperature": ({**REQUEST, "temperature": 1.5}, "temperature: range"),
}


@pytest.mark.parametrize(("body", "words"), REFUSED.values(), ids=REFUSED.keys())
async def test_a_request_that_anthropic_refuses_is_refused(body, words):
    gateway = Gateway(says("Hi"))

    answer = await sent(gateway, "/v1/messages", body)

    assert answer.status_code == 400
    assert answer.json()["type"] == "error"
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert words in answer.json()["error"]["message"]
    assert gateway.turns_left == 1


TAKEN = {
    "words": REQUEST,
    "words of one after another": talk(HELLO, HELLO, assistant(TEXT), assistant(TEXT), HELLO),
    "a system in blocks": {**REQUEST, "system": [{**TEXT, **MARK}]},
    "results, and words behind them": talk(HELLO, assistant(TEXT, USE, USE_2), user(RESULT_2, {**RESULT, "is_error": True}, TEXT)),
    "an empty result": talk(HELLO, assistant(USE), user({"type": "tool_result", "tool_use_id": "toolu_1"})),
    "white space between cited words": talk(HELLO, assistant(TEXT, {"type": "text", "text": " "}, TEXT), HELLO),
    "thoughts before a call": talk(HELLO, assistant(THOUGHT, USE), user(RESULT), **THINKING),
    "hidden thoughts": talk(HELLO, assistant({"type": "redacted_thinking", "data": "x"}, USE), user(RESULT), **THINKING),
    "thoughts of a real model": talk(HELLO, assistant({**THOUGHT, "signature": "EvQB", "thinking": "any"}, TEXT), HELLO),
    "a call without thoughts where they are adaptive": talk(HELLO, assistant(USE), user(RESULT), thinking={"type": "adaptive"}),
    "an older call without thoughts": talk(HELLO, assistant(USE), user(RESULT), assistant(TEXT), HELLO, **THINKING),
    "four cache marks": talk(*[user({**TEXT, **MARK})] * 4),
    "a choice of a tool": {**tool(), "tool_choice": {"type": "tool", "name": "add", "disable_parallel_tool_use": True}},
    "two ways of sampling an older model": {**REQUEST, "model": "claude-sonnet-4-20250514", "temperature": 0.5, "top_p": 0.9},
    "one way of sampling": {**REQUEST, "top_p": 0.9},
    "a call out of code in its container": talk(HELLO, assistant(CODE, BY_CODE), user(RESULT), container="container_1"),
    "a call out of code that has ended": talk(HELLO, assistant(CODE, BY_CODE), user(RESULT), assistant(TEXT), HELLO),
    "a hosted tool": {**REQUEST, "tools": [{"type": "web_search_20260318", "name": "web_search", "max_uses": 2}]},
}


@pytest.mark.parametrize("body", TAKEN.values(), ids=TAKEN.keys())
async def test_a_request_that_anthropic_takes_is_taken(body):
    answer = await sent(Gateway(says("Hi")), "/v1/messages", body)

    assert answer.status_code == 200, answer.text


async def test_the_version_must_be_named_and_a_beta_may_be():
    beta = {**REQUEST, "mcp_servers": []}

    without = await sent(Gateway(says("Hi")), "/v1/messages", REQUEST, anthropic_version="")
    with_beta = await sent(Gateway(says("Hi")), "/v1/messages", beta, anthropic_beta="mcp-client-2025-11-20")

    assert (without.status_code, with_beta.status_code) == (400, 200)
    assert "anthropic-version: header is required" in without.json()["error"]["message"]
