"""Answers from what was recorded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from threading import Lock
from typing import Any

import httpx

from agentloop.testing.cassette_differences import Difference, are_equal, first_difference
from agentloop.testing.cassette_file import RECORD_AGAIN, RecordedRequest, RecordedResponse, load
from agentloop.testing.cassette_masks import Redact
from agentloop.testing.cassette_recording import recorded

# The second stands above what the body may say.
_AT_ONCE = {"retry-after": "0", "retry-after-ms": "0"}
_REFUSED = 400
_LEAVING_SECONDS = 1.0


class CassetteDiverged(AssertionError):
    """What is asked is not what was recorded. It reaches whoever started the run as it is, and nothing is asked again."""

    def __init__(self, message: str, *, exchange: int | None = None, path: str = "") -> None:
        super().__init__(message)
        self.exchange = exchange
        """The number of the nearest exchange nobody had asked for, counted from 1; None where there was none left."""
        self.path = path
        """The first place that differs, as in "messages[2].content"."""


class Replay:
    """Answers from what was recorded."""

    def __init__(self, path: Path, *, redact: Redact, strict: bool) -> None:
        self._path = path
        self._redact = redact
        self._strict = strict
        exchanges = load(path)
        self._total = len(exchanges)
        self._left = dict(enumerate(exchanges, start=1))
        self._diverged: CassetteDiverged | None = None
        # Runs in several threads may ask at once.
        self._lock = Lock()

    async def answer(self, request: httpx.Request, real: httpx.AsyncClient | None) -> httpx.Response:
        """Give the first response left that was recorded for the same request.

        Raises:
            CassetteDiverged: There is none.
            httpx.TransportError: The recorded connection broke.
        """
        del real
        asked = recorded(request, self._redact)
        with self._lock:
            response, asked_again = self._taken(asked)
        # A real request lets others run, too.
        await asyncio.sleep(0)
        if response.status is None:
            raise await _broken(response, request, asked_again=asked_again)
        headers = {**response.headers, **_AT_ONCE} if asked_again and response.status >= _REFUSED else response.headers
        return httpx.Response(response.status, headers=headers, stream=_Played(response, request, asked_again=asked_again))

    def _taken(self, asked: RecordedRequest) -> tuple[RecordedResponse, bool]:
        """Take the response to play, and say whether the same request was recorded once more."""
        equal = [number for number, exchange in self._left.items() if are_equal(exchange.request, asked)]
        if not equal:
            divergence = self._divergence(asked)
            self._diverged = self._diverged or divergence
            raise divergence
        return self._left.pop(equal[0]).response, len(equal) > 1

    def _divergence(self, asked: RecordedRequest) -> CassetteDiverged:
        nearest = self._nearest(asked)
        replay = f"the replay of {str(self._path)!r} diverges"
        if nearest is None:
            words = f"{replay}: all {self._total} exchanges are played, and {asked.method} {asked.url} is asked once more"
            return CassetteDiverged(f"{words}; {RECORD_AGAIN}")
        number, difference = nearest
        words = f"{replay} from exchange {number} at {difference.path}: recorded {difference.recorded}, asked {difference.asked}"
        return CassetteDiverged(f"{words}; {RECORD_AGAIN}", exchange=number, path=difference.path)

    def _nearest(self, asked: RecordedRequest) -> tuple[int, Difference] | None:
        differences = ((number, first_difference(exchange.request, asked)) for number, exchange in self._left.items())
        candidates = [(number, difference) for number, difference in differences if difference is not None]
        return max(candidates, key=lambda candidate: candidate[1].equal_before, default=None)

    def end(self, *, failed: bool) -> None:
        """Raise what nobody has noticed yet, unless the block has failed anyway.

        Raises:
            CassetteDiverged: A divergence was swallowed, or there is an exchange left.
        """
        if failed:
            return
        if self._diverged is not None:
            # A tool or a test has swallowed it.
            raise self._diverged
        if self._strict and self._left:
            number, exchange = next(iter(self._left.items()))
            count = f"{len(self._left)} of the {self._total} exchanges of {str(self._path)!r}"
            first = f"exchange {number}, {exchange.request.method} {exchange.request.url}"
            raise CassetteDiverged(f"nobody asked for {count}, first {first}; {RECORD_AGAIN}, or pass strict=False", exchange=number)


class _Played(httpx.AsyncByteStream):
    """The body of a recorded response."""

    def __init__(self, response: RecordedResponse, request: httpx.Request, *, asked_again: bool) -> None:
        self._chunks = self._sent(response, request, asked_again=asked_again)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks

    async def aclose(self) -> None:
        await self._chunks.aclose()

    async def _sent(self, response: RecordedResponse, request: httpx.Request, *, asked_again: bool) -> AsyncGenerator[bytes]:
        for chunk in response.chunks:
            await asyncio.sleep(0)
            yield chunk
        if response.end != "whole":
            raise await _broken(response, request, asked_again=asked_again)


class _GivenUp(httpx.ReadTimeout, TimeoutError):
    """What comes after the point at which a recorded request was given up; a model takes it for its own patience running out."""


async def _broken(response: RecordedResponse, request: httpx.Request, *, asked_again: bool) -> httpx.TransportError:
    if response.end == "left":
        if not asked_again:
            # Whoever left of their own accord has time to do so again; otherwise it was the model's patience that ended.
            await asyncio.sleep(_LEAVING_SECONDS)
        return _GivenUp("nothing more was recorded: the request was given up here", request=request)
    kind: Any = getattr(httpx, response.end, None)
    known = isinstance(kind, type) and issubclass(kind, httpx.TransportError)
    return (kind if known else httpx.ReadError)(response.reason, request=request)
