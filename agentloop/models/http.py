"""A model behind HTTP: sends the request, and reads the answer as it comes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import pydantic

from agentloop.deltas import Assembly, Delta, ShownDelta
from agentloop.errors import BadReply, EmptyReply, ModelError
from agentloop.messages import Citation, Opaque, Part, Reply, Request, Text, Thinking
from agentloop.models import Hear
from agentloop.models.clients import Client
from agentloop.models.decompression import plain
from agentloop.models.patience import Patience
from agentloop.models.reading import Reading
from agentloop.models.retries import Retries, with_retries
from agentloop.models.server import Server, Timeouts
from agentloop.wire import Outgoing, Wire

_DRAIN_SECONDS = 0.2
_MOST_PAUSES = 16

Tell = Callable[[Delta], Awaitable[None]]


class HTTPModel:
    """A model that is asked over HTTP."""

    def __init__(
        self,
        name: str,
        *,
        model: str,
        wire: Wire,
        base_url: str,
        key: Callable[[], pydantic.SecretStr | None],
        client: Client | None = None,
        timeouts: Timeouts | None = None,
        retries: Retries | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Describe the endpoint; nothing is sent yet.

        Args:
            name: What the model is called, for people.
            model: What the provider calls it.
            wire: The format it is asked in.
            base_url: Where; the wire's path is appended to it.
            key: Finds the key, at the time of the first request.
            client: An `httpx.AsyncClient` or `httpx2.AsyncClient`; the event loop's shared one by default.
            timeouts: How long each attempt may take.
            retries: How often and how patiently it is asked again.
            headers: Further headers of each request.
        """
        self._name = name
        self._model = model
        self._wire = wire
        self._retries = retries or Retries()
        self._server = Server(base_url, key=key, shown=wire.headers, client=client, timeouts=timeouts, headers=headers)

    @property
    def name(self) -> str:
        """What the model is called, for people."""
        return self._name

    def __repr__(self) -> str:
        return f"<HTTPModel {self._name} at {self._server.base_url}>"

    async def ask(self, request: Request, hear: Hear) -> Reply:
        """Answer the request, telling `hear` each delta on the way if `request.stream` is set."""
        reply = await self._reply(request, hear)
        for _ in range(_MOST_PAUSES):
            if reply.finish_reason != "pause":
                return reply
            # Anthropic pauses a reply in which its own tools have long been at work, and goes on when it hears it again.
            again = replace(request, messages=[*request.messages, reply.message])
            try:
                rest = await self._reply(again, hear, may_be_empty=bool(reply.text))
            except ModelError as error:
                error.partial = reply.followed_by(error.partial) if error.partial else reply
                raise
            reply = reply.followed_by(rest)
        raise BadReply(f"{self._name}: the reply paused more than {_MOST_PAUSES} times; ask for less at once", partial=reply)

    async def _reply(self, request: Request, hear: Hear, *, may_be_empty: bool = False) -> Reply:
        outgoing = self._wire.encode(request, model=self._model)
        if request.stream:
            # Whoever compresses on the way may hold events back until there are enough of them.
            outgoing = replace(outgoing, headers={"accept-encoding": "identity", **outgoing.headers})
        heard = False

        async def tell(delta: Delta) -> None:
            nonlocal heard
            heard = heard or isinstance(delta, ShownDelta)
            await hear(delta)

        async def attempt() -> Reply:
            reply = await self._attempt(outgoing, request.step, tell=tell if request.stream else None)
            if reply.finish_reason == "stop" and not may_be_empty and not any(map(_says, reply.parts)):
                raise EmptyReply("the reply says nothing and calls nothing; ask again", partial=reply)
            return reply

        try:
            budget = await self._server.retry_budget()
            return await with_retries(attempt, self._retries, may_repeat=lambda: not heard, say=hear, budget=budget)
        except ModelError as error:
            attempts = f" (after {error.attempts} attempts)" if error.attempts > 1 else ""
            error.args = (f"{self._name}: {error}{attempts}",)
            raise

    async def _attempt(self, outgoing: Outgoing, step: int, *, tell: Tell | None) -> Reply:
        assembly = Assembly(step)

        async def read(response: Any, patience: Patience) -> Reply:
            await self._receive(response, assembly, patience, tell=tell)
            return assembly.reply()

        try:
            return await self._server.exchange(outgoing, read, begun=lambda: bool(assembly.partial().parts))
        except ModelError as error:
            error.partial = error.partial or assembly.partial()
            raise

    async def _receive(self, response: Any, assembly: Assembly, patience: Patience, *, tell: Tell | None) -> None:
        reading = Reading(self._wire.decoder(), content_type=response.headers.get("content-type", "").lower())
        chunks = plain(response)
        try:
            # A whole reply is silent until it is there; only a stream can be idle.
            news = True
            while not reading.done:
                if news and tell:
                    patience.renew()
                chunk = await patience.wait(anext(chunks, None))
                if chunk is None:
                    break
                news = await _take(reading.feed(chunk), assembly, tell)
            await _take(reading.end(), assembly, tell)
            if reading.done:
                await _drain(chunks, patience)
        finally:
            await patience.close(chunks)


def _says(part: Part) -> bool:
    return bool(part.text) if isinstance(part, Text) else not isinstance(part, Thinking | Citation | Opaque)


async def _take(deltas: Iterable[Delta], assembly: Assembly, tell: Tell | None) -> bool:
    """Take the deltas in, and say whether there were any."""
    came = False
    for delta in deltas:
        came = True
        assembly.add(delta)
        if tell:
            await tell(delta)
    return came


async def _drain(chunks: AsyncIterator[bytes], patience: Patience) -> None:
    """Read what is left, so that the connection can be used again; the reply is whole, so nothing that happens here matters."""
    with contextlib.suppress(Exception):
        await patience.within(_DRAIN_SECONDS, _emptied(chunks))


async def _emptied(chunks: AsyncIterator[bytes]) -> None:
    async for _ in chunks:
        pass
