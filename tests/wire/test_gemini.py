"""Requests as Gemini's contents, whole bodies compared; replies streamed and whole alike."""

from __future__ import annotations

import base64
import json
from itertools import pairwise
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentloop import Agent, Settings, model, tool
from agentloop.deltas import Assembly
from agentloop.errors import BadReply, ConfigurationError, ModelError, RateLimited, StreamBroken
from agentloop.messages import (
    Citation,
    File,
    Image,
    Message,
    Opaque,
    OutputSchema,
    Part,
    Reply,
    Request,
    State,
    Text,
    Thinking,
    ToolCall,
    ToolDescription,
    ToolResult,
    Usage,
    user,
)
from agentloop.models.reading import Reading
from agentloop.testing import Gateway, calls, says
from agentloop.tools.hosted import CodeExecution, FileSearch, ImageGeneration, MCPServer, ProviderTool, WebSearch
from agentloop.wire.answer_tool import ANSWER
from agentloop.wire.gemini import Gemini, GeminiQuirks
from agentloop.wire.gemini_decoder import GeminiDecoder

OLD, NEW = "gemini-2.5-flash", "gemini-3-flash"
ORIGIN = "gemini/gemini"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
LOOK = ToolDescription("look", "Look.", CITY)
DECLARED = {"functionDeclarations": [{"name": "look", "description": "Look.", "parameters": CITY}]}
HI = {"role": "user", "parts": [{"text": "Hi"}]}
STAND_IN = "skip_thought_signature_validator"
CELL = {"$ref": "#/$defs/Cell"}
CHAIN = {
    "type": "object",
    "properties": {"cell": CELL},
    "$defs": {"Cell": {"type": "object", "properties": {"next": {"anyOf": [CELL, {"type": "null"}]}}}},
}


def body(request: Request, model: str = NEW, quirks: GeminiQuirks | None = None) -> dict[str, Any]:
    return json.loads(Gemini(quirks).encode(request, model=model).body)


def config(settings: Settings, model: str = NEW) -> dict[str, Any]:
    return body(Request([user("Hi")], settings=settings), model).get("generationConfig", {})


def state(**data: Any) -> State:
    return State(ORIGIN, json.dumps(data, separators=(",", ":")))


def said_back(*parts: Part, model: str = NEW) -> list[dict[str, Any]]:
    """Say the parts as a reply of the model, and what Gemini hears of it."""
    contents = body(Request([user("Hi"), Message("assistant", parts), user("And?")]), model)["contents"]
    return [part for content in contents if content["role"] == "model" for part in content["parts"]]


def results_of(*results: ToolResult, calls: tuple[ToolCall, ...], model: str = NEW) -> list[dict[str, Any]]:
    return body(Request([user("Hi"), Message("assistant", calls), Message("tool", results)]), model)["contents"][2:]


def chunk(*parts: dict[str, Any], reason: str | int | None = None, **candidate: Any) -> dict[str, Any]:
    ended = {} if reason is None else {"finishReason": reason}
    return {"candidates": [{"content": {"role": "model", "parts": list(parts)}, **ended, **candidate}]}


def streamed(*events: Any) -> Reply:
    return read_all([b"".join(b"data: " + json.dumps(event).encode() + b"\r\n\r\n" for event in events)], "text/event-stream")


def whole(event: Any) -> Reply:
    return read_all([json.dumps(event).encode()], "application/json")


def read_all(chunks: list[bytes], content_type: str) -> Reply:
    assembly, reading = Assembly(), Reading(GeminiDecoder(ORIGIN), content_type=content_type)
    for piece in chunks:
        for delta in reading.feed(piece):
            assembly.add(delta)
    for delta in reading.end():
        assembly.add(delta)
    return assembly.reply()


