"""A small HTTP/1.1 server on 127.0.0.1, in a thread of its own, that sends answers exactly as badly as they are scripted."""

from __future__ import annotations

import asyncio
import contextlib
import http
import os
import socket
import struct
import threading
from collections.abc import AsyncIterator

from agentloop.testing.answers import Answer, HeardRequest, with_last
from agentloop.testing.in_process import Answering

_MOST_BYTES = 64 * 2**20
_HEAD_BYTES = 64 * 2**10
_PATIENCE = 5.0


class Loopback:
    """Listens from when it is made until it is closed."""

    port: int

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._listening = threading.Event()
        self._failure: BaseException | None = None
        # A daemon, so that a gateway that nobody closes does not hold up the exit.
        self._thread = threading.Thread(target=self._run, name="agentloop-gateway", daemon=True)
        self._thread.start()
        if not self._listening.wait(_PATIENCE):
            raise TimeoutError(f"no port could be opened on 127.0.0.1 in {_PATIENCE:g} s; is the machine very busy?")
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Give up what is open, close the port and end the thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join(_PATIENCE)
        if self._thread.is_alive():
            raise TimeoutError(f"the gateway did not end in {_PATIENCE:g} s; does a turn of its script block? Let it be a coroutine.")
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - it belongs to the thread that waits for the port
            self._failure = error
            self._listening.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._closing = asyncio.Event()
        conversations: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

        def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            conversation = self._loop.create_task(_Conversation(self._answering, reader, writer).run())
            conversations[conversation] = writer
            conversation.add_done_callback(conversations.pop)

        server = await asyncio.start_server(converse, "127.0.0.1", 0, limit=_HEAD_BYTES)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await self._closing.wait()
        # A connection that was accepted just now becomes a conversation in the next turns of the loop, and asyncio loses it if the
        # server is closed before that.
        with contextlib.suppress(NotImplementedError):  # Windows accepts in another way
            self._loop.remove_reader(server.sockets[0])
        for _ in range(3):
            await asyncio.sleep(0)
        server.close()
        writers = [*conversations.values()]
        for conversation in conversations:
            conversation.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)
        for writer in writers:
            # A conversation that was cancelled before it began has closed nothing.
            writer.transport.abort()
        await server.wait_closed()


class _Conversation:
    """One connection: requests and their answers, one after the other."""

    def __init__(self, answering: Answering, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._answering = answering
        self._reader = reader
        self._writer = writer
        self._ahead = b""

    async def run(self) -> None:
        """Talk until one side has enough."""
        try:
            while (request := await self._request()) and await self._answered(request):
                pass
            self._writer.close()
            await self._writer.wait_closed()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # The client is gone in the middle of a request, or sends headers without end.
        finally:
            # Nothing happens to a connection that is closed already.
            self._writer.transport.abort()

    async def _request(self) -> HeardRequest | None:
        try:
            head = self._ahead + await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        self._ahead = b""
        try:
            first, *lines = head.decode("latin-1").split("\r\n")[:-2]
            method, target, _ = first.split(" ")
            headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
            content = await self._content({name.lower(): value.lower() for name, value in headers})
        except ValueError:
            self._writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            return None
        return HeardRequest.read(method, target, headers=headers, content=content)

    async def _content(self, headers: dict[str, str]) -> bytes:
        if headers.get("expect") == "100-continue":
            self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if headers.get("transfer-encoding") == "chunked":
            return b"".join([chunk async for chunk in self._chunks()])
        length = int(headers.get("content-length", 0))
        if length > _MOST_BYTES:
            raise ValueError(f"a request of {length} bytes is over the gateway's {_MOST_BYTES}; send less")
        return await self._reader.readexactly(length)

    async def _chunks(self) -> AsyncIterator[bytes]:
        while size := int((await self._reader.readline()).split(b";")[0], 16):
            yield await self._reader.readexactly(size)
            await self._reader.readline()
        while (await self._reader.readline()).strip():
            pass

    async def _answered(self, request: HeardRequest) -> bool:
        """Send the answer, and say whether the connection can go on; stop as soon as the client is gone."""
        sending = asyncio.create_task(self._send(request))
        # Whatever comes during an answer is the client's next request, or its end.
        watching = asyncio.create_task(self._reader.read(1))
        try:
            await asyncio.wait({sending, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done() and watching.result():
                await asyncio.wait({sending})
            return sending.done() and sending.result() and request.headers.get("connection") != "close"
        finally:
            watching.cancel()
            sending.cancel()
            ahead, _ = await asyncio.gather(watching, sending, return_exceptions=True)
            self._ahead = ahead if isinstance(ahead, bytes) else b""
            request.is_over("abandoned")

    async def _send(self, request: HeardRequest) -> bool:
        answer = await self._answering(request)
        await asyncio.sleep(answer.wait)
        if not answer.headless:
            self._writer.write(_head(answer))
            await self._send_body(answer, request)
        if answer.end == "silent":
            await asyncio.Event().wait()
        request.is_over("answered")
        if answer.end == "reset":
            self._reset()
        return answer.end == "whole"

    async def _send_body(self, answer: Answer, request: HeardRequest) -> None:
        chunked, whole = answer.length is None, answer.end == "whole"
        rest = b"0\r\n\r\n" if chunked and whole else b""
        for piece, is_last in with_last(answer.pieces):
            await asyncio.sleep(piece.wait)
            data = b"%x\r\n%b\r\n" % (len(piece.data), piece.data) if chunked and piece.data else piece.data
            # A client may leave as soon as it has read the last piece, so the end goes with it.
            self._writer.write(data + rest if is_last else data)
            if is_last and whole:
                rest = b""
                request.is_over("answered")
            await self._writer.drain()
        self._writer.write(rest)
        await self._writer.drain()

    def _reset(self) -> None:
        connection = self._writer.get_extra_info("socket")
        # Lingering for no time makes close() send RST, where it would send FIN.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("hh" if os.name == "nt" else "ii", 1, 0))
        self._writer.transport.abort()


def _head(answer: Answer) -> bytes:
    framing = "transfer-encoding: chunked" if answer.length is None else f"content-length: {answer.length}"
    phrase = http.HTTPStatus(answer.status).phrase if answer.status in _KNOWN else ""
    lines = [f"HTTP/1.1 {answer.status} {phrase}", *(f"{name}: {value}" for name, value in answer.headers.items()), framing]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


_KNOWN = frozenset(http.HTTPStatus)
