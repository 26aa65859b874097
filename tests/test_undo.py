"""Runs that are undone: which calls are, in which order, and how that goes on after a crash."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agentloop import Agent, Context, Limits, external, tool
from agentloop.errors import BadReply, ConfigurationError, JournalError, JournalMismatch, RunLocked, RunUndone, UndoFailed
from agentloop.flows import flow, wait
from agentloop.journal.memory import MemoryStore
from agentloop.journal.runs import Runs
from agentloop.journal.sqlite import SQLiteStore
from agentloop.testing import Scripted, calls, fails, says
from agentloop.undoing import order_undo


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path: Path):
    return MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "runs.db")


def booking(done: list[str], **options):
    """Make a tool that books, and whose undo writes down what it was given."""

    def cancel(what: str, result: str) -> str:
        done.append(f"cancel {what}: {result}")
        return f"{what} cancelled"

    @tool(undo=cancel, **options)
    def book(what: str) -> str:
        "Book."
        done.append(f"book {what}")
        return f"number {len(done)}"

    return book


class Cut:
    """Cuts a task off in the middle of what it does, once it is told to."""

    def __init__(self) -> None:
        self.task: asyncio.Task | None = None

    async def here(self) -> None:
        if self.task:
            self.task.cancel()
            await asyncio.sleep(5)

    async def off(self, coroutine) -> None:
        self.task = asyncio.ensure_future(coroutine)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(self.task, 5)
        self.task = None


def names(made) -> list[str]:
    return [f"{each.call.name} {each.call.arguments}" for each in made]


async def test_the_calls_of_a_run_are_undone_the_last_one_first(store):
    done: list[str] = []
    model = Scripted(calls("book", what="hotel"), calls("book", what="flight"), says("Booked."))
    agent = Agent(model, tools=[booking(done)], journal=store)
    await agent.run("Go.", run_id="trip")

    undone = await agent.undo("trip", reason="Ill.")

    assert done == ["book hotel", "book flight", "cancel flight: number 2", "cancel hotel: number 1"]
    assert names(undone.undone) == ['book {"what":"flight"}', 'book {"what":"hotel"}']
    assert [each.said for each in undone.undone] == ["flight cancelled", "hotel cancelled"]
    assert (undone.reason, undone.stays, undone.in_doubt) == ("Ill.", (), ())


async def test_what_ended_last_is_undone_first_though_it_was_called_first(store):
    done: list[str] = []
    second = asyncio.Event()

    def unbook(what: str) -> None:
        done.append(f"cancel {what}")

    @tool(undo=unbook)
    async def book(what: str) -> str:
        "Book."
        if what == "first":
            await asyncio.wait_for(second.wait(), 5)
        return what

    @tool(effect="read")
    async def watch() -> str:
        "Let the first go on once the second is written down."
        while not any(record.key == "0/1" for record in await store.records("trip")):  # noqa: ASYNC110 - a store has no such event
            await asyncio.sleep(0)
        second.set()
        return "seen"

    turn = calls("book", what="first") & calls("book", what="second") & calls("watch")
    agent = Agent(Scripted(turn, says("Booked.")), tools=[book, watch], journal=store)
    await agent.run("Go.", run_id="trip")

    await agent.undo("trip")

    assert done == ["cancel first", "cancel second"]


async def test_a_run_that_was_undone_takes_no_further_step(store):
    done: list[str] = []
    agent = Agent(Scripted(calls("book", what="hotel"), fails(BadReply("gone"))), tools=[booking(done)], journal=store)
    with pytest.raises(BadReply):
        await agent.run("Go.", run_id="trip")
    await agent.undo("trip", reason="Ill.")

    with pytest.raises(RunUndone, match=r"the run 'trip' was undone \(Ill\.\): 1 calls undone, 0 stay, 0 in doubt") as refused:
        await agent.resume("trip")
    with pytest.raises(RunUndone):
        await agent.run("Go.", run_id="trip")

    assert names(refused.value.undone.undone) == ['book {"what":"hotel"}']
    assert done == ["book hotel", "cancel hotel: number 1"]
    assert [record.key for record in await store.records("trip")][-1] == "end"


async def test_a_run_is_undone_once_however_often_that_is_asked(store):
    done: list[str] = []
    agent = Agent(Scripted(calls("book", what="hotel"), says("Booked.")), tools=[booking(done)], journal=store)
    await agent.run("Go.", run_id="trip")

    first = await agent.undo("trip", reason="Ill.")
    second = await agent.undo("trip", reason="Well again.")

    assert second == first
    assert done == ["book hotel", "cancel hotel: number 1"]


async def test_reads_failures_and_calls_that_were_not_made_are_not_undone(store):
    done: list[str] = []

    @tool(effect="read", undo=lambda: done.append("undo look"))
    def look() -> str:
        "Look."
        return "sun"

    @tool(undo=lambda: done.append("undo fail"))
    def fail() -> str:
        "Fail."
        raise ValueError("no")

    @tool(needs_approval=True, undo=lambda: done.append("undo pay"))
    def pay() -> str:
        "Pay."
        return "paid"

    model = Scripted(calls("look") & calls("fail") & calls("pay"), says("Done."))
    agent = Agent(model, tools=[look, fail, pay], journal=store)
    paused = await agent.run("Go.", run_id="trip")
    await Runs(store).deny("trip", paused.waiting[0].id)
    await agent.resume("trip")

    undone = await agent.undo("trip")

    assert (undone.undone, undone.stays, undone.in_doubt, done) == ((), (), (), [])


async def test_a_call_that_was_answered_from_an_earlier_one_is_not_undone(store):
    done: list[str] = []

    @tool(undo=lambda what: done.append(f"cancel {what}"))
    def book(what: str) -> str:
        "Book."
        done.append(f"book {what}")
        return "booked"

    again = [calls("book", what="hotel")] * 4
    agent = Agent(Scripted(*again, says("Booked.")), tools=[book], journal=store)
    await agent.run("Go.", run_id="trip")

    await agent.undo("trip")

    assert done == ["book hotel", "book hotel", "cancel hotel", "cancel hotel"]


async def test_what_cannot_be_undone_is_said_to_stay(store):
    done: list[str] = []

    @tool
    def send(to: str) -> str:
        "Send."
        return f"sent to {to}"

    ask_editor = external("ask_editor", "Ask.")
    model = Scripted(calls("send", to="Ann"), calls("book", what="hotel"), calls("ask_editor"), says("Done."))
    agent = Agent(model, tools=[send, booking(done), ask_editor], journal=store)
    paused = await agent.run("Go.", run_id="trip")
    await Runs(store).answer("trip", paused.waiting[0].id, result="printed")
    await agent.resume("trip")

    undone = await agent.undo("trip")

    assert names(undone.stays) == ['send {"to":"Ann"}', "ask_editor {}"]
    assert names(undone.undone) == ['book {"what":"hotel"}']


async def test_an_undo_is_given_the_arguments_that_a_person_wrote_and_the_bare_result(store):
    seen: list[object] = []

    def take_back(amount: float, result: dict, to: str) -> None:
        seen.append((amount, to, result))

    @tool(needs_approval=True, undo=take_back)
    def pay(amount: float, to: str = "Ann") -> dict:
        "Pay."
        return {"paid": amount}

    agent = Agent(Scripted(calls("pay", amount=400), says("Paid.")), tools=[pay], journal=store)
    paused = await agent.run("Pay.", run_id="bill")
    await Runs(store).approve("bill", paused.waiting[0].id, arguments={"amount": 40})
    await agent.resume("bill")

    await agent.undo("bill")

    assert seen == [(40.0, "Ann", {"paid": 40.0})]


async def test_an_undo_in_a_class_gets_the_instance_of_its_tool_and_an_undo_its_context(store):
    class Shop:
        def __init__(self) -> None:
            self.open = ["till"]

        async def unsell(self, what: str, context: Context) -> str:
            self.open.append(f"{context.deps} gives {what} back")
            return "given back"

        @tool(undo=unsell)
        def sell(self, what: str) -> str:
            "Sell."
            return what

    shop = Shop()
    agent = Agent(Scripted(calls("sell", what="hat"), says("Sold.")), tools=[shop.sell], journal=store)
    await agent.run("Sell.", run_id="day")

    undone = await agent.undo("day", deps="Ann")

    assert shop.open == ["till", "Ann gives hat back"]
    assert undone.undone[0].said == "given back"


async def test_the_calls_of_agents_in_agents_are_undone_in_one_order_with_the_others(store):
    done: list[str] = []
    book = booking(done)
    deep = Agent(Scripted(calls("book", what="seat"), says("Sat.")), tools=[book], name="deep")
    clerk_turns = [calls("book", what="hotel"), calls("deep", task="Seat."), calls("book", what="car"), says("Done.")]
    clerk = Agent(Scripted(*clerk_turns), tools=[book, deep.as_tool("Seats.")], name="clerk")
    turns = [calls("book", what="visa"), calls("clerk", task="Book."), calls("book", what="taxi"), says("Booked.")]
    boss = Agent(Scripted(*turns), tools=[book, clerk.as_tool("Books.")], journal=store)
    await boss.run("Go.", run_id="trip")
    booked = len(done)

    undone = await boss.undo("trip")

    assert [each.partition(":")[0] for each in done[booked:]] == [f"cancel {what}" for what in ("taxi", "car", "seat", "hotel", "visa")]
    assert [each.run_id for each in undone.undone] == ["trip", "trip/1/0", "trip/1/0/1/0", "trip/1/0", "trip"]


async def test_a_run_inside_another_is_undone_with_that_one_only(store):
    clerk = Agent(Scripted(says("Done.")), name="clerk")
    boss = Agent(Scripted(calls("clerk", task="Go."), says("Done.")), tools=[clerk.as_tool("Clerk.")], journal=store)
    await boss.run("Go.", run_id="trip")

    with pytest.raises(ConfigurationError, match="'trip/0/0' is a run inside another; undo that one"):
        await boss.undo("trip/0/0")


async def test_a_failing_undo_stops_there_says_how_far_it_got_and_goes_on_when_asked_again(store):
    done: list[str] = []
    broken = ["flight"]

    def cancel(what: str) -> str:
        done.append(what)
        if what in broken:
            raise ConnectionError("the line is busy")
        return "cancelled"

    @tool(undo=cancel)
    def book(what: str) -> str:
        "Book."
        return what

    turns = [calls("book", what=what) for what in ("hotel", "flight", "car")]
    agent = Agent(Scripted(*turns, says("Booked.")), tools=[book], journal=store)
    await agent.run("Go.", run_id="trip")

    with pytest.raises(UndoFailed, match=r"the undo of 'book' in the run 'trip' failed: ConnectionError: the line is busy; call") as failed:
        await agent.undo("trip")
    with pytest.raises(UndoFailed):
        await agent.resume("trip")
    broken.clear()
    undone = await agent.undo("trip")

    assert names(failed.value.so_far.undone) == ['book {"what":"car"}']
    assert names([failed.value.failed]) == ['book {"what":"flight"}']
    assert names(failed.value.left) == ['book {"what":"hotel"}']
    assert done == ["car", "flight", "flight", "flight", "hotel"]
    assert len(undone.undone) == 3


async def test_an_undo_that_was_cut_off_is_in_doubt_until_somebody_decides(store):
    done: list[str] = []
    cut = Cut()

    async def cancel(what: str) -> str:
        done.append(what)
        if what == "flight":
            await cut.here()
        return "cancelled"

    @tool(undo=cancel)
    def book(what: str) -> str:
        "Book."
        return what

    turns = [calls("book", what=what) for what in ("hotel", "flight", "car")]
    agent = Agent(Scripted(*turns, says("Booked.")), tools=[book], journal=store)
    await agent.run("Go.", run_id="trip")
    await cut.off(agent.undo("trip"))

    with pytest.raises(UndoFailed, match=r"was cut off, and may have taken effect; say undo\(\.\.\., in_doubt=\"again\"\)"):
        await agent.undo("trip")
    assert done == ["car", "flight"]
    await cut.off(agent.undo("trip", in_doubt="again"))
    with pytest.raises(UndoFailed):
        await agent.undo("trip")
    undone = await agent.undo("trip", in_doubt="leave")

    assert done == ["car", "flight", "flight", "hotel"]
    assert names(undone.undone) == ['book {"what":"car"}', 'book {"what":"hotel"}']
    assert names(undone.in_doubt) == ['book {"what":"flight"}']


async def test_an_undo_that_may_be_run_again_is_run_again_with_the_same_key(store):
    keys: list[str] = []
    cut = Cut()

    @tool(effect="idempotent")
    async def cancel(what: str, context: Context) -> str:
        "Cancel."
        keys.append(f"{what} {context.idempotency_key}")
        await cut.here()
        return "cancelled"

    @tool(undo=cancel)
    def book(what: str) -> str:
        "Book."
        return what

    agent = Agent(Scripted(calls("book", what="a"), calls("book", what="b"), says("Booked.")), tools=[book], journal=store)
    await agent.run("Go.", run_id="trip")
    await cut.off(agent.undo("trip"))
    await cut.off(agent.undo("trip"))

    undone = await agent.undo("trip")

    assert len(undone.undone) == 2
    assert [key.split()[0] for key in keys] == ["b", "b", "b", "a"]
    assert len(set(keys)) == 2


async def test_a_call_that_was_cut_off_is_named_and_not_undone(store):
    done: list[str] = []
    cut = Cut()

    @tool(undo=lambda what: done.append(f"cancel {what}"))
    async def book(what: str) -> str:
        "Book."
        if what == "flight":
            await cut.here()
        return what

    @tool(effect="idempotent", undo=lambda: done.append("cancel save"))
    async def save() -> str:
        "Save."
        return await asyncio.sleep(5, "saved")

    turn = calls("book", what="flight") & calls("save")
    agent = Agent(Scripted(calls("book", what="hotel"), turn), tools=[book, save], journal=store)
    await cut.off(agent.run("Go.", run_id="trip"))

    undone = await agent.undo("trip")

    assert names(undone.in_doubt) == ['book {"what":"flight"}', "save {}"]
    assert names(undone.undone) == ['book {"what":"hotel"}']
    assert done == ["cancel hotel"]


async def test_a_call_that_waits_for_a_person_is_not_in_doubt_beside_one_that_is(store):
    cut = Cut()

    @tool
    async def book(what: str) -> str:
        "Book."
        await cut.here()
        return what

    @tool(needs_approval=True)
    def pay() -> str:
        "Pay."
        return "paid"

    agent = Agent(Scripted(calls("book", what="flight") & calls("pay")), tools=[book, pay], journal=store)
    await cut.off(agent.run("Go.", run_id="trip"))
    await agent.resume("trip")

    undone = await agent.undo("trip")

    assert names(undone.in_doubt) == ['book {"what":"flight"}']


async def test_a_call_in_doubt_is_undone_if_a_person_has_said_what_it_came_to(store):
    done: list[str] = []
    cut = Cut()

    @tool(undo=lambda what, result: done.append(f"cancel {what}: {result}"))
    async def book(what: str) -> str:
        "Book."
        await cut.here()
        return what

    agent = Agent(Scripted(calls("book", what="a") & calls("book", what="b"), says("Done.")), tools=[book], journal=store)
    await cut.off(agent.run("Go.", run_id="trip"))
    paused = await agent.resume("trip")
    await Runs(store).answer("trip", paused.waiting[0].id, result="number 9")
    await Runs(store).deny("trip", paused.waiting[1].id)
    await agent.resume("trip")

    undone = await agent.undo("trip")

    assert done == ["cancel a: number 9"]
    assert names(undone.in_doubt) == ['book {"what":"b"}']


async def test_a_person_who_says_no_can_have_everything_undone_from_another_process(store):
    done: list[str] = []

    @tool(needs_approval=True)
    def pay() -> str:
        "Pay."
        done.append("pay")
        return "paid"

    agent = Agent(Scripted(calls("book", what="hotel"), calls("pay")), tools=[booking(done), pay], journal=store)
    await agent.run("Go.", run_id="trip")

    await order_undo(store, "trip", reason="Too dear.")

    assert await Runs(store).waiting("trip") == ()
    with pytest.raises(RunUndone, match="Too dear"):
        await agent.resume("trip")
    assert done == ["book hotel", "cancel hotel: number 1"]


async def test_what_a_fork_took_over_is_not_undone_with_it(store):
    done: list[str] = []
    model = Scripted(calls("book", what="hotel"), says("Booked."), calls("book", what="car"), says("Booked too."))
    agent = Agent(model, tools=[booking(done)], journal=store)
    await agent.run("Go.", run_id="trip")
    fork = await Runs(store).fork("trip", at=1)
    await agent.resume(fork)

    undone = await agent.undo(fork)

    assert names(undone.undone) == ['book {"what":"car"}']
    assert done == ["book hotel", "book car", "cancel car: number 2"]


async def test_a_run_that_is_going_on_or_is_not_there_is_not_undone(store):
    agent = Agent(Scripted(says("Done.")), journal=store)
    await agent.run("Go.", run_id="trip")

    async with store.open("trip", {}):
        with pytest.raises(RunLocked):
            await agent.undo("trip")
    with pytest.raises(JournalError, match="there is no run 'tripp'"):
        await agent.undo("tripp")
    with pytest.raises(ConfigurationError, match="has no journal"):
        await Agent(Scripted()).undo("trip")


async def test_a_run_is_not_undone_with_other_tools_unless_that_is_said(store):
    done: list[str] = []
    agent = Agent(Scripted(calls("book", what="hotel"), says("Booked.")), tools=[booking(done)], journal=store)
    await agent.run("Go.", run_id="trip")
    stranger = Agent(Scripted(), journal=store)

    with pytest.raises(JournalMismatch, match="has called 'book', which is gone since it began; undo it with an agent that has the tools"):
        await stranger.undo("trip")
    undone = await agent.undo("trip")

    assert names(undone.undone) == ['book {"what":"hotel"}']
    assert done == ["book hotel", "cancel hotel: number 1"]
    assert await stranger.undo("trip") == undone


async def test_a_tool_that_is_gone_for_good_leaves_its_calls_as_they_are(store):
    done: list[str] = []
    agent = Agent(Scripted(calls("book", what="hotel"), says("Booked.")), tools=[booking(done)], journal=store)
    await agent.run("Go.", run_id="trip")

    undone = await Agent(Scripted(), journal=store).undo("trip", other_tools=True)

    assert names(undone.stays) == ['book {"what":"hotel"}']
    assert done == ["book hotel"]


async def test_the_tools_of_agents_in_agents_must_be_those_they_had_too(store):
    inner = Agent(Scripted(calls("book", what="hotel"), says("Booked.")), tools=[booking([])], name="clerk")
    agent = Agent(Scripted(calls("clerk", task="Book."), says("Done.")), tools=[inner.as_tool("Books.")], journal=store)
    await agent.run("Go.", run_id="trip")
    other = Agent(Scripted(), tools=[Agent(Scripted(), name="clerk").as_tool("Books.")], journal=store)

    with pytest.raises(JournalMismatch, match="'book', which is gone"):
        await other.undo("trip")

    assert len((await agent.undo("trip")).undone) == 1


async def test_a_tool_whose_arguments_do_not_fit_any_more_says_so_as_a_failed_undo(store):
    agent = Agent(Scripted(calls("book", what="hotel"), says("Booked.")), tools=[booking([])], journal=store)
    await agent.run("Go.", run_id="trip")

    @tool(undo=lambda number: "cancelled")
    def book(number: int) -> str:
        "Book."
        return "booked"

    with pytest.raises(UndoFailed, match="cannot be made, as the tool takes other arguments now"):
        await Agent(Scripted(), tools=[book], journal=store).undo("trip", other_tools=True)


async def test_an_undo_that_ran_out_of_time_is_in_doubt_until_somebody_decides(store):
    begun: list[str] = []

    async def cancel(what: str) -> str:
        begun.append(what)
        if len(begun) < 3:
            await asyncio.sleep(5)
        return "cancelled"

    @tool(undo=cancel, timeout=0.01)
    def book(what: str) -> str:
        "Book."
        return what

    agent = Agent(Scripted(calls("book", what="hotel"), says("Booked.")), tools=[book], journal=store)
    await agent.run("Go.", run_id="trip")

    with pytest.raises(UndoFailed, match="ran out of time, and may have taken effect"):
        await agent.undo("trip")
    with pytest.raises(UndoFailed, match="may have taken effect"):
        await agent.undo("trip")
    assert begun == ["hotel"]
    with pytest.raises(UndoFailed, match="ran out of time"):
        await agent.undo("trip", in_doubt="again")
    undone = await agent.undo("trip", in_doubt="again")

    assert len(begun) == 3
    assert names(undone.undone) == ['book {"what":"hotel"}']


async def test_an_undo_that_is_refused_leaves_no_order_with_a_run_that_is_going_on(store):
    begun, may_end = asyncio.Event(), asyncio.Event()

    @tool(undo=lambda: "cancelled")
    async def book() -> str:
        "Book."
        begun.set()
        await may_end.wait()
        return "booked"

    agent = Agent(Scripted(calls("book"), says("Booked.")), tools=[book], journal=store)
    going = asyncio.ensure_future(agent.run("Go.", run_id="trip"))
    await asyncio.wait_for(begun.wait(), 5)

    with pytest.raises(RunLocked):
        await agent.undo("trip")
    may_end.set()
    first = await asyncio.wait_for(going, 5)

    assert (await agent.run("Go.", run_id="trip")).text == first.text == "Booked."


async def test_a_flow_is_not_undone_and_nothing_is_said_of_it(store):
    done: list[str] = []
    agent = Agent(Scripted(calls("book", what="hotel"), says("Booked.")), tools=[booking(done)])

    @flow
    async def trip() -> str:
        await agent.run("Go.")
        return f"fine: {await wait('Fine?', answer=bool)}"

    paused = await trip.run(journal=store, run_id="trip")
    call = paused.waiting[0].call.id

    with pytest.raises(ConfigurationError, match="the run 'trip' is a flow's, and only the runs of agents can be undone"):
        await agent.with_journal(store).undo("trip")
    with pytest.raises(ConfigurationError, match="is a flow's"):
        await order_undo(store, "trip")
    with pytest.raises(ConfigurationError, match="is a flow's"):
        await Runs(store).deny("trip", call, undo=True)
    await Runs(store).approve("trip", call)

    assert (await trip.resume("trip", journal=store)).output == "fine: True"
    assert done == ["book hotel"]


async def test_what_a_fork_did_itself_in_the_steps_it_took_over_is_undone(store):
    done: list[str] = []
    inner = Agent(Scripted(calls("book", what="hotel"), calls("pay"), says("Paid.")), tools=[booking(done), paying(done)], name="clerk")
    agent = Agent(
        Scripted(calls("pay") & calls("clerk", task="Book."), says("Done.")),
        tools=[paying(done), inner.as_tool("Books.")],
        journal=store,
    )
    await agent.run("Go.", run_id="trip")
    fork = await Runs(store).fork("trip", at=1)
    for waiting in await Runs(store).waiting(fork):
        await Runs(store).approve(waiting.run_id, waiting.call.id)
    await agent.resume(fork)

    undone = await agent.undo(fork)

    assert done == ["book hotel", "pay", "pay", "refund", "refund"]
    assert sorted(made.run_id for made in undone.undone) == [fork, f"{fork}/0/1"]
    assert names((await agent.undo("trip")).undone) == ['book {"what":"hotel"}']


def paying(done: list[str]):
    def refund() -> str:
        done.append("refund")
        return "refunded"

    @tool(undo=refund, needs_approval=True)
    def pay() -> str:
        "Pay."
        done.append("pay")
        return "paid"

    return pay


@pytest.mark.parametrize("at", range(1, 9))
async def test_an_undo_cut_off_before_any_record_goes_on_and_undoes_nothing_twice(at: int):
    done: list[str] = []
    store = CutAt()

    @tool(effect="idempotent")
    def cancel(what: str) -> str:
        "Cancel."
        done.append(what)
        return "cancelled"

    @tool(undo=cancel)
    def book(what: str) -> str:
        "Book."
        return what

    turns = [calls("book", what=what) for what in ("hotel", "flight", "car")]
    agent = Agent(Scripted(*turns, says("Booked.")), tools=[book], journal=store, limits=Limits(steps=9))
    await agent.run("Go.", run_id="trip")
    store.left = at

    with pytest.raises(JournalError):
        await agent.undo("trip")
    store.left = None
    undone = await agent.undo("trip")

    # What was done and could not be written down is done again, which this undo allows; nothing else is.
    assert list(dict.fromkeys(done)) == ["car", "flight", "hotel"]
    assert len(done) <= 4
    assert len(undone.undone) == 3
    assert [record.key for record in await store.records("trip") if record.key.endswith("/undo")] == ["2/0/undo", "1/0/undo", "0/0/undo"]


def test_an_undo_that_is_killed_anywhere_is_finished_and_cancels_nothing_twice(tmp_path: Path):
    command = [sys.executable, str(Path(__file__).with_name("mortal_undo.py")), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}

    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - a script of ours

    lives = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert len(lives) > 12
    for life in lives:
        cancelled = [effect for effect in life["effects"] if effect.startswith("cancel")]
        assert cancelled == [each for each in ("cancel car", "cancel seat", "cancel hotel") if each in cancelled]
        assert len(life["undone"]) + len(life["in_doubt"]) == 3
        assert len(cancelled) >= len(life["undone"])
        assert life["doubts"] == len(life["in_doubt"])
    assert any(life["doubts"] for life in lives)


class CutAt(MemoryStore):
    """A store whose disk is full once so many records are written."""

    left: int | None = None

    def write(self, *record: str, **more: str) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left <= 0:
                raise JournalError("no space left")
        super().write(*record, **more)


async def test_a_denial_can_have_everything_undone(store):
    done: list[str] = []

    @tool(needs_approval=True)
    def pay() -> str:
        "Pay."
        return "paid"

    model = Scripted(calls("book", what="hotel"), calls("pay"), says("Paid."))
    agent = Agent(model, tools=[booking(done), pay], journal=store)
    paused = await agent.run("Go.", run_id="trip")

    await Runs(store).deny("trip", paused.waiting[0].id, reason="Too late.", undo=True)
    with pytest.raises(RunUndone, match=r"\(Too late\.\)"):
        await agent.resume("trip")

    assert done == ["book hotel", "cancel hotel: number 1"]
