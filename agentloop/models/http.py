"""A model behind HTTP: sends the request, reads the answer, and turns every failure into one of our errors."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import pydantic
from pydantic_core import from_json

from agentloop.deltas import Assembly, Delta, ShownDelta
from agentloop.errors import (
    BadReply,
    ConfigurationError,
    EmptyReply,
    ModelConnectError,
    ModelError,
    ModelHTTPError,
    ModelTimeout,
    StreamBroken,
)
from agentloop.messages import Citation, Reply, Request, Thinking
from agentloop.models import Hear
from agentloop.models.clients import Client, library_of, shared_client
from agentloop.models.reading import Reading
from agentloop.models.retries import Retries, with_retries
from agentloop.wire import Outgoing, Wire
from agentloop.wire.error_bodies import error_from

_ERROR_BODY_BYTES = 64 * 2**10
_DRAIN_SECONDS = 0.2
_SECRET_LENGTH = 8
_REDIRECTS = range(300, 400)
_OK = range(200, 300)

Tell = Callable[[Delta], Awaitable[None]]
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long each attempt may take, in seconds."""

    connect: float = 5.0
    idle: float = 60.0
    """Without a real event in a stream; a server's comments do not count."""
    attempt: float = 600.0
    """From the first byte sent to the last byte read."""


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
        self._base_url = base_url.rstrip("/")
        self._key = key
        self._client = client
        self._timeouts = timeouts or Timeouts()
        self._retries = retries or Retries()
        self._headers = dict(headers or {})
        for header, value in self._headers.items():
            if not (value.isascii() and value.isprintable()):
                raise ConfigurationError(f"the value of the header {header!r} holds characters that no header can carry")

    @property
    def name(self) -> str:
        """What the model is called, for people."""
        return self._name

    def __repr__(self) -> str:
        return f"<HTTPModel {self._name} at {self._base_url}>"

    async def ask(self, request: Request, hear: Hear) -> Reply:
        """Answer the request, telling `hear` each delta on the way if `request.stream` is set."""
        key = self._key()
        outgoing = self._wire.encode(request, model=self._model)
        client = self._client or await shared_client()
        heard = False

        async def tell(delta: Delta) -> None:
            nonlocal heard
            heard = heard or isinstance(delta, ShownDelta)
            await hear(delta)

        async def attempt() -> Reply:
            try:
                return await self._attempt(client, outgoing, request, key=key, tell=tell)
            except ModelError as error:
                _mask(error, key)
                raise

        try:
            return await with_retries(attempt, self._retries, may_repeat=lambda: not heard, say=hear)
        except ModelError as error:
            attempts = f" (after {error.attempts} attempts)" if error.attempts > 1 else ""
            error.args = (f"{self._name}: {error}{attempts}",)
            raise

    async def _attempt(
        self,
        client: Client,
        outgoing: Outgoing,
        request: Request,
        *,
        key: pydantic.SecretStr | None,
        tell: Tell,
    ) -> Reply:
        assembly = Assembly(request.step)
        patience = _Patience(self._timeouts)
        try:
            response = await patience.wait(self._send(client, outgoing, key))
            try:
                if response.status_code not in _OK:
                    raise await patience.wait(_refusal(response, key))
                await self._receive(response, assembly, patience, tell=tell if request.stream else None)
            finally:
                await response.aclose()
            reply = assembly.reply()
        except Exception as error:
            failure = self._failure(error, library_of(client), assembly)
            if failure is error:
                raise
            raise failure from error
        if reply.finish_reason == "stop" and all(isinstance(part, Thinking | Citation) for part in reply.parts):
            raise EmptyReply("the reply says nothing and calls nothing; ask again", partial=reply)
        return reply

    async def _send(self, client: Client, outgoing: Outgoing, key: pydantic.SecretStr | None) -> Any:
        headers = {
            "content-type": "application/json",
            # What is not compressed cannot grow beyond what was counted.
            "accept-encoding": "identity",
            **self._wire.headers(key.get_secret_value() if key else None),
            **self._headers,
        }
        url = f"{self._base_url}/{outgoing.path}"
        # Reading is bounded by our own deadlines; httpx would bound each single read.
        timeout = (self._timeouts.connect, None, None, self._timeouts.attempt)
        request = client.build_request("POST", url, content=outgoing.body, headers=headers, timeout=timeout)
        return await client.send(request, stream=True, follow_redirects=False)

    async def _receive(self, response: Any, assembly: Assembly, patience: _Patience, *, tell: Tell | None) -> None:
        encoding = response.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise BadReply(f"the reply is compressed with {encoding!r}, which was not asked for; check the proxies on the way")
        reading = Reading(self._wire.decoder(), content_type=response.headers.get("content-type", "").lower())
        chunks = aiter(response.aiter_bytes())
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
        await _drain(chunks)

    def _failure(self, error: Exception, library: Any, assembly: Assembly) -> Exception:
        """Say in our own errors what went wrong; what is no failure of the model's stays as it is."""
        match error:
            case ModelError():
                failure: Exception = error
            case _:
                failure = self._translated(error, library, begun=bool(assembly.partial().parts))
        if isinstance(failure, ModelError):
            failure.partial = failure.partial or assembly.partial()
        return failure

    def _translated(self, error: Exception, library: Any, *, begun: bool) -> Exception:
        where = self._base_url.partition("//")[2].partition("/")[0]
        match error:
            case library.InvalidURL() | library.UnsupportedProtocol():
                return ConfigurationError(f"{self._base_url!r} is no base URL ({error}); give one like 'https://host/v1'")
            case library.ConnectTimeout():
                return ModelConnectError(f"no connection to {where} in {self._timeouts.connect:g} s")
            case library.PoolTimeout():
                return ModelTimeout(f"no free connection to {where} in {self._timeouts.attempt:g} s; allow the client more")
            case library.ConnectError():
                failure = ModelConnectError(f"cannot connect to {where}: {error}; check the base URL and the network")
                failure.retryable = "certificate" not in str(error).lower()
                return failure
            case library.TransportError():
                words = (
                    f"the connection to {where} broke{' in the middle of the reply' if begun else ''}: {str(error) or type(error).__name__}"
                )
                # Most often it is a kept connection that the server has closed: nothing is wrong, and a new one will do.
                return StreamBroken(words) if begun else ModelConnectError(words, at_once=True)
            case RuntimeError() if "closed" in str(error):
                return ConfigurationError("the client is closed, or belongs to another event loop; give each loop its own, or none")
            case _:
                return error