def test_a_step_of_an_agent_is_said_whole():
    request = Request(
        [
            Message("system", (Text("You keep a shop."),)),
            user("Hi"),
            Message(
                "assistant",
                (
                    Thinking("Hm."),
                    Text("Looking."),
                    ToolCall("call_0_0", "look", '{"city":"Rome"}', "x1", state(id="x1", thoughtSignature="s1")),
                    ToolCall("call_0_1", "look", '{"city":"Oslo"}'),
                ),
            ),
            Message("tool", (ToolResult("call_0_0", '{"sky": "blue"}', name="look"), ToolResult("call_0_1", "KeyError", is_error=True))),
            Message("system", (Text("Be quick."),)),
        ],
        instructions="Be brief.",
        tools=(LOOK,),
        settings=Settings(temperature=0.5, top_p=0.9, max_tokens=10, stop=("END",), seed=7, effort="low", extra={"labels": {"a": "b"}}),
        stream=True,
    )

    outgoing = Gemini().encode(request, model=NEW)

    assert outgoing.path == "models/gemini-3-flash:streamGenerateContent?alt=sse"
    assert json.loads(outgoing.body) == {
        "contents": [
            HI,
            {
                "role": "model",
                "parts": [
                    {"text": "Looking."},
                    {"functionCall": {"id": "x1", "name": "look", "args": {"city": "Rome"}}, "thoughtSignature": "s1"},
                    {"functionCall": {"name": "look", "args": {"city": "Oslo"}}},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"id": "x1", "name": "look", "response": {"sky": "blue"}}},
                    {"functionResponse": {"name": "look", "response": {"error": "KeyError"}}},
                ],
            },
            {"role": "user", "parts": [{"text": "Be quick."}]},
        ],
        "systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "You keep a shop."}]},
        "tools": [DECLARED],
        "generationConfig": {
            "temperature": 0.5,
            "topP": 0.9,
            "maxOutputTokens": 10,
            "stopSequences": ["END"],
            "seed": 7,
            "thinkingConfig": {"thinkingLevel": "low", "includeThoughts": True},
        },
        "labels": {"a": "b"},
    }


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("gemini-3-pro", "models/gemini-3-pro:generateContent"),
        ("models/gemini-3-pro", "models/gemini-3-pro:generateContent"),
        ("tunedModels/mine", "tunedModels/mine:generateContent"),
    ],
)
def test_the_model_stands_in_the_path(name: str, path: str):
    assert Gemini().encode(Request([user("Hi")]), model=name).path == path


def test_a_gateway_may_want_the_key_as_a_bearer_token():
    assert Gemini().headers("k") == {"x-goog-api-key": "k"}
    assert Gemini(GeminiQuirks(bearer=True)).headers("k") == {"authorization": "Bearer k"}
    assert Gemini().headers(None) == {}


# Quirk 77.
@pytest.mark.parametrize(("name", "signed"), [(NEW, True), ("gemini-flash-latest", True), ("google/gemini-4.5-pro", True), (OLD, False)])
def test_the_first_call_that_gemini_did_not_make_gets_its_stand_in_for_a_signature(name: str, signed: bool):
    foreign = State("openai/responses", '{"id":"fc_1"}')

    first, second = said_back(ToolCall("a", "look", "{}", "fc_1", foreign), ToolCall("b", "look"), model=name)

    stand_in = {"thoughtSignature": STAND_IN} if signed else {}
    assert first == {"functionCall": {"name": "look", "args": {}}} | stand_in
    assert second == {"functionCall": {"name": "look", "args": {}}}


def test_only_signed_thoughts_of_gemini_are_said_back():
    foreign = State("anthropic/messages", '{"signature":"x"}')

    parts = said_back(
        Thinking("unsigned"), Thinking("foreign", foreign), Thinking("own", state(thoughtSignature="s")), Text("Hi", foreign), Text("")
    )

    assert parts == [{"text": "own", "thought": True, "thoughtSignature": "s"}, {"text": "Hi"}]


def test_a_reply_of_which_nothing_can_be_said_leaves_no_empty_content():
    request = Request([user("Hi"), Message("assistant", (Thinking("Hm."),)), user("And?")])

    assert body(request)["contents"] == [HI, {"role": "user", "parts": [{"text": "And?"}]}]


def test_pictures_that_the_model_made_are_said_back_in_place():
    own, foreign = Image(data=b"own", state=state(thoughtSignature="s")), Image(data=b"other")

    assert said_back(Text("Here:"), own, foreign) == [
        {"text": "Here:"},
        {"inlineData": {"mimeType": "image/png", "data": "b3du"}, "thoughtSignature": "s"},
        {"inlineData": {"mimeType": "image/png", "data": "b3RoZXI="}, "thoughtSignature": STAND_IN},
    ]


@pytest.mark.parametrize(
    ("text", "response"),
    [
        ('{"a": 1}', {"a": 1}),
        ("[1, 2]", {"result": [1, 2]}),
        ("sun", {"result": "sun"}),
        ("1.10", {"result": "1.10"}),
        ("007", {"result": "007"}),
        ("", {"result": ""}),
        ('{"a": NaN}', {"result": '{"a": NaN}'}),
    ],
)
def test_a_result_is_said_as_an_object_that_means_the_same(text: str, response: dict[str, Any]):
    [content] = results_of(ToolResult("a", text), calls=(ToolCall("a", "look"),))

    assert content == {"role": "user", "parts": [{"functionResponse": {"name": "look", "response": response}}]}


