"""The HTTP client behind the shared one: plain HTTP/1.1 over connections that are kept, at a sixth of what httpx takes for it."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from typing import NamedTuple

import h11
import httpx

from agentloop.errors import ConfigurationError
from agentloop.models.connection import Connection, Response, Sent
from agentloop.models.dialling import dialled
from agentloop.models.framing import Framing, fastest

MOST_CONNECTIONS = 1000
IDLE_SECONDS = 5.0
_LAST_PORT = 65_535


class Origin(NamedTuple):
    """Where a connection leads."""

    tls: bool
    host: str
    port: int


class Request(NamedTuple):
    """What is sent."""

    origin: Origin
    sent: Sent
    connect_seconds: float
    wait_seconds: float


class PooledClient:
    """Asks servers over connections that it keeps; it follows no redirect, keeps no cookie and knows no proxy."""

    is_ours = True
    """What tells it from an `httpx.AsyncClient`."""

    def __init__(
        self, *, most: int = MOST_CONNECTIONS, idle_seconds: float = IDLE_SECONDS, framing: Callable[[], Framing] | None = None
    ) -> None:
        """Open nothing yet.

        Args:
            most: How many connections there may be; further requests wait in their order.
            idle_seconds: How long one that nobody needs is kept.
            framing: Makes what reads the answers; the fastest that is installed by default.
        """
        self._pool = _Pool(most, idle_seconds, framing or fastest())

    def build_request(
        self,
        method: str,
        url: str,
        *,
        content: bytes | tuple[bytes, ...],
        headers: Mapping[str, str],
        timeout: tuple[float, None, None, float],
    ) -> Request:
        """Prepare a request.

        Args:
            method: GET or POST.
            url: Where.
            content: The body, or its pieces.
            headers: All but those that httpx says of itself.
            timeout: The seconds for connecting, and, at the end, for waiting until that may be done.

        Raises:
            httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError: It cannot be sent.
        """
        origin, head = _prepared(method, url, tuple(headers.items()))
        body = (content,) if isinstance(content, bytes) else content
        size = sum(map(len, body))
        length = b"content-length: %d\r\n\r\n" % size if size or method == "POST" else b"\r\n"
        return Request(origin, Sent((head + length, *body)), timeout[0], timeout[3])

    async def send(self, request: Request, *, stream: bool = True, follow_redirects: bool = False) -> Response:
        """Send it, and come back with the head of the answer; its body is always to be read, and it redirects nobody.

        Raises:
            httpx.TransportError: There is no connection, or it broke.
        """
        del stream, follow_redirects
        connection = await self._pool.take(request.origin, connect=request.connect_seconds, wait=request.wait_seconds)
        return await connection.ask(request.sent)

    async def aclose(self) -> None:
        """Close all connections."""
        self._pool.close()
        # The sockets are closed in the next turn of the event loop, which may be the last.
        await asyncio.sleep(0)


# Preparing costs 130 us; most requests differ in their bodies only.
@lru_cache(maxsize=256)
def _prepared(method: str, url: str, headers: tuple[tuple[str, str], ...]) -> tuple[Origin, bytes]:
    """Write all of a request's head but the length."""
    prepared = httpx.Request(method, url, headers=[*headers, *_defaults(headers)])
    where = prepared.url
    if where.scheme not in {"http", "https"} or not where.host:
        raise httpx.UnsupportedProtocol(f"{url!r} does not begin with 'http://' or 'https://'")
    if where.port is not None and not 0 < where.port <= _LAST_PORT:
        raise httpx.InvalidURL(f"{url!r} has no port between 1 and {_LAST_PORT}")
    # How long the body is, only what sends it knows.
    said = [(name, value) for name, value in prepared.headers.raw if name.lower() not in {b"content-length", b"transfer-encoding"}]
    try:
        # It refuses what would be read as something else, a line break in a value above all.
        checked = h11.Request(method=method, target=where.raw_path, headers=said)
    except h11.LocalProtocolError as error:
        raise httpx.LocalProtocolError(str(error)) from error
    tls = where.scheme == "https"
    origin = Origin(tls, where.raw_host.decode("ascii"), where.port or (443 if tls else 80))
    lines = b"".join(b"%b: %b\r\n" % pair for pair in checked.headers.raw_items())
    return origin, b"%b %b HTTP/1.1\r\n%b" % (checked.method, checked.target, lines)


