"""Every recorded exchange reads as its key says."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from agentloop.deltas import Assembly
from agentloop.errors import ModelError, StreamBroken
from agentloop.messages import Reply
from agentloop.models.reading import Reading
from agentloop.wire import Decoder
from agentloop.wire.anthropic_decoder import MessagesDecoder
from agentloop.wire.error_bodies import error_from
from agentloop.wire.gemini_decoder import GeminiDecoder
from agentloop.wire.openai_chat_decoder import ChatDecoder
from agentloop.wire.openai_responses_decoder import ResponsesDecoder
from tests.exchanges import FOLDER, FORMATS, Exchange, exchanges

DECODERS: dict[str, Callable[[], Decoder]] = {
    "chat": lambda: ChatDecoder("a/b"),
    "responses": lambda: ResponsesDecoder("a/b"),
    "messages": lambda: MessagesDecoder("a/b"),
    "gemini": lambda: GeminiDecoder("a/b"),
}
EXCHANGES = {spoken: list(exchanges(spoken)) for spoken in FORMATS}

# Where the key is judged wrong, and why; the value is what is read instead.
JUDGED: dict[str, tuple[str, dict[str, Any]]] = {
    **{
        f"traceloop__openllmetry/chat/openai__test_functions--test_open_ai_function_calls_with_events_with_content.json[{index}]": (
            "the key leaves out the legacy function_call, which is one call (fault 93)",
            {"tool_calls": [{"id": None, "name": "get_current_weather", "arguments": f'{{\n  "location": "{place}"\n}}'}]},
        )
        for index, place in enumerate(["Boston", "Boston", "Boston", "Boston, MA"])
    },
    "pydantic__pydantic-ai/chat/openrouter__test_openrouter--test_openrouter_tool_optional_parameters.json[0]": (
        "the key keeps arguments that are absent as '', which no tool could read; they are {} (wire.md, section 2)",
        {
            "tool_calls": [
                {"id": "toolu_vrtx_015QAXScZzRDPttiPoc34AdD", "name": "find_education_content", "arguments": "{}"},
            ]
        },
    ),
}


def read(exchange: Exchange, *, size: int | None = None) -> dict[str, Any]:
    """Read one answer the way a model does, in chunks of so many bytes, and say it in the key's words."""
    if exchange.status >= 400:
        error = error_from(json.loads(exchange.body), status=exchange.status, text=exchange.body.decode())
        return {"http_error": error.status}
    assembly = Assembly()
    reading = Reading(DECODERS[exchange.expected["format"]](), content_type=exchange.content_type)
    failure: ModelError | None = None
    try:
        for start in range(0, len(exchange.body), size or len(exchange.body) or 1):
            for delta in reading.feed(exchange.body[start : start + size] if size else exchange.body):
                assembly.add(delta)
        for delta in reading.end():
            assembly.add(delta)
        reply = assembly.reply()
    except ModelError as error:
        reply, failure = assembly.partial(), error
    return _in_the_keys_words(reply, failure)


def _in_the_keys_words(reply: Reply, failure: ModelError | None) -> dict[str, Any]:
    return {
        "text": reply.text,
        "reasoning": reply.thinking,
        "refusal": reply.refusal,
        "tool_calls": [{"id": call.provider_id, "name": call.name, "arguments": call.arguments} for call in reply.calls],
        "finish": None if failure else reply.finish_reason,
        "usage": {"input": reply.usage.input_tokens, "output": reply.usage.output_tokens},
        "failed": failure is not None and not isinstance(failure, StreamBroken),
    }


def expected(exchange: Exchange) -> dict[str, Any]:
    """Say the key in our words: a reason that the content decides, an error where there is one, no usage as 0."""
    key = exchange.expected
    if "http_error" in key:
        return {"http_error": key["http_error"]}
    said = {name: key[name] for name in ("text", "reasoning", "refusal", "tool_calls")} | JUDGED.get(exchange.name, ("", {}))[1]
    ended_well = key["finish"] is not None and not key["error"]
    content_decides = "tool_calls" if said["tool_calls"] else "stop"
    return said | {
        "finish": (key["finish"] if key["finish"] in {"length", "content_filter"} else content_decides) if ended_well else None,
        "usage": key["usage"] or {"input": 0, "output": 0},
        "failed": bool(key["error"]),
    }


@pytest.mark.skipif(not any(EXCHANGES.values()), reason=f"no recorded exchanges at {FOLDER}; set AGENTLOOP_EXCHANGES")
@pytest.mark.parametrize("spoken", FORMATS)
def test_every_exchange_reads_as_its_key_says(spoken: str, record_property: Callable[[str, object], None]):
    every = EXCHANGES[spoken]
    wrong = {exchange.name: (got, wanted) for exchange in every if (got := read(exchange)) != (wanted := expected(exchange))}

    names = {exchange.name for exchange in every}
    judged = "".join(f"\n  key judged wrong: {name}: {reason}" for name, (reason, _) in JUDGED.items() if name in names)
    files = len({exchange.file for exchange in every})
    record_property("table", f"{spoken}: {len(every) - len(wrong)} of {len(every)} exchanges in {files} files read as expected{judged}")
    assert wrong == {}


@pytest.mark.skipif(not any(EXCHANGES.values()), reason=f"no recorded exchanges at {FOLDER}; set AGENTLOOP_EXCHANGES")
@pytest.mark.parametrize("spoken", FORMATS)
def test_every_exchange_reads_the_same_in_small_pieces(spoken: str):
    different = [exchange.name for exchange in EXCHANGES[spoken] if read(exchange, size=7) != read(exchange)]

    assert different == []
