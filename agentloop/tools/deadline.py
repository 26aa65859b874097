"""A limit of time around a piece of async work."""

from __future__ import annotations

import asyncio
from types import TracebackType


class NoResult(TimeoutError):
    """There was no result in time."""


class Deadline:
    """Cancels what the task does inside of it once the time is up. `asyncio.timeout` is the same at twice the cost.

    Raises:
        NoResult: The time was up.
    """

    __slots__ = ("_cancelled_before", "_passed", "_task", "_timer")

    def __init__(self, seconds: float | None) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a deadline holds for a task, and none runs; use it in a coroutine")
        self._task = task
        self._cancelled_before = task.cancelling()
        self._passed = False
        self._timer = None if seconds is None else task.get_loop().call_later(seconds, self._pass)

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        # Whoever else has cancelled the task meanwhile is heard first.
        if self._passed and self._task.uncancel() <= self._cancelled_before and kind is asyncio.CancelledError:
            raise NoResult from error

    def _pass(self) -> None:
        self._passed = True
        self._task.cancel()
