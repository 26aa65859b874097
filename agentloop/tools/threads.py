"""Daemon threads for tools that are not async: few, reused, and never waited for when the process ends."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Generic, TypeVar

from agentloop.tools.deadline import NoResult

T = TypeVar("T")

_IDLE_SECONDS = 10.0
# A cancelled run is heard of in one turn of its loop, each agent in it two turns later.
_TURNS = 20
_SETTLE_SECONDS = 1.0
_log = logging.getLogger("agentloop.tools")


async def run_in_thread(work: Callable[[], T], *, seconds: float | None = None, name: str = "work") -> T:
    """Do the work in one of our threads, where it sees the context variables of the caller.

    Args:
        work: Does it.
        seconds: How long it may take once a thread has taken it up. After that, or when the caller is cancelled, the thread is
            abandoned: it runs on, nobody hears of it, and another takes its place.
        name: What the log calls it when it is abandoned.

    Raises:
        NoResult: It took longer.
    """
    job: _Job[T] = _Job(work, asyncio.get_running_loop().create_future())
    _THREADS.start(job)
    if seconds is not None:
        job.give_up_after(seconds, left=seconds)
    try:
        return await job.future
    finally:
        if job.timer is not None:
            job.timer.cancel()
        if not job.finished:
            _THREADS.abandon(job)
            if job.started is not None:
                _log.warning("%r runs on in a thread that was abandoned", name)


def abandoned() -> bool:
    """Whether the work that this thread does has been given up, so that it may stop."""
    job: _Job[Any] | None = getattr(_here, "job", None)
    return job is not None and job.abandoned


_here = threading.local()
_in_job = contextvars.ContextVar("in_job", default=False)
"""Whether this is done for work in one of our threads, which may wait for it."""


@dataclass(slots=True, eq=False)
class _Job(Generic[T]):
    """Work on its way through a thread."""

    work: Callable[[], T]
    future: asyncio.Future[T]
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    started: float | None = None
    """When a thread took it up, on the monotonic clock."""
    finished: bool = False
    abandoned: bool = False
    timer: asyncio.TimerHandle | None = None

    def give_up_after(self, seconds: float, *, left: float) -> None:
        """Look after what is `left` whether the work goes on for so long, and give it up if it does."""
        self.timer = self.future.get_loop().call_later(left, self._look, seconds)

    def _look(self, seconds: float) -> None:
        left = seconds if self.started is None else self.started + seconds - monotonic()
        if left > 0:
            self.give_up_after(seconds, left=left)
        elif not self.future.done():
            self.future.set_exception(NoResult())

    def run(self) -> Callable[[], None]:
        """Do the work, and give what tells the outcome to who waits."""
        _here.job = self
        self.context.run(_in_job.set, True)  # noqa: FBT003  # a context variable takes no names
        try:
            value = self.context.run(self.work)
        except BaseException as error:  # noqa: BLE001  # whatever it is, it belongs to who waits
            # A future cannot carry a StopIteration.
            failure = RuntimeError("function raised StopIteration") if isinstance(error, StopIteration) else error
            return lambda: self.future.set_exception(failure)
        else:
            return lambda: self.future.set_result(value)
        finally:
            _here.job = None

    def tell(self, outcome: Callable[[], None]) -> None:
        """Tell the outcome in the loop of who waits."""
        # The loop is closed when nobody waits any more.
        with suppress(RuntimeError):
            self.future.get_loop().call_soon_threadsafe(lambda: None if self.future.done() else outcome())


class _Threads:
    """Threads, each of which takes up one job after the other and goes when there is none.

    There are at most `limit`, and beyond them one for each job that another job may wait for: else all could wait, and none work.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.reset()

    def reset(self) -> None:
        """Begin anew, without threads and jobs."""
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[_Job[Any]] = queue.SimpleQueue()
        self._threads = 0
        self._idle = 0
        self._waiting = 0

    def start(self, job: _Job[Any]) -> None:
        """Have a thread take the job up as soon as one is free."""
        with self._lock:
            if _in_job.get() and self._waiting >= self._idle and self._threads >= self._limit:
                job.started = monotonic()
                self._start_thread(first=job)
                return
            self._add_thread(waiting=self._waiting + 1)
            self._waiting += 1
        self._jobs.put(job)

    def abandon(self, job: _Job[Any]) -> None:
        """Give the job's place to another."""
        job.future.cancel()
        # What waits for the place may be about to be cancelled with this job, and must not begin.
        settled = threading.Event()
        with self._lock:
            if job.finished or job.abandoned:
                return
            job.abandoned = True
            if job.started is None:
                return
            self._threads -= 1
            with suppress(RuntimeError):
                self._add_thread(waiting=self._waiting, settled=settled)
        _wake_after(_TURNS, settled, job.future.get_loop())

    def _add_thread(self, *, waiting: int, settled: threading.Event | None = None) -> None:
        if waiting <= self._idle or self._threads >= self._limit:
            return
        try:
            self._start_thread(settled=settled)
        except RuntimeError:
            # The system gives no more threads; those that there are will come to it.
            if not self._threads:
                raise

    def _start_thread(self, *, first: _Job[Any] | None = None, settled: threading.Event | None = None) -> None:
        threading.Thread(target=self._serve, args=(first, settled), name="agentloop-tool", daemon=True).start()
        self._threads += 1

    def _serve(self, job: _Job[Any] | None, settled: threading.Event | None) -> None:
        if settled is not None:
            # A loop that ends goes through no more turns.
            settled.wait(_SETTLE_SECONDS)
        with self._lock:
            if job is None:
                self._idle += 1
            elif job.abandoned:
                return
        while job is not None or (job := self._next()) is not None:
            outcome = job.run()
            with self._lock:
                # Before the outcome is told: who has heard it gives up nothing.
                job.finished = True
                replaced = job.abandoned
                surplus = not replaced and self._threads > self._limit
                self._threads -= surplus
                self._idle += not (replaced or surplus)
            job.tell(outcome)
            if replaced or surplus:
                return
            del outcome
            job = None

    def _next(self) -> _Job[Any] | None:
        while True:
            try:
                job = self._jobs.get(timeout=_IDLE_SECONDS)
            except queue.Empty:
                with self._lock:
                    if not self._waiting:
                        self._idle -= 1
                        self._threads -= 1
                        return None
                continue
            with self._lock:
                self._waiting -= 1
                if not job.abandoned:
                    self._idle -= 1
                    job.started = monotonic()
                    return job


def _wake_after(turns: int, event: threading.Event, loop: asyncio.AbstractEventLoop) -> None:
    if not turns or loop.is_closed():
        event.set()
    else:
        loop.call_soon(_wake_after, turns - 1, event, loop)


_THREADS = _Threads(limit=32)
# A forked child has none of its parent's threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_THREADS.reset)
