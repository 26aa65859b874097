"""Requests as chat completions, whole bodies compared; replies streamed and whole alike."""

from __future__ import annotations

import base64
import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentloop.deltas import Assembly
from agentloop.errors import BadReply, BadRequest, ConfigurationError, ModelError, ServerError, StreamBroken
from agentloop.messages import (
    Citation,
    File,
    Image,
    Message,
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
from agentloop.models.reading import Reading
from agentloop.tools.hosted import WebSearch
from agentloop.wire.attachments import Answering
from agentloop.wire.openai_chat import OpenAIChat
from agentloop.wire.openai_chat_decoder import ChatDecoder
from agentloop.wire.openai_chat_messages import ChatQuirks
from tests.openapi import needs_openapi, validator

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
LOOK = ToolDescription("look", "Look.", CITY)


def body(request: Request, quirks: ChatQuirks | None = None) -> dict[str, Any]:
    return json.loads(OpenAIChat(quirks).encode(request, model="m").body)


def called(*calls: ToolCall, text: str = "") -> Message:
    return Message("assistant", (*((Text(text),) if text else ()), *calls))


REQUESTS: dict[str, tuple[Request, dict[str, Any]]] = {
    "a question": (
        Request([user("Hi")]),
        {"model": "m", "messages": [{"role": "user", "content": "Hi"}]},
    ),
    "instructions come first": (
        Request([user("Hi")], instructions="Be brief."),
        {"model": "m", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]},
    ),
    "a tool": (
        Request([user("Hi")], tools=(LOOK,)),
        {
            "model": "m",
            "messages": [{"role": "user", "content": "Hi"}],
            "tools": [{"type": "function", "function": {"name": "look", "description": "Look.", "parameters": CITY}}],
        },
    ),
    "parallel calls and their results": (
        Request(
            [
                user("Hi"),
                called(ToolCall("call_0_0", "look", '{"city":"Rome"}', "x"), ToolCall("call_0_1", "look", "{}"), text="Looking."),
                Message("tool", (ToolResult("call_0_0", "sun"), ToolResult("call_0_1", "'city': required", is_error=True))),
            ]
        ),
        {
            "model": "m",
            "messages": [
                {"role": "user", "content": "Hi"},
                {
                    "role": "assistant",
                    "content": "Looking.",
                    "tool_calls": [
                        {"id": "x", "type": "function", "function": {"name": "look", "arguments": '{"city":"Rome"}'}},
                        {"id": "call_0_1", "type": "function", "function": {"name": "look", "arguments": "{}"}},
                    ],
                },
                {"role": "tool", "tool_call_id": "x", "content": "sun"},
                {"role": "tool", "tool_call_id": "call_0_1", "content": "'city': required"},
            ],
        },
    ),
    "arguments that are no JSON object go back as an empty one": (
        Request([user("Hi"), called(ToolCall("a", "look", '{"city":')), Message("tool", (ToolResult("a", "no JSON"),))]),
        {
            "model": "m",
            "messages": [
                {"role": "user", "content": "Hi"},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "a", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
                },
                {"role": "tool", "tool_call_id": "a", "content": "no JSON"},
            ],
        },
    ),
    "a picture in a result moves into a user message behind the last result": (
        Request(
            [
                user("Hi"),
                called(ToolCall("a", "draw"), ToolCall("b", "draw")),
                Message(
                    "tool", (ToolResult("a", (Text("done"), Image(data=b"png")), name="draw"), ToolResult("b", "failed", is_error=True))
                ),
            ]
        ),
        {
            "model": "m",
            "messages": [
                {"role": "user", "content": "Hi"},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {"id": "a", "type": "function", "function": {"name": "draw", "arguments": "{}"}},
                        {"id": "b", "type": "function", "function": {"name": "draw", "arguments": "{}"}},
                    ],
                },
                {"role": "tool", "tool_call_id": "a", "content": "done"},
                {"role": "tool", "tool_call_id": "b", "content": "failed"},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "From the result of draw:"},
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,cG5n"}},
                    ],
                },
            ],
        },
    ),
    "pictures, sound and files from the user": (
        Request(
            [
                user(
                    "See",
                    Image(url="https://host/a.png", detail="low"),
                    File(data=b"mp3", media_type="audio/mpeg"),
                    File(data=b"pdf", media_type="application/pdf", name="a.pdf"),
                )
            ]
        ),
        {
            "model": "m",
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "See"},
                        {"type": "image_url", "image_url": {"url": "https://host/a.png", "detail": "low"}},
                        {"type": "input_audio", "input_audio": {"data": "bXAz", "format": "mp3"}},
                        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,cGRm"}},
                    ],
                }
            ],
        },
    ),
    "settings": (
        Request(
            [user("Hi")],
            tools=(LOOK,),
            settings=Settings(
                temperature=0.5,
                top_p=0.9,
                max_tokens=10,
                stop=("END",),
                seed=7,
                effort="low",
                tool_choice="look",
                parallel_tool_calls=False,
                metadata={"a": "b"},
                extra={"verbosity": "low", "store": True},
            ),
            stream=True,
        ),
        {
            "model": "m",
            "messages": [{"role": "user", "content": "Hi"}],
            "tools": [{"type": "function", "function": {"name": "look", "description": "Look.", "parameters": CITY}}],
            "temperature": 0.5,
            "top_p": 0.9,
            "max_tokens": 10,
            "stop": ["END"],
            "seed": 7,
            "reasoning_effort": "low",
            "metadata": {"a": "b"},
            "store": True,
            "tool_choice": {"type": "function", "function": {"name": "look"}},
            "parallel_tool_calls": False,
            "stream": True,
            "stream_options": {"include_usage": True},
            "verbosity": "low",
        },
    ),
    "a form for the answer": (
        Request([user("Hi")], output=OutputSchema("city", CITY)),
        {
            "model": "m",
            "messages": [{"role": "user", "content": "Hi"}],
            "response_format": {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY, "strict": True}},
        },
    ),
}


@pytest.mark.parametrize("case", REQUESTS)
def test_a_request_is_said_as_openai_says_it(case: str):
    request, expected = REQUESTS[case]

    assert body(request) == expected


