"""The journal of one life of a run on DBOS: what is recorded is the engine's steps, by their keys."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from dbos import DBOS
from dbos import error as said

from agentloop.durable.dbos_database import PART, Database
from agentloop.errors import JournalError, JournalMismatch
from agentloop.journal import Work, Works, note

T = TypeVar("T")

_BETWEEN_LOOKS = 0.1
"""Seconds between two looks at what a run waits for."""


class DBOSJournal:
    """The memory of one life of a run; it is made inside the engine's workflow, and knows of what earlier lives wrote.

    Steps are known by their keys alone, in whichever order they come. The engine numbers them; a number is drawn only when there is
    something to record, so numbers are the order in which the records came. A value that was sent is found by its key too, and takes no
    number. A run that is spawned is a part of this one, since only this life may be able to do its work.
    """

    def __init__(self, database: Database, run_id: str, *, executor: str, works: Works) -> None:
        """Begin with nothing known; `load` reads the rest.

        Args:
            database: Where the run is.
            run_id: The run.
            executor: Who has taken it.
            works: What it may spawn.
        """
        self._database = database
        self.run_id = run_id
        """The run's name in the database."""
        self._executor = executor
        self.works: dict[str, Work] = {}
        """What the run may spawn beside what its worker knows: works that only this life can do."""
        self._registered = works
        self.ended: Callable[[], None] = self.stop
        """Called when this life must stop: somebody else has the run now, or it is put aside until it is told something."""
        self._over = False
        self._known: dict[str, str] = {}
        self._turn = asyncio.Lock()
        self._busy = 0
        self._calls = 0
        self._told: dict[str, asyncio.Future[str]] = {}
        self._spawned: frozenset[str] = frozenset()
        self._looking: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """Read what earlier lives recorded. It must be the first thing of the workflow: each number that they drew is drawn again."""
        steps = await self._database.threaded(self._database.steps, self.run_id)
        self._known = {key: value for _, key, value, _ in steps}
        self._spawned = (await self._database.threaded(self._database.seen, self.run_id)).spawned
        for _ in range(max((number for number, *_ in steps), default=0)):
            DBOS.reserve_step()

    def stop(self) -> None:
        """Do nothing more in this life."""
        self._over = True
        if self._looking is not None:
            self._looking.cancel()

    async def step(self, key: str, fn: Callable[..., Awaitable[str]], *args: str) -> str:
        """Give what is recorded under the key; where nothing is, await `fn(*args)` and record what it gives."""
        self._begin(key)
        if key in self._known:
            return self._known[key]
        self._busy += 1
        try:
            return await _uncut(self._record(key, await fn(*args)))
        finally:
            self._busy -= 1

    async def wait(self, key: str) -> str:
        """Give the value that was sent from outside under the key, whenever that is: where nothing else is left to do, this life ends."""
        self._begin(key)
        if key not in self._told:
            self._told[key] = asyncio.get_running_loop().create_future()
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._keep_looking())
        return await asyncio.shield(self._told[key])

    def spawn(self, key: str, name: str, *, input: str) -> Awaitable[str]:  # noqa: A002  # as the socket calls it
        """Do the work of this name as a run of its own, `<run>/<key>`, and give what it comes to. It goes on here, in this run's lives."""
        # Found now, since two calls of one agent at once know two works by one name.
        return self._spawned_run(key, self.works.get(name) or self._registered.get(name), name=name, given=input)

    async def sleep(self, seconds: float) -> None:
        """Sleep where that is something to do: whoever waits for a word meanwhile is not put aside."""
        self._busy += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._busy -= 1

    async def _spawned_run(self, key: str, work: Work | None, *, name: str, given: str) -> str:
        self._begin(key)
        end = f"{key}{PART}end"
        if end in self._known:
            return self._known[end]
        if work is None:
            known = ", ".join(sorted({*self.works, *self._registered})) or "none"
            raise JournalError(f"the run {self.run_id!r} cannot spawn {name!r}; known: {known}; give the worker that work")
        if key not in self._spawned:
            self._busy += 1
            try:
                await self._database.threaded(self._database.spawned, self.run_id, key)
            finally:
                self._busy -= 1
                # What follows begins after this, and a look between the two is no second one.
                self._calls += 1
            self._spawned |= {key}
        return await self.step(end, note, await work(_Part(self, key), given))

    def _begin(self, key: str) -> None:
        self._calls += 1
        if self._over:
            raise JournalError(f"the run {self.run_id!r} does not go on here any more, so {key!r} is not begun; resume it")

    async def _record(self, key: str, value: str) -> str:
        async def recorded() -> str:
            return value

        # One at a time, so that a record never comes before one with a smaller number, which a reader would then miss.
        async with self._turn:
            if key in self._known:
                return self._known[key]
            try:
                self._known[key] = await DBOS.reserve_step().run_async({"name": key}, recorded)
            except (said.DBOSWorkflowCancelledError, said.DBOSWorkflowConflictIDError) as error:
                self._finish()
                raise JournalError(f"the run {self.run_id!r} was cancelled, or goes on elsewhere; {key!r} is not recorded") from error
            except said.DBOSUnexpectedStepError as error:
                raise JournalMismatch(f"where the run {self.run_id!r} would record {key!r}, another record is: {error}") from error
            except said.DBOSStepNondeterminismError as error:
                raise JournalMismatch(f"the run {self.run_id!r} would record {key!r} over another record: {error}") from error
        return self._known[key]

    def _finish(self) -> None:
        self.stop()
        self.ended()

    async def _keep_looking(self) -> None:
        try:
            await self._look()
        except Exception as error:  # noqa: BLE001  # whatever a database says is for those who wait for it
            for answer in self._told.values():
                _fail(answer, JournalError(f"what the run {self.run_id!r} waits for cannot be read: {error}"))

    async def _look(self) -> None:
        """Look for what is waited for until all is there, or until nothing can come of it in this life."""
        calls = -1
        while keys := [key for key, answer in self._told.items() if not answer.done()]:
            words = (await self._database.threaded(self._database.seen, self.run_id)).words
            for key in set(keys) & set(words):
                self._told[key].set_result(words[key])
            # Two looks in a row with nothing begun in between: whoever was answered has had time to begin what follows.
            if calls == self._calls and not self._busy and not set(keys) & set(words) and await self._suspended(keys):
                self._finish()
                return
            calls = self._calls
            await asyncio.sleep(_BETWEEN_LOOKS)

    async def _suspended(self, keys: list[str]) -> bool:
        return await self._database.threaded(partial(self._database.suspend, self.run_id, executor=self._executor, keys=keys))


class _Part:
    """The journal of a run that another one spawned: a part of that one's."""

    def __init__(self, whole: DBOSJournal, key: str) -> None:
        self._whole = whole
        self._within = key + PART
        self.works = whole.works
        self.run_id = f"{whole.run_id}/{key.replace(PART, '/')}"

    def step(self, key: str, fn: Callable[..., Awaitable[str]], *args: str) -> Awaitable[str]:
        return self._whole.step(self._within + key, fn, *args)

    def wait(self, key: str) -> Awaitable[str]:
        return self._whole.wait(self._within + key)

    def spawn(self, key: str, name: str, *, input: str) -> Awaitable[str]:  # noqa: A002  # as the socket calls it
        return self._whole.spawn(self._within + key, name, input=input)

    def sleep(self, seconds: float) -> Awaitable[None]:
        return self._whole.sleep(seconds)


def _fail(answer: asyncio.Future[str], error: JournalError) -> None:
    if not answer.done():
        answer.set_exception(error)
        # Seen once, or asyncio complains where nobody awaits it any more.
        answer.exception()


async def _uncut(writing: Coroutine[Any, Any, T]) -> T:
    """Finish writing first, and be cancelled then."""
    task = asyncio.ensure_future(writing)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()
        raise
