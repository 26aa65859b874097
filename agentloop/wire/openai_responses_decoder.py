"""Reads what POST /responses answers, whole or by the event, leniently."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterator, Mapping
from typing import Any

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
from agentloop.messages import Citation, FinishReason, Image, Opaque, State, Usage
from agentloop.wire.error_bodies import error_from, is_error
from agentloop.wire.lenient import as_arguments, as_count, as_list, as_object, as_text
from agentloop.wire.openai_responses_items import kept_message, message_parts, message_words, without_nulls
from agentloop.wire.sayable import as_json

Json = Mapping[str, Any]

# What is read elsewhere, and what only repeats the request.
_NO_EXTRA = {"id", "object", "model", "output", "usage", "error", "instructions", "tools", "tool_choice", "text", "metadata"}
# Which words of an item each kind of event brings a piece of.
_PIECES = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "refusal",
    "response.reasoning_text.delta": "thinking",
    "response.reasoning_summary_text.delta": "thinking",
    "response.function_call_arguments.delta": "arguments",
}
_ENDS = {"response.completed", "response.incomplete", "response.failed", "response.cancelled"}
_PLAIN = {"output_text", "text", "refusal"}
_FAILED = {"failed", "cancelled"}
_UNFINISHED = {"queued", "in_progress"}
# A call has the last three; Bedrock repeats the first two of the event.
_NOT_SAID_BACK = {"item_id", "output_index", "arguments", "name", "call_id"}


class ResponsesDecoder:
    """Reads one reply."""

    def __init__(self, origin: str = "openai/responses") -> None:
        """`origin` marks what the provider wants to hear again."""
        self._origin = origin
        self._begin()

    def _begin(self) -> None:
        self._items: dict[int, _Item] = {}
        self._places: dict[str, int] = {}
        self._calls = 0
        self._ended = False

    def feed(self, event: Json) -> Iterator[Delta]:
        """Read an event."""
        if is_error(event):
            raise error_from(event)
        match as_text(event.get("type")):
            case kind if kind in _PIECES:
                yield from self._piece(self._item(event), _PIECES[kind], as_text(event.get("delta")))
            case "response.created" if self._items or self._ended:
                # A proxy that asks again after its first answer broke begins anew in the same stream.
                self._begin()
                yield RestartDelta()
            case "response.output_item.added":
                yield from self._opened(self._item(event), as_object(event.get("item")))
            case "response.output_item.done":
                yield from self._settled(self._item(event), as_object(event.get("item")))
            case "response.function_call_arguments.done":
                yield from self._rest(self._item(event), "arguments", as_arguments(event.get("arguments")))
            case kind if kind in _ENDS and not self._ended:
                yield from self._end(as_object(event.get("response")), status=kind.removeprefix("response."))
            case _:
                # What a hosted tool is doing, the beginnings and ends of parts, "keepalive": the items say it all.
                return

    def words_in(self, event: Json) -> str:
        """Name the field of an event's words; '' where it brings no words."""
        return "delta" if as_text(event.get("type")) in _PIECES else ""

    def feed_whole(self, body: Json) -> Iterator[Delta]:
        """Read a whole response."""
        if is_error(body):
            raise error_from(body)
        status = as_text(body.get("status")) or "completed"
        if status in _UNFINISHED and not body.get("output"):
            unfinished = BadReply(f"the reply is only {status}; do not ask for it in the background")
            unfinished.retryable = False
            raise unfinished
        if not isinstance(body.get("output"), list) and status not in _FAILED:
            raise BadReply("the reply holds no output; ask again")
        yield from self._end(body, status=status)

    def end(self) -> Iterator[Delta]:
        """Give nothing: the last event says all."""
        yield from ()

    def _item(self, event: Json) -> _Item:
        """Find the item that an event is about: by its index, else by its id, else it is the latest.

        GitHub Copilot gives one item several ids; llama.cpp gives no index.
        """
        item_id = as_text(event.get("item_id") or as_object(event.get("item")).get("id"))
        place = event.get("output_index")
        if not isinstance(place, int):
            latest = max(self._items, default=-1)
            is_new = event.get("type") == "response.output_item.added" or not self._items or self._items[latest].data is not None
            place = self._places.get(item_id, latest + is_new)
        if item_id:
            self._places[item_id] = place
        return self._items.setdefault(place, _Item(place))

    def _opened(self, item: _Item, data: Json) -> Iterator[Delta]:
        item.open(data)
        if item.kind == "function_call":
            yield self._call(item, name=as_text(data.get("name")), provider_id=as_text(data.get("call_id")))

    def _call(self, item: _Item, *, name: str = "", arguments: str = "", provider_id: str = "", state: State | None = None) -> Delta:
        if item.call is None:
            item.call, self._calls = self._calls, self._calls + 1
        return ToolCallDelta(item.call, name=name, arguments=arguments, provider_id=provider_id, state=state, place=item.place)

    def _piece(self, item: _Item, words: str, piece: str) -> Iterator[Delta]:
        if not piece:
            return
        item.shown.setdefault(words, []).append(piece)
        match words:
            case "text" if not item.is_commentary:
                yield TextDelta(piece, item.place)
            case "text" | "thinking":
                yield ThinkingDelta(piece, item.place)
            case "refusal":
                yield RefusalDelta(piece, item.place)
            case _:
                yield self._call(item, arguments=piece)

    def _rest(self, item: _Item, words: str, whole: str) -> Iterator[Delta]:
        """Show what the pieces left out."""
        shown = item.words(words)
        if whole.startswith(shown):
            yield from self._piece(item, words, whole[len(shown) :])

    def _settled(self, item: _Item, data: Json) -> Iterator[Delta]:
        """Read an item that is done."""
        item.open(data)
        item.data = data
        match item.kind:
            case "message":
                yield from self._message(item, data)
            case "reasoning":
                parts = [*as_list(data.get("summary")), *as_list(data.get("content"))]
                yield from self._rest(item, "thinking", "".join(as_text(as_object(part).get("text")) for part in parts))
                yield StateDelta(self._state(without_nulls(data)), of="thinking", place=item.place)
            case "function_call":
                yield from self._rest(item, "arguments", as_arguments(data.get("arguments")))
                kept = {name: value for name, value in without_nulls(data).items() if name not in _NOT_SAID_BACK}
                known = as_text(data.get("call_id") or data.get("id"))
                yield self._call(item, name=as_text(data.get("name")), provider_id=known, state=self._state(kept))
            case "image_generation_call":
                yield PartDelta(self._image(data), item.place)
            case _:
                yield PartDelta(Opaque(self._state(data)), item.place)

    def _message(self, item: _Item, data: Json) -> Iterator[Delta]:
        words = message_words(data)
        yield from self._rest(item, "refusal", words["refusal"])
        yield from self._rest(item, "text", words["text"])
        if any(words.values()):
            yield StateDelta(self._state(kept_message(data)), of="thinking" if item.is_commentary else "text", place=item.place)
        elif message_parts(data) and any(part.get("type") not in _PLAIN for part in message_parts(data)):
            yield PartDelta(Opaque(self._state(data)), item.place)

    def _image(self, data: Json) -> Image | Opaque:
        """Read a picture; what was made of it is said back with it."""
        result = as_text(data.get("result"))
        state = self._state({name: value for name, value in data.items() if name != "result"})
        media_type = f"image/{as_text(data.get('output_format')) or 'png'}"
        if result.startswith(("http://", "https://")):
            return Image(url=result, media_type=media_type, state=state)
        try:
            image = b64decode(result)
        except binascii.Error:
            image = b""
        return Image(data=image, media_type=media_type, state=state) if image else Opaque(self._state(data))

    def _state(self, data: Json) -> State:
        return State(self._origin, as_json(data).decode())

    def _end(self, response: Json, *, status: str) -> Iterator[Delta]:
        # Where the event and the response differ, the one that says less is right.
        said = as_text(response.get("status"))
        status = said if said in {*_FAILED, "incomplete"} else status
        if is_error(response) or status in _FAILED:
            raise error_from({"error": response.get("error") or {"message": f"the reply ended as {status}"}})
        for position, data in enumerate(as_object(item) for item in as_list(response.get("output"))):
            # Some servers end with an empty output: then what was done is all there is.
            place = self._places.get(as_text(data.get("id")), position)
            item = self._items.setdefault(place, _Item(place))
            if item.data is None:
                yield from self._settled(item, data)
        yield from self._citations()
        extra = {name: value for name, value in response.items() if name not in _NO_EXTRA and value is not None}
        if odds := list(self._odds()):
            extra["logprobs"] = {"content": odds}
        yield ReplyDelta(as_text(response.get("model")), as_text(response.get("id")), extra)
        if usage := as_object(response.get("usage")):
            yield UsageDelta(read_usage(usage))
        self._ended = True
        yield FinishDelta(_finish(response, status))

    def _messages(self) -> Iterator[_Item]:
        yield from (item for _, item in sorted(self._items.items()) if item.kind == "message" and not item.is_commentary)

    def _odds(self) -> Iterator[object]:
        for item in self._messages():
            for part in message_parts(item.data or {}):
                yield from as_list(part.get("logprobs"))

    def _citations(self) -> Iterator[Delta]:
        """Tell where the words come from: only now it is known how long the texts before them are."""
        shift = 0
        for item in self._messages():
            inner = shift
            for part in message_parts(item.data or {}):
                for annotation in as_list(part.get("annotations")):
                    if citation := _citation(as_object(annotation), inner):
                        yield PartDelta(citation, item.place)
                inner += len(as_text(part.get("text")))
            shift += len(item.words("text"))


