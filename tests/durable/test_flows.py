"""Flows that workers run: side by side, in one another, and waiting for people."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

pytest.importorskip("dbos")

import pytest_asyncio

from agentloop import Agent
from agentloop.durable.dbos import DBOSStore, Worker
from agentloop.flows import flow, sleep, step, wait
from agentloop.journal import Journal, note
from agentloop.journal.runs import Runs
from agentloop.testing import Scripted, says
from agentloop.testing.turns import always
from tests.durable.crew import becomes


@pytest_asyncio.fixture
async def store(database: str) -> AsyncIterator[DBOSStore]:
    async with aclosing(DBOSStore(database)) as store:
        yield store


scout = Agent(Scripted(always(lambda request: says(f"sun in {request.text}"))), name="scout")
made: list[str] = []


def quote(city: str) -> int:
    made.append(f"quote {city}")
    return 500


def book(city: str, price: int) -> str:
    made.append(f"book {city}")
    return f"{city} for {price}"


@flow
async def priced(city: str) -> int:
    await scout.run(city)
    return await step(quote, city, effect="read")


@flow
async def trip(cities: list[str]) -> list[str]:
    prices = await asyncio.gather(*(priced(city) for city in cities))
    booked = []
    for city, price in zip(cities, prices, strict=True):
        if await wait(f"{city} for {price}?", answer=bool):
            booked.append(await step(book, city, price))
    return booked


async def test_a_flow_with_flows_and_agents_side_by_side_waits_for_people_and_ends(database: str, store: DBOSStore):
    made.clear()
    async with Worker(database, {"trip": trip.work}):
        await store.submit("trip", '{"cities": ["Rome", "Oslo"]}', run_id="trip-1")
        for number, word in enumerate(("approve", "deny")):
            await becomes(store, "trip-1", "waiting")
            (waiting,) = await Runs(store).waiting("trip-1")
            await getattr(Runs(store), word)("trip-1", waiting.call.id)
            assert json.loads(waiting.call.arguments)["question"] == ("Rome for 500?", "Oslo for 500?")[number]

        assert await asyncio.wait_for(store.output("trip-1", list[str]), 5) == ["Rome for 500"]
    assert sorted(made) == ["book Rome", "quote Oslo", "quote Rome"]
    inner = [f"trip-1/{place}" for place in ("0-priced", "0-priced/0-scout", "1-priced", "1-priced/0-scout")]
    assert await store.runs() == ["trip-1", *inner]


async def test_a_flow_that_is_taken_up_by_another_worker_goes_on_behind_what_it_did(database: str, store: DBOSStore):
    made.clear()
    async with Worker(database, {"trip": trip.work}):
        await store.submit("trip", '{"cities": ["Rome"]}', run_id="trip-1")
        await becomes(store, "trip-1", "waiting")
    (waiting,) = await Runs(store).waiting("trip-1")
    await Runs(store).approve("trip-1", waiting.call.id)

    async with Worker(database, {"trip": trip.work}):
        assert await asyncio.wait_for(store.output("trip-1", list[str]), 5) == ["Rome for 500"]
    assert made == ["quote Rome", "book Rome"]


@flow
async def reminder() -> None:
    await sleep(1)
    await step(made.append, "reminded")


@flow
async def asking() -> str:
    return (await asyncio.gather(wait("May I?"), reminder()))[0]


async def test_a_flow_reminds_while_it_waits(database: str, store: DBOSStore):
    made.clear()
    async with Worker(database, {"asking": asking.work}):
        await store.submit("asking", "{}", run_id="asking-1")
        await becomes(store, "asking-1", "waiting")
        (waiting,) = await Runs(store).waiting("asking-1")
        assert made == ["reminded"]
        await Runs(store).answer("asking-1", waiting.call.id, result="yes")

        assert await asyncio.wait_for(store.output("asking-1"), 5) == "yes"


async def test_who_sleeps_in_a_run_is_not_put_aside_by_who_waits_in_it(database: str, store: DBOSStore):
    async def work(journal: Journal, _: str) -> str:
        async def reminds() -> str:
            # Longer than it takes to put a run aside that only waits.
            await journal.sleep(1.0)
            return await journal.step("1", note, '"reminded"')

        return (await asyncio.gather(journal.wait("0/word"), reminds()))[1]

    async with Worker(database, {"work": work}):
        await store.submit("work", "null", run_id="sleeper")
        async with asyncio.timeout(5):
            while "1" not in [record.key for record in await store.records("sleeper")]:
                assert await store.state("sleeper") in {"queued", "running"}
        await becomes(store, "sleeper", "waiting")
        await store.tell("sleeper", key="0/word", value="1")

        assert await asyncio.wait_for(store.result("sleeper"), 5) == '"reminded"'
