"""How the bench's server says a reply in each format, whole and as the events of a stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic_core import from_json, to_json

Json = dict[str, Any]

CHAT_USAGE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
USAGE = {"input_tokens": 100, "output_tokens": 20}


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call; in a stream its arguments come in pieces."""

    id: str
    name: str
    arguments: str
    piece: int = 1_000_000

    @property
    def pieces(self) -> list[str]:
        """The arguments, cut."""
        return [self.arguments[start : start + self.piece] for start in range(0, len(self.arguments), self.piece)]


@dataclass(frozen=True, slots=True)
class Said:
    """A reply: words in pieces, then calls, or the other way round."""

    words: tuple[str, ...]
    calls: tuple[Call, ...] = ()
    calls_first: bool = False

    @property
    def text(self) -> str:
        """All words."""
        return "".join(self.words)

    def in_order(self, words: Iterator[Json], calls: Iterator[Json]) -> Iterator[Json]:
        """Put the events of both one behind the other."""
        yield from calls if self.calls_first else words
        yield from words if self.calls_first else calls


class Format(Protocol):
    """How a reply is said."""

    def marks(self, calls: int) -> list[tuple[bytes, int]]:
        """Tell what shows the step in a request, and how often it is there for each step; the first that is there counts."""
        ...

    def whole(self, said: Said) -> Json:
        """Say it at once."""
        ...

    def stream(self, said: Said) -> list[bytes]:
        """Say it as events."""
        ...


class Chat:
    """POST /chat/completions."""

    def marks(self, calls: int) -> list[tuple[bytes, int]]:  # noqa: ARG002  # other formats need it
        """Count replies."""
        return [(b'"assistant"', 1)]

    def whole(self, said: Said) -> Json:
        """Say it at once."""
        message: Json = {"role": "assistant", "content": said.text or None}
        if said.calls:
            message["tool_calls"] = [self._call(call, call.arguments) for call in said.calls]
        choice = {"index": 0, "message": message, "finish_reason": self._reason(said), "logprobs": None}
        return {"id": "c1", "object": "chat.completion", "created": 1, "model": "bench", "choices": [choice], "usage": CHAT_USAGE}

    def stream(self, said: Said) -> list[bytes]:
        """Say it as events."""
        words = ({"content": piece} for piece in said.words)
        deltas = [{"role": "assistant", "content": ""}, *said.in_order(words, self._calls(said))]
        chunks = [self._chunk([{"index": 0, "delta": delta, "finish_reason": None}]) for delta in deltas]
        chunks += [self._chunk([{"index": 0, "delta": {}, "finish_reason": self._reason(said)}])]
        return [*map(event, chunks), event(self._chunk([]) | {"usage": CHAT_USAGE}), b"data: [DONE]\n\n"]

    def _calls(self, said: Said) -> Iterator[Json]:
        for index, call in enumerate(said.calls):
            yield {"tool_calls": [{"index": index, **self._call(call, "")}]}
            for piece in call.pieces:
                yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}

    def _call(self, call: Call, arguments: str) -> Json:
        return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}

    def _chunk(self, choices: list[Json]) -> Json:
        return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "bench", "choices": choices}

    def _reason(self, said: Said) -> str:
        return "tool_calls" if said.calls else "stop"


class Responses:
    """POST /responses."""

    def marks(self, calls: int) -> list[tuple[bytes, int]]:
        """Count results."""
        return [(b'"function_call_output"', calls)]

    def whole(self, said: Said) -> Json:
        """Say it at once."""
        output: list[Json] = []
        if said.words:
            part = {"type": "output_text", "text": said.text, "annotations": []}
            output.append({"type": "message", "id": "m1", "role": "assistant", "status": "completed", "content": [part]})
        output += [self._call(call, call.arguments) for call in said.calls]
        return {"id": "r1", "object": "response", "model": "bench", "status": "completed", "output": output, "usage": USAGE}

    def stream(self, said: Said) -> list[bytes]:
        """Say it as events."""
        done = self.whole(said)
        events: list[Json] = [{"type": "response.created", "response": done | {"output": [], "status": "in_progress"}}]
        for index, item in enumerate(done["output"]):
            place = {"output_index": index, "item_id": item["id"]}
            opened = item | ({"content": []} if item["type"] == "message" else {"arguments": ""})
            events.append({"type": "response.output_item.added", "item": opened, **place})
            if item["type"] == "message":
                events += [{"type": "response.output_text.delta", "delta": piece, "content_index": 0, **place} for piece in said.words]
            else:
                call = next(call for call in said.calls if call.id == item["call_id"])
                events += [{"type": "response.function_call_arguments.delta", "delta": piece, **place} for piece in call.pieces]
            events.append({"type": "response.output_item.done", "item": item, **place})
        events.append({"type": "response.completed", "response": done})
        return [event(each, name=each["type"]) for each in events]

    def _call(self, call: Call, arguments: str) -> Json:
        known = {"id": f"fc_{call.id}", "call_id": call.id, "status": "completed"}
        return {"type": "function_call", "name": call.name, "arguments": arguments, **known}