# Quirk 89.
def test_a_picture_in_a_result_stays_there_where_the_model_can_see_it():
    result = ToolResult("a", (Text("done"), Image(data=b"png")))
    picture = {"inlineData": {"mimeType": "image/png", "data": "cG5n"}}

    [inside] = results_of(result, calls=(ToolCall("a", "draw"),))
    behind = results_of(result, calls=(ToolCall("a", "draw"),), model=OLD)

    assert inside["parts"] == [{"functionResponse": {"name": "draw", "response": {"result": "done"}, "parts": [picture]}}]
    assert behind == [
        {"role": "user", "parts": [{"functionResponse": {"name": "draw", "response": {"result": "done"}}}]},
        {"role": "user", "parts": [{"text": "From the result of a:"}, picture]},
    ]


def test_what_a_result_cannot_hold_moves_behind_it():
    contents = results_of(ToolResult("a", (Image(url="https://host/a.jpg"),), name="draw"), calls=(ToolCall("a", "draw"),))

    assert contents == [
        {"role": "user", "parts": [{"functionResponse": {"name": "draw", "response": {"result": "See the next message."}}}]},
        {
            "role": "user",
            "parts": [{"text": "From the result of draw:"}, {"fileData": {"fileUri": "https://host/a.jpg", "mimeType": "image/jpeg"}}],
        },
    ]


def test_pictures_sounds_and_papers_of_the_user_are_parts():
    message = user(
        "See",
        Image(data=b"png"),
        Image(url="data:image/gif;base64,R0lG"),
        Image(url="gs://bucket/a.webp"),
        File(data=b"mp3", media_type="audio/mpeg"),
        File(data=b"pdf", name="a.pdf"),
        File(url="https://youtu.be/abc"),
    )

    assert body(Request([message]))["contents"][0]["parts"] == [
        {"text": "See"},
        {"inlineData": {"mimeType": "image/png", "data": "cG5n"}},
        {"inlineData": {"mimeType": "image/gif", "data": "R0lG"}},
        {"fileData": {"fileUri": "gs://bucket/a.webp", "mimeType": "image/webp"}},
        {"inlineData": {"mimeType": "audio/mpeg", "data": "bXAz"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "cGRm"}},
        {"fileData": {"fileUri": "https://youtu.be/abc"}},
    ]


# Quirk 47.
@pytest.mark.parametrize(
    ("name", "said"), [("look", "look"), ("7days", "_7days"), ("default api", "default_api"), ("7" * 70, "_" + "7" * 63)]
)
def test_a_called_name_that_gemini_refuses_is_made_one_that_it_takes(name: str, said: str):
    [call] = said_back(ToolCall("a", name))

    assert call["functionCall"]["name"] == said


def test_a_tool_without_parameters_has_none():
    request = Request([user("Hi")], tools=(ToolDescription("now", "", {"type": "object", "properties": {}}),))

    assert body(request)["tools"] == [{"functionDeclarations": [{"name": "now"}]}]


@pytest.mark.parametrize(
    "schema", [{"type": "object", "properties": {"counts": {"type": "object", "additionalProperties": {"type": "integer"}}}}, CHAIN]
)
def test_a_schema_that_the_plain_form_has_no_words_for_is_said_as_json_schema(schema: dict[str, Any]):
    request = Request([user("Hi")], tools=(ToolDescription("count", "", schema),), output=OutputSchema("count", schema))

    said = body(request)

    assert said["tools"] == [{"functionDeclarations": [{"name": "count", "parametersJsonSchema": schema}]}]
    assert said["generationConfig"] == {"responseMimeType": "application/json", "responseJsonSchema": schema}


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (None, None),
        ("auto", {"mode": "AUTO"}),
        ("required", {"mode": "ANY"}),
        ("none", {"mode": "NONE"}),
        ("look", {"mode": "ANY", "allowedFunctionNames": ["look"]}),
    ],
)
def test_a_choice_of_tools_is_a_mode(choice: str | None, said: dict[str, Any] | None):
    request = Request([user("Hi")], tools=(LOOK,), settings=Settings(tool_choice=choice))

    assert body(request).get("toolConfig") == (said and {"functionCallingConfig": said})