class _Item:
    """An output item on its way."""

    __slots__ = ("call", "data", "is_commentary", "kind", "place", "shown")

    def __init__(self, place: int) -> None:
        self.place = place
        self.kind = "message"
        self.is_commentary = False
        self.call: int | None = None
        self.data: Json | None = None
        self.shown: dict[str, list[str]] = {}

    def open(self, data: Json) -> None:
        """Learn what it is."""
        self.kind = as_text(data.get("type")) or self.kind
        if not self.shown:
            # Models tell on the way what they are about to do; only what comes last is the answer.
            self.is_commentary = data.get("phase") == "commentary"

    def words(self, kind: str) -> str:
        """Join the pieces that were shown."""
        return "".join(self.shown.get(kind, ()))


def read_usage(usage: Json) -> Usage:
    """Read the tokens; nested details are flattened into `input_...` and `output_...`."""
    read = as_object(usage.get("input_tokens_details"))
    written = as_object(usage.get("output_tokens_details"))
    named = {"input_tokens", "output_tokens", "total_tokens"}
    details = {
        **{f"input_{name}": value for name, value in read.items()},
        **{f"output_{name}": value for name, value in written.items()},
        **{name: value for name, value in usage.items() if name not in named},
    }
    return Usage(
        input_tokens=as_count(usage.get("input_tokens")),
        output_tokens=as_count(usage.get("output_tokens")),
        cached_tokens=as_count(read.get("cached_tokens")),
        cache_write_tokens=as_count(read.get("cache_write_tokens")),
        reasoning_tokens=as_count(written.get("reasoning_tokens")),
        details={name: value for name, value in details.items() if isinstance(value, int)},
    )


def _finish(response: Json, status: str) -> FinishReason:
    if status != "incomplete":
        return "stop"
    reason = as_object(response.get("incomplete_details")).get("reason")
    return "content_filter" if reason == "content_filter" else "length"


def _citation(annotation: Json, shift: int) -> Citation | None:
    # OpenRouter nests what it cites as chat completions do, and gives both places as 0.
    place = as_object(annotation.get("url_citation")) or annotation
    start, end = as_count(place.get("start_index")), as_count(place.get("end_index"))
    url, title = as_text(place.get("url")), as_text(place.get("title") or place.get("filename"))
    if not (url or title):
        return None
    return Citation(url, title, start + shift, end + shift) if end else Citation(url, title)