class Messages:
    """POST /messages."""

    def marks(self, calls: int) -> list[tuple[bytes, int]]:
        """Count results."""
        return [(b'"tool_result"', calls)]

    def whole(self, said: Said) -> Json:
        """Say it at once."""
        content: list[Json] = [{"type": "text", "text": said.text}] if said.words else []
        content += [{"type": "tool_use", "id": call.id, "name": call.name, "input": from_json(call.arguments)} for call in said.calls]
        reason = "tool_use" if said.calls else "end_turn"
        about = {"id": "m1", "type": "message", "role": "assistant", "model": "bench", "stop_sequence": None}
        return {**about, "content": content, "stop_reason": reason, "usage": USAGE}

    def stream(self, said: Said) -> list[bytes]:
        """Say it as events."""
        done = self.whole(said)
        begins = {"type": "message_start", "message": done | {"content": [], "stop_reason": None}}
        ends = {"type": "message_delta", "delta": {"stop_reason": done["stop_reason"], "stop_sequence": None}, "usage": USAGE}
        blocks = said.in_order(self._words(said, len(said.calls) * said.calls_first), self._calls(said))
        return [event(each, name=each["type"]) for each in (begins, *blocks, ends, {"type": "message_stop"})]

    def _words(self, said: Said, index: int) -> Iterator[Json]:
        if said.words:
            yield {"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}}
            for piece in said.words:
                yield {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": piece}}
            yield {"type": "content_block_stop", "index": index}

    def _calls(self, said: Said) -> Iterator[Json]:
        for index, call in enumerate(said.calls, 0 if said.calls_first or not said.words else 1):
            block = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
            yield {"type": "content_block_start", "index": index, "content_block": block}
            for piece in call.pieces:
                yield {"type": "content_block_delta", "index": index, "delta": {"type": "input_json_delta", "partial_json": piece}}
            yield {"type": "content_block_stop", "index": index}


class Generate:
    """POST /models/...:generateContent."""

    def marks(self, calls: int) -> list[tuple[bytes, int]]:
        """Count results."""
        return [(b'"functionResponse"', calls)]

    def whole(self, said: Said) -> Json:
        """Say it at once."""
        parts: list[Json] = [{"text": said.text}] if said.words else []
        return self._reply([*parts, *self._calls(said)], "STOP")

    def stream(self, said: Said) -> list[bytes]:
        """Say it as events; a call comes whole."""
        parts = said.in_order(iter([{"text": piece} for piece in said.words]), self._calls(said))
        chunks = [self._reply([part], None) for part in parts]
        return [event(each) for each in (*chunks, self._reply([], "STOP"))]

    def _calls(self, said: Said) -> Iterator[Json]:
        for call in said.calls:
            yield {"functionCall": {"id": call.id, "name": call.name, "args": from_json(call.arguments)}}

    def _reply(self, parts: list[Json], reason: str | None) -> Json:
        candidate: Json = {"content": {"role": "model", "parts": parts}, "index": 0} | ({"finishReason": reason} if reason else {})
        usage = {"promptTokenCount": 100, "candidatesTokenCount": 20, "totalTokenCount": 120}
        return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "bench", "responseId": "r1"}


def event(data: Json, *, name: str = "") -> bytes:
    """Frame an event of a stream."""
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + to_json(data) + b"\n\n"


FORMATS: dict[bytes, Format] = {
    b"/completions": Chat(),
    b"/responses": Responses(),
    b"/messages": Messages(),
    b"enerateContent": Generate(),
}
"""By what their paths hold."""
