"""A store that lasts as long as its process: for tests, and for runs that pause and go on within one program."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

from agentloop.errors import JournalError, RunLocked
from agentloop.journal import Journal, Unanswered, Work, Works
from agentloop.journal.store import Record


class MemoryStore:
    """Keeps the journals of many runs in memory."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._by_run: dict[str, dict[str, Record]] = {}
        self._open: set[str] = set()

    def __repr__(self) -> str:
        return f"<MemoryStore of {len(self._by_run)} runs>"

    @asynccontextmanager
    async def open(self, run_id: str, works: Works) -> AsyncGenerator[Journal]:
        """Go on with a run, or begin it: the block owns it."""
        if run_id in self._open:
            raise RunLocked(f"the run {run_id!r} is going on already; wait until it has stopped")
        self._open.add(run_id)
        try:
            yield _MemoryJournal(self, run_id, works)
        finally:
            self._open.discard(run_id)

    async def tell(self, run_id: str, *, key: str, value: str) -> None:
        """Send a run the value that it waits for; the first word on a key holds."""
        if run_id not in self._by_run:
            raise JournalError(f"there is no run {run_id!r}; known: {', '.join(self._by_run) or 'none'}")
        known = self.found(run_id, key)
        if known not in {None, value}:
            raise JournalError(f"the run {run_id!r} was told something else under {key!r} before; the first word holds")
        if known is None:
            self.write(run_id, key, value=value)

    async def records(self, run_id: str, *, after: int = 0) -> Sequence[Record]:
        """Read what a run wrote down and was told, in its order."""
        return [record for record in self._by_run.get(run_id, {}).values() if record.seq > after]

    async def runs(self) -> Sequence[str]:
        """Name all runs, the newest last."""
        return list(self._by_run)

    def found(self, run_id: str, key: str) -> str | None:
        """Give what is recorded under the key."""
        record = self._by_run.get(run_id, {}).get(key)
        return record.value if record else None

    def write(self, run_id: str, key: str, *, value: str) -> None:
        """Record a value."""
        record = Record(len(self._records) + 1, run_id, key, value, time.time())
        self._records.append(record)
        self._by_run.setdefault(run_id, {})[key] = record


class _MemoryJournal:
    def __init__(self, store: MemoryStore, run_id: str, works: Works) -> None:
        self._store = store
        self._run_id = run_id
        self._works = works

    async def step(self, key: str, fn: Callable[..., Awaitable[str]], *args: str) -> str:
        known = self._store.found(self._run_id, key)
        if known is not None:
            return known
        value = await fn(*args)
        self._store.write(self._run_id, key, value=value)
        return value

    async def wait(self, key: str) -> str:
        known = self._store.found(self._run_id, key)
        if known is None:
            raise Unanswered(key)
        return known

    def spawn(self, key: str, name: str, *, input: str) -> Awaitable[str]:  # noqa: A002  # as the socket calls it
        work = self._works[name]
        return self._spawned(f"{self._run_id}/{key}", work=work, given=input)

    async def _spawned(self, run_id: str, *, work: Work, given: str) -> str:
        async with self._store.open(run_id, self._works) as journal:
            return await journal.step("end", partial(work, journal), given)