@needs_openapi
@pytest.mark.parametrize("case", REQUESTS)
def test_a_request_fits_openais_own_schema(case: str):
    faults = [error.message for error in validator("CreateChatCompletionRequest").iter_errors(body(REQUESTS[case][0]))]

    assert faults == []


def test_each_quirk_of_a_provider_changes_what_it_names():
    thought = Thinking("hm", State("openai/chat", '{"field":"reasoning_content"}'))
    messages = [
        user("Hi"),
        Message("assistant", (thought, ToolCall("call_0_0", "look"))),
        Message("tool", (ToolResult("call_0_0", "sun"),)),
    ]
    request = Request(messages, instructions="Go.", tools=(LOOK,), settings=Settings(max_tokens=5, tool_choice="required"), stream=True)
    quirks = ChatQuirks(
        max_tokens_field="max_completion_tokens",
        system_role="developer",
        required_word="any",
        empty_content="",
        stream_usage=False,
        thinking_field="reasoning_content",
        nine_character_ids=True,
    )

    said = body(request, quirks)

    assert said["max_completion_tokens"] == 5
    assert said["messages"][0]["role"] == "developer"
    assert said["tool_choice"] == "any"
    assert said["messages"][2]["content"] == ""
    assert said["messages"][2]["reasoning_content"] == "hm"
    assert "stream_options" not in said
    call_id = said["messages"][2]["tool_calls"][0]["id"]
    assert len(call_id) == 9
    assert call_id.isalnum()
    assert said["messages"][3]["tool_call_id"] == call_id


def test_a_form_that_would_replace_the_tools_is_told_in_words():
    request = Request([user("Hi")], instructions="Go.", tools=(LOOK,), output=OutputSchema("city", CITY))

    said = body(request, ChatQuirks(form="alone"))

    assert "response_format" not in said
    assert said["messages"][0]["content"].startswith("Go.\n\nWhen you have what you need, answer with JSON")
    assert '"city"' in said["messages"][0]["content"]


def test_a_strict_tool_is_said_strictly_and_one_that_cannot_be_falls_back_alone():
    free = ToolDescription("free", "", {"type": "object", "properties": {}, "additionalProperties": {"type": "integer"}}, strict=True)
    tools = (ToolDescription("look", "", CITY, strict=True), free)

    first, second = (tool["function"] for tool in body(Request([user("Hi")], tools=tools))["tools"])

    assert first["strict"] is True
    assert second["strict"] is False
    assert second["parameters"]["additionalProperties"] == {"type": "integer"}


@pytest.mark.parametrize("arguments", ['{"a": NaN}', '{"a": 1', "[1]", "null", ""])
def test_arguments_that_no_provider_takes_back_are_said_back_empty(arguments: str):
    said = body(Request([user("Hi"), called(ToolCall("a", "look", arguments)), Message("tool", (ToolResult("a", "x"),))]))

    assert said["messages"][1]["tool_calls"][0]["function"]["arguments"] == "{}"


def test_a_name_that_no_tool_can_have_is_said_back_as_one_that_a_tool_can():
    said = body(Request([user("Hi"), called(ToolCall("a", "functions.look\x1b")), Message("tool", (ToolResult("a", "no such tool"),))]))

    assert said["messages"][1]["tool_calls"][0]["function"]["name"] == "functions_look_"


@pytest.mark.fault(77)
def test_a_lone_surrogate_never_reaches_the_server():
    sent = OpenAIChat().encode(Request([user("a\ud800b")]), model="m").body

    assert json.loads(sent.decode("utf-8", "strict"))["messages"][0]["content"] == "a?b"


def test_a_file_by_its_address_is_refused_before_anything_is_sent():
    with pytest.raises(ConfigurationError, match="give its bytes"):
        OpenAIChat().encode(Request([user(File(url="https://host/a.pdf"))]), model="m")


def decoded(*events: dict[str, Any], whole: bool = False) -> Reply:
    decoder, assembly = ChatDecoder(), Assembly()
    for event in events:
        for delta in decoder.feed_whole(event) if whole else decoder.feed(event):
            assembly.add(delta)
    for delta in decoder.end():
        assembly.add(delta)
    return assembly.reply()


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def piece(index: int | None = None, call_id: str | None = None, name: str | None = None, arguments: Any = None) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    said: dict[str, Any] = {"function": {key: value for key, value in function.items() if value is not None}}
    return said | ({"index": index} if index is not None else {}) | ({"id": call_id} if call_id is not None else {})


CALL_STREAMS: dict[str, tuple[list[dict[str, Any]], list[tuple[str | None, str, str]]]] = {
    "one call in pieces": (
        [piece(0, "a", "f", ""), piece(0, arguments='{"x"'), piece(0, arguments=":1}")],
        [("a", "f", '{"x":1}')],
    ),
    "two calls interleaved": (
        [piece(0, "a", "f"), piece(1, "b", "g"), piece(0, arguments="{}"), piece(1, arguments='{"y":2}')],
        [("a", "f", "{}"), ("b", "g", '{"y":2}')],
    ),
    "two ids on one index": (
        [piece(0, "a", "f", "{}"), piece(0, "b", "f", '{"x":1}')],
        [("a", "f", "{}"), ("b", "f", '{"x":1}')],
    ),
    "no index, ids": (
        [piece(None, "a", "f", "{}"), piece(None, "b", "g", "{}")],
        [("a", "f", "{}"), ("b", "g", "{}")],
    ),
    "no index, pieces of the last call": (
        [piece(None, "a", "f", '{"x"'), piece(None, None, None, ":1}")],
        [("a", "f", '{"x":1}')],
    ),
    "the index starts at 2": (
        [piece(2, "a", "f", "{}")],
        [("a", "f", "{}")],
    ),
    "id and name on each piece": (
        [piece(0, "a", "f", '{"x"'), piece(0, "a", "f", ":1}")],
        [("a", "f", '{"x":1}')],
    ),
    "empty id and name on later pieces": (
        [piece(0, "a", "f", '{"x"'), piece(0, "", "", ":1}")],
        [("a", "f", '{"x":1}')],
    ),
    "arguments absent, null, or the word null": (
        [piece(0, "a", "f"), {"index": 1, "id": "b", "function": {"name": "g", "arguments": None}}, piece(2, "c", "h", "null")],
        [("a", "f", "{}"), ("b", "g", "{}"), ("c", "h", "{}")],
    ),
    "arguments as an object": (
        [piece(0, "a", "f", {"x": 1})],
        [("a", "f", '{"x":1}')],
    ),
    "no id at all": (
        [piece(0, None, "f", "{}"), piece(1, "", "g", "{}")],
        [(None, "f", "{}"), (None, "g", "{}")],
    ),
}