def _defaults(headers: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    """Give what httpx would say of itself."""
    given = {name.lower() for name, _ in headers}
    usual = {"accept": "*/*", "connection": "keep-alive", "user-agent": f"python-httpx/{httpx.__version__}"}
    return [(name, value) for name, value in usual.items() if name not in given]


class _Pool:
    """Keeps connections, so that each step takes the same time however many there are."""

    def __init__(self, most: int, idle_seconds: float, framing: Callable[[], Framing]) -> None:
        self._framing = framing
        self._loop = asyncio.get_running_loop()
        self._idle_seconds = idle_seconds
        self._free = most
        self._all: set[Connection] = set()
        # The newest comes last; with each stands until when it is kept.
        self._idle: dict[Origin, dict[Connection, float]] = {}
        # What a waiter gets is a connection, or leave to open one.
        self._waiting: deque[tuple[Origin, asyncio.Future[Connection | None]]] = deque()
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    async def take(self, origin: Origin, *, connect: float, wait: float) -> Connection:
        """Give one that is idle, or open one, or wait until either can be."""
        if self._closed:
            raise _closed()
        tls = self._tls if origin.tls else None
        while True:
            if (connection := self._rested(origin)) is not None:
                return connection
            if self._free or self._drop_oldest():
                self._free -= 1
                return await self._opened(origin, connect, tls=tls)
            if (connection := await self._turn(origin, wait)) is None:
                return await self._opened(origin, connect, tls=tls)
            if connection.usable():
                return connection
            connection.close()

    def close(self) -> None:
        """Close all."""
        self._closed = True
        while (waiter := self._next_waiter()) is not None:
            waiter[1].set_exception(_closed())
        for connection in [*self._all]:
            connection.close()
        if self._sweep is not None:
            self._sweep.cancel()

    def _rested(self, origin: Origin) -> Connection | None:
        idle = self._idle.get(origin)
        while idle:
            # The newest is the least likely to have been closed by the server, and the oldest may expire.
            connection, until = idle.popitem()
            if until > self._loop.time() and connection.usable():
                return connection
            connection.close()
        return None

    def _drop_oldest(self) -> bool:
        """Make room where connections to other servers are idle."""
        connection = next((next(iter(idle)) for idle in self._idle.values() if idle), None)
        if connection is not None:
            connection.close()
        return connection is not None

    async def _turn(self, origin: Origin, seconds: float) -> Connection | None:
        turn: asyncio.Future[Connection | None] = self._loop.create_future()
        self._waiting.append((origin, turn))
        try:
            async with asyncio.timeout(seconds):
                return await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._hand_on(turn.result())
            if isinstance(error, TimeoutError):
                raise httpx.PoolTimeout(f"no connection was free in {seconds:g} s") from error
            raise

    async def _opened(self, origin: Origin, seconds: float, *, tls: ssl.SSLContext | None) -> Connection:
        try:
            async with asyncio.timeout(seconds):
                connection = await dialled(origin.host, origin.port, tls=tls, framing=self._framing)
        except BaseException as error:
            self._hand_on(None)
            if isinstance(error, TimeoutError):
                raise httpx.ConnectTimeout(f"no connection in {seconds:g} s") from error
            if isinstance(error, OSError):
                raise httpx.ConnectError(str(error)) from error
            raise
        self._all.add(connection)
        connection.lost = lambda lost: self._lose(origin, lost)
        connection.rested = lambda rested: self._rest(origin, rested)
        if self._closed:
            connection.close()
            raise _closed()
        return connection

    def _rest(self, origin: Origin, connection: Connection) -> None:
        if self._closed:
            connection.close()
            return
        waiter = self._next_waiter()
        if waiter is None:
            self._idle.setdefault(origin, {})[connection] = self._loop.time() + self._idle_seconds
            if self._sweep is None:
                self._sweep = self._loop.call_later(self._idle_seconds, self._expire)
            return
        wanted, turn = waiter
        if wanted == origin:
            turn.set_result(connection)
        else:
            self._waiting.appendleft(waiter)
            connection.close()

    def _lose(self, origin: Origin, connection: Connection) -> None:
        self._all.discard(connection)
        self._idle.get(origin, {}).pop(connection, None)
        self._hand_on(None)

    def _hand_on(self, connection: Connection | None) -> None:
        """Let the next one have it."""
        if connection is not None:
            if not connection.closed:
                connection.rested(connection)
        elif (waiter := self._next_waiter()) is not None:
            waiter[1].set_result(None)
        else:
            self._free += 1

    def _next_waiter(self) -> tuple[Origin, asyncio.Future[Connection | None]] | None:
        while self._waiting:
            waiter = self._waiting.popleft()
            # Those who were cancelled, or waited too long, are still in the row.
            if not waiter[1].done():
                return waiter
        return None

    def _expire(self) -> None:
        ends: list[float] = []
        for idle in self._idle.values():
            # The oldest comes first.
            while idle and next(iter(idle.values())) <= self._loop.time():
                next(iter(idle)).close()
            ends += [*idle.values()][:1]
        self._sweep = self._loop.call_at(min(ends), self._expire) if ends else None

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        # It costs 16 to 19 ms, and only what is asked over https needs it.
        try:
            context = httpx.create_ssl_context()
        except OSError as error:
            raise ConfigurationError(
                f"the certificates that SSL_CERT_FILE or SSL_CERT_DIR name cannot be read: {error}; correct these"
            ) from error
        context.set_alpn_protocols(["http/1.1"])
        return context


def _closed() -> RuntimeError:
    # In httpx' words, by which a client that is used too late is known.
    return RuntimeError("Cannot send a request, as the client has been closed.")