def test_tools_of_both_sides_are_offered_together():
    hosted = (
        WebSearch(blocked_domains=("spam.example",)),
        CodeExecution(),
        FileSearch(stores=("fileSearchStores/a",), most_results=3),
        MCPServer(name="docs", url="https://host/mcp", token=pydantic.SecretStr("t")),
        ProviderTool({"urlContext": {}}),
    )
    request = Request([user("Hi")], tools=(LOOK,), hosted=hosted, settings=Settings(tool_choice="web_search"))

    said, on_vertex = body(request), body(request, quirks=GeminiQuirks(hosted_calls_shown=False))

    transport = {"url": "https://host/mcp", "headers": {"Authorization": "Bearer t"}}
    assert said == {
        "contents": [HI],
        "tools": [
            {"googleSearch": {"excludeDomains": ["spam.example"]}},
            {"codeExecution": {}},
            {"fileSearch": {"fileSearchStoreNames": ["fileSearchStores/a"], "topK": 3}},
            {"mcpServers": [{"name": "docs", "streamableHttpTransport": transport}]},
            {"urlContext": {}},
            DECLARED,
        ],
        "toolConfig": {"includeServerSideToolInvocations": True},
    }
    assert "toolConfig" not in on_vertex


@pytest.mark.parametrize(
    "hosted",
    [
        WebSearch(domains=("a.example",)),
        CodeExecution(files=("f",)),
        MCPServer(name="m", url="https://host", tools=("a",)),
        ImageGeneration(size="7x1"),
    ],
)
def test_what_gemini_would_silently_do_without_is_refused(hosted: Any):
    with pytest.raises(ConfigurationError, match="; "):
        body(Request([user("Hi")], hosted=(hosted,)))


@pytest.mark.parametrize(
    ("size", "said"), [(None, {}), ("1536x1024", {"imageConfig": {"aspectRatio": "3:2"}}), ("2K", {"imageConfig": {"imageSize": "2K"}})]
)
def test_pictures_are_asked_for_in_the_settings(size: str | None, said: dict[str, Any]):
    request = Request([user("Hi")], hosted=(ImageGeneration(size=size),))

    assert body(request) == {"contents": [HI], "generationConfig": {"responseModalities": ["TEXT", "IMAGE"], **said}}


@pytest.mark.parametrize(
    ("name", "effort", "said"),
    [
        ("gemini-3-flash", "none", {"thinkingLevel": "minimal"}),
        ("gemini-3-pro", "none", {"thinkingLevel": "low"}),
        ("gemini-3-pro", "medium", {"thinkingLevel": "high", "includeThoughts": True}),
        ("gemini-3.1-pro", "medium", {"thinkingLevel": "medium", "includeThoughts": True}),
        ("gemini-3.5-flash", "max", {"thinkingLevel": "high", "includeThoughts": True}),
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
        ("gemini-2.5-pro", "none", {"thinkingBudget": 128}),
        ("gemini-2.5-pro", "high", {"thinkingBudget": 16384, "includeThoughts": True}),
        ("gemini-2.0-flash", "high", None),
    ],
)
def test_an_effort_is_a_budget_or_a_level(name: str, effort: Any, said: dict[str, Any] | None):
    assert config(Settings(effort=effort), name).get("thinkingConfig") == said


def test_further_fields_join_the_settings_that_are_there():
    said = config(Settings(seed=1, extra={"generationConfig": {"topK": 3}}))

    assert said == {"seed": 1, "topK": 3}


def test_an_answer_has_a_form_beside_tools_from_the_third_generation_on():
    request = Request([user("Hi")], tools=(LOOK,), output=OutputSchema("answer", CITY))

    said = body(request)

    assert said["generationConfig"] == {"responseMimeType": "application/json", "responseSchema": CITY}
    assert said["tools"] == [DECLARED]
    assert "toolConfig" not in said


@pytest.mark.parametrize(
    ("choice", "allowed"), [(None, None), ("auto", None), ("none", [ANSWER]), ("required", ["look"]), ("look", ["look"])]
)
def test_before_that_the_answer_is_a_call(choice: str | None, allowed: list[str] | None):
    output = OutputSchema("answer", CITY)

    said = body(Request([user("Hi")], tools=(LOOK,), output=output, settings=Settings(tool_choice=choice)), OLD)

    names = [declaration["name"] for declaration in said["tools"][0]["functionDeclarations"]]
    assert names == ["look", ANSWER]
    assert said["toolConfig"]["functionCallingConfig"] == {"mode": "ANY"} | ({"allowedFunctionNames": allowed} if allowed else {})
    assert "generationConfig" not in said


def test_before_that_a_form_beside_hosted_tools_is_told_in_words():
    said = body(Request([user("Hi")], instructions="Be brief.", hosted=(WebSearch(),), output=OutputSchema("answer", CITY)), OLD)

    [instructions, form] = said["systemInstruction"]["parts"]
    assert instructions == {"text": "Be brief."}
    assert form["text"].endswith(f"and nothing else: {json.dumps(CITY, separators=(',', ':'))}")
    assert "generationConfig" not in said