@pytest.mark.parametrize("case", CALL_STREAMS)
def test_streamed_calls_are_told_apart(case: str):
    pieces, expected = CALL_STREAMS[case]

    reply = decoded(*(chunk(tool_calls=[one]) for one in pieces), chunk("tool_calls"))

    assert [(call.provider_id, call.name, call.arguments) for call in reply.calls] == expected
    assert len({call.id for call in reply.calls}) == len(expected)


@pytest.mark.fault(68)
def test_one_id_on_two_whole_calls_makes_two_calls_and_is_said_back_once():
    calls = [{"id": "a", "function": {"name": "f", "arguments": "{}"}}, {"id": "a", "function": {"name": "f", "arguments": "{}"}}]

    reply = decoded({"choices": [{"message": {"tool_calls": calls}, "finish_reason": "tool_calls"}]}, whole=True)

    assert [call.provider_id for call in reply.calls] == ["a", None]


def test_a_stream_without_a_finish_reason_is_never_a_whole_reply():
    with pytest.raises(StreamBroken) as broken:
        decoded(chunk(content="The answer is 4"))

    assert broken.value.partial.text == "The answer is 4"


@pytest.mark.fault(65, 66)
@pytest.mark.parametrize("reason", ["stop", "length"])
def test_calls_decide_over_the_reason_stop_but_not_over_length(reason: str):
    reply = decoded(chunk(tool_calls=[piece(0, "a", "f", "{}")]), chunk(reason))

    assert reply.finish_reason == ("length" if reason == "length" else "tool_calls")


@pytest.mark.fault(64)
@pytest.mark.parametrize("message", [{}, {"content": "Let me look.", "tool_calls": []}])
def test_announced_calls_that_never_came_are_a_bad_reply(message: dict[str, Any]):
    with pytest.raises(BadReply, match="announces tool calls"):
        decoded({"choices": [{"message": message, "finish_reason": "tool_calls"}]}, whole=True)


def test_a_call_that_never_gets_a_name_is_a_bad_reply():
    with pytest.raises(BadReply, match="without a name"):
        decoded(chunk(tool_calls=[piece(3, arguments="{}")]), chunk("tool_calls"))


@pytest.mark.fault(62)
@pytest.mark.parametrize("choices", [[], None])
def test_a_whole_reply_without_choices_is_a_bad_reply(choices: Any):
    with pytest.raises(BadReply, match="no choices"):
        decoded({"object": "chat.completion", "choices": choices}, whole=True)


@pytest.mark.fault(90)
def test_an_error_inside_a_200_is_an_error_with_the_servers_words():
    with pytest.raises(BadRequest, match="Token limit reached"):
        decoded({"error": {"code": 400, "message": "Token limit reached"}}, whole=True)


def test_the_documents_reply_shape_is_read_whole():
    reply = decoded(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 0,
            "model": "gpt-4o-2024-08-06",
            "choices": [
                {
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "content": "Sunny [1]",
                        "refusal": None,
                        "annotations": [
                            {"type": "url_citation", "url_citation": {"start_index": 6, "end_index": 9, "title": "W", "url": "https://w"}}
                        ],
                    },
                    "logprobs": {"content": []},
                    "finish_reason": "stop",
                }
            ],
            "usage": {
                "prompt_tokens": 9,
                "completion_tokens": 3,
                "total_tokens": 12,
                "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 1},
                "completion_tokens_details": {"reasoning_tokens": 2, "accepted_prediction_tokens": 5},
            },
            "system_fingerprint": "fp_1",
        },
        whole=True,
    )

    assert reply.text == "Sunny [1]"
    assert reply.citations == (Citation("https://w", "W", 6, 9),)
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (9, 3)
    assert (reply.usage.cached_tokens, reply.usage.reasoning_tokens) == (4, 2)
    assert reply.usage.details["completion_accepted_prediction_tokens"] == 5
    assert reply.extra == {"system_fingerprint": "fp_1", "logprobs": {"content": []}}
    assert (reply.model, reply.id) == ("gpt-4o-2024-08-06", "chatcmpl-1")


def test_the_pieces_of_openrouters_reasoning_details_are_joined_for_the_way_back():
    first = {"type": "reasoning.text", "text": "We ", "index": 0, "format": None}
    second = {"type": "reasoning.text", "text": "think", "index": 0, "signature": "s"}

    reply = decoded(
        chunk(reasoning="We ", reasoning_details=[first]), chunk(reasoning="think", reasoning_details=[second]), chunk("stop", content="Hi")
    )

    said = body(Request([user("Hi"), reply.message, user("Go on")]), ChatQuirks(thinking_field="reasoning_details"))
    assert reply.thinking == "We think"
    details = [{"type": "reasoning.text", "text": "We think", "index": 0, "format": None, "signature": "s"}]
    assert said["messages"][1]["reasoning_details"] == details


def sealed(data: str, **more: Any) -> dict[str, Any]:
    return {"type": "reasoning.encrypted", "data": data, **more}


DETAILS: dict[str, list[dict[str, Any]]] = {
    "for each call, by their ids": [sealed("AAA", id="tool_1", index=0), sealed("BBB", id="tool_2", index=0)],
    "between others, by their ids": [
        sealed("AAA", id="rs_1"),
        {"type": "reasoning.summary", "summary": "one", "id": "rs_1"},
        sealed("BBB", id="rs_2"),
    ],
    "without an id, before one with it": [sealed("AAA", index=0), sealed("BBB", id="tool_2", index=0)],
}


@pytest.mark.parametrize("case", DETAILS)
def test_what_openrouter_encrypts_is_never_glued_together(case: str):
    details = DETAILS[case]
    quirks = ChatQuirks(thinking_field="reasoning_details")

    at_once = whole({"content": "Hi", "reasoning_details": details})
    streamed = decoded(*(chunk(reasoning_details=[detail]) for detail in details), chunk("stop", content="Hi"))

    assert streamed == at_once
    assert body(Request([user("Hi"), at_once.message, user("Go on")]), quirks)["messages"][1]["reasoning_details"] == details


