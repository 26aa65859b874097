"""Asks models for real, and writes down what was said."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import cast

import httpx

from agentloop.models.clients import client_instead, shared_client
from agentloop.testing.cassette_file import Exchange, RecordedRequest, RecordedResponse, as_value, save
from agentloop.testing.cassette_masks import Redact, masked, masked_chunks, masked_url, secrets_of

_KEPT_HEADERS = frozenset(
    {
        *("content-type", "content-encoding", "location"),
        *("retry-after", "retry-after-ms", "x-should-retry"),
        *("x-request-id", "request-id", "apim-request-id", "x-ds-trace-id"),
    }
)


class Recording:
    """Asks for real, and writes down what was said."""

    def __init__(self, path: Path, *, redact: Redact) -> None:
        # The block may change the directory.
        self._path = path.absolute()
        self._redact = redact
        self._takes: list[_Take] = []

    async def answer(self, request: httpx.Request, real: httpx.AsyncClient | None) -> httpx.Response:
        """Ask `real`, or the shared client, and listen in."""
        # What is compressed can be neither read nor masked in the file.
        request.headers["accept-encoding"] = "identity"
        take = _Take(request)
        self._takes.append(take)
        try:
            response = await (real or await _shared()).send(request, stream=True, follow_redirects=False)
        except httpx.TransportError as error:
            take.broke(error)
            raise
        take.status, take.headers = response.status_code, response.headers
        return httpx.Response(
            response.status_code, headers=response.headers, stream=_Overheard(response, take), extensions=response.extensions
        )

    def end(self, *, failed: bool) -> None:
        """Write the file; what was recorded before a failure is kept, too."""
        del failed
        save(self._path, [take.exchange(self._redact) for take in self._takes])


async def _shared() -> httpx.AsyncClient:
    # The one that stands instead is this cassette's own.
    with client_instead(None):
        return cast("httpx.AsyncClient", await shared_client())


class _Take:
    """An exchange that is being recorded."""

    def __init__(self, request: httpx.Request) -> None:
        self._request = request
        self.status: int | None = None
        self.headers: Mapping[str, str] = {}
        self.chunks: list[bytes] = []
        self.end = "left"
        self._reason = ""

    def broke(self, error: httpx.TransportError) -> None:
        """Say that the connection broke."""
        self.end, self._reason = type(error).__name__, str(error)

    def exchange(self, redact: Redact) -> Exchange:
        """Give what was said so far, without its secrets."""
        # A client's own auth has shown the key by now.
        secrets = secrets_of(self._request)
        headers = {name: masked(value, secrets) for name, value in self.headers.items() if name.lower() in _KEPT_HEADERS}
        response = RecordedResponse(
            status=self.status,
            headers=headers | _in_seconds(headers, self.headers.get("date", "")),
            chunks=tuple(masked_chunks(self.chunks, secrets, redact=redact)),
            end=self.end,
            reason=masked(self._reason, secrets),
        )
        return Exchange(recorded(self._request, redact), response)


def recorded(request: httpx.Request, redact: Redact) -> RecordedRequest:
    """Write a request down as a cassette keeps it."""
    secrets = secrets_of(request)
    body = redact(masked(request.content.decode("utf-8", "backslashreplace"), secrets))
    return RecordedRequest(request.method, masked_url(request.url, secrets), as_value(body))


def _in_seconds(headers: Mapping[str, str], now: str) -> dict[str, str]:
    """Turn the date until which a server asked to wait into seconds, which mean the same on any day."""
    try:
        until = parsedate_to_datetime(headers["retry-after"])
        return {"retry-after": f"{max(0.0, (until - parsedate_to_datetime(now)).total_seconds()):g}"}
    except (KeyError, TypeError, ValueError):
        return {}


class _Overheard(httpx.AsyncByteStream):
    """The body of a real response, written down on its way."""

    def __init__(self, response: httpx.Response, take: _Take) -> None:
        self._response = response
        self._take = take
        self._chunks = self._heard()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks

    async def aclose(self) -> None:
        await self._chunks.aclose()
        await self._response.aclose()

    async def _heard(self) -> AsyncGenerator[bytes]:
        try:
            async with aclosing(cast("AsyncGenerator[bytes]", self._response.aiter_raw())) as chunks:
                async for chunk in chunks:
                    self._take.chunks.append(chunk)
                    yield chunk
        except httpx.TransportError as error:
            self._take.broke(error)
            raise
        self._take.end = "whole"
