"""Requests as responses, whole bodies compared; replies streamed and whole alike; what a provider made goes back as it came."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentloop import Agent, tool
from agentloop.deltas import Assembly, RestartDelta, TextDelta, ToolCallDelta
from agentloop.errors import BadReply, BadRequest, ConfigurationError, ModelError, QuotaExceeded, ServerError, StreamBroken
from agentloop.messages import (
    Citation,
    File,
    Image,
    Message,
    Opaque,
    OutputSchema,
    Refusal,
    Reply,
    Request,
    Settings,
    State,
    Text,
    Thinking,
    ToolCall,
    ToolDescription,
    ToolResult,
    Usage,
    user,
)
from agentloop.models.http import HTTPModel
from agentloop.models.reading import Reading
from agentloop.testing import Gateway, calls, says
from agentloop.testing.responses_rules import responses_problem
from agentloop.tools.hosted import CodeExecution, FileSearch, Hosted, ImageGeneration, Location, MCPServer, ProviderTool, WebSearch
from agentloop.wire.openai_responses import OpenAIResponses, ResponsesQuirks
from agentloop.wire.openai_responses_decoder import ResponsesDecoder
from tests.openapi import needs_openapi, validator
from tests.wire.test_gateway_page import documented, needs_page

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
LOOK = ToolDescription("look", "Look.", CITY)
LOOK_SAID = {"type": "function", "name": "look", "description": "Look.", "parameters": CITY, "strict": False}
SEARCH_FIRST = ResponsesQuirks(web_search_type="web_search_preview")


def body(request: Request, quirks: ResponsesQuirks | None = None, *, model: str = "m") -> dict[str, Any]:
    return json.loads(OpenAIResponses(quirks).encode(request, model=model).body)


def items(*messages: Message, quirks: ResponsesQuirks | None = None, model: str = "m", **settings: Any) -> list[Any]:
    """Say the messages behind a question, and leave the question out."""
    return body(Request([user("Hi"), *messages], settings=Settings(**settings)), quirks, model=model)["input"][1:]


def called(*parts: Text | ToolCall) -> Message:
    return Message("assistant", parts)


def answered(*results: ToolResult) -> Message:
    return Message("tool", results)


REQUESTS: dict[str, tuple[Request, dict[str, Any]]] = {
    "a question": (
        Request([user("Hi")]),
        {"model": "m", "input": "Hi"},
    ),
    "instructions and a system message": (
        Request([Message("system", (Text("Be kind."),)), user("Hi")], instructions="Be brief."),
        {
            "model": "m",
            "instructions": "Be brief.",
            "input": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
        },
    ),
    "a tool is flat and says whether it is strict": (
        Request([user("Hi")], tools=(LOOK, ToolDescription("see", "", CITY, strict=True))),
        {
            "model": "m",
            "tools": [LOOK_SAID, {"type": "function", "name": "see", "parameters": CITY, "strict": True}],
            "input": "Hi",
        },
    ),
    # Quirk 79.
    "parallel calls and their results": (
        Request(
            [
                user("Hi"),
                called(Text("Looking."), ToolCall("call_0_0", "look", '{"city":"Rome"}', "x"), ToolCall("call_0_1", "look", "{}")),
                answered(ToolResult("call_0_0", "sun"), ToolResult("call_0_1", "'city': required", is_error=True)),
            ]
        ),
        {
            "model": "m",
            "input": [
                {"role": "user", "content": "Hi"},
                {"type": "message", "role": "assistant", "content": "Looking."},
                {"type": "function_call", "call_id": "x", "name": "look", "arguments": '{"city":"Rome"}'},
                {"type": "function_call", "call_id": "call_0_1", "name": "look", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "x", "output": "sun"},
                {"type": "function_call_output", "call_id": "call_0_1", "output": "'city': required"},
            ],
        },
    ),
    # Quirk 89.
    "pictures and files in a result stay in it": (
        Request(
            [
                user("Hi"),
                called(ToolCall("a", "draw"), ToolCall("b", "draw")),
                answered(
                    ToolResult("a", (Text("done"), Image(data=b"png"), File(data=b"pdf", media_type="application/pdf", name="a.pdf"))),
                    ToolResult("b", (Text("two "), Text("texts"))),
                ),
            ]
        ),
        {
            "model": "m",
            "input": [
                {"role": "user", "content": "Hi"},
                {"type": "function_call", "call_id": "a", "name": "draw", "arguments": "{}"},
                {"type": "function_call", "call_id": "b", "name": "draw", "arguments": "{}"},
                {
                    "type": "function_call_output",
                    "call_id": "a",
                    "output": [
                        {"type": "input_text", "text": "done"},
                        {"type": "input_image", "image_url": "data:image/png;base64,cG5n", "detail": "auto"},
                        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,cGRm"},
                    ],
                },
                {"type": "function_call_output", "call_id": "b", "output": "two texts"},
            ],
        },
    ),
    "pictures and files from the user": (
        Request(
            [
                user(
                    "See",
                    Image(url="https://host/a.png", detail="low"),
                    File(data=b"pdf", media_type="application/pdf", name="a.pdf"),
                    File(url="https://host/b.pdf", media_type="application/pdf"),
                )
            ]
        ),
        {
            "model": "m",
            "input": [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "See"},
                        {"type": "input_image", "image_url": "https://host/a.png", "detail": "low"},
                        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,cGRm"},
                        {"type": "input_file", "file_url": "https://host/b.pdf"},
                    ],
                }
            ],
        },
    ),
    "what another provider made": (
        Request(
            [
                user("Draw"),
                Message(
                    "assistant",
                    (
                        Thinking("hm", State("anthropic/messages", '{"signature":"s"}')),
                        Opaque(State("anthropic/messages", '{"type":"server_tool_use"}')),
                        Text("One "),
                        Citation("https://w"),
                        Text("two."),
                        Refusal(" No more."),
                        Text(" Sorry."),
                        Image(data=b"png", state=State("gemini/generate", "{}")),
                    ),
                ),
                user("Go on"),
            ]
        ),
        {
            "model": "m",
            "input": [
                {"role": "user", "content": "Draw"},
                {"type": "message", "role": "assistant", "content": "One two. No more. Sorry."},
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "From your last reply:"},
                        {"type": "input_image", "image_url": "data:image/png;base64,cG5n", "detail": "auto"},
                    ],
                },
                {"role": "user", "content": "Go on"},
            ],
        },
    ),
    "settings": (
        Request(
            [user("Hi")],
            tools=(LOOK,),
            settings=Settings(
                temperature=0,
                top_p=0.9,
                max_tokens=10,
                stop=("END",),
                seed=7,
                effort="low",
                tool_choice="look",
                parallel_tool_calls=False,
                metadata={"a": "b"},
                extra={"truncation": "auto", "reasoning": {"summary": "auto"}, "include": ["web_search_call.action.sources"]},
            ),
            stream=True,
        ),
        {
            "model": "m",
            "tools": [LOOK_SAID],
            "input": "Hi",
            "temperature": 0,
            "top_p": 0.9,
            "max_output_tokens": 16,
            "reasoning": {"effort": "low", "summary": "auto"},
            "metadata": {"a": "b"},
            "tool_choice": {"type": "function", "name": "look"},
            "parallel_tool_calls": False,
            "include": ["reasoning.encrypted_content", "web_search_call.action.sources"],
            "store": False,
            "stream": True,
            "truncation": "auto",
        },
    ),
    "a form for the answer": (
        Request([user("Hi")], output=OutputSchema("city", CITY), settings=Settings(extra={"text": {"verbosity": "low"}})),
        {
            "model": "m",
            "input": "Hi",
            "text": {"format": {"type": "json_schema", "name": "city", "schema": CITY, "strict": True}, "verbosity": "low"},
        },
    ),
    "a form that cannot be strict": (
        Request([user("Hi")], output=OutputSchema("free", {"type": "object", "properties": {}, "additionalProperties": {}})),
        {
            "model": "m",
            "input": "Hi",
            "text": {
                "format": {
                    "type": "json_schema",
                    "name": "free",
                    "schema": {"type": "object", "properties": {}, "additionalProperties": {}},
                    "strict": False,
                }
            },
        },
    ),
    "hosted tools": (
        Request(
            [user("Hi")],
            hosted=(
                WebSearch(context="low", location=Location(country="FR", city="Paris"), domains=("a.fr",)),
                CodeExecution(),
                CodeExecution(files=("file_1",)),
                FileSearch(stores=("vs_1",), most_results=3),
                ImageGeneration(size="1024x1024", quality="low", format="webp"),
                MCPServer(name="wiki", url="https://w/mcp", token=pydantic.SecretStr("t"), tools=("ask",)),
                ProviderTool({"type": "local_shell"}),
            ),
            settings=Settings(tool_choice="mcp"),
        ),
        {
            "model": "m",
            "tools": [
                {
                    "type": "web_search",
                    "search_context_size": "low",
                    "user_location": {"type": "approximate", "country": "FR", "city": "Paris"},
                    "filters": {"allowed_domains": ["a.fr"]},
                },
                {"type": "code_interpreter", "container": {"type": "auto"}},
                {"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file_1"]}},
                {"type": "file_search", "vector_store_ids": ["vs_1"], "max_num_results": 3},
                {"type": "image_generation", "size": "1024x1024", "quality": "low", "output_format": "webp"},
                {
                    "type": "mcp",
                    "server_label": "wiki",
                    "server_url": "https://w/mcp",
                    "authorization": "t",
                    "allowed_tools": ["ask"],
                    "require_approval": "never",
                },
                {"type": "local_shell"},
            ],
            "input": "Hi",
            "tool_choice": {"type": "mcp", "server_label": "wiki"},
        },
    ),
}

MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "status": "completed",
    "role": "assistant",
    "phase": "final_answer",
    "content": [
        {
            "type": "output_text",
            "text": "It is sunny.",
            "annotations": [
                {"type": "url_citation", "start_index": 6, "end_index": 11, "url": "https://w", "title": "W"},
                {"type": "file_citation", "file_id": "file_1", "index": 0, "filename": "a.pdf"},
            ],
            "logprobs": [],
        },
        {"type": "output_text", "text": " Very.", "annotations": [], "logprobs": []},
    ],
}
COMMENTARY = {
    "id": "msg_0",
    "type": "message",
    "status": "completed",
    "role": "assistant",
    "phase": "commentary",
    "content": [{"type": "output_text", "text": "Let me look.", "annotations": [], "logprobs": []}],
}
REFUSAL = {
    "id": "msg_2",
    "type": "message",
    "status": "completed",
    "role": "assistant",
    "content": [{"type": "refusal", "refusal": "No."}],
}
THOUGHT = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "Rome? "}, {"type": "summary_text", "text": "Sun."}],
    "encrypted_content": "e==",
}
OPEN_THOUGHT = {"id": "rs_2", "type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Plain."}]}
CALL = {
    "id": "fc_1",
    "type": "function_call",
    "status": "completed",
    "call_id": "call-c1cb687a-5838-4276-a567-d2f58ff41ce1-0",
    "name": "look",
    "arguments": '{"city": "Rome"}',
    "namespace": "sky",
}
SEARCH = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "sun"}}
PICTURE = {"id": "ig_1", "type": "image_generation_call", "status": "completed", "output_format": "webp", "result": "cG5n"}
OUTPUTS: dict[str, list[dict[str, Any]]] = {
    "a message of two texts": [MESSAGE],
    "a thought, a search and a message": [THOUGHT, SEARCH, MESSAGE],
    "a thought and a call": [THOUGHT, CALL],
    "two thoughts and a call": [OPEN_THOUGHT, THOUGHT, CALL],
    "commentary between calls": [THOUGHT, COMMENTARY, CALL],
    "commentary before the answer": [COMMENTARY, SEARCH, MESSAGE],
    "a refusal": [THOUGHT, REFUSAL],
    "a picture": [PICTURE, MESSAGE],
    # Quirk 72.
    "items of unknown kinds": [
        {"id": "ts_1", "type": "tool_search_call", "call_id": None, "execution": "server", "arguments": {}, "status": "completed"},
        {"id": "pr_1", "type": "program", "call_id": "p", "code": "1", "fingerprint": "f"},
        CALL,
    ],
}


def response(*output: Any, **rest: Any) -> dict[str, Any]:
    usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    return {"id": "resp_1", "object": "response", "status": "completed", "model": "m", "output": list(output), "usage": usage, **rest}


def read_all(chunks: Sequence[bytes], content_type: str) -> Reply:
    assembly, reading = Assembly(), Reading(ResponsesDecoder(), content_type=content_type)
    for part in chunks:
        for delta in reading.feed(part):
            assembly.add(delta)
    for delta in reading.end():
        assembly.add(delta)
    return assembly.reply()


def whole(*output: Any, **rest: Any) -> Reply:
    return read_all([json.dumps(response(*output, **rest)).encode()], "application/json")


def decoded(*events: dict[str, Any]) -> Reply:
    assembly, decoder = Assembly(), ResponsesDecoder()
    for event in events:
        for delta in decoder.feed(event):
            assembly.add(delta)
    for delta in decoder.end():
        assembly.add(delta)
    return assembly.reply()


def event(kind: str, index: int | None = None, **rest: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", **rest} | ({} if index is None else {"output_index": index})


def completed(*output: Any, **rest: Any) -> dict[str, Any]:
    return event("completed", response=response(*output, **rest))


def streamed(output: list[dict[str, Any]], cuts: Sequence[int] = (1, 3), **rest: Any) -> list[dict[str, Any]]:
    """Stream the items as OpenAI does, their texts cut into pieces at `cuts`."""

    def pieces(text: str) -> list[str]:
        places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
        return [text[start:end] for start, end in pairwise(places)]

    def deltas(kind: str, index: int, text: str) -> list[dict[str, Any]]:
        return [event(f"{kind}.delta", index, item_id=output[index].get("id"), delta=piece) for piece in pieces(text)]

    events: list[dict[str, Any]] = [event("created", response=response(status="in_progress", usage=None))]
    for index, item in enumerate(output):
        empty = {"content": [], "summary": [], "arguments": "", "result": None}
        opened = {name: empty.get(name, value) for name, value in item.items()}
        events.append(event("output_item.added", index, item=opened))
        for part in item.get("summary") or ():
            events += deltas("reasoning_summary_text", index, part["text"])
        for part in item.get("content") or ():
            kind = {"reasoning_text": "reasoning_text", "refusal": "refusal"}.get(part["type"], "output_text")
            events += deltas(kind, index, part.get("text") or part.get("refusal") or "")
        if isinstance(item.get("arguments"), str):
            events += deltas("function_call_arguments", index, item["arguments"])
        events.append(event("output_item.done", index, item=item))
    return [*events, completed(*output, **rest)]


@pytest.mark.parametrize("case", REQUESTS)
def test_a_request_is_said_as_openai_says_it(case: str):
    request, expected = REQUESTS[case]

    assert body(request) == expected


@needs_openapi
@pytest.mark.parametrize("case", REQUESTS)
@pytest.mark.parametrize(
    "quirks", [ResponsesQuirks(), ResponsesQuirks(system_role="developer", strict=False, ids=False)], ids=["", "quirks"]
)
def test_a_request_fits_openais_own_schema(case: str, quirks: ResponsesQuirks):
    faults = [error.message for error in validator("CreateResponse").iter_errors(body(REQUESTS[case][0], quirks))]

    assert faults == []


@needs_openapi
@pytest.mark.parametrize("case", OUTPUTS)
@pytest.mark.parametrize("ids", [True, False])
def test_what_is_said_back_fits_openais_own_schema(case: str, ids: bool):
    reply = whole(*OUTPUTS[case])
    results = answered(*(ToolResult(call.id, "sun") for call in reply.calls))

    said = body(Request([user("Hi"), reply.message, results]), ResponsesQuirks(ids=ids))

    assert [error.message for error in validator("CreateResponse").iter_errors(said)] == []


def test_the_gateways_example_is_said_as_its_page_shows_it():
    request = Request([user("What was a positive news story from today?")], hosted=(WebSearch(),))

    said = body(request, SEARCH_FIRST, model="gpt-4.1")

    assert said == {
        "model": "gpt-4.1",
        "tools": [{"type": "web_search_preview"}],
        "input": "What was a positive news story from today?",
    }


@pytest.mark.parametrize(
    ("model", "effort", "thinks"),
    [
        ("o1", None, True),
        ("o3-mini", None, True),
        ("o4-mini-deep-research", None, True),
        ("openai/gpt-5.2", None, True),
        ("gpt-5-codex", None, True),
        ("codex-mini-latest", None, True),
        ("openai.gpt-oss-20b", None, True),
        ("grok-3-mini", None, True),
        ("grok-4-1-fast-reasoning", None, True),
        ("grok-4-1-fast-non-reasoning", None, False),
        ("gpt-5-chat-latest", None, False),
        ("gpt-4o", None, False),
        ("gpt-4.1", "none", False),
        ("deepseek-v4", "high", True),
    ],
)
def test_models_that_reason_are_asked_for_all_of_their_thought_and_nothing_is_stored(model: str, effort: Any, thinks: bool):
    said = body(Request([user("Hi")], settings=Settings(effort=effort)), model=model)

    asked = {name: said[name] for name in ("include", "store") if name in said}
    assert asked == ({"include": ["reasoning.encrypted_content"], "store": False} if thinks else {})
    assert said.get("reasoning") == ({"effort": effort} if effort else None)


def test_each_quirk_of_a_provider_changes_what_it_names():
    request = Request(
        [
            Message("system", (Text("Go."),)),
            whole(THOUGHT, MESSAGE, {**CALL, "call_id": "c"}).message,
            answered(ToolResult("call_0_0", "sun")),
        ],
        tools=(ToolDescription("look", "Look.", CITY, strict=True),),
        hosted=(WebSearch(),),
        settings=Settings(tool_choice="web_search"),
    )
    quirks = ResponsesQuirks(
        system_role="developer", web_search_type="web_search_preview", strict=False, encrypted_thinking=False, ids=False
    )

    said = body(request, quirks, model="o3")

    assert said == {
        "model": "o3",
        "tools": [LOOK_SAID, {"type": "web_search_preview"}],
        "input": [
            {"role": "developer", "content": "Go."},
            THOUGHT,
            {"type": "message", "role": "assistant", "content": "It is sunny. Very.", "phase": "final_answer"},
            {
                "type": "function_call",
                "status": "completed",
                "namespace": "sky",
                "call_id": "c",
                "name": "look",
                "arguments": '{"city": "Rome"}',
            },
            {"type": "function_call_output", "call_id": "c", "output": "sun"},
        ],
        "tool_choice": {"type": "web_search_preview"},
    }


def test_a_server_that_reads_the_form_of_chat_completions_gets_that():
    quirks = ResponsesQuirks(form="response_format", form_beside_tools=False)
    form = OutputSchema("city", CITY)

    alone = body(Request([user("Hi")], output=form), quirks)
    beside_tools = body(Request([user("Hi")], instructions="Go.", tools=(LOOK,), output=form), quirks)

    assert alone["response_format"] == {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY, "strict": True}}
    assert not {"text", "response_format"} & beside_tools.keys()
    assert beside_tools["instructions"].startswith("Go.\n\nWhen you have what you need, answer with JSON")


@pytest.mark.parametrize(
    ("hosted", "choice", "said"),
    [
        (WebSearch(), "web_search", {"type": "allowed_tools", "mode": "required", "tools": [{"type": "web_search"}]}),
        (CodeExecution(), "code_execution", {"type": "code_interpreter"}),
        (ImageGeneration(), "image_generation", {"type": "image_generation"}),
        (CodeExecution(), "look", {"type": "function", "name": "look"}),
        (CodeExecution(), "required", "required"),
    ],
)
def test_a_hosted_tool_is_chosen_by_its_kind(hosted: Hosted, choice: str, said: Any):
    request = Request([user("Hi")], tools=(LOOK,), hosted=(hosted,), settings=Settings(tool_choice=choice))

    assert body(request)["tool_choice"] == said


def test_a_limit_on_searches_is_said_where_nothing_else_counts_against_it():
    limited = WebSearch(most_uses=2)

    alone = body(Request([user("Hi")], hosted=(limited,)))

    assert alone["max_tool_calls"] == 2
    with pytest.raises(ConfigurationError, match="max_tool_calls"):
        body(Request([user("Hi")], hosted=(limited, CodeExecution())))


@pytest.mark.parametrize(
    ("search", "quirks"),
    [(WebSearch(blocked_domains=("a.fr",)), ResponsesQuirks()), (WebSearch(domains=("a.fr",)), SEARCH_FIRST)],
)
def test_a_search_that_cannot_be_held_to_its_domains_is_refused(search: WebSearch, quirks: ResponsesQuirks):
    with pytest.raises(ConfigurationError, match="domains"):
        body(Request([user("Hi")], hosted=(search,)), quirks)


def test_sound_is_refused_before_anything_is_sent():
    with pytest.raises(ConfigurationError, match="no sound"):
        body(Request([user(File(data=b"mp3", media_type="audio/mpeg"))]))


def test_a_lone_surrogate_never_reaches_the_server():
    sent = OpenAIResponses().encode(Request([user("a\ud800b")]), model="m").body

    assert json.loads(sent.decode("utf-8", "strict"))["input"] == "a?b"


def test_a_longer_transcript_begins_with_the_same_items():
    first = [user("Hi"), whole(THOUGHT, CALL).message, answered(ToolResult("call_0_0", "sun"))]
    wire = OpenAIResponses()

    short = json.loads(wire.encode(Request(first), model="o3").body)["input"]
    long = json.loads(wire.encode(Request([*first, whole(MESSAGE).message, user("And?")]), model="o3").body)["input"]

    assert json.dumps(long).startswith(json.dumps(short)[:-1])


@pytest.mark.parametrize("case", OUTPUTS)
def test_what_the_provider_made_is_said_back_as_it_came(case: str):
    reply = whole(*OUTPUTS[case])

    said = items(reply.message, *([answered(ToolResult(reply.calls[0].id, "sun"))] if reply.calls else []), model="o3")

    results = [{"type": "function_call_output", "call_id": call["call_id"], "output": "sun"} for call in OUTPUTS[case] if call is CALL]
    assert said == [*OUTPUTS[case], *results]


def test_encrypted_thoughts_are_not_said_to_a_model_that_has_none():
    reply = whole(THOUGHT, CALL)

    said = items(reply.message, answered(ToolResult("call_0_0", "sun")), model="gpt-4.1")

    assert [item["type"] for item in said] == ["function_call", "function_call_output"]
    assert "id" not in said[0]


@pytest.mark.parametrize("case", OUTPUTS)
def test_a_reply_streamed_and_whole_is_the_same(case: str):
    reply = decoded(*streamed(OUTPUTS[case]))

    assert reply == whole(*OUTPUTS[case])


def test_the_nulls_of_a_thought_are_left_out_on_the_way_back():
    thought = {**THOUGHT, "content": None, "status": None}

    assert items(whole(thought, MESSAGE).message, model="o3") == [THOUGHT, MESSAGE]


# Quirk 78.
@pytest.mark.parametrize(
    ("parts", "said"),
    [
        pytest.param([], [], id="a thought at the end, where the reply was cut"),
        pytest.param(
            [Text("Changed.")],
            [{"type": "message", "role": "assistant", "content": "Changed."}],
            id="a thought before words of somebody else",
        ),
    ],
)
def test_a_thought_without_what_it_led_to_is_not_said(parts: list[Text], said: list[Any]):
    [thought] = whole(THOUGHT, status="incomplete", incomplete_details={"reason": "max_output_tokens"}).parts

    assert items(Message("assistant", (thought, *parts)), model="o3") == said


def test_words_that_somebody_changed_are_no_longer_the_providers():
    thought, text, *_ = whole(THOUGHT, MESSAGE).parts
    assert isinstance(text, Text)

    said = items(Message("assistant", (thought, Text("It is raining.", text.state))), model="o3")

    assert said == [{"type": "message", "role": "assistant", "content": "It is raining."}]


def test_items_whose_thought_is_left_out_are_said_without_their_ids():
    thought = {**THOUGHT, "encrypted_content": None}
    reply = whole(thought, {**CALL, "call_id": "c"}, MESSAGE)

    said = items(reply.message, answered(ToolResult(reply.calls[0].id, "sun")), model="o3")

    assert [item.get("type") for item in said] == ["function_call", "message", "function_call_output"]
    assert not any("id" in item for item in said)


def test_a_call_that_only_the_user_can_answer_is_said_with_its_answer_and_not_without():
    call = {"id": "ctc_1", "type": "custom_tool_call", "call_id": "c", "name": "sql", "input": "SELECT 1", "status": "completed"}
    output = {"type": "custom_tool_call_output", "call_id": "c", "output": "1"}
    reply = whole(THOUGHT, call).message

    without = items(reply, user("Well?"), model="o3")
    answer = items(reply, Message("user", (Opaque(State("openai/responses", json.dumps(output))),)), model="o3")

    assert without == [{"role": "user", "content": "Well?"}]
    assert answer == [THOUGHT, call, output]


# Quirk 53.
@pytest.mark.parametrize(("length", "is_kept"), [(64, True), (65, False)])
def test_an_id_of_a_call_is_said_back_up_to_the_length_that_openai_takes(length: int, is_kept: bool):
    reply = whole({**CALL, "call_id": "c" * length})

    call, result = items(reply.message, answered(ToolResult(reply.calls[0].id, "sun")))

    assert (call["call_id"] == "c" * length) is is_kept
    assert result["call_id"] == call["call_id"]


def test_arguments_and_names_that_no_provider_takes_back_are_mended():
    reply = whole({**CALL, "name": "functions.look", "arguments": '{"city":'})

    call, _ = items(reply.message, answered(ToolResult(reply.calls[0].id, "no JSON")))

    assert (call["name"], call["arguments"]) == ("functions_look", "{}")


def test_the_parts_of_a_reply_are_read():
    reply = whole(THOUGHT, COMMENTARY, SEARCH, MESSAGE, PICTURE, CALL)

    thought, commentary, search, text, cited, filed, picture, call = reply.parts
    assert (reply.text, reply.finish_reason) == ("It is sunny. Very.", "tool_calls")
    assert [part.text for part in (thought, commentary) if isinstance(part, Thinking)] == ["Rome? Sun.", "Let me look."]
    assert isinstance(search, Opaque)
    assert isinstance(text, Text)
    assert (cited, filed) == (Citation("https://w", "W", 6, 11), Citation("", "a.pdf"))
    assert isinstance(picture, Image)
    assert (picture.data, picture.media_type) == (b"png", "image/webp")
    assert isinstance(call, ToolCall)
    assert (call.provider_id, call.name, call.arguments) == (CALL["call_id"], "look", '{"city": "Rome"}')
    assert (reply.model, reply.id, reply.usage) == ("m", "resp_1", Usage(3, 2))


# Quirk 73.
def test_commentary_is_thought_and_only_the_last_message_is_the_answer():
    events = streamed([COMMENTARY, MESSAGE])

    texts = [delta.text for delta in deltas_of(*events) if isinstance(delta, TextDelta)]

    assert "".join(texts) == "It is sunny. Very."


def deltas_of(*events: dict[str, Any]) -> list[Any]:
    decoder = ResponsesDecoder()
    return [delta for event in events for delta in decoder.feed(event)]


# Quirk 104.
def test_citations_are_slices_of_the_whole_text():
    cited = {"type": "url_citation", "start_index": 1, "end_index": 5, "url": "https://v", "title": "V"}
    later = {**MESSAGE, "id": "msg_9", "content": [*MESSAGE["content"], {"type": "output_text", "text": " Warm.", "annotations": [cited]}]}

    reply = whole(COMMENTARY, MESSAGE, later)

    assert [reply.text[place.start : place.end] for place in reply.citations if place.end] == ["sunny", "sunny", "Warm"]
    assert [place.start for place in reply.citations if place.end] == [6, 24, 37]


# Quirk 66.
def test_a_citation_without_a_place_has_none_wherever_its_text_stands():
    nested = {"type": "url_citation", "url_citation": {"url": "https://o", "title": "O", "start_index": 0, "end_index": 0}}
    cited = {**MESSAGE, "content": [{"type": "output_text", "text": "More.", "annotations": [nested]}]}

    assert whole(MESSAGE, cited).citations[-1] == Citation("https://o", "O")


@needs_page
def test_the_gateways_reply_is_read_as_its_page_shows_it():
    _, said = documented()

    reply = read_all([json.dumps(said).encode()], "application/json")

    assert isinstance(reply.parts[0], Opaque)
    # Quirk 70.
    assert reply.model == "gpt-4o-mini-2024-07-18"
    assert len(reply.citations) == 8
    assert all(place.url in reply.text[place.start : place.end] for place in reply.citations)
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (304, 795)
    assert items(reply.message) == [
        said["output"][0],
        said["output"][1],
    ]


# Quirk 30.
def test_ids_that_change_within_one_item_make_no_second_item():
    events = [
        event("output_item.added", 0, item={**MESSAGE, "id": "a", "content": []}),
        event("output_text.delta", 0, item_id="b", delta="It is sunny. Very."),
        event("output_item.done", 0, item={**MESSAGE, "id": "c"}),
        completed({**MESSAGE, "id": "d"}),
    ]

    assert decoded(*events) == whole({**MESSAGE, "id": "c"})


def test_items_without_an_index_are_told_apart_by_their_ids():
    events = [{name: value for name, value in each.items() if name != "output_index"} for each in streamed([THOUGHT, CALL, MESSAGE])]

    assert decoded(*events) == whole(THOUGHT, CALL, MESSAGE)


def test_items_that_are_only_ever_done_are_told_apart_without_an_index():
    done = [event("output_item.done", item=item) for item in (THOUGHT, CALL, MESSAGE)]

    assert decoded(*done, completed(), completed()) == whole(THOUGHT, CALL, MESSAGE)


# Quirks 4, 31 and 32.
def test_a_stream_without_event_lines_and_with_noise_is_read():
    events = streamed([MESSAGE])
    lines = [": OPENROUTER PROCESSING", *(f"data: {json.dumps(each)}" for each in events), "data: [DONE]"]
    lines[2:2] = ['data: {"type":"keepalive","sequence_number":1}', 'data: {"type":"response.web_search_call.searching","output_index":0}']

    reply = read_all(["".join(f"{line}\n\n" for line in lines).encode()], "text/event-stream")

    assert reply == whole(MESSAGE)


# Quirk 33.
@pytest.mark.parametrize("error", [{"error": {"type": "t", "code": "c", "message": "Bad luck"}}, {"code": "c", "message": "Bad luck"}])
def test_an_error_event_is_an_error_nested_or_flat(error: dict[str, Any]):
    with pytest.raises(ServerError, match="Bad luck") as raised:
        decoded(event("created", response={}), {"type": "error", "sequence_number": 2, **error})

    assert raised.value.code == "c"


# Quirk 96.
def test_a_failed_response_is_the_error_it_names():
    failed = response(status="failed", error={"code": "insufficient_quota", "message": "You exceeded your current quota"})

    with pytest.raises(QuotaExceeded, match="exceeded your current quota"):
        decoded(event("failed", response=failed))
    with pytest.raises(QuotaExceeded, match="exceeded your current quota"):
        read_all([json.dumps(failed).encode()], "application/json")


@pytest.mark.parametrize("ended", ["failed", "cancelled"])
def test_a_response_that_failed_without_a_word_is_an_error(ended: str):
    with pytest.raises(ServerError, match=ended):
        whole(status=ended)
    with pytest.raises(ServerError, match=ended):
        decoded(event("completed", response=response(status=ended)))


def test_an_error_inside_a_200_is_an_error_with_the_servers_words():
    with pytest.raises(BadRequest, match="Token limit reached"):
        read_all([b'{"error": {"code": 400, "message": "Token limit reached"}}'], "application/json")


# Quirk 60.
@pytest.mark.parametrize("status", ["completed", "complete", None, "in_progress"])
def test_a_whole_reply_with_output_is_done_whatever_its_status_says(status: str | None):
    assert whole(MESSAGE, status=status).finish_reason == "stop"


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_a_reply_that_is_yet_to_be_made_is_none(status: str):
    with pytest.raises(BadReply, match=f"only {status}") as raised:
        whole(status=status)

    assert not raised.value.retryable


@pytest.mark.parametrize(
    ("reason", "finish"), [("max_output_tokens", "length"), ("content_filter", "content_filter"), ("steered", "length"), (None, "length")]
)
def test_an_incomplete_reply_says_why(reason: str | None, finish: str):
    said = response(MESSAGE, status="incomplete", incomplete_details={"reason": reason} if reason else None)

    assert decoded(event("incomplete", response=said)).finish_reason == finish
    assert read_all([json.dumps(said).encode()], "application/json").finish_reason == finish


# Quirk 59.
def test_a_call_that_is_in_progress_in_a_completed_reply_is_a_call():
    reply = whole({**CALL, "status": "in_progress", "caller": {"type": "program", "caller_id": "p"}})

    said = items(reply.message, answered(ToolResult(reply.calls[0].id, "sun")))
    assert reply.finish_reason == "tool_calls"
    assert (said[0]["status"], said[0]["caller"]) == ("in_progress", {"type": "program", "caller_id": "p"})


# Quirk 3.
@pytest.mark.parametrize("end", [b"", b"data: [DONE]\n\n"])
def test_a_stream_without_its_last_event_is_never_a_whole_reply(end: bytes):
    lines = b"".join(f"data: {json.dumps(each)}\n\n".encode() for each in streamed([CALL])[:-1])

    with pytest.raises(StreamBroken) as broken:
        read_all([lines + end], "text/event-stream")

    assert broken.value.partial.calls[0].arguments == '{"city": "Rome"}'


def test_an_item_that_was_never_streamed_is_read_from_the_last_event():
    events = [*streamed([MESSAGE])[:-1], completed(MESSAGE, CALL)]

    assert decoded(*events) == whole(MESSAGE, CALL)


def test_items_that_the_last_event_leaves_out_are_kept():
    events = [*streamed([MESSAGE, CALL])[:-1], completed()]

    assert decoded(*events) == whole(MESSAGE, CALL)


def test_words_that_no_piece_brought_are_read_from_the_item():
    first, *_ = streamed([MESSAGE])
    piece = event("output_text.delta", 0, delta="It is")

    reply = decoded(first, piece, event("output_item.done", 0, item=MESSAGE), completed(MESSAGE))

    assert reply == whole(MESSAGE)


def test_arguments_that_came_only_at_their_end_are_read():
    opened = {**CALL, "arguments": ""}

    reply = decoded(
        event("output_item.added", 0, item=opened),
        event("function_call_arguments.done", 0, arguments=CALL["arguments"]),
        completed(),
    )

    assert [(call.name, call.arguments) for call in reply.calls] == [("look", '{"city": "Rome"}')]


def test_calls_are_counted_from_zero_at_whatever_place_they_stand():
    deltas = deltas_of(*streamed([THOUGHT, CALL, SEARCH, {**CALL, "id": "fc_2", "call_id": "d"}]))

    assert {(delta.index, delta.place) for delta in deltas if isinstance(delta, ToolCallDelta)} == {(0, 1), (1, 3)}


def test_a_stream_that_begins_anew_voids_what_came_before():
    events = [*streamed([CALL])[:-2], *streamed([MESSAGE])]

    assert decoded(*events) == whole(MESSAGE)
    assert sum(isinstance(delta, RestartDelta) for delta in deltas_of(*events)) == 1


# Quirk 74.
def test_a_refusal_is_one_and_no_text():
    reply = whole(REFUSAL)

    assert (reply.text, reply.refusal) == ("", "No.")


def test_a_picture_by_its_address_and_one_that_failed_are_read():
    reply = whole({**PICTURE, "result": "https://host/a.png"}, {**PICTURE, "status": "failed", "result": None})

    picture, failed = reply.parts
    assert isinstance(picture, Image)
    assert picture.url == "https://host/a.png"
    assert isinstance(failed, Opaque)


def test_arguments_as_an_object_and_a_call_with_one_id_only_are_read():
    reply = whole({"type": "function_call", "id": "fc_1", "name": "look", "arguments": {"city": "Rome"}})

    assert [(call.provider_id, call.arguments) for call in reply.calls] == [("fc_1", '{"city":"Rome"}')]


# Bedrock repeats fields of the event in the item.
def test_what_the_api_does_not_take_back_is_not_said_of_a_call():
    reply = whole({**{name: value for name, value in CALL.items() if name != "id"}, "item_id": "fc_1", "output_index": 1})

    assert items(reply.message, answered(ToolResult("call_0_0", "sun")))[0].keys() == CALL.keys() - {"id"}


# Quirk 71.
def test_what_the_provider_says_beside_the_reply_is_kept():
    odds = [{"token": "a", "logprob": -1, "bytes": [97], "top_logprobs": []}]
    message = {**MESSAGE, "content": [{"type": "output_text", "text": "a", "annotations": [], "logprobs": odds}]}

    reply = whole(message, service_tier="", user=None, citations=["https://w"], tools=[LOOK_SAID])

    assert reply.extra == {"status": "completed", "service_tier": "", "citations": ["https://w"], "logprobs": {"content": odds}}


def test_the_tokens_are_counted_with_their_details():
    usage = {
        "input_tokens": 9,
        "output_tokens": 3,
        "total_tokens": 12,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1},
        "output_tokens_details": {"reasoning_tokens": 2},
        "num_sources_used": 5,
        "cost": 0.5,
    }

    read = whole(MESSAGE, usage=usage).usage

    assert (read.input_tokens, read.output_tokens, read.total_tokens) == (9, 3, 12)
    assert (read.cached_tokens, read.cache_write_tokens, read.reasoning_tokens) == (4, 1, 2)
    assert read.details["num_sources_used"] == 5
    assert "cost" not in read.details


def message_of(texts: list[str], phase: str | None) -> dict[str, Any]:
    place = {"type": "url_citation", "start_index": 0, "end_index": 1, "url": "https://w", "title": "W"}
    content = [{"type": "output_text", "text": text, "annotations": [place] if text else [], "logprobs": []} for text in texts]
    return {**MESSAGE, "content": content, "phase": phase}


# Quirk 69.
def test_a_reply_without_usage_has_spent_nothing_that_is_known():
    assert whole(MESSAGE, usage=None).usage == Usage()


# Quirk 41.
def test_words_beside_a_call_do_not_hide_it():
    reply = whole(MESSAGE, CALL)

    assert (reply.text, len(reply.calls), reply.finish_reason) == ("It is sunny. Very.", 1, "tool_calls")


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
ITEMS = st.one_of(
    st.builds(message_of, st.lists(TEXTS, min_size=1, max_size=2), st.sampled_from([None, "commentary"])),
    st.builds(lambda text: {**REFUSAL, "content": [{"type": "refusal", "refusal": text}]}, WORDS),
    st.builds(
        lambda texts: {**THOUGHT, "summary": [{"type": "summary_text", "text": text} for text in texts]}, st.lists(TEXTS, max_size=2)
    ),
    st.builds(lambda text: {**OPEN_THOUGHT, "content": [{"type": "reasoning_text", "text": text}]}, TEXTS),
    st.builds(lambda arguments: {**CALL, "arguments": json.dumps(arguments)}, st.dictionaries(TEXTS, TEXTS, max_size=2)),
    st.just(SEARCH),
    st.just(PICTURE),
)


@given(
    output=st.lists(ITEMS, max_size=4),
    cuts=st.lists(st.integers(0, 1000), max_size=4),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    chops=st.lists(st.integers(0, 5000), max_size=12),
    end_repeats=st.booleans(),
)
def test_the_same_reply_streamed_and_whole_and_chopped_anywhere_is_the_same(
    output: list[dict[str, Any]], cuts: list[int], newline: str, chops: list[int], end_repeats: bool
):
    output = with_ids(output)
    events = streamed(output, cuts)
    if not end_repeats:
        events[-1] = completed()
    lines = (f"event: {each['type']}{newline}data: {json.dumps(each, ensure_ascii=False)}{newline}{newline}" for each in events)
    stream = f": PING{newline}{newline}{''.join(lines)}".encode()
    places = sorted({0, len(stream), *(chop % (len(stream) + 1) for chop in chops)})

    from_stream = read_all([stream[start:end] for start, end in pairwise(places)], "text/event-stream")
    from_whole = whole(*output)

    assert from_stream == from_whole
    assert from_stream.usage == Usage(3, 2)
    assert all(place.end <= len(from_whole.text) for place in from_whole.citations)


OWN = st.lists(ITEMS, min_size=1, max_size=3).map(lambda output: whole(*with_ids(output)).parts)
FOREIGN: list[Any] = [
    Text("Said."),
    Thinking("Hm.", State("anthropic/messages", '{"signature":"s"}')),
    Thinking("Hm."),
    Refusal("No."),
    Citation("https://w"),
    Image(data=b"png"),
    ToolCall("b", "look", "{}"),
    Opaque(State("anthropic/messages", '{"type":"redacted_thinking"}')),
]
PARTS = st.lists(OWN | st.sampled_from(FOREIGN).map(lambda part: (part,)), max_size=4).map(lambda parts: sum(parts, ()))


def with_ids(output: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {**item, "id": f"{item['id']}_{place}"} | ({"call_id": f"c{place}"} if "call_id" in item else {})
        for place, item in enumerate(output)
    ]


@given(turns=st.lists(PARTS, max_size=3), dropped=st.integers(0, 9), ids=st.booleans(), model=st.sampled_from(["o3", "gpt-4.1"]))
def test_no_provider_would_refuse_what_is_said_of_any_transcript(turns: list[Any], dropped: int, ids: bool, model: str):
    messages: list[Message] = [user("Hi")]
    for number, parts in enumerate(turns):
        # Somebody left a part out, and gave the calls ids that no two replies share.
        kept = [part for place, part in enumerate(parts) if place != dropped]
        named = tuple(
            replace(part, id=f"call_{number}_{place}", provider_id=part.provider_id and f"{part.provider_id}_{number}_{place}")
            if isinstance(part, ToolCall)
            else part
            for place, part in enumerate(kept)
        )
        messages.append(Message("assistant", named))
        messages.append(Message("tool", tuple(ToolResult(call.id, "sun") for call in messages[-1].calls)))
    messages.append(user("And?"))

    said = body(Request(messages), ResponsesQuirks(ids=ids), model=model)

    assert responses_problem(said) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2)
)


@given(
    field=st.sampled_from(["output", "usage", "id", "model", "error", "status", "incomplete_details"]),
    item=st.sampled_from([None, MESSAGE, THOUGHT, CALL, PICTURE]),
    inner=st.sampled_from(["type", "id", "content", "summary", "arguments", "result", "phase", "annotations", "call_id"]),
    value=JSON,
    in_stream=st.booleans(),
)
def test_a_reply_of_any_shape_ends_in_a_reply_or_a_model_error(
    field: str, item: dict[str, Any] | None, inner: str, value: Any, in_stream: bool
):
    if item is None:
        said = response(MESSAGE, **{field: value})
    elif inner == "annotations":
        said = response({**MESSAGE, "content": [{"type": "output_text", "text": "Hi", "annotations": value}]})
    else:
        said = response({**item, inner: value})
    events = [event("output_item.added", 0, item=said["output"]), {"type": "response.completed", "response": said}]
    stream = "".join(f"data: {json.dumps(each)}\n\n" for each in events).encode()

    try:
        reply = read_all([stream], "text/event-stream") if in_stream else read_all([json.dumps(said).encode()], "application/json")
    except ModelError:
        return

    assert isinstance(reply.text, str)
    assert items(reply.message) is not None


@tool
def add(a: int, b: int) -> int:
    "Add."
    return a + b


def asked(gateway: Gateway, name: str = "gpt-5", quirks: ResponsesQuirks | None = None) -> HTTPModel:
    return HTTPModel(name, model=name, wire=OpenAIResponses(quirks), base_url=gateway.base_url, key=lambda: None)


@pytest.mark.parametrize("way", ["whole", "streamed"])
@pytest.mark.parametrize("ids", [True, False])
async def test_a_run_over_http_calls_tools_and_says_its_thoughts_back(way: str, ids: bool):
    script = (
        calls("add", a=1, b=2).saying("Let me add.", thinking="One and two."),
        (calls("add", a=3, b=4) & calls("add", a=5, b=6)).saying(thinking="Now the others."),
        says("3, 7 and 11.", thinking="All there.").searching("sums").citing(Citation("https://w", "W", 0, 1)),
        says("You are welcome."),
    )
    with Gateway(*script) as gateway:
        agent = Agent(asked(gateway, quirks=ResponsesQuirks(ids=ids)), tools=[add, WebSearch()])

        if way == "streamed":
            stream = agent.stream("Add.")
            async for _ in stream:
                pass
            result = stream.result
        else:
            result = await agent.run("Add.")
        after = await agent.run("Thanks.", transcript=result.transcript)

    assert (result.text, after.text) == ("3, 7 and 11.", "You are welcome.")
    said = [item.get("type", item.get("role")) for item in gateway.requests[-1].body["input"]]
    assert said == [
        *("user", "reasoning", "message", "function_call", "function_call_output"),
        *("reasoning", "function_call", "function_call", "function_call_output", "function_call_output"),
        *("reasoning", "web_search_call", "message", "user"),
    ]
    assert all(("id" in item) is ids for item in gateway.requests[-1].body["input"] if item.get("type") in {"message", "function_call"})
    outputs = [item["output"] for item in gateway.requests[-1].body["input"] if item.get("type") == "function_call_output"]
    assert outputs == ["3", "7", "11"]
    assert [place.url for message in result.transcript for place in message.citations] == ["https://w"]