def test_details_of_a_whole_reply_stay_as_they_are():
    details = [sealed("AAA"), sealed("BBB"), {"type": "reasoning.text", "text": "a"}, {"type": "reasoning.text", "text": "b"}]

    reply = whole({"content": "Hi", "reasoning_details": details})

    said = body(Request([user("Hi"), reply.message, user("Go on")]), ChatQuirks(thinking_field="reasoning_details"))
    assert said["messages"][1]["reasoning_details"] == details


def test_a_signature_with_an_id_of_its_own_ends_the_thought_before_it():
    text, end = {"type": "reasoning.text", "text": "Hm", "index": 0}, {"type": "reasoning.text", "signature": "s", "id": "r", "index": 0}

    reply = decoded(chunk(reasoning_details=[text]), chunk(reasoning_details=[end]), chunk("stop", content="Hi"))

    said = body(Request([user("Hi"), reply.message, user("Go on")]), ChatQuirks(thinking_field="reasoning_details"))
    assert said["messages"][1]["reasoning_details"] == [text | end]


def test_googles_signature_on_a_call_goes_back_to_its_place():
    extra = {"google": {"thought_signature": "sig"}}

    reply = decoded(chunk(tool_calls=[{**piece(0, "a", "f", "{}"), "extra_content": extra}]), chunk("tool_calls"))

    said = body(Request([user("Hi"), reply.message, Message("tool", (ToolResult(reply.calls[0].id, "ok"),))]))
    assert said["messages"][1]["tool_calls"][0]["extra_content"] == extra


def test_the_odds_of_streamed_tokens_are_collected():
    def odds(token: str) -> dict[str, Any]:
        return {"choices": [{"index": 0, "delta": {"content": token}, "logprobs": {"content": [{"token": token}]}}]}

    reply = decoded(odds("a"), odds("b"), chunk("stop"))

    assert reply.extra["logprobs"] == {"content": [{"token": "a"}, {"token": "b"}]}


def test_a_character_that_is_cut_over_two_events_becomes_whole():
    stream = (
        b'data: {"choices":[{"delta":{"content":"\\ud83d"}}]}\n\n'
        b'data: {"choices":[{"delta":{"content":"\\ude00!"},"finish_reason":"stop"}]}\n\n'
    )

    assert read_all([stream], "text/event-stream").text == "\U0001f600!"


@pytest.mark.fault(77)
def test_half_a_character_that_stays_alone_is_replaced():
    stream = b'data: {"choices":[{"delta":{"content":"a\\ud83d"},"finish_reason":"stop"}]}\n\n'

    assert read_all([stream], "text/event-stream").text == "a\ufffd"


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
CALLS = st.lists(
    st.tuples(st.text("abc123", min_size=1, max_size=6), st.sampled_from(["f", "g"]), st.dictionaries(TEXTS, TEXTS, max_size=2)),
    max_size=3,
    unique_by=lambda call: call[0],
)


