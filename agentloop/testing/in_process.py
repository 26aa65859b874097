"""Reaches a scripted gateway from an HTTP client without a socket, with the errors and time-outs that a socket would bring."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from types import ModuleType
from typing import Any

import httpx

from agentloop.testing.answers import Answer, HeardRequest, with_last

_FOR_EVER = 365 * 86_400.0

Answering = Callable[[HeardRequest], Awaitable[Answer]]


class InProcess(httpx.AsyncBaseTransport):
    """A transport for the clients of `library`; httpx2 asks for the same methods."""

    def __init__(self, answering: Answering, library: ModuleType) -> None:
        self._answering = answering
        self._library: Any = library
        # Either library insists that a response's stream is of its own class.
        self._stream: Any = type("ScriptedStream", (_Playing, self._library.AsyncByteStream), {})

    async def answer(self, request: Any) -> Any:
        """Answer the request as the gateway's port would."""
        target = request.url.raw_path.decode("ascii")
        heard = HeardRequest.read(request.method, target, headers=request.headers.items(), content=await request.aread())
        patience = _Patience(self._library, request)
        try:
            answer = await self._answering(heard)
            await patience.wait(answer.wait)
            if answer.headless:
                await patience.end(answer, heard)
        except BaseException:
            heard.is_over("abandoned")
            raise
        headers = dict(answer.headers)
        headers |= {"transfer-encoding": "chunked"} if answer.length is None else {"content-length": str(answer.length)}
        stream = self._stream()
        stream.play(answer, heard, patience=patience)
        return self._library.Response(answer.status, headers=headers, stream=stream, request=request)

    handle_async_request = answer  # The name is httpx's.


class _Patience:
    """How long the client waits, and what it then raises."""

    def __init__(self, library: Any, request: Any) -> None:
        self._library = library
        self._request = request
        self._seconds: float = request.extensions.get("timeout", {}).get("read") or _FOR_EVER

    async def wait(self, seconds: float) -> None:
        """Wait for the server, at most as long as the client would."""
        await asyncio.sleep(min(seconds, self._seconds))
        if seconds > self._seconds:
            raise self._library.ReadTimeout(f"no byte in {self._seconds:g} s", request=self._request)

    async def end(self, answer: Answer, heard: HeardRequest) -> None:
        """End the answer the way it says."""
        if answer.end == "silent":
            await self.wait(_FOR_EVER)
        heard.is_over("answered")
        if answer.end == "closed":
            raise self._library.RemoteProtocolError("the server closed the connection in the middle of its answer", request=self._request)
        if answer.end == "reset":
            raise self._library.ReadError("the server reset the connection", request=self._request)


class _Playing:
    """The body of an answer on its way."""

    def play(self, answer: Answer, heard: HeardRequest, *, patience: _Patience) -> None:
        """Say what is to be sent."""
        self._heard = heard
        self._pieces = self._sent(answer, patience)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces

    async def aclose(self) -> None:
        """The client needs no more."""
        await self._pieces.aclose()
        self._heard.is_over("abandoned")

    async def _sent(self, answer: Answer, patience: _Patience) -> AsyncGenerator[bytes]:
        for piece, is_last in with_last(answer.pieces):
            await patience.wait(piece.wait)
            if is_last and answer.end == "whole":
                self._heard.is_over("answered")
            yield piece.data
        await patience.end(answer, self._heard)
