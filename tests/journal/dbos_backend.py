"""Runs on DBOS, as the conformance tests see them: one worker, and a client beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager

import pytest

from agentloop.durable.dbos import DBOSStore, Worker
from agentloop.errors import JournalError
from agentloop.journal import Journal, Work
from tests.journal.backends import NO_WORKS, Died, dying


class OnDBOS:
    """A new life is a run taken up again: one that is over is put back behind its last step."""

    def __init__(self, store: DBOSStore, works: dict[str, Work]) -> None:
        self._store = store
        self._works = works
        self._raised: dict[str, BaseException] = {}

    async def live(self, run_id: str, work: Work, given: str, *, works: Mapping[str, Work] = NO_WORKS) -> str:
        await self._begin(run_id, work, given, works)
        try:
            return await asyncio.wait_for(self._store.result(run_id, every=0.05), 5)
        except JournalError as error:
            raise self._raised.get(run_id, error) from None

    async def pause(self, run_id: str, work: Work, given: str, *, works: Mapping[str, Work] = NO_WORKS) -> None:
        await self._begin(run_id, work, given, works)
        async with asyncio.timeout(5):
            # Of what the worker does, nobody sends word.
            while await self._store.state(run_id) != "waiting":  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def crash(self, run_id: str, work: Work, given: str, *, at: str) -> None:
        with pytest.raises(Died):
            await self.live(run_id, dying(work, at), given)

    async def tell(self, run_id: str, *, key: str, value: str) -> None:
        await self._store.tell(run_id, key=key, value=value)

    async def records(self, run_id: str) -> Mapping[str, str]:
        return {record.key: record.value for record in await self._store.records(run_id)}

    async def _begin(self, run_id: str, work: Work, given: str, works: Mapping[str, Work]) -> None:
        async def watched(journal: Journal, given: str) -> str:
            try:
                return await work(journal, given)
            except BaseException as error:
                self._raised[run_id] = error
                raise

        self._raised.pop(run_id, None)
        self._works.update(works)
        self._works[f"the work of {run_id}"] = watched
        await self._store.submit(f"the work of {run_id}", given, run_id=run_id)
        if await self._store.state(run_id) in {"done", "failed"}:
            queue = self._store.database.queue
            await self._store.database.threaded(
                lambda: self._store.database.client.rewind_workflow(run_id, start_step=2**31 - 1, queue_name=queue)
            )


@asynccontextmanager
async def on_dbos(database_url: str) -> AsyncIterator[OnDBOS]:
    """Keep runs in a database."""
    works: dict[str, Work] = {}
    async with Worker(database_url, works, concurrency=50, grace=0), aclosing(DBOSStore(database_url)) as store:
        yield OnDBOS(store, works)