def test_a_call_of_the_answer_is_the_text_of_the_reply():
    answer = {"functionCall": {"name": ANSWER, "args": {"city": "Rome"}}, "thoughtSignature": "s"}

    reply = whole(chunk(answer, answer, reason="STOP"))

    assert reply.parts == (Text('{"city": "Rome"}'),)
    assert reply.finish_reason == "stop"


def test_the_next_step_begins_with_the_same_contents():
    tools = (LOOK,)
    messages = [user("Hi"), Message("assistant", (ToolCall("a", "look"),)), Message("tool", (ToolResult("a", "sun"),))]
    wire = Gemini()

    first = json.loads(wire.encode(Request(messages[:1], tools=tools), model=NEW).body)
    later = json.loads(wire.encode(Request(messages, tools=tools), model=NEW).body)

    assert later["contents"][:1] == first["contents"]
    assert later["tools"] == first["tools"]


EVERYTHING = [
    {"text": "Let me think.", "thought": True, "thoughtSignature": "t1"},
    {"executableCode": {"language": "PYTHON", "code": "1+1"}, "thoughtSignature": "e1"},
    {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2\n"}},
    {"toolCall": {"toolType": "GOOGLE_SEARCH_WEB", "id": "q"}, "thoughtSignature": "t2"},
    {"toolResponse": {"toolType": "GOOGLE_SEARCH_WEB", "id": "q"}},
    {"text": "Two.", "thoughtSignature": "t3"},
    {"text": "More."},
    {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(b"png").decode()}, "thoughtSignature": "t4"},
    {"novelPart": {"x": [1]}},
    {"functionCall": {"id": "c1", "name": "look", "args": {"city": "Zürich"}}, "thoughtSignature": "t5"},
    {"functionCall": {"name": "look", "args": {}}},
    {"text": "", "thoughtSignature": "t6"},
]


def test_a_reply_is_said_back_as_it_came():
    reply = whole(chunk(*EVERYTHING, reason="STOP"))

    request = Request([user("Hi"), reply.message, Message("tool", tuple(ToolResult(call.id, "sun") for call in reply.calls))])
    contents = body(request)["contents"]

    assert contents[1] == {"role": "model", "parts": EVERYTHING}
    assert contents[2]["parts"] == [
        {"functionResponse": {"id": "c1", "name": "look", "response": {"result": "sun"}}},
        {"functionResponse": {"name": "look", "response": {"result": "sun"}}},
    ]
    assert [type(part) for part in reply.parts[:3]] == [Thinking, Opaque, Opaque]
    assert reply.text == "Two.More."


def test_other_providers_hear_nothing_of_gemini_alone():
    reply = whole(chunk(*EVERYTHING, reason="STOP"))

    said = json.loads(Gemini(origin="vertex/gemini").encode(Request([user("Hi"), reply.message, user("?")]), model=OLD).body)

    assert said["contents"][1]["parts"] == [
        {"text": "Two."},
        {"text": "More."},
        {"inlineData": EVERYTHING[7]["inlineData"]},
        {"functionCall": {"name": "look", "args": {"city": "Zürich"}}},
        {"functionCall": {"name": "look", "args": {}}},
    ]


def test_a_draft_picture_among_the_thoughts_is_no_picture_of_the_reply():
    draft = {"inlineData": {"mimeType": "image/png", "data": "AA=="}, "thought": True}

    reply = whole(chunk(draft, {"text": "Done."}, reason="STOP"))

    assert [part for part in reply.parts if isinstance(part, Image)] == []
    assert said_back(*reply.parts) == [{"text": "Done."}]


# Quirk 36.
def test_a_signature_on_an_empty_text_belongs_to_the_words_before_it():
    reply = streamed(chunk({"text": "4"}), chunk({"text": "2"}), chunk({"text": "", "thoughtSignature": "s"}, reason="STOP"))

    assert reply == whole(chunk({"text": "42", "thoughtSignature": "s"}, reason="STOP"))
    assert reply.parts == (Text("42", state(thoughtSignature="s")),)


# Quirk 36.
def test_an_empty_text_with_a_signature_behind_a_call_is_kept():
    call = {"functionCall": {"name": "look", "args": {}}}

    reply = streamed(chunk(call), chunk({"text": "", "thoughtSignature": "s"}, reason="STOP"))

    assert reply.parts[1:] == (Text("", state(thoughtSignature="s")),)
    assert said_back(*reply.parts)[1] == {"text": "", "thoughtSignature": "s"}


