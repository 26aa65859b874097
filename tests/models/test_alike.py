"""Events that came together and differ in their words alone are read as one, and come to the same."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentloop.deltas import Assembly, Delta, FinishDelta, PartDelta, RefusalDelta, TextDelta, ThinkingDelta, ToolCallDelta
from agentloop.errors import BadReply
from agentloop.messages import Reply
from agentloop.models.reading import Reading
from agentloop.wire import Decoder
from agentloop.wire.anthropic_decoder import MessagesDecoder
from agentloop.wire.gemini_decoder import GeminiDecoder
from agentloop.wire.openai_chat_decoder import ChatDecoder
from agentloop.wire.openai_responses_decoder import ResponsesDecoder

Shown = TextDelta, ThinkingDelta, RefusalDelta, ToolCallDelta


def chat(delta: Mapping[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"id": "c1", "model": "m", "created": 1, "choices": [{"index": 0, "delta": delta, "finish_reason": finish, **more}]}


def said(delta: Mapping[str, Any], number: int) -> dict[str, Any]:
    return chat(delta) | {"obfuscation": "x" * (number % 7), "usage": {"prompt_tokens": 3, "completion_tokens": number}}


def argued(piece: str, index: int = 0) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def block(kind: str, name: str, piece: str) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": kind, name: piece}}


def piece_of(kind: str, piece: str, number: int) -> dict[str, Any]:
    return {"type": f"response.{kind}.delta", "sequence_number": number, "item_id": "i1", "output_index": 0, "delta": piece}


def generated(piece: str, number: int, **part: Any) -> dict[str, Any]:
    usage = {"promptTokenCount": 3, "candidatesTokenCount": number, "totalTokenCount": number + 3}
    return {"candidates": [{"content": {"parts": [{"text": piece, **part}]}, "index": 0}], "usageMetadata": usage, "responseId": "r"}


def bare(event: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass") + b"\n\n"


def escaped(event: Mapping[str, Any]) -> bytes:
    return f"event: {event.get('type')}\ndata: {json.dumps(event)}\n\n".encode()


def deltas_of(decoder: Decoder, chunks: Iterable[bytes]) -> list[Delta]:
    reading = Reading(decoder, content_type="text/event-stream")
    return [delta for chunk in chunks for delta in reading.feed(chunk)] + list(reading.end())


def reply_of(deltas: Iterable[Delta]) -> Reply:
    assembly = Assembly()
    for delta in deltas:
        assembly.add(delta)
    return assembly.partial()


WORDS = st.sampled_from(
    ["word", " ", "", '"', "\\", "\\n", "\n", '{"a": [1]}', "é🎂", "\u2028", '","x":"', "<think>", "</think>", "!", "ha"]
)
RUNS = st.lists(WORDS, max_size=5) | st.builds(lambda word, times: [word] * times, WORDS, st.integers(3, 5))
OUTPUT, CALLED = "output_text", "function_call_arguments"
# How a format says words; each takes the words and the number of the event.
SAYINGS: dict[str, tuple[type[Decoder], list[Any]]] = {
    "chat": (
        ChatDecoder,
        [
            lambda words, number: said({"content": words}, number),
            lambda words, number: said({"role": "assistant", "content": words}, number),
            lambda words, _: chat({"content": words}),
            lambda words, _: chat({"reasoning_content": words}),
            lambda words, _: chat({"reasoning": words, "reasoning_details": [{"type": "reasoning.text", "text": words, "index": 0}]}),
            lambda words, _: chat({"refusal": words}),
            lambda words, _: chat(argued(words)),
            lambda words, _: chat(argued(words, index=1)),
            lambda words, _: chat({"tool_calls": [{"id": "x", "function": {"name": "look", "arguments": words}}]}),
            lambda words, _: chat({"content": words}, logprobs={"tokens": ["t"]}),
            lambda words, _: chat({"content": words, "annotations": [{"url_citation": {"url": "u"}}]}),
            lambda words, _: chat({"function_call": {"name": "f", "arguments": words}}),
            lambda words, _: chat({"content": words}, message={"content": "all"}),
            lambda words, _: chat({"content": words}) | {"citations": ["u"]},
            lambda words, _: {"x": {"content": "k"}, **chat({"content": words})},
        ],
    ),
    "responses": (
        ResponsesDecoder,
        [
            lambda words, number: piece_of(OUTPUT, words, number),
            lambda words, number: piece_of("reasoning_text", words, number),
            lambda words, number: piece_of("refusal", words, number),
            lambda words, number: piece_of(CALLED, words, number) | {"output_index": 1, "item_id": "i2"},
            lambda words, _: {"type": "response.output_text.delta", "delta": words},
            lambda words, number: piece_of(OUTPUT, words, number) | {"logprobs": [], "obfuscation": "abc"},
        ],
    ),
    "messages": (
        MessagesDecoder,
        [
            lambda words, _: block("text_delta", "text", words),
            lambda words, _: block("thinking_delta", "thinking", words),
            lambda words, _: block("input_json_delta", "partial_json", words),
            lambda words, _: block("signature_delta", "signature", words),
            lambda words, _: block("citations_delta", "citation", words),
            lambda words, _: {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "a", "name": words}},
        ],
    ),
    "gemini": (
        GeminiDecoder,
        [
            generated,
            lambda words, number: generated(words, number, thought=True),
            lambda words, number: generated(words, number, thoughtSignature="s"),
            lambda words, number: generated(words, number) | {"usageMetadata": {}},
        ],
    ),
}


@pytest.mark.parametrize("name", SAYINGS)
@pytest.mark.parametrize("write", [bare, escaped])
@settings(max_examples=150, deadline=None)
@given(runs=st.lists(st.tuples(st.integers(0, 14), RUNS), max_size=5))
def test_events_that_come_together_come_to_the_same_as_events_that_come_singly(name: str, write: Any, runs: list[tuple[int, list[str]]]):
    decoder, sayings = SAYINGS[name]
    pairs = [(sayings[kind % len(sayings)], words) for kind, run in runs for words in run]
    events = [write(say(words, number)) for number, (say, words) in enumerate(pairs)]

    singly, together = deltas_of(decoder(), events), deltas_of(decoder(), [b"".join(events)])

    assert reply_of(together) == reply_of(singly)
    assert reply_of(together).extra == reply_of(singly).extra
    assert joined(together) == joined(singly)


def joined(deltas: Iterable[Delta]) -> list[Any]:
    """Give what is shown, in order, with the words that follow each other at one place joined."""
    shown: list[Any] = []
    for delta in deltas:
        match delta:
            case TextDelta() | ThinkingDelta() | RefusalDelta():
                key, words = (delta.kind, delta.place), delta.text
            case ToolCallDelta():
                key, words = (delta.kind, delta.place, delta.index), delta.arguments
            case PartDelta():
                key, words = delta, ""
            case _:
                continue
        if shown and shown[-1][0] == key and not isinstance(key, PartDelta):
            shown[-1] = (key, shown[-1][1] + words)
        else:
            shown.append((key, words))
    return [each for each in shown if each[1] or isinstance(each[0], PartDelta)]


@pytest.mark.parametrize(
    ("decoder", "say"),
    [
        (ChatDecoder, lambda words, number: said({"content": words}, number)),
        (ChatDecoder, lambda words, number: said(argued(words), number)),
        (ResponsesDecoder, lambda words, number: piece_of(OUTPUT, words, number)),
        (ResponsesDecoder, lambda words, number: piece_of(CALLED, words, number)),
        (MessagesDecoder, lambda words, _: block("text_delta", "text", words)),
        (GeminiDecoder, generated),
    ],
)
@pytest.mark.parametrize("write", [bare, escaped])
def test_words_that_come_together_are_told_at_once(decoder: type[Decoder], say: Any, write: Any):
    first, second = [write(say("one", 0)), write(say('"two"\n', 1))], [write(say(f"{number} \\", number)) for number in range(2, 12)]

    deltas = deltas_of(decoder(), [b"".join(first), b"".join(second)])

    shown = [delta for delta in deltas if isinstance(delta, Shown)]
    words = [delta.arguments if isinstance(delta, ToolCallDelta) else delta.text for delta in shown]
    assert words == ["one", '"two"\n', "".join(f"{number} \\" for number in range(2, 12))]


def test_kinds_that_take_turns_keep_their_order():
    turns = [{"content": "a"}, argued("b"), {"content": "c"}, {"content": "d"}, argued("e"), argued("f", index=1), argued("g", index=1)]

    deltas = deltas_of(ChatDecoder(), [b"".join(map(bare, map(chat, turns)))])

    assert [words for _, words in joined(deltas)] == ["a", "b", "cd", "e", "fg"]


def test_what_comes_before_an_event_that_cannot_be_read_is_told():
    good, bad = bare(chat({"content": "a"})), bare(chat({"content": "b"})).replace(b'"b"', b'"\\x"')
    reading, told = Reading(ChatDecoder(), content_type="text/event-stream"), list[Delta]()

    with pytest.raises(BadReply, match="no JSON"):
        told.extend(reading.feed(good * 3 + bad + good))

    assert reply_of(told).text == "aaa"


def test_nothing_is_read_behind_the_end():
    word = bare(chat({"content": "a"}))

    deltas = deltas_of(ChatDecoder(), [word * 2 + b"data: [DONE]\n\n" + word * 2])

    assert reply_of(deltas).text == "aa"


def test_a_character_cut_into_two_events_becomes_whole():
    halves = [escaped(chat({"content": half})) for half in ("a", "\ud83c", "\udf82", "b")]

    deltas = deltas_of(ChatDecoder(), [b"".join(halves)])

    assert reply_of(deltas).text == "a🎂b"


def test_a_decoder_that_names_no_words_is_given_each_event():
    class Plain:
        def __init__(self) -> None:
            self.fed: list[Any] = []

        def feed(self, event: Mapping[str, Any]) -> Iterable[Delta]:
            self.fed.append(event["text"])
            yield TextDelta(event["text"])

        feed_whole = feed

        def end(self) -> Iterable[Delta]:
            yield FinishDelta("stop")

    decoder = Plain()

    deltas_of(decoder, [bare({"text": "a"}) * 3])

    assert decoder.fed == ["a", "a", "a"]


@pytest.mark.parametrize("name", ["(", "(a|a|b|a?)*c", "\ud83d", "thinking", "type"])
def test_a_field_that_a_server_makes_up_is_no_field_of_words(name: str):
    decoder = MessagesDecoder()
    events = [{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", name: "a" * 26}} for _ in range(2)]

    deltas = deltas_of(decoder, [b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)])

    assert [delta for delta in deltas if isinstance(delta, TextDelta) and delta.text] == []


def test_each_chunk_counts_as_news_though_it_says_nothing():
    reading = Reading(ChatDecoder())
    told = [bool(list(reading.feed(bare(chat({"content": ""}))))) for _ in range(3)]

    assert told == [True, True, True]


def test_an_event_full_of_escapes_costs_little_memory():
    code = """if True:
        import json, resource
        from agentloop.models.reading import Reading
        from agentloop.wire.openai_chat_decoder import ChatDecoder

        def event(words):
            chunk = {"choices": [{"index": 0, "delta": {"content": words}}]}
            return b"data: " + json.dumps(chunk).encode() + b"\\n\\n"

        reading, long, short = Reading(ChatDecoder()), event("\\n" * 3_500_000), event("a")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        words = sum(len(getattr(delta, "text", "")) for delta in reading.feed(short + long + short + short))
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(words, grown // 1024)
    """

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)  # noqa: S603

    words, mib = map(int, said.stdout.split())
    assert words == 3_500_003
    assert mib < 64
