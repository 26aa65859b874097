"""Opens connections to servers, and leaves no socket open wherever it is cancelled."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from agentloop.models.connection import Connection
from agentloop.models.framing import Framing

# RFC 8305, 5: how long one address is tried before the next one is tried beside it.
_NEXT_ADDRESS_SECONDS = 0.25


async def dialled(host: str, port: int, *, tls: ssl.SSLContext | None, framing: Callable[[], Framing]) -> Connection:
    """Open a connection.

    Raises:
        OSError: No address of the host can be reached, or it proves to be another.
    """
    loop = asyncio.get_running_loop()
    sock = await _connected(await _addresses(host, port))
    transport, connection = await loop.create_connection(lambda: Connection(framing()), sock=sock)
    if tls is not None:
        # In a step of its own: asyncio leaves the socket open where both are cancelled between the two.
        try:
            secured = await loop.start_tls(transport, connection, tls, server_hostname=host)
        except BaseException:
            transport.abort()
            raise
        if secured is None:
            raise ConnectionResetError("the server hung up while the connection was secured")
        if connection.has_news:
            # What came in the clear was said by anybody.
            secured.abort()
            raise ConnectionResetError("the server spoke before the connection was secured")
        connection.connection_made(secured)
    return connection


async def _addresses(host: str, port: int) -> list[Any]:
    try:
        ip_address(host)
    except ValueError:
        # As bytes, since it is encoded (IDNA) already; what is no name is then not found, where a text would be a UnicodeError.
        return await asyncio.get_running_loop().getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM)
    # It is one already, and no thread need look it up.
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)


async def _connected(addresses: list[Any]) -> socket.socket:
    """Try the addresses in turn, each a moment after the one before; asyncio's own way to do so loses a socket when it is cancelled."""
    if len(addresses) == 1:
        return await _tried(addresses[0])
    left = _interleaved(addresses)
    trying: set[asyncio.Task[socket.socket]] = set()
    failures: list[BaseException] = []
    try:
        while left or trying:
            if left:
                trying.add(asyncio.create_task(_tried(left.pop(0))))
            ended, trying = await asyncio.wait(trying, timeout=_NEXT_ADDRESS_SECONDS if left else None, return_when=asyncio.FIRST_COMPLETED)
            for each in ended:
                if (failure := each.exception()) is None:
                    ended.remove(each)
                    trying |= ended
                    return each.result()
                failures.append(failure)
    finally:
        for each in trying:
            each.add_done_callback(_hang_up)
            each.cancel()
    raise failures[0] if len(failures) == 1 else OSError("; ".join(dict.fromkeys(map(str, failures))))


def _interleaved(addresses: list[Any]) -> list[Any]:
    """Let the families take turns (RFC 8305, 4)."""
    first = [each for each in addresses if each[0] == addresses[0][0]]
    second = [each for each in addresses if each[0] != addresses[0][0]]
    places = [(place, 0, each) for place, each in enumerate(first)] + [(place, 1, each) for place, each in enumerate(second)]
    return [each for _, _, each in sorted(places, key=lambda place: place[:2])]


async def _tried(address: Any) -> socket.socket:
    family, kind, protocol, _, where = address
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)  # noqa: FBT003  # it takes no names
        await asyncio.get_running_loop().sock_connect(sock, where)
    except BaseException:
        sock.close()
        raise
    return sock


def _hang_up(late: asyncio.Task[socket.socket]) -> None:
    if not late.cancelled() and late.exception() is None:
        late.result().close()
