"""The runs of a Postgres database, for whoever submits, watches and answers them; no worker need be there."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TypeVar

from pydantic_core import from_json, to_json

from agentloop.durable.dbos_database import Database, State
from agentloop.errors import ConfigurationError, JournalError
from agentloop.journal import Journal, Works, note
from agentloop.journal.store import Record
from agentloop.journal.typed import Form
from agentloop.journal.written import ORDER
from agentloop.output import Output
from agentloop.placing import came_to

T = TypeVar("T")


class DBOSStore:
    """The runs in a database. Each worker with the same name and schema does them.

    The tables are made on first use. It is closed with `aclose()`, and may be used from any event loop.
    """

    def __init__(self, database_url: str, *, name: str = "agentloop", schema: str = "dbos", migrate: bool = True) -> None:
        """Name the database; nothing is connected yet.

        Args:
            database_url: As SQLAlchemy writes them: `postgresql://user@host/database`.
            name: What these runs are part of: small letters, digits, dashes. Names share a database without seeing one another's runs.
            schema: The schema of DBOS's tables.
            migrate: Whether to make and change tables; else `dbos migrate` has done that, with rights that this process need not have.
        """
        self.database = Database(database_url, name=name, schema=schema, migrate=migrate)

    def __repr__(self) -> str:
        return f"<DBOSStore {self.database!r}>"

    def open(self, run_id: str, works: Works) -> AbstractAsyncContextManager[Journal]:
        """Refuse: only workers go on with runs of a database.

        Raises:
            ConfigurationError: Always.
        """
        raise ConfigurationError(
            f"the run {run_id!r} cannot be opened here, since only workers go on with runs of {self.database!r}; "
            f"give a Worker the work, and submit the run (works: {', '.join(works) or 'none'})"
        )

    async def submit(self, name: str, given: str, *, run_id: str | None = None, version: str | None = None) -> str:
        """Have some worker do the work of this name, and give the run's id. A run that is there already is left as it is.

        Args:
            name: The work, as the workers name it.
            given: Its input, JSON text.
            run_id: A name for the run, so that submitting twice is submitting once; without one it gets a random one.
            version: Which version of the workers may do it; without one, the latest.
        """
        run_id = secrets.token_hex(8) if run_id is None else run_id
        await self.database.threaded(lambda: self.database.enqueue(run_id, name, given=given, version=version))
        return run_id

    async def tell(self, run_id: str, *, key: str, value: str) -> None:
        """Send a run the value that it waits for; the first word on a key holds.

        Raises:
            JournalError: There is no such run, or another value was sent before.
            ConfigurationError: It is the order to undo the run, which workers cannot follow.
        """
        if key == ORDER:
            raise ConfigurationError(
                f"the run {run_id!r} cannot be undone, since workers do it and undo nothing; deny its calls without undo=True, or cancel it"
            )
        await self.database.threaded(lambda: self.database.tell(run_id, key=key, value=value))

    async def records(self, run_id: str, *, after: int = 0) -> Sequence[Record]:
        """Read what a run wrote down and was told, in its order, from the record that follows `after`; nothing for an unknown run."""
        return await self.database.threaded(self.database.records, run_id, after)

    async def runs(self) -> Sequence[str]:
        """Name all runs, those that runs have spawned included, the newest last."""
        return await self.database.threaded(self.database.runs)

    async def state(self, run_id: str) -> State:
        """Say what a run is at.

        Raises:
            JournalError: There is no such run.
        """
        return (await self.database.threaded(self.database.seen, run_id)).state

    async def result(self, run_id: str, *, every: float = 0.2) -> str:
        """Wait until a run is over, for as long as it takes, and give what it came to.

        Raises:
            JournalError: There is no such run, or it failed, or was cancelled.
        """
        while True:
            seen = await self.database.threaded(partial(self.database.seen, run_id, outcome=True))
            match seen.state:
                case "done":
                    return seen.outcome
                case "failed":
                    raise JournalError(f"the run {run_id!r} failed: {seen.outcome}; it goes on with resume({run_id!r})")
                case "cancelled":
                    raise JournalError(f"the run {run_id!r} was cancelled; it goes on with resume({run_id!r})")
                case _:
                    await asyncio.sleep(every)

    async def output(self, run_id: str, kind: type[T] = str) -> T:  # type: ignore[assignment]  # mypy takes no default for T
        """Wait until a run of an agent or a flow is over, as `result` does, and give its output.

        Args:
            run_id: The run.
            kind: What the output is: as in `Agent(output=...)`, or what the flow returns.

        Raises:
            JournalError: There is no such run, or it failed, or was cancelled; or it is the run of some other work.
            Mismatch: The agent's answer is nothing of this kind.
        """
        outcome = await self.result(run_id)
        match from_json(outcome):
            case {"transcript": _, "text": _}:
                came = await came_to(note(outcome), None if kind is str else Output(kind))
                return came.output  # type: ignore[no-any-return]
            case {"output": output, "failure": None}:
                return Form[T](kind).read(to_json(output).decode(), key="end")
            case _:
                raise JournalError(f"the run {run_id!r} is one of no agent and no flow; read what it came to with result({run_id!r})")

    async def cancel(self, run_id: str) -> None:
        """Stop a run and what it has spawned: within a second or so where they are going on. One that is over stays as it is.

        Raises:
            JournalError: There is no such run.
        """
        await self.database.threaded(self.database.cancel, run_id)

    async def resume(self, run_id: str) -> None:
        """Let a run that failed or was cancelled go on from what it wrote down; any other is left as it is.

        Raises:
            JournalError: There is no such run.
        """
        await self.database.threaded(self.database.take_up, run_id)

    async def aclose(self) -> None:
        """Close the connections."""
        await self.database.threaded(self.database.close)
