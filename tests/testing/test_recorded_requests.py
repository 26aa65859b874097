"""The requests that real providers took are taken by the scripted gateway, too, but for those that only one server of the family takes."""

import json
import re

import pytest

from agentloop.testing import Gateway, always, says
from agentloop.testing.chat_rules import chat_problem
from agentloop.testing.gemini_rules import gemini_problem
from agentloop.testing.messages_rules import messages_problem
from agentloop.testing.responses_rules import responses_problem
from tests.exchanges import FOLDER
from tests.testing.served import sent

# Why OpenAI, Anthropic or Google refuse what another server of the format took; by a piece of the file's name.
KNOWN = {
    "responses/xai__": "xAI takes thoughts without an id",
    "responses/deepseek__": "DeepSeek's thoughts have ids of another kind",
    "responses/bedrock-mantle__test_bedrock_mantle--test_reused": "Bedrock's call_ids hold colons, and are longer than 64",
    "vertex__test_function_call_choice_no_content": "Vertex takes the numbers of protobuf for the names of types",
    "openai__test_openai--test_multiple_agent_tool_calls": "Google takes one object for a list of one; a client need not rely on that",
}
PATHS = (
    (re.compile(r".*/models/([^/:]+:(?:generateContent|streamGenerateContent).*)"), "/v1beta/models/{}"),
    (re.compile(r".*/(responses)(?:\?.*)?"), "/v1/{}"),
    (re.compile(r".*/(messages)(?:\?.*)?"), "/v1/{}"),
)


def recorded():
    """Read the requests that were answered with 200, as (file, path, body)."""
    if not (FOLDER / "INDEX.json").exists():
        pytest.skip(f"no recorded exchanges in {FOLDER}; name their folder in AGENTLOOP_EXCHANGES")
    for entry in json.loads((FOLDER / "INDEX.json").read_text()):
        for interaction in json.loads((FOLDER / entry["file"]).read_text()):
            body = interaction.get("request_body")
            paths = [path.format(found[1]) for form, path in PATHS if (found := form.fullmatch(interaction["path"]))]
            if interaction["status"] == 200 and interaction["method"] == "POST" and isinstance(body, dict) and paths:
                yield entry["file"], paths[0], body


async def test_what_real_providers_took_is_taken():
    gateway = Gateway(always(says("Hi")))
    taken, refused = 0, {}

    for file, path, body in recorded():
        answer = await sent(gateway, path, body, anthropic_beta="recorded")
        if answer.status_code == 200:
            taken += 1
        else:
            refused[file] = answer.text

    unknown = {file: words for file, words in refused.items() if not any(piece in file for piece in KNOWN)}
    unused = [piece for piece in KNOWN if not any(piece in file for file in refused)]
    print(f"{taken} recorded requests are taken, {len(refused)} files hold some that are not")
    assert not unknown
    assert not unused
    assert taken > 150


ODD = (None, 1, True, "x", [], [1], [[1]], {}, {"a": 1})


def places(value, place=()):
    """Walk to each value inside of a value."""
    yield place
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inside:
        yield from places(each, (*place, key))


def changed(value, place, odd):
    """Put another value at a place of a copy."""
    if not place:
        return odd
    key, *rest = place
    copy = value.copy()
    copy[key] = changed(value[key], rest, odd)
    return copy


SMALL = {
    chat_problem: {
        "model": "m",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
            {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "add", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "1", "content": "1"},
        ],
        "tools": [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}, "required": []}}}],
        "tool_choice": {"type": "function", "function": {"name": "add"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "sum", "schema": {"type": "object"}, "strict": False}},
    },
    responses_problem: {
        "model": "m",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
            {"type": "function_call", "call_id": "1", "name": "add", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "1", "output": "1"},
        ],
        "tools": [
            {"type": "function", "name": "add", "parameters": {"type": "object", "properties": {}}},
            {"type": "mcp", "server_label": "x"},
        ],
        "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []},
        "text": {"format": {"type": "json_schema", "name": "sum", "schema": {"type": "object"}}},
        "reasoning": {"effort": "low"},
        "include": ["reasoning.encrypted_content"],
        "metadata": {"a": "b"},
    },
    messages_problem: {
        "model": "m",
        "max_tokens": 4000,
        "system": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "x"}}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "x"},
                    {"type": "server_tool_use", "id": "1", "name": "web_search", "input": {}},
                    {"type": "web_search_tool_result", "tool_use_id": "1", "content": [{"url": "x", "encrypted_content": "x"}]},
                    {"type": "text", "text": "Hi", "citations": [{"type": "web_search_result_location"}]},
                    {"type": "tool_use", "id": "2", "name": "add", "input": {}},
                ],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "2", "content": [{"type": "text", "text": "1"}]}]},
        ],
        "tools": [{"name": "add", "input_schema": {"type": "object", "properties": {}}, "strict": True}],
        "tool_choice": {"type": "auto"},
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
    },
    gemini_problem: {
        "contents": [
            {"role": "user", "parts": [{"text": "Hi"}, {"inlineData": {"mimeType": "a/b", "data": ""}}]},
            {"role": "model", "parts": [{"functionCall": {"name": "add", "args": {}}, "thoughtSignature": "x"}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "add", "response": {"result": 1}}}]},
        ],
        "systemInstruction": {"parts": [{"text": "Hi"}]},
        "tools": [
            {"functionDeclarations": [{"name": "add", "parameters": {"type": "object", "properties": {}, "required": [], "enum": []}}]}
        ],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["add"]}},
        "generationConfig": {
            "thinkingConfig": {"thinkingBudget": 1},
            "responseMimeType": "application/json",
            "responseSchema": {"type": "STRING"},
        },
        "safetySettings": [{"category": "x", "threshold": "y"}],
    },
}
BESIDE = {messages_problem: {"headers": {"anthropic-version": "x"}}, gemini_problem: {"model": "gemini-3-flash"}}


@pytest.mark.parametrize("problem", SMALL, ids=lambda problem: problem.__name__)
def test_no_request_is_too_odd_to_be_judged(problem):
    body = SMALL[problem]
    refused = 0

    for place in places(body):
        for odd in ODD:
            refused += problem(changed(body, place, odd), **BESIDE.get(problem, {})) is not None

    assert refused > 100
