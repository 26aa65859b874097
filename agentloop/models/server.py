"""A provider's server: how it is reached, how long it is waited for, and our own error for each way in which that fails."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pydantic
from pydantic_core import from_json

from agentloop.errors import AgentLoopError, BadReply, ConfigurationError, ModelConnectError, ModelError, ModelTimeout, StreamBroken
from agentloop.models.clients import Client, client_for, is_ours, library_of
from agentloop.models.decompression import ACCEPTED, plain
from agentloop.models.masking import MaskedHeaders, Secrets
from agentloop.models.patience import Patience
from agentloop.models.retry_budget import RetryBudget, budget_of
from agentloop.wire import Outgoing
from agentloop.wire.error_bodies import error_from

_ERROR_BODY_BYTES = 64 * 2**10
_REDIRECTS = range(300, 400)
_OK = range(200, 300)
# How httpx and asyncio say that a client was closed, or has connections that belong to another event loop; they have no class for it.
_OF_ANOTHER_LOOP = ("client has been closed", "Event loop is closed", "different event loop", "different loop")
# How h11 and httpcore say that the server hung up; whatever else they say of the protocol is that the server breaks it.
_HUNG_UP = ("disconnected", "closed")
# The wait for a connection must end before the attempt does, to be named.
_SHARE_OF_WAITING = 0.9

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
        if "?" in base_url or "@" in base_url.partition("//")[2].partition("/")[0]:
            # Logs of httpx print whole addresses.
            raise ConfigurationError(f"the base URL of {_host(base_url)} holds a password or a query; give keys as key= or in headers=")
        self._key = key
        self._shown = shown
        self._client = client
        self._timeouts = timeouts or Timeouts()
        self._where = _host(self.base_url)
        self._headers = MaskedHeaders(headers or {})
        for header, value in self._headers.items():
            if not (value.isascii() and value.isprintable()):
                raise ConfigurationError(f"the value of the header {header!r} holds characters that no header can carry")

    async def retry_budget(self) -> RetryBudget:
        """Give what may still be spent on retries here."""
        return budget_of(self._client or await client_for(self.base_url), self._where)

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
        headers = self._shown_to_server(outgoing)
        client = self._client or await client_for(self.base_url)
        patience = Patience(attempt=self._timeouts.attempt, idle=self._timeouts.idle, closes_at_once=is_ours(client))
        opened: list[Any] = []
        try:
            try:
                response = await patience.wait(self._send(client, outgoing, headers, opened=opened))
                if response.status_code not in _OK:
                    raise await patience.wait(_refusal(response, Secrets(headers, outgoing.body)))
                return await read(response, patience)
            finally:
                for each in opened:
                    await patience.close(each)
        except Exception as error:
            failure = self._translated(error, library_of(client), begun=begun)
            if not isinstance(failure, AgentLoopError):
                # Whoever heard the reply raised it.
                raise
            Secrets(headers, outgoing.body).mask(failure, error)
            if failure is error:
                raise
            raise failure from error

    def _shown_to_server(self, outgoing: Outgoing) -> MaskedHeaders:
        key = self._key()
        return MaskedHeaders(
            {
                "content-type": "application/json",
                "accept-encoding": ACCEPTED,
                **self._shown(key.get_secret_value() if key else None),
                **outgoing.headers,
                **self._headers,
            }
        )

    async def _send(self, client: Client, outgoing: Outgoing, headers: MaskedHeaders, *, opened: list[Any]) -> Any:
        url = f"{self.base_url}/{outgoing.path}"
        # Reading is bounded by our own deadlines; httpx would bound each single read.
        timeout = (self._timeouts.connect, None, None, _SHARE_OF_WAITING * self._timeouts.attempt)
        request = client.build_request(
            outgoing.method, url, content=outgoing.content if is_ours(client) else outgoing.body, headers=headers, timeout=timeout
        )
        response = await client.send(request, stream=True, follow_redirects=False)
        # Whoever waits for it may be cancelled in this very moment, and would never see it.
        opened.append(response)
        return response

    def _translated(self, error: Exception, library: Any, *, begun: Callable[[], bool]) -> Exception:
        where = self._where
        match error:
            case library.InvalidURL() | library.UnsupportedProtocol():
                return ConfigurationError(f"{self.base_url!r} is no base URL ({error}); give one like 'https://host/v1'")
            case library.ConnectTimeout():
                return ModelConnectError(f"no connection to {where} in {self._timeouts.connect:g} s")
            case library.PoolTimeout():
                seconds = _SHARE_OF_WAITING * self._timeouts.attempt
                return ModelTimeout(f"no free connection to {where} in {seconds:g} s; allow the client's pool more")
            case library.ConnectError():
                failure = ModelConnectError(f"cannot connect to {where}: {error}; check the base URL and the network")
                failure.retryable = "certificate" not in str(error).lower()
                return failure
            case library.RemoteProtocolError() if not any(word in str(error) for word in _HUNG_UP):
                return BadReply(f"what {where} sends is no HTTP: {error}; check the base URL and the proxies on the way")
            case library.TransportError():
                why = str(error) or type(error).__name__
                if begun():
                    return StreamBroken(f"the connection to {where} broke in the middle of the reply: {why}")
                # Most often it is a kept connection that the server has closed: nothing is wrong, and a new one will do.
                return ModelConnectError(f"the connection to {where} broke: {why}", at_once=True)
            case RuntimeError() if any(words in str(error) for words in _OF_ANOTHER_LOOP):
                return ConfigurationError("the client is closed, or belongs to another event loop; give each loop its own, or none")
            case _:
                return error


async def _refusal(response: Any, secrets: Secrets) -> ModelError:
    """Read what a server says that does not answer."""
    if response.status_code in _REDIRECTS:
        host = _host(str(response.headers.get("location", ""))) or "another address"
        redirect = BadReply(f"the server redirects to {host}, which no conversation follows; set the base URL to where it leads")
        redirect.retryable = False
        return redirect
    body = b""
    # The status is the answer; a body that breaks takes nothing from it.
    with contextlib.suppress(Exception):
        async with contextlib.aclosing(plain(response)) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > _ERROR_BODY_BYTES:
                    break
    text = secrets.masked(body[:_ERROR_BODY_BYTES].decode("utf-8", "replace"))
    try:
        said = from_json(text)
    except ValueError:
        said = None
    headers = {name.lower(): value for name, value in response.headers.items()}
    return error_from(said, status=response.status_code, headers=headers, text=text)


def _host(url: str) -> str:
    """Name the host of an address and its port, without a password that may stand before them."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        return ""
