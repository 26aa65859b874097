"""Lets a process that is told to stop end its runs in good order, so that they can be resumed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator, Generator, Iterable
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from agentloop.errors import Drained

_of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Drain] = WeakKeyDictionary()


@asynccontextmanager
async def draining(*, grace: float = 8.0, on: tuple[signal.Signals, ...] = (signal.SIGTERM,)) -> AsyncGenerator[Drain]:
    """End all runs of this event loop in good order when the process is told to stop.

    From then on no model is asked and no tool is called. What is under way has its grace, and is then cancelled. Each run ends with
    `Drained`, and can be resumed. A second signal ends the grace.

    ```python
    async with draining():
        result = await agent.run("...", run_id="order-42")
    ```

    Where such a block is open in the event loop already, this one joins it, its grace and its signals.

    Args:
        grace: Seconds that requests and calls under way have to end. Supervisors kill after 10 s or more.
        on: The signals that say so.
    """
    loop = asyncio.get_running_loop()
    drain = _of_loop.get(loop)
    if drain is None:
        drain = _of_loop[loop] = Drain(loop, grace)
        drain.listen(on)
    drain.users += 1
    try:
        yield drain
    finally:
        drain.users -= 1
        if not drain.users:
            drain.end()
            del _of_loop[loop]


class Drain:
    """The end of the runs of one event loop, once it is called for."""

    def __init__(self, loop: asyncio.AbstractEventLoop, grace: float) -> None:
        self.begun = False
        """Whether the process was told to stop."""
        self.users = 0
        """How many blocks are open."""
        self._before: dict[signal.Signals, Any] = {}
        self._loop = loop
        self._grace = grace
        self._tasks: dict[asyncio.Task[object], int] = {}
        self._cut: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Let nothing new begin; called again, cancel what is under way at once."""
        if self.begun:
            self._cancel()
            return
        self.begun = True
        self._timer = self._loop.call_later(self._grace, self._cancel)

    def listen(self, signals: Iterable[signal.Signals]) -> None:
        """Begin when one of these signals comes."""
        for each in signals:
            self._before[each] = signal.getsignal(each)
            self._loop.add_signal_handler(each, self.begin)

    def end(self) -> None:
        """Listen no more, and forget about the grace: there is nothing left to end."""
        for each, before in self._before.items():
            self._loop.remove_signal_handler(each)
            # None is a handler that is not Python's, which cannot be put back.
            if before is not None:
                signal.signal(each, before)
        if self._timer:
            self._timer.cancel()

    def check(self) -> None:
        """Make sure that something new may begin.

        Raises:
            Drained: The process was told to stop.
        """
        if self.begun:
            raise _drained()

    @contextmanager
    def around(self, task: asyncio.Task[object]) -> Generator[None]:
        """Cancel the task when the grace is over, and raise `Drained` in it instead."""
        self._tasks[task] = self._tasks.get(task, 0) + 1
        try:
            yield
        except asyncio.CancelledError as cancelled:
            if task not in self._cut or task.uncancel():
                # Somebody else wants it to end as well.
                raise
            self._cut.discard(task)
            raise _drained() from cancelled
        finally:
            self._tasks[task] -= 1
            if not self._tasks[task]:
                del self._tasks[task]

    def _cancel(self) -> None:
        for task in self._tasks:
            if task not in self._cut:
                self._cut.add(task)
                task.cancel()


@contextmanager
def drained(*, nested: bool) -> Generator[Drain | None]:
    """Go on in the block until the process is told to stop, where somebody listens for that.

    Args:
        nested: Whether another run is around this one, which is cancelled with all that it holds.
    """
    drain = _of_loop.get(asyncio.get_running_loop())
    task = asyncio.current_task()
    if drain is None or task is None or nested:
        yield drain
        return
    with drain.around(task):
        yield drain


def _drained() -> Drained:
    return Drained("the process was told to stop, so the run did; resume it")
