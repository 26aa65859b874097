"""Agents that workers run: what they answer, whom they ask, and what becomes of them when a worker goes."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("dbos")

import pytest_asyncio

from agentloop import Agent, Context, tool
from agentloop.durable.dbos import DBOSStore, Worker
from agentloop.errors import ConfigurationError, JournalError
from agentloop.journal.following import follow
from agentloop.journal.runs import Runs
from agentloop.testing import Scripted, calls, says
from tests.durable.crew import MORTAL, becomes, crew, idle, until

SHOP = MORTAL.with_name("mortal_shop.py")


@pytest_asyncio.fixture
async def store(database: str) -> AsyncIterator[DBOSStore]:
    async with aclosing(DBOSStore(database)) as store:
        yield store


@pytest.fixture
def side(tmp_path: Path) -> Path:
    """Give the file in which the shop's tools say what they do."""
    side = tmp_path / "effects"
    side.touch()
    return side


def effects(side: Path) -> list[str]:
    return [json.loads(line)[0] for line in side.read_text().splitlines()]


def keys(side: Path, what: str) -> set[str]:
    return {key for made, _, key in map(json.loads, side.read_text().splitlines()) if made == what}


async def began(side: Path, count: int) -> None:
    async def so_many() -> bool:
        return len(effects(side)) >= count

    await until(so_many, seconds=20)


@tool(effect="read")
def look(order: int) -> str:
    """Look at an order."""
    return f"{order}: 3 apples"


@tool(effect="idempotent")
def put(order: int) -> str:
    """Put an order into the ledger."""
    return f"{order} put"


@tool(needs_approval=True)
def charge(order: int, cents: int = 500) -> str:
    """Charge the card of an order."""
    return f"{order}: {cents} charged"


async def test_an_agent_on_a_worker_does_its_calls_and_gives_its_output(database: str, store: DBOSStore):
    @dataclass
    class Receipt:
        order: int
        cents: int

    plain = Agent(Scripted(calls("look", order=7) & calls("put", order=7), says("Three apples, and put.")), tools=[look, put])
    typed = Agent(Scripted(says('{"order": 7, "cents": 500}')), output=Receipt)

    async with Worker(database, {"plain": plain.work, "typed": typed.work}):
        await store.submit("plain", '"Order 7?"', run_id="plain")
        await store.submit("typed", '"Order 7?"', run_id="typed")

        assert await asyncio.wait_for(store.output("plain"), 5) == "Three apples, and put."
        assert await asyncio.wait_for(store.output("typed", Receipt), 5) == Receipt(7, 500)
    shown = await Runs(store).show("plain")
    assert [result.text for message in shown.transcript for result in message.results] == ["7: 3 apples", "7 put"]
    assert (shown.summary.status, shown.summary.steps) == ("done", 2)


async def test_what_is_no_agents_outcome_has_no_output(database: str, store: DBOSStore):
    async def other(_journal: object, given: str) -> str:
        return given

    async with Worker(database, {"other": other}):
        await store.submit("other", "[1]", run_id="other")

        with pytest.raises(JournalError, match=r"one of no agent and no flow; read what it came to with result\('other'\)"):
            await asyncio.wait_for(store.output("other"), 5)


async def test_an_approval_comes_from_outside_and_the_run_goes_on(database: str, store: DBOSStore):
    shop = Agent(Scripted(calls("charge", order=7) & calls("look", order=7), says("Paid.")), tools=[look, charge])

    async with Worker(database, {"shop": shop.work}):
        await store.submit("shop", '"Order 7?"', run_id="order-7")
        await becomes(store, "order-7", "waiting")
        (waiting,) = await Runs(store).waiting("order-7")
        await Runs(store).approve("order-7", waiting.call.id, arguments={"order": 7, "cents": 450})

        assert await asyncio.wait_for(store.output("order-7"), 5) == "Paid."
    shown = await Runs(store).show("order-7")
    assert waiting.question.wants == "approval"
    assert [result.text.splitlines()[-1] for message in shown.transcript for result in message.results] == ["7: 450 charged", "7: 3 apples"]


async def test_two_calls_of_one_agent_at_once_are_two_runs_that_each_ask_for_themselves(database: str, store: DBOSStore):
    def turn(request):
        return says(request.results[0].text) if request.results else calls("charge", order=int(request.text))

    clerk = Agent(Scripted(turn, turn, turn, turn, turn, turn), name="clerk", tools=[charge])
    script = [calls("clerk", task="1") & calls("clerk", task="2"), lambda request: says(*(result.text for result in request.results))]
    boss = Agent(Scripted(*script), tools=[clerk.as_tool("Charges an order.")])

    async with Worker(database, {"boss": boss.work}):
        await store.submit("boss", '"Charge both."', run_id="boss")
        await becomes(store, "boss", "waiting")
        waiting = await Runs(store).waiting("boss")
        for each in waiting:
            await Runs(store).approve(each.run_id, each.call.id)

        assert await asyncio.wait_for(store.output("boss"), 5) == "1: 500 charged2: 500 charged"
    assert {each.run_id: json.loads(each.call.arguments) for each in waiting} == {"boss/0/0": {"order": 1}, "boss/0/1": {"order": 2}}
    assert list(await store.runs()) == ["boss", "boss/0/0", "boss/0/1"]


