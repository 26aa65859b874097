"""Workers that are told to stop, that die, and that lose their lock: others go on with what they had."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

pytest.importorskip("dbos")

import psycopg
import pytest_asyncio

from agentloop.durable.dbos import DBOSStore
from agentloop.durable.dbos_executor import LOST
from tests.durable.crew import Orders, breaches, crew, grown, idle, until


@pytest_asyncio.fixture
async def store(database: str) -> AsyncIterator[DBOSStore]:
    async with aclosing(DBOSStore(database)) as store:
        yield store


async def test_a_worker_that_is_told_to_stop_lets_others_go_on_with_its_runs(database: str, store: DBOSStore, tmp_path: Path):
    side = tmp_path / "effects"
    side.touch()
    async with crew(database, side, GRACE="0.2") as workers:
        orders = Orders(store)
        await orders.keep(6)
        first = await workers.hire()
        await until(lambda: grown(side, 0), seconds=20)

        code = await asyncio.wait_for(workers.dismiss(first, signal.SIGTERM), 10)

        assert code == 0
        assert await idle(store, first)
        await workers.hire()
        await orders.done()
        assert await breaches(store, orders.run_ids, side) == []


async def test_a_worker_that_lost_its_lock_ends_at_once_and_others_take_over(database: str, store: DBOSStore, tmp_path: Path):
    side = tmp_path / "effects"
    side.touch()
    async with crew(database, side) as workers:
        orders = Orders(store)
        await orders.keep(6)
        first = await workers.hire()
        await until(lambda: grown(side, 0), seconds=20)
        process = workers.workers.pop(first)

        key = store.database.lock_key("executor", first)
        ends = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid::bigint << 32 | objid::bigint = %s"
        async with await psycopg.AsyncConnection.connect(database) as connection:
            await connection.execute(ends, (key,))

        assert await asyncio.wait_for(process.wait(), 5) == LOST
        await workers.hire()
        await until(lambda: idle(store, first))
        await orders.done()
        assert await breaches(store, orders.run_ids, side) == []


async def test_a_worker_takes_up_what_a_dead_one_left_even_with_nobody_between(database: str, store: DBOSStore, tmp_path: Path):
    side = tmp_path / "effects"
    side.touch()
    async with crew(database, side) as workers:
        orders = Orders(store)
        await orders.keep(3)
        first = await workers.hire()
        await until(lambda: grown(side, 0), seconds=20)
        await workers.dismiss(first, signal.SIGKILL)
        assert not await idle(store, first)

        await workers.hire()
        await until(lambda: idle(store, first))

        await orders.done()
        assert await breaches(store, orders.run_ids, side) == []


async def test_a_stopped_worker_loses_its_runs_and_does_nothing_twice_when_it_wakes_up(database: str, store: DBOSStore, tmp_path: Path):
    side = tmp_path / "effects"
    side.touch()
    async with crew(database, side) as workers:
        orders = Orders(store)
        await orders.keep(6)
        first = await workers.hire()
        await until(lambda: grown(side, 0), seconds=20)
        process = workers.workers[first]
        process.send_signal(signal.SIGSTOP)
        await workers.hire()

        # Postgres ends a session that says nothing for ten seconds.
        await until(lambda: idle(store, first), seconds=20)
        process.send_signal(signal.SIGCONT)

        assert await asyncio.wait_for(process.wait(), 5) == LOST
        await orders.done()
        assert await breaches(store, orders.run_ids, side) == []
