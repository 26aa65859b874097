"""Runs over many machines: workers that share a Postgres database, by way of DBOS."""

from __future__ import annotations

import asyncio
import math
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from dbos import DBOS, DBOSPortableJSONSerializer
from sqlalchemy.exc import SQLAlchemyError

from agentloop.draining import Drain, draining
from agentloop.durable.dbos_database import HUNG, WORKFLOW, Database, State
from agentloop.durable.dbos_executor import Executor
from agentloop.durable.dbos_journal import DBOSJournal
from agentloop.durable.dbos_store import DBOSStore
from agentloop.errors import ConfigurationError, Drained, JournalError
from agentloop.journal import Works, note

__all__ = ["DBOSJournal", "DBOSStore", "State", "Worker"]

_BETWEEN_LOOKS = 0.5
_BETWEEN_DEQUEUES = 0.2
_TO_LET_GO = 2
"""Seconds for what was cancelled to clean up."""


class Worker:
    """Does the runs of a database, beside as many other workers as there are, and takes over those of workers that die.

    There is one in a process, and no other application of DBOS beside it. Enter it as a block, or `run()` it until it is told to stop.
    """

    def __init__(
        self,
        database_url: str,
        works: Works,
        *,
        name: str = "agentloop",
        schema: str = "dbos",
        migrate: bool = True,
        version: str = "1",
        concurrency: int = 10,
        total_concurrency: int | None = None,
        rate: tuple[int, float] | None = None,
        grace: float = 5,
        lost: Callable[[], None] | None = None,
    ) -> None:
        """Say what it may do; nothing is connected yet.

        Args:
            database_url: As for `DBOSStore`; without a pool between that shares sessions, since locks need one of their own.
            works: What runs may do, by name.
            name: As for `DBOSStore`.
            schema: As for `DBOSStore`.
            migrate: As for `DBOSStore`.
            version: Runs go on only in workers of the version in which they began. New works or prompts need no new one, as long as
                those that runs are amid are still known.
            concurrency: How many runs go on in each worker at once. Those that wait for a word do not count.
            total_concurrency: How many go on in all workers. The worker that started last has the say on these three.
            rate: How many runs may begin, or go on after a wait, within how many seconds, in all workers.
            grace: Seconds that calls, and works of your own, have to end when the worker stops; what has not ended goes on elsewhere.
            lost: What is done when the database is lost. By default the process ends at once, with code 75.
        """
        self._database = Database(database_url, name=name, schema=schema, migrate=migrate)
        self._works = works
        self._version = version
        self._concurrency = concurrency
        self._total_concurrency = total_concurrency
        self._rate = rate
        self._grace = grace
        self._executor = Executor(self._database, lost=lost)
        self._lives: set[_Life] = set()
        self._stopping = False
        self._launched = False
        self._around = AsyncExitStack()
        self._drain: Drain | None = None
        self._watch: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Worker {self._executor.id!r} of {self._database!r}>"

    @property
    def executor_id(self) -> str:
        """The name under which this worker takes runs; it is new each time."""
        return self._executor.id

    async def run(self) -> None:
        """Work until SIGTERM or SIGINT; then begin nothing more, give the calls under way their grace, and leave the rest to others."""
        told = asyncio.Event()
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, told.set)
        async with self:
            await told.wait()

    async def __aenter__(self) -> Self:
        global _worker  # noqa: PLW0603  # the engine knows one application in a process
        if _worker is not None:
            raise ConfigurationError(f"{_worker!r} works in this process already; start another process for another worker")
        _worker = self
        try:
            await self._begin()
        except BaseException:
            # Why it cannot begin is said, and not what comes of that.
            with suppress(Exception):
                await self._end(patience=0)
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._drain is not None:
            self._drain.begin()
        await self._end(patience=math.ceil(self._grace) + _TO_LET_GO if self._lives else 0)

    async def _begin(self) -> None:
        await self._database.threaded(lambda: self._database.client)
        if self._database.is_sqlite:
            await self._database.threaded(self._recover_alone)
        else:
            await self._database.threaded(self._executor.hold)
        self._launched = True
        DBOS(
            config={
                "name": self._database.name,
                "system_database_url": self._database.url,
                "dbos_system_schema": self._database.schema,
                "sys_db_idle_transaction_timeout_sec": HUNG,
                "run_migrations": False,
                "application_version": self._version,
                "executor_id": self._executor.id,
                "serializer": DBOSPortableJSONSerializer(),
                "log_level": "ERROR",
            }
        )
        # On the loop's own thread, where the engine finds the loop that works run on.
        DBOS.launch()
        await self._open_queues()
        # Agents and flows begin no more calls when the worker stops, so that few are cut off.
        self._drain = await self._around.enter_async_context(draining(grace=self._grace, on=()))
        self._watch = asyncio.create_task(self._keep_watch())

    async def _end(self, *, patience: int) -> None:
        global _worker  # noqa: PLW0603  # as above
        self._stopping = True
        try:
            if self._launched:
                await self._leave(patience)
            await self._around.aclose()
            if self._watch is not None:
                self._watch.cancel()
            if self._launched:
                await self._database.threaded(self._database.give_back, self._executor.id)
        finally:
            # Whatever of the above failed, others may take up the runs, and another worker may begin here.
            _worker = None
            if not self._database.is_sqlite:
                await self._database.threaded(self._executor.release)
            await self._database.threaded(self._database.close)

    async def _leave(self, patience: int) -> None:
        loop = asyncio.get_running_loop()
        left = loop.create_future()

        def leave() -> None:
            try:
                # Takes no new runs from now on, and waits for those that go on.
                DBOS.destroy(workflow_completion_timeout_sec=patience)
            finally:
                loop.call_soon_threadsafe(left.set_result, None)

        threading.Thread(target=leave, name="agentloop-leaving", daemon=True).start()
        await self._let_go()
        await left
        # The engine made its own threads those of this loop, and has closed them.
        loop.set_default_executor(ThreadPoolExecutor(thread_name_prefix="asyncio"))

    async def perform(self, run_id: str, name: str, *, given: str) -> str:
        """Live one life of a run: what the engine's workflow does."""
        if self._stopping:
            raise _LifeOver(run_id)
        journal = DBOSJournal(self._database, run_id, executor=self._executor.id, works=self._works)
        await journal.load()
        life = _Life(run_id, asyncio.create_task(self._do(name, given, journal)), journal)
        journal.ended = life.end
        self._lives.add(life)
        try:
            await asyncio.wait({life.task})
        finally:
            self._lives.discard(life)
            # Where this is itself cancelled.
            if not life.task.done():
                life.end()
        return life.outcome(name)

    async def _do(self, name: str, given: str, journal: DBOSJournal) -> str:
        work = self._works.get(name)
        if work is None:
            known = ", ".join(sorted(self._works)) or "none"
            raise ConfigurationError(f"this worker has no work {name!r}; known: {known}; start workers that have it, then resume the run")
        outcome = await work(journal, given)
        await journal.step("end", note, outcome)
        return outcome

    async def _open_queues(self) -> None:
        rate = None if self._rate is None else {"limit": self._rate[0], "period": self._rate[1]}
        await DBOS.register_queue_async(
            self._database.queue,
            worker_concurrency=self._concurrency,
            global_concurrency=self._total_concurrency,
            limiter=rate,  # type: ignore[arg-type]
            polling_interval_sec=_BETWEEN_DEQUEUES,
            on_conflict="always_update",
        )

    async def _keep_watch(self) -> None:
        """End lives whose run was cancelled, or goes on elsewhere: a life that only waits would not find out."""
        while True:
            await asyncio.sleep(_BETWEEN_LOOKS)
            lives = list(self._lives)
            try:
                ours = await self._database.threaded(self._database.running, self._executor.id) if lives else []
            except SQLAlchemyError:
                # Whether the database is there at all, the executor's thread finds out.
                continue
            for life in lives:
                if life.run_id not in ours:
                    life.end()

    async def _let_go(self) -> None:
        tasks = {life.task for life in self._lives}
        if tasks:
            await asyncio.wait(tasks, timeout=self._grace)
        for life in list(self._lives):
            life.end()
        if tasks:
            await asyncio.wait(tasks, timeout=_TO_LET_GO)

    def _recover_alone(self) -> None:
        """Take up what an earlier process left in a file, which no other process uses."""
        for executor in self._database.executors():
            self._database.give_back(executor)


_worker: Worker | None = None


@DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)
async def _perform(name: str, given: str) -> str:
    run_id = DBOS.workflow_id
    if _worker is None or run_id is None:
        raise JournalError(f"no worker is there to do {name!r}; enter a Worker")
    return await _worker.perform(run_id, name, given=given)


class _LifeOver(BaseException):
    """A life of a run ends, and the run does not: the engine records nothing of what is no `Exception`."""


@dataclass(eq=False, slots=True)
class _Life:
    run_id: str
    task: asyncio.Task[str]
    journal: DBOSJournal
    over: bool = False

    def end(self) -> None:
        """Stop here; the run goes on elsewhere, or later."""
        self.over = True
        self.journal.stop()
        self.task.cancel()

    def outcome(self, name: str) -> str:
        """Give what the work came to."""
        if not self.task.done() or self.task.cancelled():
            error: BaseException | None = asyncio.CancelledError()
        else:
            error = self.task.exception()
        if self.over or isinstance(error, Drained):
            raise _LifeOver(self.run_id)
        match error:
            case None:
                return self.task.result()
            case Exception():
                raise error
            case _:
                raise JournalError(f"the work {name!r} ended itself with {type(error).__name__}: {error}") from error