# Quirk 35.
def test_a_stream_as_one_array_reads_like_its_events():
    events = [chunk({"text": "4"}), chunk({"text": "2", "thoughtSignature": "s"}, reason="STOP")]

    assert whole(events) == streamed(*events)


# Quirks 35 and 90.
@pytest.mark.parametrize("before", [[], [chunk({"text": "4"})]])
def test_an_error_in_an_array_is_raised(before: list[Any]):
    error = {"error": {"code": 429, "message": "Slow down.", "status": "RESOURCE_EXHAUSTED"}}

    with pytest.raises(RateLimited, match="Slow down"):
        whole([*before, error])


def test_an_error_inside_a_200_is_raised():
    with pytest.raises(ModelError, match="overloaded"):
        streamed(chunk({"text": "4"}), {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}})


# Quirk 43.
def test_stop_beside_calls_is_no_end():
    reply = whole(chunk({"functionCall": {"name": "look", "args": {"city": "Rome"}}}, reason="STOP", finishMessage="Called."))

    assert reply.finish_reason == "tool_calls"
    assert reply.calls == (ToolCall("call_0_0", "look", '{"city": "Rome"}'),)
    assert reply.extra == {"finishMessage": "Called."}


# Quirk 44.
def test_an_unexpected_call_that_is_there_is_a_call():
    call = chunk({"functionCall": {"name": "look"}}, reason="UNEXPECTED_TOOL_CALL")

    assert whole(call).calls[0].arguments == "{}"
    with pytest.raises(BadReply, match="UNEXPECTED_TOOL_CALL"):
        whole(chunk(reason="UNEXPECTED_TOOL_CALL"))


# Quirk 45.
@pytest.mark.parametrize(
    "reason", ["MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "MISSING_THOUGHT_SIGNATURE", "TOO_MANY_TOOL_CALLS", "OTHER", 5]
)
def test_a_reply_that_failed_on_googles_side_is_asked_for_again(reason: str | int):
    with pytest.raises(BadReply, match=r"\(Malformed: print\(\)\)") as failure:
        whole(chunk(reason=reason, finishMessage="Malformed: print()"))

    assert failure.value.retryable


# Quirk 74.
@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        *((reason, "content_filter") for reason in ("SAFETY", "RECITATION", "BLOCKLIST", "SPII", "MODEL_ARMOR", "IMAGE_SAFETY")),
        (1, "stop"),
        (2, "length"),
        (3, "content_filter"),
        ("NEW_REASON", "stop"),
    ],
)
def test_a_finish_reason_is_read_by_name_or_number(reason: str | int, finish: str):
    assert whole(chunk({"text": "Hi"}, reason=reason)).finish_reason == finish


# Quirk 74.
def test_a_blocked_prompt_is_a_filtered_reply():
    blocked = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 3}}

    for reply in (whole(blocked), streamed(blocked)):
        assert (reply.parts, reply.finish_reason, reply.usage) == ((), "content_filter", Usage(3))
        assert reply.extra == {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}


@pytest.mark.parametrize("candidate", [{"content": {"role": "model"}, "finishReason": "MAX_TOKENS"}, {"finishReason": "MAX_TOKENS"}])
def test_a_candidate_without_parts_is_an_empty_reply(candidate: dict[str, Any]):
    reply = whole({"candidates": [candidate]})

    assert (reply.parts, reply.finish_reason) == ((), "length")


def test_a_stream_without_a_reason_is_broken_and_a_body_without_candidates_is_no_reply():
    with pytest.raises(StreamBroken):
        streamed(chunk({"text": "Hi"}))
    with pytest.raises(StreamBroken):
        streamed(chunk({"text": "Hi"}, reason="FINISH_REASON_UNSPECIFIED"))
    with pytest.raises(BadReply, match="no candidates"):
        whole({"modelVersion": "m"})


def test_arguments_that_come_value_by_value_are_put_together():
    def piece(path: str, **value: Any) -> dict[str, Any]:
        return {"functionCall": {"partialArgs": [{"jsonPath": path, **value}], "willContinue": True}}

    events = [
        chunk({"functionCall": {"name": "plan", "willContinue": True}, "thoughtSignature": "s"}),
        chunk(piece("$.stops[0].city", stringValue="Zür", willContinue=True)),
        chunk(piece("$.stops[0].city", stringValue='ich "HB"')),
        chunk(piece("$.stops[1]['my.key']", boolValue=False)),
        chunk(piece("$.days", numberValue=3), piece("$.note", nullValue="NULL_VALUE")),
        chunk({"functionCall": {}}, {"functionCall": {"name": "plan"}}),
        chunk({"text": ""}, reason="STOP"),
    ]

    first, second = streamed(*events).calls

    arguments = {"stops": [{"city": 'Zürich "HB"'}, {"my.key": False}], "days": 3, "note": None}
    assert json.loads(first.arguments) == arguments
    assert second == ToolCall("call_0_1", "plan", "{}")
    at_once = {"functionCall": {"name": "plan", "args": arguments}, "thoughtSignature": "s"}
    assert whole(chunk(at_once, {"functionCall": {"name": "plan"}}, reason="STOP")).calls == (first, second)


