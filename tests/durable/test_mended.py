"""Workers that cannot begin, words that nobody can follow, runs that are watched, and those that are just about to spawn another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

pytest.importorskip("dbos")

import psycopg
import pytest_asyncio
import sqlalchemy

from agentloop import Agent, tool
from agentloop.durable.dbos import DBOSStore, Worker
from agentloop.errors import ConfigurationError
from agentloop.journal import Journal, note
from agentloop.journal.following import follow
from agentloop.journal.runs import Runs
from agentloop.testing import Scripted, calls, says
from tests.durable.crew import becomes, until


@pytest_asyncio.fixture
async def store(database: str) -> AsyncIterator[DBOSStore]:
    async with aclosing(DBOSStore(database)) as store:
        yield store


async def greets(journal: Journal, given: str) -> str:
    return await journal.step("0/reply", note, given)


@tool(needs_approval=True)
def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


@pytest.mark.parametrize("broken", ["unreachable", "refused"])
async def test_a_worker_that_cannot_begin_leaves_nothing_behind(broken: str, database: str, store: DBOSStore):
    threads = {each.name for each in threading.enumerate()}
    # The second gets as far as its queue, which the engine refuses.
    url, total = ("postgresql://postgres@127.0.0.1:1/nothing", None) if broken == "unreachable" else (database, 1)
    worker = Worker(url, {}, concurrency=2, total_concurrency=total)

    with pytest.raises((sqlalchemy.exc.OperationalError, ValueError)):
        await worker.__aenter__()

    assert "agentloop-executor" not in {each.name for each in threading.enumerate()} - threads
    assert not await asyncio.to_thread(_locks, database)
    async with Worker(database, {"greets": greets}):
        await store.submit("greets", '"Hello."', run_id="after")
        assert await asyncio.wait_for(store.result("after"), 5) == '"Hello."'


async def test_an_order_to_undo_is_refused_before_anything_is_said(database: str, store: DBOSStore):
    agent = Agent(Scripted(calls("pay", amount=1), says("Well then.")), tools=[pay])
    async with Worker(database, {"agent": agent.work}):
        await store.submit("agent", '"Pay."', run_id="r")
        await becomes(store, "r", "waiting")
        (waiting,) = await Runs(store).waiting("r")

        with pytest.raises(ConfigurationError, match=r"'r' cannot be undone, .*; deny its calls without undo=True"):
            await Runs(store).deny("r", waiting.call.id, undo=True)

        assert [each.call.id for each in await Runs(store).waiting("r")] == [waiting.call.id]
        await Runs(store).deny("r", waiting.call.id)
        assert await asyncio.wait_for(store.output("r"), 5) == "Well then."


async def test_what_is_known_of_a_run_is_not_read_again(database: str, store: DBOSStore):
    async def counts(journal: Journal, _: str) -> str:
        for number in range(20):
            await journal.step(str(number), note, str(number))
        return "20"

    async with Worker(database, {"counts": counts}):
        await store.submit("counts", "null", run_id="r")
        await asyncio.wait_for(store.result("r"), 5)
    records = await store.records("r")
    read = _rows_read(store)

    last = await store.records("r", after=records[-2].seq)

    assert [each.key for each in last] == ["end"]
    assert read == [2]


async def test_a_run_with_a_number_left_out_is_followed_without_a_gap(database: str, store: DBOSStore):
    async def counts(journal: Journal, _: str) -> str:
        for number in range(5):
            await journal.step(str(number), note, str(number))
        return "5"

    async with Worker(database, {"counts": counts}):
        await store.submit("counts", "null", run_id="r")
        await asyncio.wait_for(store.result("r"), 5)
    await asyncio.to_thread(_execute, database, "DELETE FROM dbos.operation_outputs WHERE function_name = '1'")

    records = await store.records("r")
    rests = [[each.key for each in await store.records("r", after=record.seq)] for record in records]

    assert [each.key for each in records] == ["0", "2", "3", "4", "end"]
    assert rests == [["2", "3", "4", "end"], ["3", "4", "end"], ["4", "end"], ["end"], []]
    assert [record.key async for record in follow(store, "r")] == ["0", "2", "3", "4", "end"]


async def test_a_run_that_is_about_to_spawn_another_is_not_put_aside(database: str, store: DBOSStore):
    may_spawn = asyncio.Event()

    async def boss(journal: Journal, _: str) -> str:
        async def spawns() -> str:
            await may_spawn.wait()
            return await journal.spawn("1", "greets", input='"Hello."')

        await journal.step("0", note, "0")
        return (await asyncio.gather(spawns(), journal.wait("0/word")))[0]

    async with Worker(database, {"boss": boss, "greets": greets}):
        held = await asyncio.to_thread(psycopg.connect, database)
        with held:
            await store.submit("boss", "null", run_id="r")
            await until(lambda: _has(store, "0"))
            # Whoever writes down what the run spawned waits for this.
            await asyncio.to_thread(held.execute, "SELECT * FROM dbos.workflow_status WHERE workflow_uuid = 'r' FOR UPDATE")
            may_spawn.set()
            await asyncio.sleep(0.5)
        async with asyncio.timeout(5):
            async with aclosing(follow(store, "r/1")) as records:
                assert [record.key async for record in records] == ["0/reply", "end"]


async def _has(store: DBOSStore, key: str) -> bool:
    return key in [record.key for record in await store.records("r")]


def _rows_read(store: DBOSStore) -> list[int]:
    """Count the steps that each look reads from the database from now on."""
    read: list[int] = []

    def counted(_: Any, cursor: Any, statement: str, *__: Any) -> None:
        if "operation_outputs" in statement:
            read.append(cursor.rowcount)

    sqlalchemy.event.listen(store.database.client._sys_db.engine, "after_cursor_execute", counted)  # noqa: SLF001  # its connections
    return read


def _execute(database: str, query: Any) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(query)


def _locks(database: str) -> list[Any]:
    with psycopg.connect(database) as connection:
        ours = "(SELECT oid FROM pg_database WHERE datname = current_database())"
        return connection.execute(f"SELECT * FROM pg_locks WHERE locktype = 'advisory' AND database = {ours}").fetchall()  # noqa: S608