def sse(reply_text: str, thought: str, calls: list[tuple[str, str, dict[str, str]]], cuts: list[int], newline: str) -> bytes:
    """Stream a reply as servers do, its texts cut into pieces at `cuts`."""

    def pieces(text: str) -> list[str]:
        places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
        return [text[start:end] for start, end in pairwise(places)]

    events: list[dict[str, Any]] = [{"id": "r", "model": "m", **chunk(role="assistant", content="")}]
    events += [chunk(reasoning_content=piece_) for piece_ in pieces(thought)]
    events += [chunk(content=piece_) for piece_ in pieces(reply_text)]
    for index, (call_id, name, arguments) in enumerate(calls):
        events.append(chunk(tool_calls=[piece(index, call_id, name, "")]))
        events += [chunk(tool_calls=[piece(index, arguments=part)]) for part in pieces(json.dumps(arguments, ensure_ascii=False))]
    events.append(chunk("tool_calls" if calls else "stop"))
    events.append({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
    lines = [f"data: {json.dumps(event, ensure_ascii=False)}{newline}{newline}" for event in events]
    return f": PING{newline}{newline}{''.join(lines)}data: [DONE]{newline}{newline}".encode()


@given(
    text=TEXTS,
    thought=TEXTS,
    calls=CALLS,
    cuts=st.lists(st.integers(0, 1000), max_size=4),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    chops=st.lists(st.integers(0, 5000), max_size=12),
)
def test_the_same_reply_streamed_and_whole_and_chopped_anywhere_is_the_same(
    text: str, thought: str, calls: list[tuple[str, str, dict[str, str]]], cuts: list[int], newline: str, chops: list[int]
):
    stream = sse(text, thought, calls, cuts, newline)
    message = {
        "content": text,
        "reasoning_content": thought,
        "tool_calls": [
            {"id": call_id, "function": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}}
            for call_id, name, arguments in calls
        ],
    }
    whole = {
        "id": "r",
        "model": "m",
        "choices": [{"message": message, "finish_reason": "tool_calls" if calls else "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    }
    places = sorted({0, len(stream), *(chop % (len(stream) + 1) for chop in chops)})

    from_stream = read_all([stream[start:end] for start, end in pairwise(places)], "text/event-stream")
    from_whole = read_all([json.dumps(whole).encode()], "application/json")

    assert from_stream == from_whole
    assert from_stream.usage == Usage(3, 2)


def read_all(chunks: list[bytes], content_type: str) -> Reply:
    assembly, reading = Assembly(), Reading(ChatDecoder(), content_type=content_type)
    for part in chunks:
        for delta in reading.feed(part):
            assembly.add(delta)
    for delta in reading.end():
        assembly.add(delta)
    return assembly.reply()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2)
)


@given(
    field=st.sampled_from(["choices", "usage", "id", "model", "error"]),
    inner=st.sampled_from(["", "delta", "message", "tool_calls"]),
    value=JSON,
)
def test_a_reply_of_any_shape_ends_in_a_reply_or_a_model_error(field: str, inner: str, value: Any):
    event: dict[str, Any] = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}
    if inner == "tool_calls":
        event["choices"][0]["message"]["tool_calls"] = value
    elif inner:
        event["choices"][0][inner] = value
    else:
        event[field] = value

    try:
        reply = read_all([json.dumps(event).encode()], "application/json")
    except ModelError:
        return

    assert isinstance(reply.text, str)


def whole(message: dict[str, Any], finish: str | None = "stop", **beside: Any) -> Reply:
    return decoded({"choices": [{"index": 0, "message": message, "finish_reason": finish}], **beside}, whole=True)


CALL = {"id": "a", "function": {"name": "f", "arguments": "{}"}}


# Quirk 7.
def test_a_finish_chunk_that_comes_twice_makes_no_call_twice():
    reply = decoded(
        chunk(tool_calls=[{"index": 0, **CALL}]),
        chunk("tool_calls"),
        {**chunk("tool_calls", content=""), "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
    )

    assert [(call.name, call.arguments) for call in reply.calls] == [("f", "{}")]
    assert reply.usage == Usage(3, 2)


# Quirks 9 and 42.
@pytest.mark.parametrize("reason", [None, ""])
def test_a_whole_reply_needs_no_finish_reason_and_a_stream_does(reason: str | None):
    reply = whole({"content": "Hi", "tool_calls": [CALL]}, reason)

    assert (reply.text, reply.finish_reason) == ("Hi", "tool_calls")
    with pytest.raises(StreamBroken):
        decoded(chunk(reason, content="Hi"))


# Quirk 20.
def test_words_and_calls_inside_the_finish_chunk_are_read():
    reply = decoded(chunk(content="Let me "), chunk("tool_calls", content="look.", tool_calls=[{"index": 0, **CALL}]))

    assert (reply.text, len(reply.calls)) == ("Let me look.", 1)


# Quirks 21 and 22.
def test_a_chunk_without_choices_is_no_end_and_the_first_id_and_model_stay():
    first = {"choices": [], "created": 0, "id": "", "model": "", "prompt_filter_results": [{"prompt_index": 0}]}
    rest = [{"id": "one", "model": "m", **chunk(content="Hi")}, {"id": "two", "model": "m2", **chunk("stop")}]

    reply = decoded(first, *rest)

    assert (reply.text, reply.id, reply.model) == ("Hi", "one", "m")
    assert reply.extra == {"prompt_filter_results": [{"prompt_index": 0}]}


SPENT = {"prompt_tokens": 3, "completion_tokens": 2}
USAGES: dict[str, list[dict[str, Any]]] = {
    "in every chunk, growing": [
        {**chunk(content="H"), "usage": {"prompt_tokens": 3, "completion_tokens": 1}},
        {**chunk("stop", content="i"), "usage": SPENT},
    ],
    "on the finish chunk": [chunk(content="Hi"), {**chunk("stop"), "usage": SPENT}],
    "after the finish chunk": [chunk("stop", content="Hi"), {"choices": [], "usage": SPENT}],
    "null behind it": [{**chunk("stop", content="Hi"), "usage": SPENT}, {"choices": [], "usage": None}],
    "under Groq's name": [{**chunk("stop", content="Hi"), "x_groq": {"id": "r", "usage": SPENT}}],
}


# Quirk 23.
@pytest.mark.parametrize("case", USAGES)
def test_the_last_usage_of_a_stream_counts(case: str):
    assert decoded(*USAGES[case]).usage == Usage(3, 2)


# Quirk 24.
@pytest.mark.parametrize("calls", [None, []])
def test_calls_that_are_null_or_an_empty_list_are_none(calls: Any):
    streamed, at_once = decoded(chunk("stop", content="Hi", tool_calls=calls)), whole({"content": "Hi", "tool_calls": calls})

    assert streamed == at_once
    assert (at_once.text, at_once.calls, at_once.finish_reason) == ("Hi", (), "stop")


# Quirk 25.
def test_an_error_in_the_middle_of_a_stream_is_an_error_whatever_the_finish_reason():
    broken = {**chunk("length", content=""), "error": {"code": 502, "message": "Provider disconnected"}}

    with pytest.raises(ServerError, match="Provider disconnected"):
        decoded(chunk(content="Half a"), broken)


# Quirk 26.
@pytest.mark.fault(86)
def test_a_thought_in_a_list_of_parts_is_joined_and_goes_back_as_such_a_list():
    def thinks(text: str) -> dict[str, Any]:
        return chunk(content=[{"type": "thinking", "thinking": [{"type": "text", "text": text}]}])

    reply = decoded(thinks("Hm, "), thinks("so."), chunk("stop", content="Four."))

    said = body(Request([user("2+2?"), reply.message, user("Sure?")]), ChatQuirks(thinking_field="content"))
    assert (reply.thinking, reply.text) == ("Hm, so.", "Four.")
    assert said["messages"][1]["content"] == [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm, so."}]},
        {"type": "text", "text": "Four."},
    ]


# Quirk 27.
def test_what_a_chunk_repeats_of_the_message_so_far_is_not_read_again():
    def both(delta: str, message: str, finish: str | None = None) -> dict[str, Any]:
        return {"choices": [{"delta": {"content": delta}, "message": {"content": message}, "finish_reason": finish}]}

    assert decoded(both("One ", "One "), both("two.", "One two.", "stop")).text == "One two."


# Quirk 40.
@pytest.mark.fault(93)
def test_a_function_call_of_the_old_kind_is_a_call():
    streamed = decoded(
        chunk(function_call={"name": "f", "arguments": ""}), chunk(function_call={"arguments": '{"x":1}'}), chunk("function_call")
    )
    at_once = whole({"content": None, "function_call": {"name": "f", "arguments": '{"x":1}'}}, "function_call")

    assert streamed == at_once
    assert [(call.name, call.arguments) for call in at_once.calls] == [("f", '{"x":1}')]


# Quirk 41.
def test_words_beside_calls_do_not_make_an_answer_of_them():
    reply = whole({"content": "Let me look.", "tool_calls": [CALL]})

    assert (reply.text, len(reply.calls), reply.finish_reason) == ("Let me look.", 1, "tool_calls")


# Quirk 45.
def test_a_call_that_gemini_could_not_write_is_a_failed_reply_behind_openrouter_too():
    choice = {"message": {"content": ""}, "finish_reason": "stop", "native_finish_reason": "MALFORMED_FUNCTION_CALL"}

    with pytest.raises(ServerError, match="MALFORMED_FUNCTION_CALL") as failure:
        decoded({"choices": [choice]}, whole=True)

    assert failure.value.retryable


# Quirks 48, 49, 50, 54 and 55: OpenRouter, new-api, Ollama, Mistral, and many.
@pytest.mark.fault(70, 71)
@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ({"function": {"name": "f"}}, "{}"),
        ({"function": {"name": "f", "arguments": None}}, "{}"),
        ({"function": {"name": "f", "arguments": "null"}}, "{}"),
        ({"function": {"name": "f", "arguments": {"x": 1}}}, '{"x":1}'),
        ({"type": None, "index": 0, "function": {"name": "f", "arguments": '{"x":1}'}}, '{"x":1}'),
        ({"type": "function", "custom": {"input": "", "name": ""}, "function": {"name": "f", "arguments": '{"x":1}'}}, '{"x":1}'),
    ],
)
def test_a_whole_call_is_read_in_every_form_that_servers_give_it(call: dict[str, Any], arguments: str):
    reply = whole({"tool_calls": [{"index": 0, **CALL}, {"id": "b", **call}]})

    assert [(each.provider_id, each.name, each.arguments) for each in reply.calls] == [("a", "f", "{}"), ("b", "f", arguments)]


