"""Reads the body of an HTTP answer, streamed or whole, into deltas."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Iterator
from typing import Any, cast

from pydantic_core import from_json, to_json
from typing_extensions import TypeIs

from agentloop.deltas import Delta
from agentloop.errors import BadReply
from agentloop.models.alike import Alike, NamesWords
from agentloop.models.decompression import MOST_BYTES, too_large
from agentloop.models.sse import EventStream
from agentloop.wire import Decoder
from agentloop.wire.error_bodies import error_from, is_error

Json = dict[str, Any]

_DONE = b"[DONE]"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")


class Reading:
    """Takes the bytes of one answer as they come."""

    def __init__(self, decoder: Decoder, *, content_type: str = "") -> None:
        """Prepare to read.

        Args:
            decoder: A fresh one.
            content_type: What the server says the body is; the body's first bytes decide where it says neither events nor JSON.
        """
        self._decoder = decoder
        self._names_words = decoder if isinstance(decoder, NamesWords) else None
        self._alike = Alike()
        self._content_type = content_type
        self._bytes = 0
        self._events: EventStream | None = None
        self._begun = False
        self._body: list[bytes] = []
        self.done = False
        """Whether the stream said that nothing follows."""

    def feed(self, chunk: bytes) -> Iterator[Delta]:
        """Read the next bytes.

        Raises:
            ModelError: The answer is too large, cannot be read, or says that the request failed.
        """
        self._bytes += len(chunk)
        if self._bytes > MOST_BYTES:
            raise too_large()
        if not self._begun:
            chunk = b"".join((*self._body, chunk)).removeprefix(_BYTE_ORDER_MARK).lstrip()
            self._body = []
            if len(chunk) >= len(b"event:"):
                self._begin(chunk)
        if self._events is None:
            self._body.append(chunk)
            return
        yield from self._read(self._events.feed(chunk))

    def end(self) -> Iterator[Delta]:
        """Read what is left once the last byte has come."""
        if not self._begun:
            self._begin(b"".join(self._body))
        if self._events is None:
            yield from self._read_whole()
        else:
            yield from self._read([*self._events.feed(b"".join(self._body)), *self._events.end()])
            if self._events.stray and not self.done:
                # A gateway that began the stream with comments and failed then writes its error without "data:".
                yield from self._fed(_json(self._events.stray, "a line of the stream"), "a line of the stream")
        yield from self._decoder.end()

    def _read_whole(self) -> Iterator[Delta]:
        value = _json(self._whole(), "the reply")
        if not _is_stream(value):
            yield from self._decoded(self._decoder.feed_whole(_object(value, "the reply")))
            return
        # Gemini gives a stream that was not asked for as events (alt=sse) as a list of what each would have said.
        for event in value:
            yield from self._fed(event, "an event of the stream")

    def _begin(self, start: bytes) -> None:
        """Tell by the first bytes whether a stream has begun; servers name the wrong content type in both directions."""
        self._begun = True
        is_whole = start.startswith((b"{", b"["))
        if not is_whole and (start.startswith(_FIELDS) or self._content_type.startswith("text/event-stream")):
            self._events = EventStream()

    def _read(self, events: list[bytes]) -> Iterator[Delta]:
        if len(events) == 1:
            yield from self._event(events[0])
            return
        # Those that are alike and came together are read as one: read singly, each costs 30 us, and another 20 on its way to the reader.
        together: list[bytes] = []
        for data in events:
            if (words := self._alike.words(data)) is not None:
                together.append(words)
                continue
            yield from self._grown(together)
            together = []
            event = yield from self._event(data)
            self._alike.learn(data, self._names_words.words_in(event) if self._names_words else "")
        yield from self._grown(together)

    def _grown(self, together: list[bytes]) -> Iterator[Delta]:
        """Read alike events as one with the words of all."""
        if not together or self.done:
            return
        try:
            value = cast("object", from_json(self._alike.event(together)))
        except ValueError:
            # What comes before one that cannot be read counts.
            for words in together:
                yield from self._event(self._alike.event([words]))
        else:
            yield from self._fed(value, "an event of the stream")

    def _event(self, data: bytes) -> Generator[Delta, None, Json]:
        if self.done or not data:
            return {}
        if data.strip() == _DONE:
            self.done = True
            return {}
        event = _object(_json(data, "an event of the stream"), "an event of the stream")
        yield from self._decoded(self._decoder.feed(event))
        return event

    def _fed(self, value: object, what: str) -> Iterator[Delta]:
        yield from self._decoded(self._decoder.feed(_object(value, what)))

    def _decoded(self, deltas: Iterable[Delta]) -> Iterator[Delta]:
        try:
            yield from deltas
        # A decoder trusts the format; a server that breaks it (a list for an object, a number for a text) shows as one of these.
        except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise BadReply(f"the reply breaks its format ({type(error).__name__}: {error}); ask again") from error

    def _whole(self) -> bytes:
        body = b"".join(self._body).strip()
        # Both at once would be twice as large as what is allowed, while it is parsed.
        self._body = []
        if not body:
            raise BadReply("the reply is empty; ask again")
        if not body.startswith((b"{", b"[")):
            kind = self._content_type or "of no content type"
            raise BadReply(f"the reply is no JSON but {kind}, and begins {_start(body)}; check the base URL")
        return body


def _json(data: bytes, what: str) -> object:
    try:
        return cast("object", from_json(data))
    except ValueError as error:
        value = _with_halves(data)
        if value is None:
            raise BadReply(f"{what} is no JSON ({error}): {_start(data)}; ask again") from error
        return value


def _object(value: object, what: str) -> Json:
    if isinstance(value, list):
        # Google's compatible path sends its errors as a list of one.
        raise error_from(cast("object", value))
    if not isinstance(value, dict):
        raise BadReply(f"{what} is no JSON object: {_start(to_json(value))}; ask again")
    return cast("Json", value)


def _is_stream(value: object) -> TypeIs[list[object]]:
    first = cast("list[object]", value)[:1] if isinstance(value, list) else []
    return any(isinstance(event, dict) and not is_error(cast("dict[str, Any]", event)) for event in first)


def _with_halves(data: bytes) -> object:
    # A server may cut an emoji into two escapes (\\ud83d, \\ude00) and send each in an event of its own, which pydantic-core refuses.
    try:
        return json.loads(data) if b"\\ud" in data.lower() else None
    except ValueError:
        return None


def _start(data: bytes) -> str:
    return repr(data[:200].decode("utf-8", "replace"))
