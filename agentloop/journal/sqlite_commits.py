"""The one thread of this process that reads and writes a file of runs: what many runs write down goes to the disk at once.

A commit waits for the disk, so the loop must not; and one commit for each record would take too long.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from agentloop.errors import JournalError
from agentloop.journal.sqlite_file import Entry, RunsFile
from agentloop.journal.sqlite_schema import make_private

T = TypeVar("T")


@dataclass(slots=True)
class _Wish:
    """Something to be written, or to be asked of the file, and who waits for it in which loop."""

    what: Entry | Callable[[RunsFile], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    outcome: Any = None
    error: Exception | None = None

    def answer(self) -> None:
        """Say what it came to, unless nobody waits any more."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.outcome)
        else:
            self.future.set_exception(self.error)


class Commits:
    """The thread of one file; `commits_to(path)` gives the only one there is."""

    def __init__(self, path: Path, identity: tuple[int, int]) -> None:
        self.users = 0
        """How many stores would miss it."""
        self.identity = identity
        self._path = path
        self._process = os.getpid()
        self._wishes: SimpleQueue[_Wish | None] = SimpleQueue()
        self._guard = threading.Lock()
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name=f"agentloop writes {path.name}", daemon=True)
        self._thread.start()
        atexit.register(self.stop)

    def write(self, entry: Entry) -> asyncio.Future[None]:
        """Put the entry on the disk, whether or not somebody waits for it.

        The future raises `JournalError` when it is not there.
        """
        return self._wished(entry)

    def ask(self, question: Callable[[RunsFile], T]) -> asyncio.Future[T]:
        """Give the answer of the file, after all that was to be written before."""
        return self._wished(question)

    def stop(self) -> None:
        """Write what is still to be written, and let go of the file."""
        # A forked child has no such thread, and the file is its parent's.
        if os.getpid() != self._process:
            return
        with self._guard:
            self._stopped = True
            self._wishes.put(None)
        self._thread.join()
        atexit.unregister(self.stop)

    def _wished(self, what: Entry | Callable[[RunsFile], Any]) -> asyncio.Future[Any]:
        if os.getpid() != self._process:
            raise JournalError(f"{self._path} was in use before this process was forked; make a new SQLiteStore in the child")
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        with self._guard:
            if self._stopped:
                raise JournalError(f"{self._path} was closed; close the store when its runs have stopped")
            self._wishes.put(_Wish(what, loop, future))
        return future

    def _work(self) -> None:
        file: RunsFile | None = None
        goes_on = True
        while goes_on:
            wishes, goes_on = self._taken()
            try:
                file = file or RunsFile(self._path)
            except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits to hear it, and the thread must live on
                _fail(wishes, error)
            else:
                _fulfil(wishes, file)
            _answer(wishes)
            # What was answered must not live on while the next is awaited.
            del wishes
        if file is not None:
            file.close()

    def _taken(self) -> tuple[Sequence[_Wish], bool]:
        """Wait for a wish, and take all that came meanwhile; False when nothing more will come."""
        wishes: list[_Wish] = []
        wish = self._wishes.get()
        with suppress(Empty):
            while wish is not None:
                wishes.append(wish)
                wish = self._wishes.get_nowait()
            return wishes, False
        return wishes, True


def _fulfil(wishes: Sequence[_Wish], file: RunsFile) -> None:
    writes = [wish for wish in wishes if isinstance(wish.what, Entry)]
    if writes and not _written(writes, file) and len(writes) > 1:
        # What cannot be written must not keep the others from it.
        for wish in writes:
            _written([wish], file)
    for wish in wishes:
        if not isinstance(wish.what, Entry):
            _asked(wish, wish.what, file)


def _written(wishes: Sequence[_Wish], file: RunsFile) -> bool:
    try:
        refusals = file.write([wish.what for wish in wishes if isinstance(wish.what, Entry)])
    except Exception as error:  # noqa: BLE001 - as above
        _fail(wishes, error)
        return False
    for wish, refusal in zip(wishes, refusals, strict=True):
        wish.error = refusal
    return True


def _asked(wish: _Wish, question: Callable[[RunsFile], Any], file: RunsFile) -> None:
    try:
        wish.outcome = question(file)
    except Exception as error:  # noqa: BLE001 - as above
        _fail([wish], error)


def _fail(wishes: Sequence[_Wish], error: Exception) -> None:
    for wish in wishes:
        # Each its own, for a traceback grows wherever it is raised.
        wish.error = type(error)(str(error)) if isinstance(error, JournalError) else JournalError(f"a record was not kept ({error!r})")
        wish.error.__cause__ = error


def _answer(wishes: Sequence[_Wish]) -> None:
    """Wake each loop once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Wish]] = {}
    for wish in wishes:
        by_loop.setdefault(wish.loop, []).append(wish)
    for loop, its_wishes in by_loop.items():
        # In a loop that was closed meanwhile nobody waits.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_answer_in_loop, its_wishes)


def _answer_in_loop(wishes: Sequence[_Wish]) -> None:
    for wish in wishes:
        wish.answer()


def commits_to(path: Path) -> Commits:
    """Give the thread of a file, which is made where it is missing; each call is one user more.

    Raises:
        JournalError: The file cannot be made.
    """
    with _opening:
        make_private(path)
        status = path.stat()
        identity = status.st_dev, status.st_ino
        commits = _threads.get(identity) or Commits(path, identity)
        _threads[identity] = commits
        commits.users += 1
        return commits


def give_up(commits: Commits) -> None:
    """Be a user no more; the last one stops the thread, and waits for what it still writes."""
    with _opening:
        commits.users -= 1
        if commits.users:
            return
        if _threads.get(commits.identity) is commits:
            del _threads[commits.identity]
    commits.stop()


_threads: dict[tuple[int, int], Commits] = {}
_opening = threading.Lock()


def _forget() -> None:
    """In a forked child: the threads are not there."""
    global _opening  # noqa: PLW0603  # the thread that held it is not there either
    _threads.clear()
    _opening = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