# Quirk 56.
def test_empty_placeholders_are_nothing():
    nothing = {"function_call": {"name": "", "arguments": ""}, "refusal": "", "annotations": None, "tool_calls": None}

    reply = whole({"content": "Hi", "audio": {"id": "", "data": "", "expires_at": 0, "transcript": ""}, **nothing})

    assert reply.parts == (Text("Hi"),)
    assert reply.finish_reason == "stop"


# Quirk 61.
@pytest.mark.parametrize("content", [{"content": None}, {"content": ""}, {}])
def test_beside_calls_no_content_of_any_kind_is_said_back_as_the_provider_takes_it(content: dict[str, Any]):
    reply = whole({"tool_calls": [CALL], **content}, "tool_calls")

    messages = [user("Hi"), reply.message, Message("tool", (ToolResult(reply.calls[0].id, "ok"),))]
    assert len(reply.parts) == 1
    assert body(Request(messages))["messages"][1]["content"] is None
    assert body(Request(messages), ChatQuirks(empty_content=""))["messages"][1]["content"] == ""


# Quirk 62.
@pytest.mark.fault(86)
def test_a_content_that_is_an_object_is_read_as_its_json():
    assert json.loads(whole({"content": {"city": "Zürich"}}).text) == {"city": "Zürich"}


THINKS: dict[str, tuple[str, str, str]] = {
    "on lines of their own": ("<think>\nHm.\n</think>\n\nFour.", "Hm.\n", "Four."),
    "without line breaks": ("<think>Hm.</think>Four.", "Hm.", "Four."),
    "an empty thought": ("<think>\n\n</think>\n\nFour.", "", "Four."),
    "never closed": ("<think>Hm </thi", "Hm </thi", ""),
    "further on, which is the model's own": ("Write <think>Hm.</think>.", "", "Write <think>Hm.</think>."),
    "a second pair, which is the model's own": ("<think>Hm.</think>A <think>b</think>", "Hm.", "A <think>b</think>"),
    "no tag after all": ("<thin>ice</thin>", "", "<thin>ice</thin>"),
    "a piece of one": ("<thi", "", "<thi"),
    "line breaks without a tag": ("\n\nFour.\n", "", "\n\nFour.\n"),
}


# Quirk 63.
@pytest.mark.parametrize("case", THINKS)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_thought_in_tags_at_the_start_of_the_content_is_no_text(case: str, size: int):
    content, thinking, text = THINKS[case]

    streamed = decoded(*(chunk(content=content[start : start + size]) for start in range(0, len(content), size)), chunk("stop"))

    assert (streamed.thinking, streamed.text) == (thinking, text)
    assert streamed == whole({"content": content})


# Quirk 64.
def test_a_thought_told_under_two_names_is_read_once():
    both = {"reasoning": "Hm.", "reasoning_content": "Hm."}

    assert decoded(chunk(**both), chunk(**both), chunk("stop", content="Four.")).thinking == "Hm.Hm."
    assert whole({"content": "Four.", **both}).thinking == "Hm."


# Quirks 65 and 71.
def test_what_a_provider_adds_is_kept_and_its_nulls_are_not():
    beside = {"citations": ["https://w"], "created": 0, "user": None, "service_tier": "on_demand", "system_fingerprint": ""}

    streamed, at_once = decoded({**chunk("stop", content="Hi"), **beside}), whole({"content": "Hi"}, **beside)

    assert streamed.extra == at_once.extra == {"citations": ["https://w"], "service_tier": "on_demand", "system_fingerprint": ""}


# Quirk 66.
def test_a_citation_without_a_place_is_kept_without_one():
    place = {"url": "https://w", "title": "W", "start_index": 0, "end_index": 0}

    reply = whole({"content": "Sunny.", "annotations": [{"type": "url_citation", "url_citation": place}]})

    assert reply.citations == (Citation("https://w", "W"),)


# Quirk 104.
def test_the_place_of_a_citation_is_a_slice_of_the_text():
    text = "Zürich: 25 °C 🌤 [w](https://w)"
    place = {"url": "https://w", "title": "W", "start_index": text.index("["), "end_index": len(text)}

    reply = whole({"content": text, "annotations": [{"type": "url_citation", "url_citation": place}]})

    cited = reply.citations[0]
    assert reply.text[cited.start : cited.end] == "[w](https://w)"


CITED = {
    "behind a thought": ("<think>hm</think>\n{}", "The sky is blue."),
    "behind an empty thought": ("<think>\n\n</think>\n\n{}", "Blue."),
    "behind a picture": ("Look: ![image](data:image/png;base64,cG5n) {}.", "the sky"),
    "behind a thought and two pictures": (
        "<think>h</think>![image](data:image/png;base64,cG5n) a ![image](data:image/png;base64,cG5n){}",
        "b",
    ),
    "before a picture": ("{} ![image](data:image/png;base64,cG5n)", "The sky"),
    "behind a picture that is none": ("<think>h</think>![image](data:image/png;base64,?) {}", "The sky"),
    "in a picture": ("{}", "![image](data:image/png;base64,cG5n)"),
}


