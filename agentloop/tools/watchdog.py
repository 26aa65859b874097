"""Notices an async tool that holds up the event loop, and says in the log which one and where."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Coroutine
from contextlib import suppress
from functools import cache
from pathlib import Path
from time import monotonic, sleep
from types import FrameType
from typing import Any

_BLOCKED_SECONDS = 1.0
_LOOK_EVERY = 0.25
_LOOKS_WHEN_IDLE = 4
_OURS = f"{Path(__file__).parents[1]}{os.sep}"
_log = logging.getLogger("agentloop.tools")


def watch() -> Watch:
    """Have the event loop of this thread watched, until `end` is called."""
    thread = threading.get_ident()
    found = _dog.watches.get(thread) or _dog.add(thread)
    found.running += 1
    if not _dog.awake:
        _dog.wake()
    return found


class Watch:
    """Which tool is on the event loop of a thread, and since when."""

    __slots__ = ("_step", "_thread", "_told", "running")

    def __init__(self, thread: int) -> None:
        self._step: tuple[str, float] | None = None
        self.running = 0
        """How many calls of async tools have begun and not ended."""
        self._thread = thread
        self._told = 0.0
        """When it last warned."""

    def step_on(self, coroutine: Coroutine[Any, Any, Any], error: BaseException | None, *, name: str) -> Any:
        """Let the tool's coroutine go on to where it next waits, under the eyes of the watchdog; raises what it raises."""
        before = self._step
        self._step = (name, monotonic())
        try:
            return coroutine.send(None) if error is None else coroutine.throw(error)
        finally:
            self._step = before

    def end(self) -> None:
        """Take back one `watch`."""
        self.running -= 1

    def look(self) -> None:
        """Warn of the step that goes on, if it has taken too long and nobody was warned meanwhile."""
        step = self._step
        now = monotonic()
        # A tool that calls another is on the loop for as long as that one is, and only the inner is named.
        if step is None or step[1] <= self._told or now - step[1] < _BLOCKED_SECONDS:
            return
        self._told = now
        name, since = step
        place = _place(sys._current_frames().get(self._thread))  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # documented for this
        _log.warning(
            "tool %r has held up the event loop for %.1f s%s; await what it waits for, or make it a plain function, which runs in a thread",
            name,
            now - since,
            f" at {place}" if place else "",
            extra={"tool": name, "place": place},
        )


class _Dog:
    """A daemon thread that is there while async tools run."""

    def __init__(self) -> None:
        self.rest()

    def rest(self) -> None:
        """Begin anew, without a thread."""
        self.lock = threading.Lock()
        self.watches: dict[int, Watch] = {}
        self.awake = False

    def wake(self) -> None:
        """Start the thread, unless it is there."""
        with self.lock:
            if self.awake:
                return
            # Where the system gives no more threads, a tool can do without a watchdog.
            with suppress(RuntimeError):
                threading.Thread(target=self._guard, name="agentloop-watchdog", daemon=True).start()
                self.awake = True

    def add(self, thread: int) -> Watch:
        """Make the watch of a thread, and forget those of threads that have ended."""
        with self.lock:
            alive = {each.ident for each in threading.enumerate()}
            self.watches = {ident: each for ident, each in self.watches.items() if ident in alive} | {thread: Watch(thread)}
            return self.watches[thread]

    def _guard(self) -> None:
        idle = 0
        while idle < _LOOKS_WHEN_IDLE or not self._goes():
            sleep(_LOOK_EVERY)
            watches = [each for each in self.watches.values() if each.running]
            idle = 0 if watches else idle + 1
            for each in watches:
                each.look()

    def _goes(self) -> bool:
        with self.lock:
            # A call is counted before it looks whether we are awake: either it sees that we are not, or we see the call.
            self.awake = False
            self.awake = any(each.running for each in self.watches.values())
            return not self.awake


def _place(frame: FrameType | None) -> str:
    """Name the innermost line of the tool that is neither the standard library's nor an installed package's, if there is one."""
    innermost = found = frame
    while found is not None and found.f_code.co_filename.startswith(_foreign()):
        found = found.f_back
    if found is None or found.f_code.co_filename.startswith(_OURS):
        found = innermost
    return f"line {found.f_lineno} of {found.f_code.co_filename}" if found is not None else ""


_dog = _Dog()
# A forked child has none of its parent's threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_dog.rest)


@cache
def _foreign() -> tuple[str, ...]:
    """Give the beginnings of the paths of what is not the user's own code."""
    # Only a warning needs it, and it costs more to import than this file.
    import sysconfig  # noqa: PLC0415 - the reason is above

    return ("<frozen", *{f"{sysconfig.get_path(name)}{os.sep}" for name in ("stdlib", "platstdlib", "purelib", "platlib")})
