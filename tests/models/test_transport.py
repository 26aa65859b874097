"""Connections that are kept, and how answers are read from them, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from agentloop.models.clients import client_for
from agentloop.models.connection import Response
from agentloop.models.framing import ByH11, ByHttptools, Framing
from agentloop.models.transport import PooledClient

HI = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nHi"
Converse = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
ENDED = b"0\r\n\r\n"

framings = pytest.mark.parametrize(
    "framing",
    [ByH11, pytest.param(ByHttptools, marks=pytest.mark.skipif(find_spec("httptools") is None, reason="the extra fast is not installed"))],
)


@asynccontextmanager
async def listening(converse: Converse, *, tls: ssl.SSLContext | None = None) -> AsyncGenerator[str]:
    """Let `converse` answer each connection, and wait at the end until all are closed."""
    conversations: set[asyncio.Task[None]] = set()

    async def alone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversations.add(cast("asyncio.Task[None]", asyncio.current_task()))
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await converse(reader, writer)
        writer.transport.abort()
        await asyncio.sleep(0)

    serving = await asyncio.start_server(alone, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{serving.sockets[0].getsockname()[1]}/v1"
    finally:
        serving.close()
        # A connection that was made a moment ago may not have begun to converse.
        await asyncio.sleep(0)
        if conversations:
            await asyncio.wait(conversations, timeout=5)


class Server:
    """Says what it is told to on each request, and notes what comes and goes."""

    def __init__(self, *answers: bytes) -> None:
        self._answers = list(answers)
        self.heads: list[bytes] = []
        self.connections = 0
        self.gone = asyncio.Semaphore(0)
        self.asked = asyncio.Semaphore(0)
        self.held = asyncio.Event()
        self.held.set()

    @asynccontextmanager
    async def listening(self, *, tls: ssl.SSLContext | None = None) -> AsyncGenerator[str]:
        async with listening(self._converse, tls=tls) as url:
            yield url
            self.held.set()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.heads.append(head)
                await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0] or 0))
                self.asked.release()
                await self.held.wait()
                writer.write(self._answers.pop(0) if len(self._answers) > 1 else self._answers[0])
        finally:
            self.gone.release()


@asynccontextmanager
async def pooled(**options: Any) -> AsyncGenerator[PooledClient]:
    client = PooledClient(**options)
    try:
        async with asyncio.timeout(5):
            yield client
    finally:
        await client.aclose()


async def sent(client: PooledClient, url: str, *, wait: float = 5) -> Response:
    headers = {"authorization": "Bearer any"}
    return await client.send(client.build_request("POST", f"{url}/x", content=b"{}", headers=headers, timeout=(5, None, None, wait)))


async def body_of(response: Response) -> bytes:
    return b"".join([piece async for piece in response.aiter_raw()])


async def asked(client: PooledClient, url: str, **options: Any) -> bytes:
    return await body_of(await sent(client, url, **options))


def test_a_request_says_what_httpx_would_say():
    def heads(raw: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
        return {name.lower(): value for name, value in raw}

    async def both() -> tuple[bytes, httpx.Request]:
        async with pooled() as client, httpx.AsyncClient() as judge:
            options: Any = {"content": b"{}", "headers": {"accept-encoding": "gzip", "x-key": "any"}, "timeout": (5, None, None, 5)}
            url = "https://münchen.example:444/v1 beta/x?alt=sse"
            return client.build_request("POST", url, **options).sent.pieces[0], judge.build_request("POST", url, **options)

    ours, theirs = asyncio.run(both())

    line, *headers = ours.removesuffix(b"\r\n\r\n").split(b"\r\n")
    assert line == b"POST %b HTTP/1.1" % theirs.url.raw_path
    assert heads([(name, value) for name, _, value in (header.partition(b": ") for header in headers)]) == heads(theirs.headers.raw)


@pytest.mark.parametrize(
    ("url", "headers", "error"),
    [
        ("http://host/v1", {"x-key": "a\r\nx-other: b"}, httpx.LocalProtocolError),
        ("ftp://host/v1", {}, httpx.UnsupportedProtocol),
        ("/v1", {}, httpx.UnsupportedProtocol),
        ("http://host:port/v1", {}, httpx.InvalidURL),
        ("http://host:65616/v1", {}, httpx.InvalidURL),
    ],
)
async def test_what_cannot_be_sent_is_refused(url: str, headers: dict[str, str], error: type[Exception]):
    async with pooled() as client:
        with pytest.raises(error):
            client.build_request("POST", url, content=b"", headers=headers, timeout=(5, None, None, 5))


# Long requests.

# The last piece leaves the transport full.
LONG = (b"[", *(b"%05d" % number + b"x" * (5 * 2**16 - 5) for number in range(20)))


async def asked_at_length(client: PooledClient, url: str) -> bytes:
    request = client.build_request("POST", f"{url}/x", content=LONG, headers={}, timeout=(5, None, None, 5))
    return await body_of(await client.send(request))


async def test_a_long_request_is_sent_whole_however_slowly_the_server_reads():
    heard: list[bytes] = []

    async def read_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            head = await reader.readuntil(b"\r\n\r\n")
            left = int(head.partition(b"content-length: ")[2])
            while left:
                heard.append(await reader.read(min(left, 50_000)))
                left -= len(heard[-1])
                await asyncio.sleep(0)
            writer.write(HI)

    async with listening(read_slowly) as url, pooled() as client:
        answers = [await asked_at_length(client, url) for _ in range(2)]

    assert answers == [b"Hi", b"Hi"]
    assert b"".join(heard) == b"".join(LONG) * 2


async def test_room_to_send_is_not_taken_for_the_end_of_the_answer():
    asking, go = asyncio.Event(), asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        asking.set()
        await go.wait()
        writer.write(HI)

    async with listening(wait) as url, pooled() as client:
        answer = asyncio.create_task(asked(client, url))
        await asking.wait()
        [connection] = client._pool._all  # noqa: SLF001  # asyncio calls it when it likes
        connection.resume_writing()
        await asyncio.sleep(0)
        go.set()

        assert await answer == b"Hi"


async def test_an_answer_that_comes_before_the_request_is_sent_is_read_and_the_rest_kept_back():
    done, heard = asyncio.Event(), 0

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 4\r\n\r\nlong")
        await done.wait()
        while piece := await reader.read(100_000):
            heard += len(piece)

    async with listening(refuse) as url, pooled() as client:
        answer = await asked_at_length(client, url)
        done.set()

    assert answer == b"long"
    assert heard < len(b"".join(LONG))


async def test_a_server_that_hangs_up_in_the_middle_of_a_long_request_is_a_broken_connection():
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    async with listening(hang_up) as url, pooled() as client:
        with pytest.raises(httpx.TransportError):
            await asked_at_length(client, url)


@pytest.mark.parametrize("early", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n", HI[:-2]])
async def test_a_server_that_speaks_early_and_does_not_refuse_is_sent_all(early: bytes):
    heard = 0

    async def speak_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(early)
        await writer.drain()
        await asyncio.sleep(0.05)
        heard = len(await reader.readexactly(int(head.partition(b"content-length: ")[2])))
        writer.write(HI.removeprefix(early))

    async with listening(speak_early) as url, pooled() as client:
        answer = await asked_at_length(client, url)

    assert (answer, heard) == (b"Hi", len(b"".join(LONG)))


def test_a_request_shows_nothing_of_what_it_holds():
    async def built() -> str:
        async with pooled() as client:
            options: Any = {"content": b"CANARY", "headers": {"authorization": "Bearer CANARY"}, "timeout": (5, None, None, 5)}
            return repr(client.build_request("POST", "http://host/v1", **options))

    assert "CANARY" not in asyncio.run(built())


async def test_what_came_before_a_connection_was_secured_is_no_answer(monkeypatch: pytest.MonkeyPatch):
    async def start_tls(_: object, transport: asyncio.Transport, protocol: asyncio.Protocol, *__: object, **___: object) -> object:
        # As uvloop's does when a server says something in the clear before it shakes hands.
        protocol.data_received(HI)
        return transport

    monkeypatch.setattr(asyncio.get_running_loop().__class__, "start_tls", start_tls)
    async with Server(HI).listening() as url, pooled() as client:
        with pytest.raises(httpx.ConnectError, match="before the connection was secured"):
            await sent(client, url.replace("http://", "https://"))


async def test_a_client_that_is_closed_sends_nothing_more():
    server = Server(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nHi", HI)
    async with server.listening() as url, pooled(most=1) as client:
        response = await sent(client, url)
        waiting = asyncio.create_task(sent(client, url))
        await asyncio.sleep(0)

        await client.aclose()

        with pytest.raises(RuntimeError, match="closed"):
            await waiting
        with pytest.raises(httpx.ReadError):
            await body_of(response)

    assert server.connections == 1


# Keeping connections.


@framings
async def test_a_connection_is_used_again(framing: Callable[[], Framing]):
    server = Server(HI)
    async with server.listening() as url, pooled(framing=framing) as client:
        answers = [await asked(client, url) for _ in range(3)]

    assert (answers, server.connections) == ([b"Hi"] * 3, 1)


@framings
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nHi",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nHi",
        HI + b"HTTP/1.1 200 OK\r\n",
        HI + b"\0",
    ],
)
async def test_a_connection_that_is_not_fit_for_it_is_not_used_again(framing: Callable[[], Framing], answer: bytes):
    server = Server(answer)
    async with server.listening() as url, pooled(framing=framing) as client:
        answers = [await asked(client, url) for _ in range(2)]

    assert (answers, server.connections) == ([b"Hi"] * 2, 2)


async def test_an_answer_that_nobody_reads_to_its_end_closes_its_connection():
    server = Server(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nHi", HI)
    async with server.listening() as url, pooled() as client:
        response = await sent(client, url)
        await response.aclose()
        await server.gone.acquire()

        assert await asked(client, url) == b"Hi"

    assert server.connections == 2


async def test_a_connection_that_nobody_needs_is_closed_after_a_while():
    server = Server(HI)
    async with server.listening() as url, pooled(idle_seconds=0.01) as client:
        await asked(client, url)

        await server.gone.acquire()

        assert await asked(client, url) == b"Hi"


def test_a_connection_that_the_server_has_closed_is_noticed_before_it_is_used():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"

        def answer_once() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(2**16)
                connection.sendall(HI)

        async def twice() -> list[bytes]:
            async with pooled() as client:
                answers: list[bytes] = []
                for _ in range(2):
                    answering = threading.Thread(target=answer_once)
                    answering.start()
                    answers.append(await asked(client, url))
                    # The event loop stands still meanwhile, so it has not heard that the server has hung up.
                    answering.join(5)
                return answers

        assert asyncio.run(twice()) == [b"Hi", b"Hi"]


async def test_what_a_server_says_unasked_is_no_answer():
    said, gone = asyncio.Event(), asyncio.Event()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(HI)
        await said.wait()
        writer.write(HI.replace(b"Hi", b"No"))
        await reader.read()
        gone.set()

    async with listening(converse) as url, pooled() as client:
        await asked(client, url)

        said.set()

        await gone.wait()


# Waiting for one.


async def test_requests_beyond_the_limit_wait_in_their_order():
    server = Server(*(HI.replace(b"Hi", b"%02d" % number) for number in range(20)))
    server.held.clear()
    async with server.listening() as url, pooled(most=1) as client:
        asking = [asyncio.create_task(asked(client, url)) for _ in range(10)]
        await server.asked.acquire()

        server.held.set()

        assert await asyncio.gather(*asking) == [b"%02d" % number for number in range(10)]
    assert server.connections == 1


async def test_whoever_waits_too_long_is_told_so_and_the_others_still_get_their_turn():
    server = Server(HI)
    server.held.clear()
    async with server.listening() as url, pooled(most=1) as client:
        first = asyncio.create_task(asked(client, url))
        await server.asked.acquire()
        cancelled, last = (asyncio.create_task(asked(client, url)) for _ in range(2))

        with pytest.raises(httpx.PoolTimeout):
            await asked(client, url, wait=0.01)
        cancelled.cancel()
        server.held.set()

        assert await asyncio.gather(first, last) == [b"Hi", b"Hi"]


async def test_whoever_is_cancelled_when_its_turn_comes_hands_it_on():
    connections = 0
    goes_on = asyncio.Event()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"{}")
        writer.write(HI[:-2])
        await goes_on.wait()
        writer.write(b"Hi")
        await reader.readuntil(b"{}")
        writer.write(HI)
        await reader.read()

    async with listening(converse) as url, pooled(most=1) as client:
        first = await sent(client, url)
        waiting = [asyncio.create_task(asked(client, url)) for _ in range(2)]
        await asyncio.sleep(0)
        goes_on.set()

        # With its end the connection is handed to the first of those who wait, who is cancelled before it hears of that.
        words = await anext(first.aiter_raw())
        waiting[0].cancel()

        assert (words, await waiting[1]) == (b"Hi", b"Hi")
        assert waiting[0].cancelled()
    assert connections == 1


async def test_an_idle_connection_makes_room_for_one_to_another_server():
    here, there = Server(HI), Server(HI)
    async with here.listening() as url, there.listening() as other, pooled(most=1) as client:
        answers = [await asked(client, each) for each in (url, other, url)]

    assert (answers, here.connections, there.connections) == ([b"Hi"] * 3, 2, 1)


async def test_a_connection_that_cannot_be_opened_leaves_room_for_another():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        refusing = f"http://127.0.0.1:{unused.getsockname()[1]}"
    async with Server(HI).listening() as url, pooled(most=1) as client:
        for _ in range(2):
            with pytest.raises(httpx.ConnectError):
                await asked(client, refusing)

        assert await asked(client, url) == b"Hi"


# Closing.


@pytest.mark.parametrize("point", ["head", "body"])
async def test_cancelling_closes_the_connection_and_frees_its_place(point: str):
    server = Server(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nHi", HI)
    async with server.listening() as url, pooled(most=1) as client:
        if point == "head":
            server.held.clear()
        asking = asyncio.create_task(asked(client, url) if point == "head" else body_of(await sent(client, url)))
        await server.asked.acquire()
        await asyncio.sleep(0)

        asking.cancel()
        await asyncio.wait([asking])
        server.held.set()
        await server.gone.acquire()

        assert asking.cancelled()
        assert (await sent(client, url)).status_code == 200


async def test_a_request_cancelled_at_any_turn_of_the_event_loop_leaks_nothing():
    server = Server(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nHi\r\n" + ENDED)
    async with server.listening() as url, pooled(most=1) as client:
        for turns in range(40):
            asking = asyncio.create_task(asked(client, url))
            for _ in range(turns):
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.wait([asking])

        # With a place lost, this would wait for ever.
        assert await asked(client, url) == b"Hi"


async def test_closing_the_client_closes_what_is_idle_and_what_is_not():
    server = Server(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nHi", HI)
    async with server.listening() as url:
        client = PooledClient()
        unread = await sent(client, url)
        await asked(client, url)

        await client.aclose()

        for _ in range(2):
            await asyncio.wait_for(server.gone.acquire(), 5)
        with pytest.raises(httpx.TransportError):
            await body_of(unread)
        with pytest.raises(RuntimeError, match="client has been closed"):
            await sent(client, url)


# Where it leads.


async def test_tls_is_spoken_with_whom_the_environment_trusts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    both = tmp_path / "both.pem"
    options = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=x -addext subjectAltName=IP:127.0.0.1 -days 1"
    command = f"openssl req -x509 {options} -keyout {both} -out {tmp_path}/x.pem"
    if shutil.which("openssl") is None:
        pytest.skip("no openssl, which makes the certificates")
    subprocess.run(shlex.split(command), check=True, capture_output=True, timeout=30)  # noqa: ASYNC221, S603  # a command of our own
    both.write_text(both.read_text() + (tmp_path / "x.pem").read_text())
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(both)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "x.pem"))
    server = Server(HI)

    async with server.listening(tls=tls) as url, pooled() as client:
        answers = [await asked(client, url) for _ in range(2)]

    assert (answers, server.connections) == ([b"Hi"] * 2, 1)


async def test_the_next_address_is_tried_where_one_refuses(monkeypatch: pytest.MonkeyPatch):
    server = Server(HI)
    async with server.listening() as url, pooled() as client:
        port = int(url.rpartition(":")[2].partition("/")[0])
        addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in ("127.0.0.9", "127.0.0.1")]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)

        assert await asked(client, f"http://two.example:{port}") == b"Hi"

        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses[:1] * 2)
        with pytest.raises(httpx.ConnectError, match=r"refused|failed"):
            await asked(client, f"http://none.example:{port}")


async def test_a_proxy_of_the_environment_is_asked_for_others_and_never_for_ones_own_machine(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")

    others, own = await client_for("http://api.example/v1"), await client_for("http://127.0.0.1:8000/v1")

    assert isinstance(others, httpx.AsyncClient)
    assert isinstance(own, PooledClient)


# Reading answers.

ANSWERS = [
    HI,
    b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a:2\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nHi\r\n10\r\n0123456789abcdef\r\n0\r\nx-b: 3\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n2\r\nHi\r\n0\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" * 3 + HI,
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 429 \r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\nto the end",
    b"HTTP/1.1 200 OK\ncontent-length: 2\n\nHi",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2  \r\nHi\r\n0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nHi",
    b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nHi",
    HI + b"more",
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nHi",
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nHello",
    b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\nHello",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nHello",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnothing\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffffffffff\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nHi\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nx-big: " + b"x" * 2**20,
    b"SSH-2.0-OpenSSH_9.6\r\n",
    b"",
]


def read_by(framing: Callable[[], Framing], pieces: list[bytes]) -> tuple[Any, ...] | str:
    reading = framing()
    reading.begin()
    body: list[bytes] = []
    try:
        for piece in (*pieces, b""):
            if not reading.ended:
                reading.feed(piece)
                body += reading.body
                reading.body = []
    except httpx.RemoteProtocolError:
        return "no HTTP"
    assert reading.head is not None
    return reading.head.status, reading.head.headers, b"".join(body), reading.ended, reading.reusable


@framings
@pytest.mark.parametrize("answer", ANSWERS, ids=range(len(ANSWERS)))
def test_an_answer_is_read_alike_however_it_is_cut_and_whoever_reads_it(framing: Callable[[], Framing], answer: bytes):
    judged = read_by(ByH11, [answer] if answer else [])

    pieces = [answer[start:end] for start, end in pairwise([*range(0, len(answer), max(1, len(answer) // 97)), len(answer)])]

    assert read_by(framing, [answer] if answer else []) == judged
    cut = read_by(framing, pieces)
    # What follows an answer may come later than its end; the connection notices it then.
    assert cut[:4] == judged[:4]