@pytest.mark.parametrize("case", CITED)
@pytest.mark.parametrize("size", [1, 7, 100])
def test_a_citation_keeps_its_words_where_something_was_taken_out_before_them(case: str, size: int):
    around, cited = CITED[case]
    content, start = around.format(cited), around.index("{}")
    place = {"url": "https://w", "title": "W", "start_index": start, "end_index": start + len(cited)}
    annotations = [{"type": "url_citation", "url_citation": place}]

    at_once = whole({"content": content, "annotations": annotations})
    streamed = decoded(
        *(chunk(content=content[begin : begin + size]) for begin in range(0, len(content), size)), chunk("stop", annotations=annotations)
    )

    [citation] = at_once.citations
    assert streamed == at_once
    assert at_once.text[citation.start : citation.end] == ("" if case == "in a picture" else cited)


def test_of_several_answers_the_first_is_read():
    def says(index: int, text: str, finish: str | None = None) -> dict[str, Any]:
        return {"choices": [{"index": index, "delta": {"content": text}, "finish_reason": finish}]}

    streamed = decoded(says(1, "No"), says(0, "Y"), says(1, "!", "length"), says(0, "es", "stop"))
    at_once = decoded(
        {"choices": [{"index": index, "message": {"content": text}, "finish_reason": "stop"} for index, text in ((1, "No!"), (0, "Yes"))]},
        whole=True,
    )

    assert streamed == at_once
    assert at_once.text == "Yes"


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 12.0, "completion_tokens": 3.0}, Usage(12, 3)),
        ({"prompt_tokens": 12.5, "completion_tokens": float("inf")}, Usage()),
        ({"prompt_tokens": 12, "prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 4}, Usage(12, 0, cached_tokens=8)),
    ],
)
def test_tokens_are_counted_as_servers_write_them(usage: dict[str, Any], expected: Usage):
    assert whole({"content": "Hi"}, usage=usage).usage == expected


# Quirk 69.
@pytest.mark.parametrize("usage", [{}, {"usage": None}, {"usage": {"prompt_tokens": None, "completion_tokens_details": None}}])
def test_a_reply_that_counts_no_tokens_is_a_reply(usage: dict[str, Any]):
    assert whole({"content": "Hi"}, **usage).usage == Usage()


# Quirk 74.
def test_a_streamed_refusal_is_joined_and_is_no_text():
    reply = decoded(chunk(refusal="I won't "), chunk(refusal="do that."), chunk("stop"))

    assert (reply.refusal, reply.text) == ("I won't do that.", "")


# Quirk 75.
@pytest.mark.fault(92)
@pytest.mark.parametrize("streamed", [True, False])
def test_the_reasoning_of_a_turn_goes_back_with_it(streamed: bool):
    message = {"reasoning_content": "Hm.", "content": None, "tool_calls": [CALL]}
    reply = decoded(chunk("tool_calls", **message)) if streamed else whole(message)
    messages = [user("Hi"), reply.message, Message("tool", (ToolResult(reply.calls[0].id, "ok"),))]

    said = body(Request(messages), ChatQuirks(thinking_field="reasoning_content"))

    assert said["messages"][1]["reasoning_content"] == "Hm."
    assert "reasoning_content" not in body(Request(messages))["messages"][1]


# Quirk 82.
def test_an_assistants_message_holds_nothing_that_a_gateway_drops():
    parts = (
        Thinking("Hm.", State("openai/chat", '{"reasoning_details":[{"type":"reasoning.text","text":"Hm."}]}')),
        Text("Sunny [1]"),
        Citation("https://w", "W", 6, 9),
        Refusal("I won't go on."),
        ToolCall("a", "look"),
    )

    said = body(Request([user("Hi"), Message("assistant", parts), Message("tool", (ToolResult("a", "sun"),))]))

    assert said["messages"][1].keys() == {"role", "content", "tool_calls"}
    assert said["messages"][2].keys() == {"role", "tool_call_id", "content"}


# Quirk 83.
def test_a_server_that_drops_strict_is_sent_the_schema_as_it_is_and_no_strict():
    schema = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}

    said = body(Request([user("Hi")], tools=(ToolDescription("look", "Look.", schema, strict=True),)), ChatQuirks(strict=False))

    assert said["tools"][0]["function"] == {"name": "look", "description": "Look.", "parameters": schema}


PICTURES: dict[str, tuple[str, str, list[Image]]] = {
    "between words": (
        "Here:\n![image](data:image/png;base64,cG5n)\nBluer?",
        "Here:\n\nBluer?",
        [Image(data=b"png")],
    ),
    "two": (
        "![image](data:image/png;base64,cG5n)![image](data:image/jpeg;base64,anBn)",
        "",
        [Image(data=b"png"), Image(data=b"jpg", media_type="image/jpeg")],
    ),
    "an example": ("Write ![image](data:image/png;base64,...) there!", "Write ![image](data:image/png;base64,...) there!", []),
    "by its address": ("![image](https://host/a.png)", "![image](https://host/a.png)", []),
    "never closed": ("See ![image](data:image/png;base64,cG5n", "See ![image](data:image/png;base64,cG5n", []),
    "a piece of one": ("Look! ![image](da", "Look! ![image](da", []),
}


# Quirk 68.
@pytest.mark.parametrize("case", PICTURES)
@pytest.mark.parametrize("size", [1, 5, 100])
def test_a_picture_that_a_gateway_writes_into_the_text_is_a_picture(case: str, size: int):
    content, text, pictures = PICTURES[case]

    streamed = decoded(*(chunk(content=content[start : start + size]) for start in range(0, len(content), size)), chunk("stop"))

    assert streamed.text == text
    assert [part for part in streamed.parts if isinstance(part, Image)] == pictures
    assert streamed == whole({"content": content})


def test_a_picture_beside_the_text_is_read_by_its_bytes_or_its_address():
    urls = ["data:image/webp;base64,d2VicA==", "https://host/a.png", "data:image/png;base64,?"]

    reply = whole({"content": "Here.", "images": [{"image_url": {"url": url}} for url in urls]})

    assert reply.parts[1:] == (Image(data=b"webp", media_type="image/webp"), *(Image(url=url) for url in urls[1:]))