async def test_a_tool_knows_its_run_by_the_name_under_which_it_was_submitted(database: str, store: DBOSStore):
    @tool
    def where(context: Context) -> str:
        "Say where."
        return context.run_id

    agent = Agent(Scripted(calls("where"), lambda request: says(request.results[0].text)), tools=[where])

    async with Worker(database, {"agent": agent.work}):
        await store.submit("agent", '"Where?"', run_id="order-7")

        assert await asyncio.wait_for(store.output("order-7"), 5) == "order-7"


async def test_a_cancelled_agent_stops_and_makes_no_finished_call_again_when_it_is_resumed(database: str, store: DBOSStore):
    begun, stopped, held = asyncio.Event(), asyncio.Event(), asyncio.Event()
    made: list[str] = []

    @tool
    def first() -> str:
        "Do this first."
        made.append("first")
        return "done"

    @tool(effect="idempotent")
    async def second() -> str:
        "Do this then."
        made.append("second")
        begun.set()
        try:
            await held.wait()
        finally:
            stopped.set()
        return "done"

    agent = Agent(Scripted(calls("first"), calls("second"), says("Both.")), tools=[first, second])

    async with Worker(database, {"agent": agent.work}):
        await store.submit("agent", '"Go."', run_id="agent")
        await asyncio.wait_for(begun.wait(), 5)
        await store.cancel("agent")
        await asyncio.wait_for(stopped.wait(), 5)
        assert await store.state("agent") == "cancelled"

        held.set()
        await store.resume("agent")

        assert await asyncio.wait_for(store.output("agent"), 5) == "Both."
    assert made == ["first", "second", "second"]


async def test_a_call_that_was_cut_off_by_kill_9_is_asked_about_and_never_made_twice(database: str, store: DBOSStore, side: Path):
    hold = side.with_name("hold")
    hold.touch()
    async with crew(database, side, script=SHOP) as workers:
        await store.submit("shop", '"Order 7."', run_id="order-7")
        first = await workers.hire()
        await began(side, 3)

        await workers.dismiss(first, signal.SIGKILL)
        hold.unlink()
        await workers.hire()
        await until(lambda: idle(store, first), seconds=10)
        await becomes(store, "order-7", "waiting")
        (waiting,) = await Runs(store).waiting("order-7")
        await Runs(store).answer("order-7", waiting.call.id, result="charged, says the bank")

        output = await asyncio.wait_for(store.output("order-7"), 5)
    assert (waiting.call.name, waiting.question.wants) == ("charge", "outcome")
    assert output == "look: done; put: done; charged, says the bank"
    assert sorted(effects(side)) == ["charge", "look", "look", "put", "put"]
    assert len(keys(side, "put")) == 1


async def test_a_worker_that_is_told_to_stop_finishes_the_calls_under_way_and_another_goes_on_without_a_question(
    database: str, store: DBOSStore, side: Path
):
    hold = side.with_name("hold")
    hold.touch()
    async with crew(database, side, script=SHOP) as workers:
        await store.submit("shop", '"Order 7."', run_id="order-7")
        first = await workers.hire()
        await began(side, 3)
        process = workers.workers.pop(first)
        process.send_signal(signal.SIGTERM)
        hold.unlink()
        assert await asyncio.wait_for(process.wait(), 10) == 0
        assert (await store.state("order-7"), await idle(store, first)) == ("queued", True)

        await workers.hire()

        assert await asyncio.wait_for(store.output("order-7"), 5) == "look: done; put: done; charge: done"
    assert sorted(effects(side)) == ["charge", "look", "put"]


async def test_another_process_follows_an_agent(database: str, store: DBOSStore, side: Path):
    hold = side.with_name("hold")
    hold.touch()
    heard: list[str] = []
    async with crew(database, side, script=SHOP) as workers:
        await store.submit("shop", '"Order 7."', run_id="order-7")
        await workers.hire()
        async with asyncio.timeout(20):
            async for record in follow(store, "order-7"):
                heard.append(record.key)
                # What it writes down is heard before it is over.
                if record.key == "0/2/begun":
                    hold.unlink()

    assert {*heard} >= {"input", "0/reply", "0/0", "0/1", "0/2", "1/reply"}
    assert heard[-1] == "end"
    assert heard.index("0/2/begun") < heard.index("0/2")


async def test_who_opens_a_run_of_a_database_is_sent_to_a_worker(store: DBOSStore):
    with pytest.raises(ConfigurationError, match="only workers go on with runs"):
        await Agent(Scripted(says("Hello.")), journal=store).run("Hello?", run_id="here")
