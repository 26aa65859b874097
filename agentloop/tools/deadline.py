"""A limit of time around a coroutine, which holds even where the coroutine swallows its cancellation."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine, Generator
from contextlib import suppress
from typing import Any, TypeVar

from agentloop.tools.watchdog import Watch, watch

T = TypeVar("T")

_log = logging.getLogger("agentloop.tools")


class NoResult(TimeoutError):
    """There was no result in time."""


async def within(seconds: float | None, coroutine: Coroutine[Any, Any, T], *, name: str, grace: float = 1.0) -> T:
    """Await the coroutine for so long; None is for ever.

    Once the time is up, or the task is cancelled, the coroutine is cancelled and has `grace` seconds to end. Then it is left where
    it stands: nobody waits for it any more, and the log says so under `name`. It also says so where the coroutine holds up the loop.

    Raises:
        NoResult: The time was up.
    """
    watched = watch()
    try:
        pending = watched.step_on(coroutine, None, name=name)
    except StopIteration as end:
        # What never waits needs no timer, and no timer could interrupt it.
        return end.value  # type: ignore[no-any-return]
    else:
        return await _Waiting(seconds, coroutine, pending, name=name, grace=grace, watched=watched)
    finally:
        watched.end()


class _Waiting(Awaitable[T]):
    """Stands between the task and a coroutine that waits for something, so that the one can go on without the other."""

    __slots__ = (
        *("_before", "_coroutine", "_deadline", "_end", "_grace", "_late", "_left"),
        *("_name", "_ours", "_pending", "_task", "_watched"),
    )

    def __init__(
        self, seconds: float | None, coroutine: Coroutine[Any, Any, T], pending: Any, *, name: str, grace: float, watched: Watch
    ) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a coroutine waits outside of any task; run it in one")
        self._task: asyncio.Task[Any] = task
        self._before = task.cancelling()
        self._coroutine = coroutine
        self._pending = pending
        self._name = name
        self._grace = grace
        self._watched = watched
        self._deadline = None if seconds is None else task.get_loop().call_later(seconds, self._pass)
        self._end: asyncio.TimerHandle | None = None
        self._late = False
        self._left = False
        self._ours = 0

    def __await__(self) -> Generator[Any, Any, T]:
        try:
            return (yield from self._drive(self._pending))
        except asyncio.CancelledError as error:
            if self._late and not self._cancelled_by_others():
                raise NoResult from error
            raise
        finally:
            self._stop()

    def _drive(self, pending: Any) -> Generator[Any, Any, T]:
        while True:
            try:
                try:
                    yield pending
                except asyncio.CancelledError as error:
                    if self._left:
                        raise
                    self._allow_grace()
                    pending = self._step(error)
                except BaseException as error:  # noqa: BLE001  # whatever it is, it is meant for the coroutine
                    pending = self._step(error)
                else:
                    pending = self._step(None)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]

    def _step(self, error: BaseException | None) -> Any:
        return self._watched.step_on(self._coroutine, error, name=self._name)

    def _pass(self) -> None:
        self._late = True
        self._cancel()

    def _allow_grace(self) -> None:
        if self._end is not None:
            self._end.cancel()
        self._end = self._task.get_loop().call_later(self._grace, self._leave)

    def _leave(self) -> None:
        # A coroutine may also have cancelled itself, as `asyncio.timeout` does, and have gone on rightly.
        if self._late or self._cancelled_by_others():
            self._left = True
            self._cancel()

    def _cancel(self) -> None:
        self._ours += 1
        self._task.cancel()

    def _cancelled_by_others(self) -> bool:
        return self._task.cancelling() - self._ours > self._before

    def _stop(self) -> None:
        for timer in (self._deadline, self._end):
            if timer is not None:
                timer.cancel()
        for _ in range(self._ours):
            self._task.uncancel()
        if self._left:
            _log.warning("tool %r swallowed its cancellation, and is left where it stands", self._name)
            with suppress(RuntimeError):
                self._coroutine.close()
