"""Runs in one file, which outlive their process: for as many processes of one machine as like to work on it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from agentloop.errors import JournalError
from agentloop.journal import Journal, Unanswered, Work, Works
from agentloop.journal.locks import locks_beside
from agentloop.journal.sqlite_commits import Commits, commits_to, give_up
from agentloop.journal.sqlite_file import Entry
from agentloop.journal.store import Record


class SQLiteStore:
    """Keeps the journals of many runs in a file; a step's outcome is given when it is on the disk.

    The file must be on a local disk: its locks, and SQLite's, are the kernel's. It is for its owner's eyes only.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(os.path.realpath(path))
        self._process = os.getpid()
        self._commits: Commits | None = None
        self._guard = threading.Lock()

    def __repr__(self) -> str:
        return f"<SQLiteStore in {str(self._path)!r}>"

    @asynccontextmanager
    async def open(self, run_id: str, works: Works) -> AsyncGenerator[Journal]:
        """Go on with a run, or begin it: the block owns it, until its last record is on the disk or this process is dead."""
        commits = self._used()
        locks = locks_beside(self._path)
        locks.take(run_id)
        try:
            records = await commits.ask(lambda file: file.load(run_id))
            journal = _SQLiteJournal(self, commits, run_id, works=works, records=records)
            try:
                yield journal
            finally:
                await journal.settled()
        finally:
            locks.drop(run_id)

    async def tell(self, run_id: str, *, key: str, value: str) -> None:
        """Send a run the value that it waits for, from whichever process; the first word on a key holds."""
        await self._used().write(Entry(run_id, key, value, told=True))

    async def records(self, run_id: str, *, after: int = 0) -> Sequence[Record]:
        """Read what a run wrote down and was told, in its order."""
        return await self._used().ask(lambda file: file.load(run_id, after=after))

    async def runs(self) -> Sequence[str]:
        """Name all runs, the newest last."""
        return await self._used().ask(lambda file: file.runs())

    async def aclose(self) -> None:
        """Wait until all is on the disk, and let go of the file; used again, the store opens it anew."""
        with self._guard:
            commits, self._commits = self._commits, None
        if commits is not None:
            await asyncio.to_thread(give_up, commits)

    def _used(self) -> Commits:
        if os.getpid() != self._process:
            raise JournalError(f"{self!r} is of the process that forked this one; make one here")
        with self._guard:
            if self._commits is None:
                self._commits = commits_to(self._path)
            return self._commits


class _SQLiteJournal:
    def __init__(self, store: SQLiteStore, commits: Commits, run_id: str, *, works: Works, records: Sequence[Record]) -> None:
        self._store = store
        self._commits = commits
        self._run_id = run_id
        self._works = works
        self._known = {record.key: record.value for record in records}
        self._on_the_way: set[asyncio.Future[Any]] = set()

    async def step(self, key: str, fn: Callable[..., Awaitable[str]], *args: str) -> str:
        if key in self._known:
            return self._known[key]
        value = await fn(*args)
        write = self._commits.write(Entry(self._run_id, key, value))
        self._on_the_way.add(write)
        # Not awaited itself, for a cancel would make it forget what it comes to.
        await asyncio.wait((write,))
        self._on_the_way.discard(write)
        write.result()
        self._known[key] = value
        return value

    async def wait(self, key: str) -> str:
        if key not in self._known:
            told = await self._commits.ask(lambda file: file.find(self._run_id, key))
            if told is None:
                raise Unanswered(key)
            self._known[key] = told.value
        return self._known[key]

    def spawn(self, key: str, name: str, *, input: str) -> Awaitable[str]:  # noqa: A002  # as the socket calls it
        return self._spawned(f"{self._run_id}/{key}", work=self._works[name], given=input)

    async def settled(self) -> None:
        """Wait until nothing is on the way to the disk, whoever cancels this meanwhile."""
        cancel: asyncio.CancelledError | None = None
        while on_the_way := {write for write in self._on_the_way if not write.done()}:
            try:
                await asyncio.wait(on_the_way)
            except asyncio.CancelledError as error:
                cancel = error
        for write in self._on_the_way:
            # Whoever waited for it was cancelled, and an error that nobody looks at is logged.
            write.exception()
        if cancel is not None:
            raise cancel

    async def _spawned(self, run_id: str, *, work: Work, given: str) -> str:
        async with self._store.open(run_id, self._works) as journal:
            return await journal.step("end", partial(work, journal), given)
