"""Tells where an answer of HTTP/1.1 begins and ends among the bytes of a connection."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

import h11
import httpx

_FINAL = 200
_LARGEST_HEAD = 100 * 2**10
_NO_ANSWER = "the server disconnected without sending an answer"
_CUT = "the server disconnected before the answer was whole"


@dataclass(frozen=True, slots=True)
class Head:
    """What stands before the body of an answer."""

    status: int
    headers: dict[str, str]
    """By their names in lower case; what is said several times is joined by commas (RFC 9110, 5.2)."""


class Framing(Protocol):
    """Reads one answer after the other."""

    head: Head | None
    body: list[bytes]
    """The pieces that have come, for the reader to take away."""
    ended: bool
    reusable: bool
    """Whether another request may follow on the connection, once the answer has ended."""

    def begin(self) -> None:
        """Expect an answer."""
        ...

    def feed(self, data: bytes) -> None:
        """Read what came; no bytes are the end of the connection.

        Raises:
            httpx.RemoteProtocolError: This is no HTTP, or it ends too early.
        """
        ...


@cache
def fastest() -> type[Framing]:
    """Choose httptools where it is installed: it reads an answer in 2 to 5 us, and h11 in 70 to 110, which is a quarter of a request."""
    if find_spec("httptools") is None:
        return ByH11
    # An older one, which something else brought along, cannot be told how to read chunks.
    return ByHttptools if hasattr(import_module("httptools").HttpResponseParser, "set_dangerous_leniencies") else ByH11


class ByH11:
    """Reads by h11, which is written in Python."""

    # It takes answers only for an answer to something; none of our requests (GET, POST) makes a difference to how they are read.
    _REQUEST = h11.Request(method="POST", target="/", headers=[("host", "any")])
    _REQUEST_ENDED = h11.EndOfMessage()

    def __init__(self) -> None:
        self._connection: h11.Connection | None = None

    def begin(self) -> None:
        """Expect an answer."""
        if self._connection is None:
            self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LARGEST_HEAD)
        else:
            self._connection.start_next_cycle()
        self._connection.send(self._REQUEST)
        self._connection.send(self._REQUEST_ENDED)
        self.head: Head | None = None
        self.body: list[bytes] = []
        self.ended = self.reusable = False

    def feed(self, data: bytes) -> None:
        """Read what came."""
        connection = self._connection
        assert connection is not None  # noqa: S101  # an answer was begun
        if not data and self.head is None:
            raise httpx.RemoteProtocolError(_NO_ANSWER)
        try:
            connection.receive_data(data)
            while not self.ended and (event := connection.next_event()) is not h11.NEED_DATA:
                self._take(event)
        except h11.RemoteProtocolError as error:
            raise httpx.RemoteProtocolError(str(error)) from error
        if self.ended:
            self.reusable = connection.their_state is h11.DONE and connection.trailing_data == (b"", False)

    def _take(self, event: Any) -> None:
        match event:
            case h11.Response():
                self.head = _head(event.status_code, event.headers)
            case h11.Data():
                self.body.append(bytes(event.data))
            case h11.EndOfMessage():
                self.ended = True
            case _:
                # An interim answer; the real one follows.
                pass


class ByHttptools:
    """Reads by httptools, which is written in C."""

    def __init__(self) -> None:
        self._library: Any = import_module("httptools")

    def begin(self) -> None:
        """Expect an answer."""
        self._parser = self._library.HttpResponseParser(self)
        # As h11 reads them: chunks count where a length is given too (RFC 9112, 6.3), and lines may end with LF alone (2.2).
        self._parser.set_dangerous_leniencies(
            lenient_chunked_length=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._headers: list[tuple[bytes, bytes]] = []
        self._bytes_of_head = 0
        self.head: Head | None = None
        self.body: list[bytes] = []
        self.ended = self.reusable = self._goes_on = False

    def feed(self, data: bytes) -> None:
        """Read what came."""
        if not data:
            self._end()
            return
        self._bytes_of_head += len(data)
        try:
            self._parser.feed_data(data)
        # An upgrade that was not asked for is none of its errors about the protocol; what we raise is the cause of one.
        except (self._library.HttpParserError, self._library.HttpParserUpgrade) as error:
            if not self.ended:
                raise httpx.RemoteProtocolError(str(error.__context__ or error)) from error
            self.reusable = False
        if self.head is None and self._bytes_of_head > _LARGEST_HEAD:
            raise httpx.RemoteProtocolError("the head of the answer is too large")

    def _end(self) -> None:
        if self.head is None:
            raise httpx.RemoteProtocolError(_NO_ANSWER)
        if not self.ended and self.head.headers.keys() & {"content-length", "transfer-encoding"}:
            raise httpx.RemoteProtocolError(_CUT)
        self.ended, self.reusable = True, False

    def on_message_begin(self) -> None:
        """Note bytes behind the answer, which belong to nothing that was asked; httptools calls this, and what follows."""
        self.reusable = self.reusable and not self.ended

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep it, unless it is said behind the body."""
        if self.head is None:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Take the head, unless it is that of an interim answer."""
        status = self._parser.get_status_code()
        if self.ended:
            return
        if status >= _FINAL:
            self.head = _head(status, self._headers)
            if self.head.headers.get("transfer-encoding", "chunked").lower() != "chunked":
                raise httpx.RemoteProtocolError("the transfer encoding is not known")
        self._headers, self._bytes_of_head = [], 0

    def on_body(self, piece: bytes) -> None:
        """Keep it."""
        if not self.ended:
            self.body.append(piece)

    def on_message_complete(self) -> None:
        """Note the end, unless it is that of an interim answer."""
        if self.head is not None and not self.ended:
            self.ended, self.reusable = True, self._parser.should_keep_alive()


def _head(status: int, headers: Iterable[tuple[bytes, bytes]]) -> Head:
    said: dict[str, list[str]] = {}
    for name, value in headers:
        said.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    return Head(status, {name: ", ".join(values) for name, values in said.items()})