def test_a_gateway_is_told_of_a_tool_for_gemini_in_what_it_does_not_drop():
    stop = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"], "additionalProperties": False}
    parameters = {"type": "object", "properties": {"to": {"$ref": "#/$defs/Stop"}}, "required": ["to"], "$defs": {"Stop": stop}}
    request = Request(
        [user("Hi")],
        tools=(ToolDescription("go", "Go.", parameters), ToolDescription("now", "Tell the time.", {"type": "object", "properties": {}})),
    )
    quirks = ChatQuirks(gemini_schemas=True)

    def said(model: str) -> list[Any]:
        return [tool["function"]["parameters"] for tool in json.loads(OpenAIChat(quirks).encode(request, model=model).body)["tools"]]

    assert said("gpt-4.1") == [parameters, {"type": "object", "properties": {}}]
    assert "$ref" not in json.dumps(said("gemini-2.5-pro"))
    assert said("gemini-2.5-pro")[0]["properties"]["to"]["properties"] == {"place": {"type": "string"}}
    assert said("gemini-2.5-pro")[1] == {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("sound", "media_type"), [(b"RIFF-sound-", "audio/wav"), (b"\x00\x01\x02\x03", "audio/pcm"), (b"OggS--", "audio/ogg")]
)
def test_a_spoken_reply_is_its_words_and_its_sound(sound: bytes, media_type: str):
    def said(data: bytes) -> str:
        return base64.b64encode(data).decode()

    at_once = whole({"content": None, "audio": {"id": "audio_1", "data": said(sound), "expires_at": 9, "transcript": "Hello there."}})
    streamed = decoded(
        chunk(audio={"id": "audio_1", "transcript": "Hello "}),
        chunk(audio={"data": said(sound[:4])}),
        chunk(audio={"transcript": "there."}),
        chunk(audio={"data": said(sound[4:])}),
        chunk(audio={"expires_at": 9}),
        chunk("stop"),
    )

    assert at_once.text == streamed.text == "Hello there."
    assert at_once.parts[-1] == streamed.parts[-1] == File(data=sound, media_type=media_type, name="reply")


def test_the_sound_of_a_spoken_reply_is_not_said_back_beside_its_words():
    spoken = Message("assistant", (Text("Hello."), File(data=b"RIFF", media_type="audio/wav", name="reply")))

    assert body(Request([user("Hi"), spoken, user("Again.")]))["messages"] == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Again."},
    ]


@pytest.mark.parametrize(
    ("form", "tools", "is_told"),
    [("field", (LOOK,), False), ("alone", (), False), ("alone", (LOOK,), True), ("words", (), True), (lambda model: "words", (), True)],
)
def test_the_form_of_an_answer_is_said_as_the_provider_takes_it(form: Any, tools: tuple[ToolDescription, ...], is_told: bool):
    said = body(Request([user("Hi")], tools=tools, output=OutputSchema("city", CITY)), ChatQuirks(form=form))

    assert ("response_format" not in said) is is_told
    assert (said["messages"][0]["role"] == "system") is is_told


def test_metadata_is_sent_only_with_what_openai_stores():
    assert "metadata" not in body(Request([user("Hi")], settings=Settings(metadata={"a": "b"})))


def test_a_hosted_tool_cannot_be_chosen():
    said = body(Request([user("Hi")], tools=(LOOK,), hosted=(WebSearch(),), settings=Settings(tool_choice="web_search")))

    assert "tool_choice" not in said


def test_a_file_may_be_given_as_a_data_url():
    said = body(Request([user(File(url="data:application/pdf;base64,AAAA", media_type="application/pdf", name="a.pdf"))]))

    assert said["messages"][0]["content"] == [
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}}
    ]


@pytest.mark.parametrize(
    ("effort", "choice", "said_effort", "said_choice"),
    [
        ("none", "required", None, "required"),
        ("high", "required", "high", "auto"),
        (None, "look", None, "auto"),
        (None, "none", None, "none"),
    ],
)
def test_a_model_that_thinks_unless_told_is_told_and_forced_only_then(effort: Any, choice: str, said_effort: Any, said_choice: str):
    request = Request([user("Hi")], tools=(LOOK,), settings=Settings(effort=effort, tool_choice=choice))

    said = body(request, ChatQuirks(thinks_unless_told=True))

    assert said.get("reasoning_effort") == said_effort
    assert said.get("thinking") == ({"type": "disabled"} if effort == "none" else None)
    assert said["tool_choice"] == said_choice


@pytest.mark.parametrize("parts", [(), (Thinking("hm"),), (Text(""),)])
def test_a_voice_without_words_is_said_back_as_having_spoken(parts: tuple[Any, ...]):
    voice = File(data=b"L16", media_type="audio/L16;rate=24000", name="reply")
    messages = [user("Hi"), Message("assistant", (*parts, voice, Image(url="https://host/a.png"))), user("Again.")]

    assert [message["role"] for message in body(Request(messages))["messages"]] == ["user", "assistant", "user", "user"]
    assert body(Request(messages))["messages"][1]["content"] == "(a spoken reply)"
    assert "audio" not in json.dumps(body(Request(messages)))


def test_where_results_are_followed_by_the_models_words_only_it_answers_before_a_user():
    call, result = called(ToolCall("a", "look")), Message("tool", (ToolResult("a", "sun"),))
    messages = [user("Hi"), call, result, call, result, user("So?"), call, result, Message("system", (Text("Hurry."),)), user("?")]
    answering = Answering()

    answered = [each for message in messages for each in answering.answered(message)]

    roles = ["user", *["assistant", "tool"] * 2, "assistant", "user", "assistant", "tool", "assistant", "system", "user"]
    assert [message.role for message in answered] == roles
    assert [message for message in answered if message.text != "I have the results."] == messages


def test_where_only_the_assistant_may_speak_behind_results_it_does():
    picture = (Text("Here."), Image(data=b"x"))
    messages = [user("Hi"), Message("assistant", (ToolCall("call_0_0", "look"),)), Message("tool", (ToolResult("call_0_0", picture),))]

    said = body(Request(messages), ChatQuirks(assistant_after_results=True))["messages"]

    assert [message["role"] for message in said] == ["user", "assistant", "tool", "assistant", "user"]
