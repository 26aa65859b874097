"""The same reply, streamed in any pieces and whole, is the same `Reply` in each format."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentloop.deltas import Assembly
from agentloop.messages import Citation, FinishReason, Reply, Request, Usage, user
from agentloop.models.reading import Reading
from agentloop.testing import HeardRequest, Turn, chat_format, gemini_format, messages_format, responses_format
from agentloop.testing.answers import Format
from agentloop.testing.turns import ScriptedCall
from agentloop.wire import Wire
from agentloop.wire.anthropic import AnthropicMessages
from agentloop.wire.gemini import Gemini
from agentloop.wire.openai_chat import OpenAIChat
from agentloop.wire.openai_responses import OpenAIResponses

FORMATS: dict[str, tuple[Wire, Format, str]] = {
    "chat": (OpenAIChat(), chat_format, "gpt-4.1"),
    "responses": (OpenAIResponses(), responses_format, "gpt-5"),
    "messages": (AnthropicMessages(), messages_format, "claude-sonnet-4-5"),
    "gemini": (Gemini(), gemini_format, "gemini-3-pro"),
}

words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
pieces = st.lists(words, max_size=4).map(tuple)
values = st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | words, lambda inner: st.lists(inner, max_size=3))
called = st.builds(
    ScriptedCall,
    st.sampled_from(["look", "now", "look_up"]),
    st.dictionaries(words, values, max_size=3).map(lambda said: json.dumps(said, ensure_ascii=False)),
)
usages = st.builds(
    lambda read, written, cached, thought: Usage(read + cached, 1 + written + thought, cached_tokens=cached, reasoning_tokens=thought),
    *[st.integers(0, 99)] * 4,
)


@st.composite
def turns(draw: st.DrawFn) -> Turn:
    text = draw(pieces)
    whole = "".join(text)
    citations: list[Citation] = []
    start = 0
    while whole[start:] and len(citations) < 2 and draw(st.booleans()):
        start = draw(st.integers(start, len(whole) - 1))
        end = draw(st.integers(start + 1, len(whole)))
        citations.append(Citation(f"https://example.org/{len(citations)}", draw(words), start, end))
        start = end
    return Turn(
        text=text,
        thinking=draw(pieces),
        calls=tuple(draw(st.lists(called, max_size=3))),
        searches=tuple(draw(st.lists(words, max_size=2))),
        citations=tuple(citations),
        finish_reason=draw(st.sampled_from([None, "length"])),
        usage=draw(usages),
    )


def sent(name: str, turn: Turn, *, streamed: bool) -> tuple[bytes, str]:
    """Let the scripted server say the turn, and give the body and its content type."""
    wire, format_, model = FORMATS[name]
    outgoing = wire.encode(Request([user("Hi")], stream=streamed), model=model)
    request = HeardRequest.read("POST", f"/v1/{outgoing.path}", headers=[("content-type", "application/json")], content=outgoing.body)
    answer = format_.reply(turn, request=request, number=0)
    return b"".join(piece.data for piece in answer.pieces), answer.headers["content-type"]


def read(name: str, chunks: Iterable[bytes], content_type: str) -> Reply:
    assembly = Assembly()
    reading = Reading(FORMATS[name][0].decoder(), content_type=content_type)
    for chunk in chunks:
        for delta in reading.feed(chunk):
            assembly.add(delta)
    for delta in reading.end():
        assembly.add(delta)
    return assembly.reply()


def chopped(body: bytes, sizes: list[int]) -> Iterable[bytes]:
    start = 0
    while start < len(body):
        size = sizes[start % len(sizes)]
        yield body[start : start + size]
        start += size


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=60, deadline=None)
@given(turn=turns(), sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_a_reply_is_the_same_streamed_in_any_pieces_and_whole(name: str, turn: Turn, sizes: list[int]):
    stream, stream_type = sent(name, turn, streamed=True)
    body, body_type = sent(name, turn, streamed=False)

    streamed = read(name, chopped(stream, sizes), stream_type)
    whole = read(name, [body], body_type)

    assert streamed == whole
    assert whole.text == "".join(turn.text)
    assert whole.thinking == "".join(turn.thinking)
    assert [(call.name, json.loads(call.arguments)) for call in whole.calls] == [
        (call.name, json.loads(call.arguments)) for call in turn.calls
    ]


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=60, deadline=None)
@given(turn=turns())
def test_citations_are_slices_of_the_text_in_every_format(name: str, turn: Turn):
    body, content_type = sent(name, turn, streamed=False)

    reply = read(name, [body], content_type)

    assert [(cited.url, reply.text[cited.start : cited.end]) for cited in reply.citations] == [
        (cited.url, reply.text[cited.start : cited.end]) for cited in turn.citations
    ]


def what_was_spent(usage: Usage) -> tuple[Any, ...]:
    return usage.input_tokens, usage.output_tokens, usage.cached_tokens


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("reason", ["stop", "length"])
def test_tokens_and_reasons_mean_the_same_in_every_format(name: str, reason: FinishReason):
    turn = Turn(text=("Hello",), finish_reason=reason, usage=Usage(120, 30, cached_tokens=20, reasoning_tokens=10))

    reply = read(name, [sent(name, turn, streamed=False)[0]], "application/json")

    assert what_was_spent(reply.usage) == (120, 30, 20)
    assert reply.finish_reason == reason
