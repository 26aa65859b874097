"""Reads Anthropic's messages, whole or by the event: a whole message is read as a stream in which each block comes in one piece."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json, to_json

from agentloop.deltas import (
    Delta,
    FinishDelta,
    PartDelta,
    RefusalDelta,
    ReplyDelta,
    RestartDelta,
    StateDelta,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    UsageDelta,
)
from agentloop.errors import BadReply
from agentloop.messages import Citation, FinishReason, Opaque, State, Usage
from agentloop.wire.answer_tool import ANSWER
from agentloop.wire.error_bodies import error_from, is_error
from agentloop.wire.lenient import as_count, as_list, as_object, as_text

Json = Mapping[str, Any]

_FINISH: dict[str, FinishReason] = {
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    # Both want the reply said back, and go on from it.
    "pause_turn": "pause",
    "compaction": "pause",
}
_READ_FIELDS = {"id", "type", "role", "model", "content", "usage", "stop_reason", "error", "delta"}
# The fields of a citation that say where its words come from; each kind of source has its own.
_ADDRESSES = ("url", "source")
_TITLES = ("title", "document_title")


@dataclass(slots=True)
class _Block:
    """A content block on its way."""

    kind: str
    place: int
    fields: dict[str, Any]
    """What it began with, and what is added to it, but for what is told as deltas."""
    written: list[str] = field(default_factory=list[str])
    """The pieces of its text, or of its arguments."""
    call: int = 0

    def rest(self, *read: str) -> dict[str, Any]:
        """Give the fields that were not read; those that say nothing are not the same in streams and whole messages."""
        return {name: value for name, value in self.fields.items() if value and name not in {"type", *read}}


_WORDS = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}


class MessagesDecoder:
    """Reads one reply."""

    def __init__(self, origin: str = "anthropic/messages") -> None:
        """`origin` marks what the provider wants to hear again."""
        self._origin = origin
        self._begun = False
        self._ended = False
        self._forget()

    def _forget(self) -> None:
        self._open: dict[Any, _Block] = {}
        self._places = 0
        self._calls = 0
        self._length = 0
        self._usage: dict[str, Any] = {}
        self._container: Json = {}
        self._answered = False
        self._finished = False

    def feed(self, event: Json) -> Iterator[Delta]:
        """Read an event; what comes behind the end of the message is none of it."""
        if is_error(event):
            raise error_from(event)
        index = event.get("index")
        match event.get("type"):
            case _ if self._ended:
                return
            case "message_start":
                yield from self._start(as_object(event.get("message")))
            case "content_block_start":
                yield from self._start_block(index, as_object(event.get("content_block")))
            case "content_block_delta":
                yield from self._add(index, as_object(event.get("delta")))
            case "content_block_stop":
                yield from self._close(index)
            case "message_delta":
                yield from self._end(as_object(event.get("delta")), event)
            case "message_stop":
                yield from self._stop()
            case _:
                return

    def words_in(self, event: Json) -> str:
        """Name the field of an event's words; '' where it brings no words."""
        match event:
            case {"type": "content_block_delta", "delta": {"type": str(kind), **said}}:
                return _WORDS[kind] if kind in _WORDS and said.keys() == {_WORDS[kind]} else ""
            case _:
                return ""

    def feed_whole(self, body: Json) -> Iterator[Delta]:
        """Read a whole message."""
        if is_error(body):
            raise error_from(body)
        if not isinstance(body.get("content"), list):
            raise BadReply("the reply holds no content; ask again")
        yield from self._start(body)
        for index, block in enumerate(as_list(body["content"])):
            yield from self._start_block(index, as_object(block))
            yield from self._close(index)
        yield from self._end({"stop_reason": body.get("stop_reason") or "end_turn", "stop_details": body.get("stop_details")}, {})

    def end(self) -> Iterator[Delta]:
        """Give nothing: a message says all when it ends."""
        return iter(())

    def _start(self, message: Json) -> Iterator[Delta]:
        if self._begun:
            # A gateway that asked again behind our back begins anew.
            self._forget()
            yield RestartDelta()
        self._begun = True
        yield ReplyDelta(as_text(message.get("model")), as_text(message.get("id")), _further(message))
        self._container = as_object(message.get("container"))
        yield from self._spent(message)

    def _start_block(self, index: object, said: Json) -> Iterator[Delta]:
        yield from self._close(index)
        kind = as_text(said.get("type"))
        if kind == "tool_use" and said.get("name") == ANSWER:
            # A model that answers twice at once has answered; two answers together would have no form.
            kind = "" if self._answered else "answer"
            self._answered = True
        block = self._open[index] = _Block(kind, self._places, dict(said))
        self._places += 1
        match kind:
            case "text" | "thinking":
                yield from self._write(block, as_text(said.get(kind)))
            case "tool_use":
                block.call = self._calls
                self._calls += 1
                rest = block.rest("id", "name", "input")
                yield ToolCallDelta(
                    block.call,
                    name=as_text(said.get("name")),
                    provider_id=as_text(said.get("id")),
                    state=self._state(rest) if rest else None,
                    place=block.place,
                )
            case _:
                pass

    def _add(self, index: object, delta: Json) -> Iterator[Delta]:
        kind = as_text(delta.get("type"))
        if index not in self._open and kind in {"text_delta", "thinking_delta"}:
            yield from self._start_block(index, {"type": kind.removesuffix("_delta")})
        block = self._open.get(index)
        if block is None:
            return
        match kind:
            case "text_delta" | "thinking_delta":
                yield from self._write(block, as_text(delta.get(kind.removesuffix("_delta"))))
            case "input_json_delta":
                yield from self._write(block, as_text(delta.get("partial_json")))
            case "citations_delta":
                block.fields["citations"] = [*as_list(block.fields.get("citations")), delta.get("citation")]
            case _:
                # A signature and a compaction come whole, under their own names.
                block.fields |= {name: value for name, value in delta.items() if name != "type" and value is not None}

    def _write(self, block: _Block, text: str) -> Iterator[Delta]:
        if not text:
            return
        block.written.append(text)
        match block.kind:
            case "text" | "answer":
                yield TextDelta(text, block.place)
            case "thinking":
                yield ThinkingDelta(text, block.place)
            case "tool_use":
                yield ToolCallDelta(block.call, arguments=text, place=block.place)
            case _:
                pass

    def _close(self, index: object) -> Iterator[Delta]:
        block = self._open.pop(index, None)
        match block:
            case None:
                return
            case _Block(kind="text"):
                yield from self._close_text(block)
            case _Block(kind="thinking"):
                if block.written or block.rest("thinking"):
                    fields = {"signature": as_text(block.fields.get("signature"))} | block.rest("thinking", "signature")
                    yield StateDelta(self._state(fields), of="thinking", place=block.place)
            case _Block(kind="tool_use" | "answer"):
                if not block.written:
                    yield from self._write(block, _arguments(block))
                if block.kind == "answer":
                    self._length += _length(block.written)
            case _Block(kind=""):
                return
            case _:
                if block.written:
                    block.fields["input"] = _parsed("".join(block.written))
                yield PartDelta(Opaque(self._state(block.fields)), block.place)

    def _close_text(self, block: _Block) -> Iterator[Delta]:
        start, self._length = self._length, self._length + _length(block.written)
        if rest := block.rest("text"):
            yield StateDelta(self._state(rest), of="text", place=block.place)
        for cited in map(as_object, as_list(block.fields.get("citations"))):
            url = next((as_text(cited[name]) for name in _ADDRESSES if cited.get(name)), "")
            title = next((as_text(cited[name]) for name in _TITLES if cited.get(name)), "")
            yield PartDelta(Citation(url, title, start, self._length), block.place)

    def _end(self, delta: Json, event: Json) -> Iterator[Delta]:
        yield from self._spent(event)
        self._container = as_object(delta.get("container")) or self._container
        if extra := _further({**event, **delta}):
            yield ReplyDelta(extra=extra)
        if not (reason := delta.get("stop_reason")):
            return
        for index in tuple(self._open):
            yield from self._close(index)
        if reason == "refusal":
            explanation = as_object(delta.get("stop_details")).get("explanation")
            yield RefusalDelta(as_text(explanation) or "The model declined.", self._places)
        if self._container and not self._finished:
            # Not a block: the next request names it in a field of its own.
            yield PartDelta(Opaque(self._state({**self._container, "type": "container"})), self._places)
        # All is said by now, so a stream that is cut before its message_stop has lost nothing.
        self._finished = True
        yield FinishDelta(self._reason(reason))

    def _reason(self, reason: str) -> FinishReason:
        if reason == "refusal":
            # What was called before the refusal is not to be run.
            return "content_filter" if self._calls else "stop"
        if reason == "tool_use" and self._answered and not self._calls:
            return "stop"
        return _FINISH.get(reason, "stop")

    def _stop(self) -> Iterator[Delta]:
        self._ended = self._begun
        if self._begun and not self._finished:
            yield from self._end({"stop_reason": "end_turn"}, {})

    def _spent(self, said: Json) -> Iterator[Delta]:
        # The counts of a message_delta are cumulative, and take the place of those before; one that is 0 was not counted.
        usage = {name: value for name, value in as_object(said.get("usage")).items() if value or name not in self._usage}
        if usage:
            self._usage |= usage
            yield UsageDelta(read_usage(self._usage))

    def _state(self, data: Json) -> State:
        return State(self._origin, to_json(data).decode())