def _mask(error: ModelError, key: pydantic.SecretStr | None) -> None:
    """Mask a key that the server echoes."""
    error.args = (_masked(str(error), key),)
    if isinstance(error, ModelHTTPError):
        error.body = _masked(error.body, key)


class _Patience:
    """Counts the time for which the server is waited for; what whoever hears the deltas takes does not count."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._whole = timeouts.attempt
        self._idle = math.inf
        self._loop = asyncio.get_running_loop()

    def renew(self) -> None:
        """Begin to count anew how long no event comes."""
        self._idle = self._timeouts.idle

    async def wait(self, answer: Awaitable[Answer]) -> Answer:
        """Wait for the server.

        Raises:
            ModelTimeout: It took longer than an attempt may, or sent no event for too long.
        """
        since = self._loop.time()
        try:
            async with asyncio.timeout(min(self._whole, self._idle)):
                return await answer
        except TimeoutError as error:
            if self._idle < self._whole:
                raise ModelTimeout(f"the server sent no event for {self._timeouts.idle:g} s") from error
            raise ModelTimeout(f"no whole answer in {self._timeouts.attempt:g} s") from error
        finally:
            waited = self._loop.time() - since
            self._whole -= waited
            self._idle -= waited


async def _refusal(response: Any, key: pydantic.SecretStr | None) -> ModelError:
    """Read what a server says that does not answer."""
    if response.status_code in _REDIRECTS:
        host = str(response.headers.get("location", "")).partition("//")[2].partition("/")[0] or "another address"
        redirect = BadReply(f"the server redirects to {host}, which no conversation follows; set the base URL to where it leads")
        redirect.retryable = False
        return redirect
    body = b""
    # The status is the answer; a body that breaks takes nothing from it.
    with contextlib.suppress(Exception):
        async for chunk in response.aiter_bytes() if response.headers.get("content-encoding") is None else response.aiter_raw():
            body += chunk
            if len(body) > _ERROR_BODY_BYTES:
                break
    text = _masked(body[:_ERROR_BODY_BYTES].decode("utf-8", "replace"), key)
    try:
        said = from_json(text)
    except ValueError:
        said = None
    headers = {name.lower(): value for name, value in response.headers.items()}
    return error_from(said, status=response.status_code, headers=headers, text=text)


async def _take(deltas: Iterable[Delta], assembly: Assembly, tell: Tell | None) -> bool:
    """Take the deltas in, and say whether there were any."""
    came = False
    for delta in deltas:
        came = True
        assembly.add(delta)
        if tell:
            await tell(delta)
    return came


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    """Read what is left, so that the connection can be used again; the reply is whole, so nothing that happens here matters."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for _ in chunks:
                pass


def _masked(text: str, key: pydantic.SecretStr | None) -> str:
    # Servers on one's own machine take keys like "none", which are words and no secrets.
    if key is None or len(key.get_secret_value()) < _SECRET_LENGTH:
        return text
    return text.replace(key.get_secret_value(), "***")
