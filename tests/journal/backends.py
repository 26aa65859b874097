"""What the conformance tests need of a journal: lives of a run, its deaths, and words from outside."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Protocol

import pytest

from agentloop.journal import Journal, Unanswered, Work
from agentloop.journal.memory import MemoryStore
from agentloop.journal.sqlite import SQLiteStore
from agentloop.journal.store import Store

NO_WORKS: Mapping[str, Work] = {}


class Died(BaseException):
    """A life ended here, and wrote nothing more down; as a kill does, it passes by `except Exception`."""


class Backend(Protocol):
    """A place where runs are kept, as the tests see it. Each life opens it anew, as a new process would."""

    async def live(self, run_id: str, work: Work, given: str, *, works: Mapping[str, Work] = NO_WORKS) -> str:
        """Begin the run, or go on with it, and give what it comes to; what the work raises is raised."""
        ...

    async def pause(self, run_id: str, work: Work, given: str, *, works: Mapping[str, Work] = NO_WORKS) -> None:
        """Live until the run waits for a word that nobody has sent. Where waits last, end that life, or leave it for `live` to await."""
        ...

    async def crash(self, run_id: str, work: Work, given: str, *, at: str) -> None:
        """Live until `fn` of the step `at` has been done, and die before that is recorded; `dying` makes such a work."""
        ...

    async def tell(self, run_id: str, *, key: str, value: str) -> None:
        """Send the run a word."""
        ...

    async def records(self, run_id: str) -> Mapping[str, str]:
        """Read what the run wrote down and was told."""
        ...


def dying(work: Work, at: str) -> Work:
    """Make a work that dies with the step `at` done, and not recorded."""

    async def until_then(journal: Journal, given: str) -> str:
        return await work(_Dying(journal, at), given)

    return until_then


class _Dying:
    def __init__(self, journal: Journal, at: str) -> None:
        self._journal = journal
        self._at = at
        self.wait = journal.wait
        self.spawn = journal.spawn

    def step(self, key: str, fn: Callable[..., Awaitable[str]], *args: str) -> Awaitable[str]:
        async def deadly(*args: str) -> str:
            await fn(*args)
            raise Died(key)

        return self._journal.step(key, deadly if key == self._at else fn, *args)


class Embedded:
    """A store within the process; each life gets what `opened` gives."""

    def __init__(self, opened: Callable[[], Store]) -> None:
        self._opened = opened

    async def live(self, run_id: str, work: Work, given: str, *, works: Mapping[str, Work] = NO_WORKS) -> str:
        async with aclosing(self._opened()) as store, store.open(run_id, works) as journal:
            return await work(journal, given)

    async def pause(self, run_id: str, work: Work, given: str, *, works: Mapping[str, Work] = NO_WORKS) -> None:
        with pytest.raises(Unanswered):
            await self.live(run_id, work, given, works=works)

    async def crash(self, run_id: str, work: Work, given: str, *, at: str) -> None:
        with pytest.raises(Died):
            await self.live(run_id, dying(work, at), given)

    async def tell(self, run_id: str, *, key: str, value: str) -> None:
        async with aclosing(self._opened()) as store:
            await store.tell(run_id, key=key, value=value)

    async def records(self, run_id: str) -> Mapping[str, str]:
        async with aclosing(self._opened()) as store:
            return {record.key: record.value for record in await store.records(run_id)}


class _Unclosed(MemoryStore):
    async def aclose(self) -> None:
        """Keep everything: this one lasts as long as the test."""


def in_memory() -> Embedded:
    """Keep runs in memory."""
    store = _Unclosed()
    return Embedded(lambda: store)


def in_sqlite(folder: Path) -> Embedded:
    """Keep runs in a file of the folder."""
    return Embedded(lambda: SQLiteStore(folder / "runs.db"))