@pytest.mark.parametrize("path", ["", "$", "$.a[", "$[0]", "$.a[999999999]", "$.a..b", "city"])
def test_an_argument_at_no_place_breaks_the_reply(path: str):
    with pytest.raises(BadReply, match="arguments"):
        streamed(chunk({"functionCall": {"name": "f", "partialArgs": [{"jsonPath": path, "numberValue": 1}]}}, reason="STOP"))


# Quirk 69.
def test_tokens_of_the_last_chunk_count_and_thoughts_are_written_too():
    last = {
        "promptTokenCount": 10,
        "cachedContentTokenCount": 4,
        "candidatesTokenCount": 5,
        "thoughtsTokenCount": 7,
        "toolUsePromptTokenCount": 73,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 10}],
    }
    reply = streamed(
        chunk({"text": "4"}) | {"usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 1}},
        chunk({"text": "2"}, reason="STOP") | {"usageMetadata": last},
        {"usageMetadata": {"trafficType": "ON_DEMAND"}},
    )

    assert reply.usage == Usage(83, 12, 4, 0, 7, {"toolUsePromptTokenCount": 73, "promptTokensDetails.TEXT": 10})


# Quirks 66 and 104.
def test_places_of_citations_are_counted_in_bytes_and_given_in_characters():
    grounding = {
        "groundingChunks": [
            {"web": {"uri": "https://a", "title": "A"}},
            {"retrievedContext": {"title": "B", "fileSearchStore": "stores/b"}},
        ],
        "groundingSupports": [
            {"segment": {"endIndex": 6, "text": "19°C "}, "groundingChunkIndices": [0, 9]},
            {"segment": {"startIndex": 15, "endIndex": 20, "text": "sonnig"}, "groundingChunkIndices": [1]},
            {"segment": {"startIndex": 3, "endIndex": 9, "text": "nowhere"}, "groundingChunkIndices": [0]},
        ],
    }
    reply = streamed(chunk({"text": "19°C"}), chunk({"text": " Öl, sonnig"}, reason="STOP", groundingMetadata=grounding))

    assert reply.citations == (
        Citation("https://a", "A", 0, 5),
        Citation("stores/b", "B", 9, 15),
        Citation("https://a", "A", 0, 0),
    )
    assert [reply.text[citation.start : citation.end] for citation in reply.citations] == ["19°C ", "sonnig", ""]
    assert reply.extra["groundingMetadata"] == grounding


def test_a_place_counted_from_a_part_is_found_too():
    grounding = {
        "groundingChunks": [{"web": {"uri": "https://a", "title": "A"}}],
        "groundingSupports": [{"segment": {"partIndex": 1, "endIndex": 3, "text": "sun"}, "groundingChunkIndices": [0]}],
    }
    parts = [{"text": "sun. ", "thoughtSignature": "s"}, {"text": "sun"}]

    reply = whole(chunk(*parts, reason="STOP", groundingMetadata=grounding))

    assert reply.citations == (Citation("https://a", "A", 5, 8),)


def test_sources_of_no_place_are_cited_all_the_same():
    grounding = {"groundingChunks": [{"web": {"uri": "https://a", "title": "A"}}]}

    reply = whole(chunk({"text": "Sun."}, reason="STOP", groundingMetadata=grounding))

    assert reply.citations == (Citation("https://a", "A"),)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SIGNATURES = st.none() | st.text("abc", min_size=1, max_size=4)
WORDS = st.tuples(st.sampled_from(["text", "thought"]), TEXTS, SIGNATURES)
CALLS = st.tuples(st.just("call"), st.tuples(st.sampled_from(["f", "g"]), st.dictionaries(TEXTS, TEXTS, max_size=2)), SIGNATURES)


def parts_of(kind: str, said: Any, signature: str | None, cuts: list[int]) -> list[dict[str, Any]]:
    """Say a part in pieces, cut at `cuts`, the last of which bears the signature."""
    signed = {"thoughtSignature": signature} if signature else {}
    if kind == "call":
        return [{"functionCall": {"name": said[0], "args": said[1]}, **signed}]
    places = sorted({0, len(said), *(cut % (len(said) + 1) for cut in cuts)})
    pieces = [said[start:end] for start, end in pairwise(places)] or [""]
    thought = {"thought": True} if kind == "thought" else {}
    return [{"text": piece, **thought} for piece in pieces[:-1]] + [{"text": pieces[-1], **thought, **signed}]


@given(
    parts=st.lists(WORDS | CALLS, max_size=6),
    cuts=st.lists(st.integers(0, 1000), max_size=4),
    apart=st.booleans(),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    chops=st.lists(st.integers(0, 5000), max_size=12),
)
def test_the_same_reply_streamed_and_whole_and_chopped_anywhere_is_the_same(
    parts: list[Any], cuts: list[int], apart: bool, newline: str, chops: list[int]
):
    usage = {"modelVersion": "m", "responseId": "r", "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2}}
    pieces = [piece for kind, said, signature in parts for piece in parts_of(kind, said, signature, cuts)]
    events = [chunk(piece) for piece in pieces] if apart else [chunk(*pieces)]
    events.append(chunk({"text": ""}, reason="STOP") | usage)
    stream = "".join(f"data: {json.dumps(event, ensure_ascii=False)}{newline}{newline}" for event in events).encode()
    places = sorted({0, len(stream), *(chop % (len(stream) + 1) for chop in chops)})
    at_once = [piece for kind, said, signature in parts for piece in parts_of(kind, said, signature, [])]

    from_stream = read_all([stream[start:end] for start, end in pairwise(places)], "text/event-stream")
    from_whole = read_all([json.dumps(chunk(*at_once, reason="STOP") | usage).encode()], "application/json")

    assert from_stream == from_whole
    assert from_stream.usage == Usage(3, 2)
    assert from_stream.text == "".join(said for kind, said, _ in parts if kind == "text")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2)
)


