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
    left = seconds
    try:
        while True:
            done, _ = await asyncio.wait((job.future,), timeout=left)
            if done:
                return job.future.result()
            if job.started is not None and seconds is not None:
                left = job.started + seconds - monotonic()
                if left <= 0:
                    raise NoResult
    finally:
        if not job.finished:
            _THREADS.abandon(job)
            if job.started is not None:
                _log.warning("%r runs on in a thread that was abandoned", name)


def abandoned() -> bool:
    """Whether the work that this thread does has been given up, so that it may stop."""
    job: _Job[Any] | None = getattr(_here, "job", None)
    return job is not None and job.abandoned


_here = threading.local()


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

    def run(self) -> Callable[[], None]:
        """Do the work, and give what tells the outcome to who waits."""
        _here.job = self
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
    """At most `limit` threads, each of which takes up one job after the other and goes when there is none."""

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
            self._add_thread(waiting=self._waiting + 1)
            self._waiting += 1
        self._jobs.put(job)

    def abandon(self, job: _Job[Any]) -> None:
        """Give the job's place to another."""
        job.future.cancel()
        with self._lock:
            if job.finished or job.abandoned:
                return
            job.abandoned = True
            if job.started is not None:
                self._threads -= 1
                with suppress(RuntimeError):
                    self._add_thread(waiting=self._waiting)

    def _add_thread(self, *, waiting: int) -> None:
        if waiting <= self._idle or self._threads >= self._limit:
            return
        try:
            threading.Thread(target=self._serve, name="agentloop-tool", daemon=True).start()
        except RuntimeError:
            # The system gives no more threads; those that there are will come to it.
            if not self._threads:
                raise
        else:
            self._threads += 1

    def _serve(self) -> None:
        with self._lock:
            self._idle += 1
        while (job := self._next()) is not None:
            outcome = job.run()
            with self._lock:
                # Before the outcome is told: who has heard it gives up nothing.
                job.finished = True
                replaced = job.abandoned
                self._idle += not replaced
            job.tell(outcome)
            if replaced:
                return
            del job, outcome

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


_THREADS = _Threads(limit=16)
# A forked child has none of its parent's threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_THREADS.reset)
