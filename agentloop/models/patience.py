"""Waits for a server, for so long and no longer, and never leaves a connection half closed."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable
from typing import Any, Protocol, TypeVar

from agentloop.errors import ModelTimeout

_CLOSING_SECONDS = 1.0

Answer = TypeVar("Answer")


class Within(Protocol):
    """Waits so long for something."""

    async def __call__(self, seconds: float, answer: Awaitable[Answer]) -> Answer:
        """Wait for it, or raise `TimeoutError`."""
        ...


class Patience:
    """Counts the time for which the server is waited for; what whoever hears the deltas takes does not count."""

    def __init__(self, *, attempt: float, idle: float, closes_at_once: bool = False) -> None:
        """Begin to count.

        Args:
            attempt: The seconds that it may all take.
            idle: The seconds that each event may take.
            closes_at_once: Whether what is waited for never waits itself when it is cancelled, and so cannot be disturbed in that.
        """
        self.within: Within = within_at_once if closes_at_once else within
        """Waits so long for something, whatever the counts are."""
        self._finished = at_once if closes_at_once else finished
        self._attempt = self._left = attempt
        self._most_idle = idle
        self._idle = math.inf
        self._loop = asyncio.get_running_loop()

    def renew(self) -> None:
        """Begin to count anew how long no event comes."""
        self._idle = self._most_idle

    async def wait(self, answer: Awaitable[Answer]) -> Answer:
        """Wait for the server.

        Raises:
            ModelTimeout: It took longer than an attempt may, or sent no event for too long.
        """
        since = self._loop.time()
        try:
            return await self.within(min(self._left, self._idle), answer)
        except TimeoutError as error:
            if self._idle < self._left:
                raise ModelTimeout(f"the server sent no event for {self._most_idle:g} s") from error
            raise ModelTimeout(f"no whole answer in {self._attempt:g} s") from error
        finally:
            waited = self._loop.time() - since
            self._left -= waited
            self._idle -= waited

    async def close(self, opened: Any) -> None:
        """Close an answer or the pieces of one, also when cancelled in the middle of it."""
        await self._finished(opened.aclose())


async def within_at_once(seconds: float, answer: Awaitable[Answer]) -> Answer:
    """Wait so long for something that closes at once; a task costs 21 us more, which `within` pays for strangers' clients.

    Raises:
        TimeoutError: It took longer.
    """
    async with asyncio.timeout(seconds):
        return await answer


async def at_once(closing: Awaitable[Any]) -> None:
    """Do something that never waits."""
    await closing


async def within(seconds: float, answer: Awaitable[Answer]) -> Answer:
    """Wait so long for something; what is given up is cancelled once, and has then time to close what it holds.

    Raises:
        TimeoutError: It took longer.
    """
    loop = asyncio.get_running_loop()
    # In a task of its own: whoever cancels us twice would break into httpcore while it closes the connection, which then stays open.
    task = asyncio.ensure_future(answer)
    # What asyncio.wait does costs three times as much, and is done for every piece of a stream.
    over: asyncio.Future[None] = loop.create_future()
    task.add_done_callback(lambda _: _set(over))
    timer = loop.call_later(max(0.0, seconds), _set, over)
    try:
        await over
        is_late = not task.done()
    finally:
        timer.cancel()
        if not task.done():
            task.cancel()
            await _ended(task)
    if is_late:
        raise TimeoutError
    return task.result()


def _set(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)


async def finished(closing: Awaitable[Any]) -> None:
    """Do something to its end, also when cancelled in the middle of it."""
    task = asyncio.ensure_future(closing)
    await _ended(task)
    if task.done():
        task.result()


async def _ended(task: asyncio.Future[Any]) -> None:
    """Wait until it has ended; a cancellation that comes meanwhile waits, too."""
    loop = asyncio.get_running_loop()
    last = loop.time() + _CLOSING_SECONDS
    cancellation: asyncio.CancelledError | None = None
    while not task.done() and loop.time() < last:
        try:
            await asyncio.wait({task}, timeout=last - loop.time())
        except asyncio.CancelledError as error:
            cancellation = error
    if task.done() and not task.cancelled():
        # Asked for, so that asyncio does not log it as lost.
        task.exception()
    if cancellation is not None:
        raise cancellation
