"""A provider's server: how it is reached, how long it is waited for, and our own error for each way in which that fails."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import pydantic
from pydantic_core import from_json

from agentloop.errors import BadReply, ConfigurationError, ModelConnectError, ModelError, ModelHTTPError, ModelTimeout, StreamBroken
from agentloop.models.clients import Client, library_of, shared_client
from agentloop.wire import Outgoing
from agentloop.wire.error_bodies import error_from

_ERROR_BODY_BYTES = 64 * 2**10
_SECRET_LENGTH = 8
_REDIRECTS = range(300, 400)
_OK = range(200, 300)

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long each attempt may take, in seconds."""

    connect: float = 5.0
    idle: float = 60.0
    """Without a real event in a stream; a server's comments do not count."""
    attempt: float = 600.0
    """From the first byte sent to the last byte read."""


class Server:
    """Where requests go."""

    def __init__(
        self,
        base_url: str,
        *,
        key: Callable[[], pydantic.SecretStr | None],
        shown: Callable[[str | None], Mapping[str, str]],
        client: Client | None = None,
        timeouts: Timeouts | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Describe the server; nothing is sent yet.

        Args:
            base_url: Where; paths are appended to it.
            key: Finds the key, at the time of each request.
            shown: The headers by which it is shown the key.
            client: An `httpx.AsyncClient` or `httpx2.AsyncClient`; the event loop's shared one by default.
            timeouts: How long each attempt may take.
            headers: Further headers of each request.
        """
        self.base_url = base_url.rstrip("/")
        self._key = key
        self._shown = shown
        self._client = client
        self._timeouts = timeouts or Timeouts()
        self._headers = dict(headers or {})
        for header, value in self._headers.items():
            if not (value.isascii() and value.isprintable()):
                raise ConfigurationError(f"the value of the header {header!r} holds characters that no header can carry")

    async def exchange(
        self, outgoing: Outgoing, read: Callable[[Any, Patience], Awaitable[Answer]], *, begun: Callable[[], bool] = bool
    ) -> Answer:
        """Send a request once, and read what comes back.

        Args:
            outgoing: What is sent.
            read: Reads the body of an answer that is well; whatever it waits for, it waits for with the patience it is given.
            begun: Whether any of the reply had come, asked when a connection broke.

        Raises:
            ModelError: There is no answer, it says no, or it breaks off.
        """
        key = self._key()
        client = self._client or await shared_client()
        patience = Patience(self._timeouts)
        try:
            response = await patience.wait(self._send(client, outgoing, key))
            try:
                if response.status_code not in _OK:
                    raise await patience.wait(_refusal(response, key))
                return await read(response, patience)
            finally:
                await response.aclose()
        except Exception as error:
            failure = self._translated(error, library_of(client), begun=begun)
            if isinstance(failure, ModelError):
                _mask(failure, key)
            if failure is error:
                raise
            raise failure from error

    async def _send(self, client: Client, outgoing: Outgoing, key: pydantic.SecretStr | None) -> Any:
        headers = {
            "content-type": "application/json",
            # What is not compressed cannot grow beyond what was counted.
            "accept-encoding": "identity",
            **self._shown(key.get_secret_value() if key else None),
            **outgoing.headers,
            **self._headers,
        }
        url = f"{self.base_url}/{outgoing.path}"
        # Reading is bounded by our own deadlines; httpx would bound each single read.
        timeout = (self._timeouts.connect, None, None, self._timeouts.attempt)
        request = client.build_request(outgoing.method, url, content=outgoing.body, headers=headers, timeout=timeout)
        return await client.send(request, stream=True, follow_redirects=False)

    def _translated(self, error: Exception, library: Any, *, begun: Callable[[], bool]) -> Exception:
        where = self.base_url.partition("//")[2].partition("/")[0]
        match error:
            case library.InvalidURL() | library.UnsupportedProtocol():
                return ConfigurationError(f"{self.base_url!r} is no base URL ({error}); give one like 'https://host/v1'")
            case library.ConnectTimeout():
                return ModelConnectError(f"no connection to {where} in {self._timeouts.connect:g} s")
            case library.PoolTimeout():
                return ModelTimeout(f"no free connection to {where} in {self._timeouts.attempt:g} s; allow the client more")
            case library.ConnectError():
                failure = ModelConnectError(f"cannot connect to {where}: {error}; check the base URL and the network")
                failure.retryable = "certificate" not in str(error).lower()
                return failure
            case library.TransportError():
                why = str(error) or type(error).__name__
                if begun():
                    return StreamBroken(f"the connection to {where} broke in the middle of the reply: {why}")
                # Most often it is a kept connection that the server has closed: nothing is wrong, and a new one will do.
                return ModelConnectError(f"the connection to {where} broke: {why}", at_once=True)
            case RuntimeError() if "closed" in str(error):
                return ConfigurationError("the client is closed, or belongs to another event loop; give each loop its own, or none")
            case _:
                return error


class Patience:
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


def _mask(error: ModelError, key: pydantic.SecretStr | None) -> None:
    """Mask a key that the server echoes."""
    error.args = (_masked(str(error), key),)
    if isinstance(error, ModelHTTPError):
        error.body = _masked(error.body, key)


def _masked(text: str, key: pydantic.SecretStr | None) -> str:
    # Servers on one's own machine take keys like "none", which are words and no secrets.
    if key is None or len(key.get_secret_value()) < _SECRET_LENGTH:
        return text
    return text.replace(key.get_secret_value(), "***")