@given(
    place=st.sampled_from(
        ["candidates", "usageMetadata", "modelVersion", "error", "content", "parts", "text", "functionCall", "inlineData"]
    ),
    value=JSON,
)
def test_a_reply_of_any_shape_ends_in_a_reply_or_a_model_error(place: str, value: Any):
    event: dict[str, Any] = chunk({"text": "Hi"}, reason="STOP", groundingMetadata={"groundingSupports": [{"segment": {}}]})
    match place:
        case "content":
            event["candidates"][0]["content"] = value
        case "parts":
            event["candidates"][0]["content"]["parts"] = value
        case "text" | "functionCall" | "inlineData":
            event["candidates"][0]["content"]["parts"] = [{place: value}]
        case _:
            event[place] = value

    try:
        reply = whole(event)
    except ModelError:
        return

    assert isinstance(reply.text, str)


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("name", ["gemini-3-flash", "gemini-2.5-flash"])
async def test_an_agent_calls_its_tools_over_http(name: str, streams: bool):
    @tool
    def weigh(stone: int) -> str:
        "Weigh a stone."
        return f"{stone * 7} grams"

    first = (calls("weigh", stone=1) & calls("weigh", stone=2)).saying("Weighing.", thinking="Two stones.")
    with Gateway(first, calls("weigh", stone=3), says("All weighed.", thinking="Done.")) as gateway:
        agent = Agent(model(f"gemini:{name}", base_url=gateway.base_url, key="k"), tools=[weigh], settings=Settings(effort="high"))
        if streams:
            stream = agent.stream("Weigh them.")
            _ = [event async for event in stream]
            result = stream.result
        else:
            result = await agent.run("Weigh them.")

    assert result.text == "All weighed."
    assert [request.refused for request in gateway.requests] == ["", "", ""]
    last = gateway.requests[-1].body["contents"]
    assert [part["functionResponse"]["response"] for part in last[2]["parts"]] == [{"result": "7 grams"}, {"result": "14 grams"}]
    assert [bool(part.get("thoughtSignature")) for part in last[1]["parts"] if "functionCall" in part] == [True, False]
    assert all(STAND_IN not in str(content) for content in last)


@pytest.mark.parametrize(("model", "is_refused"), [("gemini-2.5-flash", True), ("gemini-3-pro", False), ("gemma-next", False)])
def test_hosted_tools_beside_functions_are_refused_where_google_would(model: str, is_refused: bool):
    look = ToolDescription("look", "Look.", {"type": "object", "properties": {}})
    request = Request([user("Hi")], tools=(look,), hosted=(WebSearch(),))

    if is_refused:
        with pytest.raises(ConfigurationError, match="takes hosted tools or functions, and not both"):
            Gemini().encode(request, model=model)
    else:
        assert Gemini().encode(request, model=model).body
