"""Counts the places where a piece of work waits, in all of its tasks, and cancels it at one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Worked(Generic[T]):
    """What the work came to."""

    awaits: int
    """How often one of its tasks waited."""
    seconds: float
    """From the moment it was cancelled, or else from its start, to its end; so far, where it does not end."""
    value: T | None = None
    error: BaseException | None = None
    is_over: bool = True
    """False where it had not ended when it should have."""
    was_cancelled: bool = False
    """Whether it was cancelled from outside, whatever came of that."""


async def work_through(
    work: Callable[[], Coroutine[Any, Any, T]], *, cancel_at: int | None = None, again: bool = False, seconds: float
) -> Worked[T]:
    """Do the work in a task of its own, and cancel that task the moment that anything in it waits for the `cancel_at`th time.

    Args:
        work: It, and all tasks that it begins, are counted.
        cancel_at: 0 cancels it before it begins; None, or more than it waits, lets it end.
        again: Whether it is cancelled once more at the next await, while it ends.
        seconds: How long it may take. After that it is left, cancelled once more.
    """
    began = monotonic()
    waits = 0
    was_cancelled = False

    def waited() -> None:
        nonlocal waits
        waits += 1
        if waits == cancel_at:
            cancel()
        elif again and was_cancelled and waits == (cancel_at or 0) + 1:
            task.cancel()

    def cancel() -> None:
        nonlocal began, was_cancelled
        began = monotonic()
        was_cancelled = task.cancel()

    with _counted_tasks(waited):
        task = asyncio.get_running_loop().create_task(work())
        if cancel_at == 0:
            cancel()
        done, _ = await asyncio.wait({task}, timeout=seconds)
        took = monotonic() - began
    if not done:
        task.cancel()
        return Worked(waits, took, is_over=False, was_cancelled=was_cancelled)
    error = asyncio.CancelledError() if task.cancelled() else task.exception()
    return Worked(waits, took, None if error else task.result(), error, was_cancelled=was_cancelled)


@contextmanager
def _counted_tasks(waited: Callable[[], None]) -> Generator[None]:
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()

    def counted(loop: asyncio.AbstractEventLoop, coroutine: Any, **named: Any) -> asyncio.Task[Any]:
        return asyncio.Task(_Counted(coroutine, waited), loop=loop, **named)

    loop.set_task_factory(counted)
    try:
        yield
    finally:
        loop.set_task_factory(before)


class _Counted(Coroutine[Any, Any, T]):
    """Drives a coroutine, and tells each time that it waits."""

    __slots__ = ("_coroutine", "_waited")

    def __init__(self, coroutine: Coroutine[Any, Any, T], waited: Callable[[], None]) -> None:
        self._coroutine = coroutine
        self._waited = waited

    def __await__(self) -> Generator[Any, Any, T]:
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        """Let it go on to where it waits next."""
        waiting_for = self._coroutine.send(value)
        self._waited()
        return waiting_for

    def throw(self, *error: Any) -> Any:
        """Let it go on with an error."""
        waiting_for = self._coroutine.throw(*error)
        self._waited()
        return waiting_for

    def close(self) -> None:
        """Let it end."""
        self._coroutine.close()
