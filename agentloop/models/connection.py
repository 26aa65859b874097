"""A connection to a server, on which one request is sent after the other."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import cast

import httpx

from agentloop.models.framing import Framing, Head

_MOST_UNREAD = 256 * 2**10
_PIECE = 64 * 2**10
_REFUSED = 300


@dataclass(frozen=True, slots=True)
class Sent:
    """The bytes of a request, which hold keys: whoever prints what a failed function held prints none of them."""

    pieces: tuple[bytes, ...] = field(repr=False)

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return sum(map(len, self.pieces))


class Connection(asyncio.Protocol):
    """Sends requests, and reads their answers; it closes at once, so that whoever waits for it may be cancelled anywhere.

    Whatever goes wrong closes it.
    """

    def __init__(self, framing: Framing) -> None:
        """Prepare it.

        Args:
            framing: A fresh one.
        """
        self.rested: Callable[[Connection], None] = _unheard
        """Is told when an answer has ended and another request may be sent."""
        self.lost: Callable[[Connection], None] = _unheard
        """Is told when it was closed."""
        self.closed = False
        self._loop = asyncio.get_running_loop()
        self._framing = framing
        self._received: list[bytes] = []
        self._unread = 0
        self._over = False
        self._is_full = False
        self._is_cut = False
        self._failure: Exception | None = None
        self._waiting: asyncio.Future[None] | None = None
        # One that is new is about to be asked; what is wrong with it is told to whoever asks.
        self._idle = False

    def usable(self) -> bool:
        """Whether a request may be sent; the server may have hung up a moment ago, and the event loop not have heard of it."""
        return not (self.closed or self._over or self._is_readable())

    @property
    def has_news(self) -> bool:
        """Whether something came that was not read yet, be it the end."""
        return bool(self._received) or self._over

    async def ask(self, sent: Sent) -> Response:
        """Send a request, and wait for the head of its answer.

        A server that refuses it before it has heard all is not sent the rest.

        Raises:
            httpx.TransportError: The connection broke, or what came is no HTTP.
        """
        self._idle = False
        self._framing.begin()
        try:
            await self._send(sent)
            while self._framing.head is None:
                await self._feed()
        except BaseException:
            self.close()
            raise
        return Response(self, self._framing.head)

    async def _send(self, sent: Sent) -> None:
        if sent.size <= _PIECE:
            self._transport.write(b"".join(sent.pieces))
            return
        for piece in (memoryview(each) for each in sent.pieces):
            for start in range(0, len(piece), _PIECE):
                # What the transport cannot send at once it copies, so that it is given no more than it has room for.
                while self._is_full and not self._is_refused():
                    await self._news()
                    if self._received and self._framing.head is None:
                        # An interim answer, or an early one, which may still want to hear all.
                        self._take()
                if self._is_refused():
                    self._is_cut = True
                    return
                self._transport.write(piece[start : start + _PIECE])

    def _is_refused(self) -> bool:
        head = self._framing.head
        return self._over or self._transport.is_closing() or self._framing.ended or (head is not None and head.status >= _REFUSED)

    async def more(self) -> None:
        """Wait for more of the body.

        Raises:
            httpx.TransportError: The same.
        """
        try:
            await self._feed()
        except BaseException:
            self.close()
            raise

    def pieces(self) -> tuple[list[bytes], bool]:
        """Take what has come of the body, and say whether that was all; the connection is then free for the next request."""
        framing = self._framing
        pieces, framing.body = framing.body, []
        if framing.ended:
            self._end()
        return pieces, framing.ended

    def close(self) -> None:
        """Close it, and have its socket closed in the next turn of the event loop."""
        if not self.closed:
            self.closed = True
            self._transport.abort()
            self.lost(self)

    def _end(self) -> None:
        # A request that has been answered may not have been read, and what follows an answer belongs to none.
        is_heard = not self._is_cut and not self._transport.get_write_buffer_size()
        if not (self._framing.reusable and is_heard) or self._received or self._over:
            self.close()
        else:
            self._idle = True
            self.rested(self)

    async def _feed(self) -> None:
        # Room to send is news, too.
        while not self.has_news:
            await self._news()
        if self.closed:
            raise httpx.ReadError("the connection was closed here")
        if self._received:
            self._take()
            if self._received:
                # The rest may take long to read, and others wait for the event loop.
                await asyncio.sleep(0)
        elif self._failure is not None:
            raise httpx.ReadError(str(self._failure) or type(self._failure).__name__) from self._failure
        else:
            self._framing.feed(b"")

    def _take(self) -> None:
        data = self._received[0] if len(self._received) == 1 else b"".join(self._received)
        data, rest = data[:_PIECE], data[_PIECE:]
        self._received = [rest] if rest else []
        if self._unread > _MOST_UNREAD >= len(rest):
            self._transport.resume_reading()
        self._unread = len(rest)
        self._framing.feed(data)

    async def _news(self) -> None:
        self._waiting = self._loop.create_future()
        await self._waiting

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._is_readable = _readable(transport.get_extra_info("socket"))

    def pause_writing(self) -> None:
        """Note that the transport holds enough to send."""
        self._is_full = True

    def resume_writing(self) -> None:
        """Note that there is room again."""
        self._is_full = False
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Keep what came until it is read; a reader who is slow makes the server wait."""
        self._received.append(data)
        self._unread += len(data)
        if self._unread > _MOST_UNREAD:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """Note that nothing more will come."""
        self._over = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that it is gone, and why."""
        self._over, self._failure = True, exc
        self._wake()

    def _wake(self) -> None:
        if self._idle:
            # What comes unasked would be taken for the answer to the next request.
            self.close()
        elif self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class Response:
    """An answer whose head has come; it has what is asked of httpx's own."""

    is_stream_consumed = False
    """Nobody reads the body but whoever asked."""

    def __init__(self, connection: Connection, head: Head) -> None:
        """Take what has come; an answer that is there as a whole frees its connection now."""
        self.status_code = head.status
        self.headers = head.headers
        self._connection = connection
        self._pieces, self._ended = connection.pieces()

    async def aiter_raw(self) -> AsyncGenerator[bytes]:
        """Give the body as it travels, piece by piece.

        Raises:
            httpx.TransportError: The connection broke.
        """
        while True:
            pieces, self._pieces = self._pieces, []
            if pieces:
                # One piece of what came together, since each costs its reader a turn.
                yield pieces[0] if len(pieces) == 1 else b"".join(pieces)
            if self._ended:
                return
            await self._connection.more()
            self._pieces, self._ended = self._connection.pieces()

    # Nothing is unpacked here: see decompression.py.
    aiter_bytes = aiter_raw

    async def aclose(self) -> None:
        """Close the connection, unless it has given the answer to its end; this never waits."""
        if not self._ended:
            self._ended = True
            self._connection.close()


def _unheard(_: Connection) -> None:
    pass


def _readable(sock: socket.socket) -> Callable[[], bool]:
    """Make the question whether something can be read, be it the end."""
    # Windows has no poll; select takes no socket whose number is over 1,024 elsewhere.
    if not hasattr(select, "poll"):
        return lambda: bool(select.select([sock], [], [], 0)[0])
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return lambda: bool(poll.poll(0))