def read_usage(usage: Json) -> Usage:
    """Read the tokens, of which Anthropic counts those in the cache apart; nested details are flattened."""
    read, written = as_count(usage.get("cache_read_input_tokens")), as_count(usage.get("cache_creation_input_tokens"))
    details = {
        f"{outer}_{name}": value
        for outer in ("cache_creation", "server_tool_use", "output_tokens_details")
        for name, value in as_object(usage.get(outer)).items()
    }
    return Usage(
        input_tokens=as_count(usage.get("input_tokens")) + read + written,
        output_tokens=as_count(usage.get("output_tokens")),
        cached_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=as_count(as_object(usage.get("output_tokens_details")).get("thinking_tokens")),
        details={name: value for name, value in details.items() if isinstance(value, int)},
    )


def _further(said: Json) -> dict[str, Any]:
    return {name: value for name, value in said.items() if name not in _READ_FIELDS and value is not None}


def _length(pieces: list[str]) -> int:
    # Halves of a character that came in two pieces are one in the reply.
    return len("".join(pieces).encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def _arguments(block: _Block) -> str:
    # A whole message holds an object, here written as streams have it; some gateways give it, or its text, where the block starts.
    given = block.fields.get("input")
    return given if isinstance(given, str) else json.dumps(given or {}, ensure_ascii=False)


def _parsed(text: str) -> Any:
    try:
        return from_json(text)
    except ValueError:
        # The reply was cut in the middle of it.
        return {}
