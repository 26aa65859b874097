"""The events of a run, as they come."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from agentloop.errors import AgentLoopError
from agentloop.events import Emit, Event
from agentloop.transcript import Transcript

Outcome = TypeVar("Outcome")

_MOST_WAITING = 256


class Stream(Generic[Outcome]):
    """The events of a run, as they come; leaving the loop cancels the run, and nothing is left running.

    A reader that is slow slows the model down.
    """

    transcript: Transcript
    """What the run has said so far; a run that was left early is resumed with it."""

    def __init__(
        self, start: Callable[[Emit, Callable[[], Awaitable[None]]], Coroutine[Any, Any, Outcome]], transcript: Transcript
    ) -> None:
        self.transcript = transcript
        self._start = start
        self._waiting: deque[Event] = deque()
        self._news = asyncio.Event()
        self._space = asyncio.Event()
        self._task: asyncio.Task[Outcome] | None = None

    @property
    def result(self) -> Outcome:
        """What the run came to.

        Raises:
            AgentLoopError: The stream was not read to its end, or the run failed.
        """
        if self._task is None or not self._task.done() or self._task.cancelled():
            raise AgentLoopError("the run has no result yet; read the stream to its end first")
        return self._task.result()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self.aclose()
        # asyncio closes a generator that a `break` has dropped in a task of its own, which ends in this turn of the loop.
        await asyncio.sleep(0)

    async def __aiter__(self) -> AsyncGenerator[Event]:
        """Read the events; the error of a run that fails is raised after its last event."""
        if self._task is not None:
            raise AgentLoopError("a stream is read once; call stream() again for another run")
        task = self._task = asyncio.create_task(self._start(self._emit, self._room))
        task.add_done_callback(lambda _: self._news.set())
        try:
            while self._waiting or not task.done():
                if self._waiting:
                    event = self._waiting.popleft()
                    if len(self._waiting) < _MOST_WAITING:
                        self._space.set()
                    yield event
                else:
                    self._news.clear()
                    await self._news.wait()
            # Raises the error of a run that failed.
            task.result()
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Cancel the run if it still runs, and wait until it is gone."""
        task = self._task
        if task is None:
            return
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
        if not task.cancelled():
            # Whoever leaves early does not want the error; asking for it keeps asyncio from logging it as lost.
            task.exception()

    def _emit(self, event: Event) -> None:
        self._waiting.append(event)
        self._news.set()

    async def _room(self) -> None:
        while len(self._waiting) >= _MOST_WAITING:
            self._space.clear()
            await self._space.wait()
