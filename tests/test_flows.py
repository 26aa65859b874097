"""Flows: several agents in one plain async function, each call written down."""

from __future__ import annotations

import asyncio
import enum
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import pytest
from pydantic import BaseModel, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from agentloop import Agent, AgentLoopError, Context, LimitReached, Limits, ModelError, tool
from agentloop.draining import draining
from agentloop.errors import ConfigurationError, Drained, JournalMismatch, RunLocked, ServerError
from agentloop.flows import Denied, FlowResult, InDoubt, StepFailed, drawing, flow, sleep, step, wait
from agentloop.journal.following import follow
from agentloop.journal.memory import MemoryStore
from agentloop.journal.runs import Runs
from agentloop.journal.sqlite import SQLiteStore
from agentloop.journal.store import Store
from agentloop.messages import Usage
from agentloop.testing import Scripted, always, calls, fails, says


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    kept = SQLiteStore(tmp_path / "runs.db")
    yield kept
    await kept.aclose()


@tool(needs_approval=True)
def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


def speaker(name: str, *turns, **given) -> Agent:
    return Agent(Scripted(*turns), name=name, **given)


async def keys(store: Store, run_id: str) -> list[str]:
    return [record.key for record in await store.records(run_id)]


async def cut_off(running, begun: asyncio.Event) -> None:
    """End a life of a run as soon as the event is set."""
    task = asyncio.ensure_future(running)
    async with asyncio.timeout(5):
        await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_flow_gives_what_its_function_returns(store: Store):
    scout = speaker("scout", says("sunny"))

    @flow
    async def trip(city: str) -> str:
        weather = await scout.run(f"Weather in {city}?")
        return f"{city}: {weather.output}"

    result = await trip.run("Paris", journal=store, run_id="trip-1")

    assert result == FlowResult("trip-1", done=True, answer="Paris: sunny")
    assert result.output == "Paris: sunny"
    assert await store.runs() == ["trip-1", "trip-1/0-scout"]
    assert await keys(store, "trip-1") == ["input", "0", "end"]


async def test_a_finished_flow_is_given_back_and_not_performed(store: Store):
    lives = []

    @flow
    async def count(upto: int) -> list[int]:
        lives.append(upto)
        return list(range(upto))

    await count.run(3, journal=store, run_id="c")
    again = await count.run(3, journal=store, run_id="c")
    resumed = await count.resume("c", journal=store)

    assert again.output == resumed.output == [0, 1, 2]
    assert lives == [3]


async def test_a_flow_that_failed_goes_on_from_what_it_wrote_down(store: Store):
    scout = speaker("scout", says("sunny"))
    quoted = []

    def quote(city: str) -> float:
        quoted.append(city)
        if len(quoted) == 1:
            raise TimeoutError("no quote")
        return 12.5

    @flow
    async def trip(city: str) -> str:
        weather = await scout.run(city)
        return f"{weather.text} {await step(quote, city, effect='read')}"

    with pytest.raises(TimeoutError, match="no quote"):
        await trip.run("Rome", journal=store, run_id="t")
    result = await trip.resume("t", journal=store)

    assert result.output == "sunny 12.5"
    assert quoted == ["Rome", "Rome"]
    assert scout.model.turns_left == 0


async def test_a_replayed_agent_gives_the_same_typed_result(store: Store):
    @dataclass
    class City:
        name: str
        people: int

    clerk = speaker("clerk", says('{"name": "Oslo", "people": 700000}').spending(Usage(11, 7)), output=City)
    seen = []
    fail = [True]

    @flow
    async def ask() -> int:
        seen.append(await clerk.run("Oslo?"))
        if fail.pop():
            raise ValueError("not yet")
        return seen[-1].output.people

    with pytest.raises(ValueError, match="not yet"):
        await ask.run(journal=store, run_id="a")
    fail.append(False)
    result = await ask.resume("a", journal=store)

    assert result.output == 700_000
    assert seen[0].output == seen[1].output == City("Oslo", 700_000)
    assert seen[1].usage == Usage(11, 7)
    assert (seen[1].steps, seen[1].done, seen[1].run_id) == (1, True, "a/0-clerk")
    assert seen[0].transcript.messages == seen[1].transcript.messages


async def test_calls_side_by_side_are_numbered_in_the_order_in_which_they_are_made(store: Store):
    both = asyncio.Barrier(2)

    async def meeting(_):
        async with asyncio.timeout(5):
            await both.wait()
        return says("met")

    hotels, flights = speaker("hotels", meeting), speaker("flights", meeting)

    @flow
    async def gathered() -> list[str]:
        return [result.text for result in await asyncio.gather(hotels.run("h"), flights.run("f"))]

    result = await gathered.run(journal=store, run_id="g")

    assert result.output == ["met", "met"]
    assert set(await store.runs()) == {"g", "g/0-hotels", "g/1-flights"}


async def test_calls_may_be_made_in_a_task_group(store: Store):
    one, other = speaker("one", says("1")), speaker("other", says("2"))

    @flow
    async def grouped() -> str:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one.run("?")), group.create_task(other.run("?"))]
        return "".join(task.result().text for task in tasks)

    assert (await grouped.run(journal=store, run_id="g")).output == "12"
    assert set(await store.runs()) == {"g", "g/0-one", "g/1-other"}


async def test_a_branch_of_several_calls_is_told_to_be_a_flow_of_its_own():
    scout = speaker("scout", says("a"), says("b"))

    async def branch() -> None:
        await scout.run("one")

    @flow
    async def branching() -> None:
        await asyncio.gather(branch(), branch())

    with pytest.raises(ConfigurationError, match=r"'scout' is called in a branch of the flow .*make a @flow of the branch and await"):
        await branching.run()


async def test_flows_in_a_flow_are_runs_of_their_own(store: Store):
    fail = [True]
    done = []

    def note(word: str) -> str:
        done.append(word)
        return word

    @flow
    async def branch(word: str) -> str:
        first = await step(note, f"{word}1")
        second = await step(note, f"{word}2")
        return first + second

    @flow
    async def both() -> list[str]:
        found = await asyncio.gather(branch("a"), branch("b"))
        if fail.pop():
            raise ValueError("once more")
        return list(found)

    with pytest.raises(ValueError, match="once more"):
        await both.run(journal=store, run_id="b")
    fail.append(False)
    result = await both.resume("b", journal=store)

    assert result.output == ["a1a2", "b1b2"]
    assert sorted(done) == ["a1", "a2", "b1", "b2"]
    assert set(await store.runs()) == {"b", "b/0-branch", "b/1-branch"}


async def test_a_flow_that_is_run_in_a_flow_gives_its_result(store: Store):
    @flow
    async def inner(number: int) -> int:
        return number + 1

    @flow
    async def outer() -> int:
        return (await inner.run(1)).output + await inner(2)

    assert (await outer.run(journal=store, run_id="o")).output == 5


async def test_other_arguments_for_a_known_run_are_refused(store: Store):
    @flow
    async def trip(city: str) -> str:
        return city

    await trip.run("Paris", journal=store, run_id="t")

    with pytest.raises(JournalMismatch, match="'t' was begun with other arguments"):
        await trip.run("Rome", journal=store, run_id="t")


async def test_a_flow_that_now_takes_another_step_is_refused(store: Store):
    def quote() -> int:
        raise ValueError("down")

    def weigh() -> int:
        return 1

    steps = [quote, weigh]
    scout = speaker("scout", says("a"))

    @flow
    async def trip() -> None:
        await step(weigh, effect="read")
        await scout.run("?")
        await step(steps[0], effect="read")

    with pytest.raises(ValueError, match="down"):
        await trip.run(journal=store, run_id="t")
    other = speaker("clerk", says("b"))

    @flow(name="trip")
    async def changed() -> None:
        await step(weigh, effect="read")
        await other.run("?")

    with pytest.raises(JournalMismatch, match="the agent 'scout' as its number 1 in an earlier life, and calls the agent 'clerk' now"):
        await changed.resume("t", journal=store)
    assert other.model.heard == []


async def test_a_mismatch_cannot_be_swallowed_by_the_flow(store: Store):
    name = ["scout"]

    @flow
    async def trip() -> str:
        try:
            await speaker(name[0], says("a")).run("?")
        except Exception:  # noqa: BLE001  # what a careless flow writes
            return "swallowed"
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        await trip.run(journal=store, run_id="t")
    name[0] = "clerk"

    with pytest.raises(JournalMismatch):
        await trip.resume("t", journal=store)
    assert "end" not in await keys(store, "t")


async def test_a_run_of_another_flow_is_refused(store: Store):
    @flow
    async def one() -> None:
        raise ValueError("stop")

    @flow
    async def other() -> None:
        pass

    with pytest.raises(ValueError, match="stop"):
        await one.run(journal=store, run_id="r")

    with pytest.raises(JournalMismatch, match="of the flow 'one', and this is 'other'"):
        await other.resume("r", journal=store)


async def test_resuming_what_nobody_began_says_so(store: Store):
    @flow
    async def trip() -> None:
        pass

    with pytest.raises(ConfigurationError, match="there is no run 'nope'"):
        await trip.resume("nope", journal=store)


@pytest.mark.parametrize(("approved", "output"), [(True, "booked"), (False, "not booked")])
async def test_a_flow_waits_for_a_person(store: Store, approved: bool, output: str):
    @flow
    async def trip() -> str:
        if not await wait("Book it?", answer=bool):
            return "not booked"
        return "booked"

    paused = await trip.run(journal=store, run_id="t")
    runs = Runs(store)
    assert (paused.done, paused.paused) == (False, True)
    assert [(each.call.name, each.call.arguments) for each in paused.waiting] == [("wait", '{"question":"Book it?"}')]
    with pytest.raises(AgentLoopError, match="Book it"):
        paused.output  # noqa: B018  # it raises
    if approved:
        await runs.approve("t", paused.waiting[0].call.id)
    else:
        await runs.deny("t", paused.waiting[0].call.id)

    assert (await trip.resume("t", journal=store)).output == output


class Seat(enum.Enum):
    AISLE = "aisle"
    WINDOW = "window"


async def test_an_answer_takes_the_form_that_was_asked_for_or_is_asked_for_again(store: Store):
    @flow
    async def book() -> tuple[Seat, int, str]:
        return await wait("Seat?", answer=Seat), await wait("How many?", answer=int), await wait("Name?")

    runs = Runs(store)
    await book.run(journal=store, run_id="b")
    await runs.answer("b", "0-wait", result="roof")
    paused = await book.resume("b", journal=store)
    assert "no <enum 'Seat'>" in paused.waiting[0].question.problem
    await runs.answer("b", "0-wait", result="aisle")
    await book.resume("b", journal=store)
    await runs.answer("b", "1-wait", result=2)
    await book.resume("b", journal=store)
    await runs.answer("b", "2-wait", result="Ada")

    assert (await book.resume("b", journal=store)).output == (Seat.AISLE, 2, "Ada")


async def test_a_denied_question_that_is_no_yes_or_no_is_an_error(store: Store):
    @flow
    async def book() -> str:
        return await wait("Name?")

    await book.run(journal=store, run_id="b")
    await Runs(store).deny("b", "0-wait", reason="none of your business")

    with pytest.raises(Denied, match="none of your business"):
        await book.resume("b", journal=store)


async def test_a_pause_is_not_swallowed_and_runs_no_further_step(store: Store):
    done = []

    @flow
    async def careless() -> str:
        try:
            return await wait("Go on?")
        except Exception:  # noqa: BLE001  # what a careless flow writes
            return "swallowed"
        finally:
            await step(done.append, "cleaned", effect="read")

    paused = await careless.run(journal=store, run_id="c")

    assert paused.paused
    assert done == []
    await Runs(store).answer("c", "0-wait", result="yes")
    assert (await careless.resume("c", journal=store)).output == "yes"
    assert done == ["cleaned"]


async def test_an_agent_that_waits_pauses_the_flow_once_its_siblings_are_done(store: Store):
    clerk = speaker("clerk", calls("pay", amount=3), says("done"), tools=[pay])
    scout = speaker("scout", calls("look"), says("sunny"), tools=[tool(lambda: "sun", name="look", effect="read")])

    @flow
    async def trip() -> str:
        paid, weather = await asyncio.gather(clerk.run("pay"), scout.run("weather"))
        return f"{paid.text}, {weather.text}"

    paused = await trip.run(journal=store, run_id="t")
    assert [(each.run_id, each.call.name) for each in paused.waiting] == [("t/0-clerk", "pay")]
    assert scout.model.turns_left == 0
    await Runs(store).approve("t", paused.waiting[0].call.id)

    assert (await trip.resume("t", journal=store)).output == "done, sunny"


async def test_a_flow_in_a_flow_that_waits_pauses_both(store: Store):
    @flow
    async def inner() -> bool:
        return await wait("Inner?", answer=bool)

    @flow
    async def outer() -> bool:
        return await inner()

    paused = await outer.run(journal=store, run_id="o")
    await Runs(store).approve("o", paused.waiting[0].call.id)

    assert paused.waiting[0].run_id == "o/0-inner"
    assert (await outer.resume("o", journal=store)).output is True


async def test_the_first_to_be_done_lets_the_flow_go_on_beside_a_wait(store: Store):
    async def upper(word: str) -> str:
        for _ in range(1000):
            await asyncio.sleep(0)
        return word.upper()

    @flow
    async def race() -> list[str]:
        asked = asyncio.ensure_future(wait("Anything to add?"))
        found = [await step(upper, "a", effect="read"), await step(upper, "b", effect="read")]
        return [*found, await asked]

    paused = await race.run(journal=store, run_id="r")

    assert paused.paused
    assert {"0", "1", "2"} <= set(await keys(store, "r"))
    await Runs(store).answer("r", "0-wait", result="c")
    assert (await race.resume("r", journal=store)).output == ["A", "B", "c"]


async def test_the_time_to_wake_up_is_written_down(store: Store):
    @flow
    async def nap() -> str:
        await sleep(3600)
        return "awake"

    asleep = asyncio.ensure_future(nap.run(journal=store, run_id="n"))
    async with asyncio.timeout(5), aclosing(follow(store, "n", every=0.01)) as records:
        async for written in records:
            if written.key == "0":
                break
    asleep.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asleep

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(nap.resume("n", journal=store), 0.05)
    assert [record for record in await store.records("n") if record.key == "0"] == [written]


async def test_a_sleep_that_is_over_does_not_begin_anew(store: Store):
    fail = [True]

    @flow
    async def nap() -> str:
        await sleep(0.3)
        if fail.pop():
            raise ValueError("once more")
        return "awake"

    with pytest.raises(ValueError, match="once more"):
        await nap.run(journal=store, run_id="n")
    fail.append(False)
    started = monotonic()

    assert (await nap.resume("n", journal=store)).output == "awake"
    assert monotonic() - started < 0.3


@pytest.fixture
def shop():
    """A step that is cut off the first time."""

    class Shop:
        def __init__(self) -> None:
            self.sent: list[str] = []
            self.begun = asyncio.Event()

        async def send(self, what: str) -> str:
            self.sent.append(what)
            self.begun.set()
            if len(self.sent) == 1:
                await asyncio.get_running_loop().create_future()
            return f"sent {what}"

    return Shop()


async def test_a_step_that_was_cut_off_is_in_doubt_and_a_person_is_asked(store: Store, shop):
    @flow
    async def order() -> str:
        return await step(shop.send, "roses")

    await cut_off(order.run(journal=store, run_id="o"), shop.begun)
    paused = await order.resume("o", journal=store)

    assert shop.sent == ["roses"]
    asked = paused.waiting[0]
    assert (asked.call.name, asked.call.arguments, asked.question.wants) == ("send", '{"what":"roses"}', "outcome")
    await Runs(store).approve("o", asked.call.id)
    assert (await order.resume("o", journal=store)).output == "sent roses"
    assert shop.sent == ["roses", "roses"]


async def test_the_result_of_a_step_in_doubt_can_be_given(store: Store, shop):
    @flow
    async def order() -> str:
        return await step(shop.send, "roses")

    await cut_off(order.run(journal=store, run_id="o"), shop.begun)
    await order.resume("o", journal=store)
    await Runs(store).answer("o", "0-send", result="sent, says the shop")

    assert (await order.resume("o", journal=store)).output == "sent, says the shop"
    assert shop.sent == ["roses"]


@pytest.mark.parametrize("how", ["denied", "told"])
async def test_a_flow_can_be_told_that_nobody_knows_what_a_step_came_to(store: Store, shop, how: str):
    @flow
    async def order() -> str:
        try:
            return await step(shop.send, "roses")
        except InDoubt as error:
            return f"{error}, {await step(str.upper, 'so be it', effect='read')}"

    await cut_off(order.run(journal=store, run_id="o"), shop.begun)
    if how == "denied":
        await order.resume("o", journal=store)
        await Runs(store).deny("o", "0-send")

    output = (await order.resume("o", journal=store, in_doubt="tell" if how == "told" else "wait")).output

    assert output == "the step 'send' was begun and then cut off; whether it took effect is unknown, SO BE IT"
    assert (await order.resume("o", journal=store)).output == output
    assert shop.sent == ["roses"]


async def test_two_steps_side_by_side_that_were_cut_off_are_both_in_doubt(store: Store):
    sent = []
    begun = asyncio.Event()

    async def send(what: str) -> str:
        sent.append(what)
        if len(sent) == 2:
            begun.set()
        if len(sent) <= 2:
            await asyncio.get_running_loop().create_future()
        return what

    @flow
    async def order() -> list[str]:
        return list(await asyncio.gather(step(send, "a"), step(send, "b")))

    await cut_off(order.run(journal=store, run_id="o"), begun)
    paused = await order.resume("o", journal=store)
    assert [each.call.id for each in paused.waiting] == ["0-send", "1-send"]
    await Runs(store).approve("o", "1-send")
    await Runs(store).answer("o", "0-send", result="A")

    assert (await order.resume("o", journal=store)).output == ["A", "b"]
    assert sent == ["a", "b", "b"]


@pytest.mark.parametrize("effect", ["read", "idempotent"])
async def test_a_step_that_may_be_done_again_is(store: Store, shop, effect: str):
    @flow
    async def order() -> str:
        return await step(shop.send, "roses", effect=effect)

    await cut_off(order.run(journal=store, run_id="o"), shop.begun)

    assert (await order.resume("o", journal=store)).output == "sent roses"
    assert shop.sent == ["roses", "roses"]


async def test_a_step_that_raised_is_tried_again_without_a_question(store: Store):
    tries = []

    def send() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("no line")
        return "sent"

    @flow
    async def order() -> str:
        return await step(send)

    for _ in range(2):
        with pytest.raises(ConnectionError, match="no line"):
            await order.run(journal=store, run_id="o")

    assert (await order.run(journal=store, run_id="o")).output == "sent"
    assert len(tries) == 3


class SoldOutError(AgentLoopError):
    def __init__(self, what: str, *, left: int) -> None:
        super().__init__(f"{what} is sold out")
        self.left = left


@pytest.mark.parametrize("effect", ["once", "read"])
async def test_an_error_that_the_flow_goes_on_after_is_met_in_each_life(store: Store, effect: str):
    asked, fail = [], [True]

    def order(what: str) -> str:
        asked.append(what)
        if len(asked) == 1:
            raise SoldOutError(what, left=0)
        return what

    @flow
    async def shop() -> str:
        try:
            found = await step(order, "roses", effect=effect)
        except SoldOutError as error:
            found = await step(order, f"tulips, for {error} ({error.left})", effect=effect)
        if fail.pop():
            raise ValueError("stop")
        return found

    with pytest.raises(ValueError, match="stop"):
        await shop.run(journal=store, run_id="s")
    fail.append(False)

    assert (await shop.resume("s", journal=store)).output == "tulips, for roses is sold out (0)"
    assert asked == ["roses", "tulips, for roses is sold out (0)"]


async def met_twice(store: Store, fn, *args, caught: type[BaseException], effect: str = "read") -> list[BaseException]:
    """Let a flow catch what a step raises, in two lives."""
    met = []

    @flow
    async def careful() -> bool:
        try:
            await step(fn, *args, effect=effect)
        except caught as error:
            met.append(error)
        return await wait("Go on?", answer=bool)

    paused = await careful.run(journal=store, run_id="c")
    await Runs(store).approve("c", paused.waiting[0].call.id)
    await careful.resume("c", journal=store)
    assert len(met) == 2
    return met


class VendorError(Exception):
    def __init__(self, words: str, *, headers: dict[str, str]) -> None:
        super().__init__(words)
        self.headers = headers


async def test_of_the_errors_of_others_no_attribute_is_written_down(store: Store):
    def ask() -> None:
        raise VendorError("no entry", headers={"Authorization": "Bearer sk-canary"})

    _, again = await met_twice(store, ask, caught=VendorError)

    assert str(again) == "no entry"
    assert not hasattr(again, "headers")
    assert b"sk-canary" not in await Runs(store).export("c")


class Order(BaseModel):
    count: int
    to: str

    @field_validator("to")
    @classmethod
    def check(cls, to: str) -> str:
        if to == "nobody":
            raise ValueError("nobody lives {there}")
        if to == "all":
            raise PydanticCustomError("many", "{count} are too many", {"count": 9})
        return to


@pytest.mark.parametrize("text", ['{"count":"a","to":"nobody"}', '{"to":"all"}', "no JSON"])
async def test_what_a_validation_found_is_met_in_each_life(store: Store, text: str):
    first, again = await met_twice(store, Order.model_validate_json, text, caught=ValidationError)

    assert str(again) == str(first)
    assert [each["loc"] for each in again.errors()] == [each["loc"] for each in first.errors()]


async def test_a_group_of_errors_is_met_as_one_in_each_life(store: Store):
    def fail() -> None:
        raise ExceptionGroup("two", [KeyError(None), ExceptionGroup("inside", [TimeoutError("late")])])

    first, again = await met_twice(store, fail, caught=ExceptionGroup)

    assert repr(again) == repr(first)


async def test_an_error_of_the_system_keeps_its_number_and_its_file(store: Store, tmp_path: Path):
    missing = str(tmp_path / "missing")

    def read() -> str:
        return Path(missing).read_text()

    first, again = await met_twice(store, read, caught=OSError)

    assert isinstance(again, FileNotFoundError)
    assert (again.errno, again.filename, str(again)) == (first.errno, missing, str(first))


@pytest.mark.parametrize("effect", ["once", "read"])
async def test_a_failure_that_is_met_beside_a_question_is_not_done_again(store: Store, effect: str):
    tries = []

    def call() -> None:
        tries.append(1)
        raise ConnectionError("no line")

    @flow
    async def both() -> str:
        failure, go_on = await asyncio.gather(step(call, effect=effect), wait("Go on?", answer=bool), return_exceptions=True)
        return f"{failure!r} {go_on}"

    paused = await both.run(journal=store, run_id="b")
    await Runs(store).approve("b", paused.waiting[0].call.id)

    assert (await both.resume("b", journal=store)).output == "ConnectionError('no line') True"
    assert tries == [1]


async def test_a_failure_that_is_met_beside_a_sleep_is_written_down_at_once():
    written, tries = asyncio.Event(), []

    class Told(MemoryStore):
        @asynccontextmanager
        async def open(self, run_id, works):
            async with super().open(run_id, works) as journal:
                keep = journal.step

                async def step(key, *given):
                    value = await keep(key, *given)
                    if key == "0/outcome/0":
                        written.set()
                    return value

                journal.step = step
                yield journal

    def call() -> None:
        tries.append(1)
        raise ConnectionError("no line")

    @flow
    async def both(seconds: float) -> str:
        failure, _ = await asyncio.gather(step(call), sleep(seconds), return_exceptions=True)
        return repr(failure)

    await cut_off(both.run(3600.0, journal=Told(), run_id="b"), written)

    assert tries == [1]


async def test_a_step_whose_time_was_up_is_in_doubt(store: Store):
    paid, over = [], asyncio.Event()

    @tool(timeout=0.05)
    async def charge(amount: int) -> str:
        paid.append(amount)
        await over.wait()
        return "paid"

    @flow
    async def order() -> str:
        return await step(charge, 7)

    with pytest.raises(StepFailed, match="whether it took effect is unknown"):
        await order.run(journal=store, run_id="o")
    over.set()
    paused = await order.resume("o", journal=store)

    assert paid == [7]
    assert [(each.call.name, each.question.wants) for each in paused.waiting] == [("charge", "outcome")]
    await Runs(store).approve("o", paused.waiting[0].call.id)
    assert (await order.resume("o", journal=store)).output == "paid"
    assert paid == [7, 7]


async def test_a_tool_finds_out_itself_what_became_of_a_step_whose_time_was_up(store: Store):
    paid = []

    @tool(timeout=0.05, reconcile=lambda amount: f"paid {amount}, says the bank")
    async def charge(amount: int) -> str:
        paid.append(amount)
        await asyncio.get_running_loop().create_future()
        return "never"

    @flow
    async def order() -> str:
        return await step(charge, 7)

    with pytest.raises(StepFailed, match="is unknown"):
        await order.run(journal=store, run_id="o")

    assert (await order.resume("o", journal=store)).output == "paid 7, says the bank"
    assert paid == [7]


async def test_a_flow_may_go_on_after_a_step_whose_time_was_up(store: Store):
    paid = []

    @tool(timeout=0.05)
    async def charge(amount: int) -> str:
        paid.append(amount)
        await asyncio.get_running_loop().create_future()
        return "never"

    first, again = await met_twice(store, charge, 7, caught=StepFailed, effect=None)

    assert str(first) == str(again)
    assert paid == [7]


async def test_nothing_new_is_done_beside_what_an_earlier_life_did_not_call(store: Store):
    done, changed = [], []

    def keep(what: str) -> None:
        done.append(what)

    def other(what: str) -> None:
        done.append(what)

    @flow
    async def trip() -> None:
        if not changed:
            await step(keep, "old", effect="read")
            await wait("Go on?", answer=bool)
        await asyncio.gather(step(other, "changed", effect="read"), wait("Go on?"), step(keep, "new", effect="read"), step(keep, "newer"))

    await trip.run(journal=store, run_id="t")
    changed.append(True)
    before = await keys(store, "t")

    with pytest.raises(JournalMismatch, match=r"'keep'.*'other'"):
        await trip.resume("t", journal=store)

    assert done == ["old"]
    assert await keys(store, "t") == before


async def test_a_flow_is_given_no_name_of_a_run_inside_another(store: Store):
    @flow
    async def inner() -> None:
        """Do nothing."""

    with pytest.raises(ConfigurationError, match="'a/b' names a run inside the run 'a'"):
        await inner.run(journal=store, run_id="a/b")
    with pytest.raises(ConfigurationError, match="'a/b' names a run inside the run 'a'"):
        await inner.resume("a/b", journal=store)

    assert await store.runs() == []


async def test_an_error_that_the_flow_ends_after_is_written_down_with_its_end(store: Store):
    @flow
    async def careful() -> str:
        try:
            return await step(int, "x", effect="read")
        except ValueError:
            return "no number"

    assert (await careful.run(journal=store, run_id="c")).output == "no number"
    assert await keys(store, "c") == ["input", "0", "end"]


async def test_an_error_of_a_class_that_is_gone_is_met_as_the_next_in_line(store: Store):
    class PassingError(ConnectionError):
        pass

    fail = [True]

    def call() -> None:
        raise PassingError("no line")

    @flow
    async def careful() -> str:
        try:
            await step(call, effect="read")
        except ConnectionError as error:
            found = f"{type(error).__name__}: {error}"
        await step(str, effect="read")
        if fail.pop():
            raise ValueError("stop")
        return found

    with pytest.raises(ValueError, match="stop"):
        await careful.run(journal=store, run_id="c")
    fail.append(False)

    assert (await careful.resume("c", journal=store)).output == "ConnectionError: no line"


async def test_an_agent_that_failed_for_good_fails_in_each_life_of_a_flow_that_goes_on(store: Store):
    look = tool(lambda: "fog", name="look", effect="read")
    clerk = speaker("clerk", calls("look"), says("never said"), tools=[look], limits=Limits(steps=1))
    fail, seen = [True], []

    @flow
    async def ask() -> str:
        try:
            await clerk.run("?")
        except LimitReached as error:
            seen.append(error)
        found = await step(str.upper, f"{seen[-1].limit}", effect="read")
        if fail.pop():
            raise ValueError("stop")
        return found

    with pytest.raises(ValueError, match="stop"):
        await ask.run(journal=store, run_id="a")
    fail.append(False)

    assert (await ask.resume("a", journal=store)).output == "STEPS"
    assert clerk.model.turns_left == 1
    assert str(seen[0]) == str(seen[1])
    assert seen[1].result.transcript.messages == seen[0].result.transcript.messages


async def test_an_agent_whose_model_failed_is_asked_again_when_the_flow_is_resumed(store: Store):
    clerk = speaker("clerk", fails(ServerError("down", status=503)), says("up"))

    @flow
    async def ask() -> str:
        return (await clerk.run("?")).text

    with pytest.raises(ModelError, match="down"):
        await ask.run(journal=store, run_id="a")

    assert (await ask.resume("a", journal=store)).output == "up"


async def test_a_flow_that_fails_lets_what_goes_on_beside_the_failure_end(store: Store):
    began, failed = asyncio.Event(), asyncio.Event()
    sent = []

    async def send() -> str:
        began.set()
        async with asyncio.timeout(5):
            await failed.wait()
        sent.append(1)
        return "sent"

    async def fail() -> None:
        async with asyncio.timeout(5):
            await began.wait()
        if not failed.is_set():
            failed.set()
            raise ValueError("no")

    @flow
    async def both() -> str:
        found, _ = await asyncio.gather(step(send), step(fail))
        return found

    with pytest.raises(ValueError, match="no"):
        await both.run(journal=store, run_id="b")

    assert (await both.resume("b", journal=store)).output == "sent"
    assert sent == [1]


async def test_what_a_flow_gave_up_is_given_up_in_each_life(store: Store):
    asked, fail = [], [True]

    async def slow() -> str:
        asked.append(1)
        await asyncio.get_running_loop().create_future()
        return "never"

    @flow
    async def hasty() -> str:
        try:
            found = await asyncio.wait_for(step(slow), 0.05)
        except TimeoutError:
            found = await step(str.upper, "too late", effect="read")
        if fail.pop():
            raise ValueError("stop")
        return found

    with pytest.raises(ValueError, match="stop"):
        await hasty.run(journal=store, run_id="h")
    fail.append(False)

    assert (await hasty.resume("h", journal=store)).output == "TOO LATE"
    assert asked == [1]


async def test_a_cancelled_flow_is_back_at_once_and_goes_on_later(store: Store):
    begun = asyncio.Event()
    cleaned, lives = [], []

    async def slow() -> str:
        begun.set()
        if len(lives) == 1:
            await asyncio.get_running_loop().create_future()
        return "done"

    @flow
    async def long() -> str:
        lives.append(1)
        try:
            return await step(slow, effect="read")
        finally:
            await step(cleaned.append, "x", effect="read")

    await cut_off(long.run(journal=store, run_id="l"), begun)

    assert cleaned == []
    assert (await long.resume("l", journal=store)).output == "done"
    assert cleaned == ["x"]


async def test_two_owners_of_a_flow_are_refused(store: Store, shop):
    @flow
    async def order() -> str:
        return await step(shop.send, "roses")

    first = asyncio.ensure_future(order.run(journal=store, run_id="o"))
    async with asyncio.timeout(5):
        await shop.begun.wait()

    with pytest.raises(RunLocked):
        await order.resume("o", journal=store)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_deps_reach_the_tools_of_agents_in_a_flow(store: Store):
    @tool(effect="read")
    def whose(context: Context[str]) -> str:
        """Say whose."""
        return context.deps

    clerk = speaker("clerk", calls("whose"), lambda request: says(request.results[0].text), tools=[whose])

    @flow
    async def ask(name: str) -> str:
        return (await clerk.run("?", deps=name)).text

    assert (await ask.run("Ada's", journal=store, run_id="a")).output == "Ada's"


async def test_an_agent_in_a_flow_may_know_what_was_said_before(store: Store):
    clerk = speaker("clerk", says("one"), lambda request: says(f"{len(request.messages)} messages"))

    @flow
    async def talk() -> str:
        first = await clerk.run("a")
        return (await clerk.run("b", transcript=first.transcript)).text

    assert (await talk.run(journal=store, run_id="t")).output == "3 messages"


async def test_agents_that_run_inside_a_step_are_no_calls_of_the_flow(store: Store):
    clerk = speaker("clerk", says("inside"))

    async def asking() -> str:
        return (await clerk.run("?")).text

    @flow
    async def outer() -> str:
        return await step(asking)

    assert (await outer.run(journal=store, run_id="o")).output == "inside"
    assert await store.runs() == ["o"]


async def test_a_tool_as_a_step_has_its_own_effect_checks_and_retries(store: Store):
    tried = []

    @tool(effect="read", retries=1)
    def weigh(grams: int) -> dict[str, int]:
        """Weigh."""
        tried.append(grams)
        if len(tried) == 1:
            raise OSError("shaking")
        return {"grams": grams}

    @flow
    async def scale(grams: object) -> dict[str, int]:
        return await step(weigh, grams)

    assert (await scale.run(7, journal=store, run_id="s")).output == {"grams": 7}
    assert await keys(store, "s") == ["input", "0", "end"]
    with pytest.raises(StepFailed, match=r"'weigh' failed: .*grams"):
        await scale.run("many", journal=store, run_id="s2")
    with pytest.raises(ConfigurationError, match="the tool 'weigh' has the effect 'read' already"):
        await flow(_weighing(weigh)).run()


def _weighing(weigh):
    async def weighing() -> None:
        await step(weigh, 1, effect="once")

    return weighing


async def test_a_tool_finds_out_itself_what_became_of_a_step_that_was_cut_off(store: Store, shop):
    def find(what: str) -> str:
        return f"found {what}"

    order = tool(shop.send, reconcile=find)

    @flow
    async def buying() -> str:
        return await step(order, "roses")

    await cut_off(buying.run(journal=store, run_id="b"), shop.begun)

    assert (await buying.resume("b", journal=store)).output == "found roses"
    assert shop.sent == ["roses"]


async def test_a_flow_whose_process_is_told_to_stop_lets_what_goes_on_end_and_begins_nothing(store: Store):
    done, stops = [], []

    async def first() -> str:
        if stops:
            stops.pop().begin()
        await asyncio.sleep(0)
        done.append("first")
        return "first"

    @flow
    async def long() -> list[str]:
        try:
            found, _ = await asyncio.gather(step(first), step(done.append, "beside"))
            return [found, await step(str.upper, "last", effect="read")]
        except AgentLoopError:
            return ["swallowed"]

    async with draining() as drain:
        stops.append(drain)
        with pytest.raises(Drained):
            await long.run(journal=store, run_id="l")
    before = list(done)

    assert (await long.resume("l", journal=store)).output == ["first", "LAST"]
    assert before == ["first"]
    assert done == ["first", "beside"]


async def test_a_tool_that_needs_an_approval_waits_for_it(store: Store):
    @flow
    async def buy() -> str:
        return await step(pay, 5)

    paused = await buy.run(journal=store, run_id="b")
    assert [(each.call.name, each.call.arguments, each.question.wants) for each in paused.waiting] == [("pay", '{"amount":5}', "approval")]
    await Runs(store).approve("b", paused.waiting[0].call.id)
    assert (await buy.resume("b", journal=store)).output == "paid 5"

    await buy.run(journal=store, run_id="b2")
    await Runs(store).deny("b2", "0-pay", reason="too dear")
    with pytest.raises(Denied, match="'pay': too dear"):
        await buy.resume("b2", journal=store)


async def test_what_json_cannot_keep_is_no_result_of_a_step():
    @flow
    async def wrong() -> object:
        return await step(object)

    with pytest.raises(ConfigurationError, match=r"'object'.*cannot be written down"):
        await wrong.run()


async def test_what_a_step_gives_has_its_annotated_type_in_each_life(store: Store):
    @dataclass
    class Fare:
        price: float

    def fare() -> Fare:
        return Fare(3)

    fail, seen = [True], []

    @flow
    async def ride() -> float:
        seen.append(await step(fare, effect="read"))
        if fail.pop():
            raise ValueError("stop")
        return seen[-1].price

    with pytest.raises(ValueError, match="stop"):
        await ride.run(journal=store, run_id="r")
    fail.append(False)
    await ride.resume("r", journal=store)

    assert seen == [Fare(3.0), Fare(3.0)]
    assert {type(each.price) for each in seen} == {float}


async def test_without_a_journal_a_flow_runs_the_same():
    scout, done = speaker("scout", says("sunny")), []

    @flow
    async def trip(city: str) -> str:
        weather, _ = await asyncio.gather(scout.run(city), step(done.append, city))
        return weather.text

    assert (await trip.run("Oslo")).output == "sunny"
    assert await trip_twice(trip, scout) == "rainy"
    assert done == ["Oslo", "Oslo"]


async def trip_twice(trip, scout) -> str:
    scout.model = Scripted(says("rainy"))
    return await trip("Oslo")


async def test_without_a_journal_a_flow_that_waits_says_for_what():
    clerk = speaker("clerk", calls("pay", amount=1), tools=[pay])

    @flow
    async def asking() -> str:
        return await wait("Name?")

    @flow
    async def paying() -> str:
        return (await clerk.run("pay")).text

    asked, paid = await asking.run(), await paying.run()

    assert [each.call.arguments for each in asked.waiting] == ['{"question":"Name?"}']
    assert [each.call.name for each in paid.waiting] == ["pay"]


async def test_one_agent_may_be_run_several_times_at_once(store: Store):
    echo = Agent(Scripted(always(lambda request: says(request.text))), name="echo")

    @flow
    async def many() -> list[str]:
        return [result.text for result in await asyncio.gather(*(echo.run(str(number)) for number in range(20)))]

    assert (await many.run(journal=store, run_id="m")).output == [str(number) for number in range(20)]
    assert len(await store.runs()) == 21


async def test_a_flow_and_an_agent_are_works_for_a_worker(store: Store):
    scout = speaker("scout", says("sunny"), says("rainy"))

    @flow
    async def trip(city: str) -> str:
        return f"{city}: {(await scout.run(city)).text}"

    works = {"scout": scout.work}
    async with store.open("w1", works) as journal:
        outcome = await trip.work(journal, '{"city":"Paris"}')
    async with store.open("w2", {}) as journal:
        said = await scout.work(journal, '["Weather in ", {"kind":"text","text":"Oslo?"}]')

    assert outcome == '{"output":"Paris: sunny","failure":null}'
    assert '"text":"rainy"' in said
    assert scout.model.heard[1].text == "Weather in Oslo?"


async def test_steps_outside_of_a_flow_are_refused():
    for call in (lambda: step(int, "1"), lambda: wait("?"), lambda: sleep(1)):
        with pytest.raises(ConfigurationError, match="outside of the code of a flow"):
            call()


def test_what_cannot_be_a_flow_is_refused_where_it_is_made():
    async def starred(*words: str) -> None: ...
    async def ours(journal: str) -> None: ...

    for function, words in ((lambda: None, "no async function"), (starred, "name them"), (ours, "call it something else")):
        with pytest.raises(ConfigurationError, match=words):
            flow(function)


async def test_an_agent_in_a_flow_is_not_given_a_name_of_its_own(store: Store):
    scout = speaker("scout", says("sunny"))

    @flow
    async def trip() -> None:
        await scout.run("?", run_id="mine")

    with pytest.raises(ConfigurationError, match="leave run_id='mine' out"):
        await trip.run(journal=store)


async def test_a_flow_is_drawn_from_its_journal(store: Store):
    look = tool(lambda: "sun", name="look", effect="read")
    scout = speaker("scout", calls("look"), says("sunny"), tools=[look])
    hotels = speaker("hotels", says("h"))

    @flow
    async def branch() -> str:
        return await step(str.upper, "b", effect="read")

    @flow
    async def trip() -> str:
        await scout.run("?")
        await asyncio.gather(hotels.run("?"), branch())
        return await wait('Book "it"?')

    await trip.run(journal=store, run_id="t")

    assert await trip.drawing("t", journal=store) == (
        "flowchart TD\n"
        '  subgraph n0["scout"]\n'
        '    n0_0_0["look"]\n'
        "  end\n"
        '  n1(["hotels"])\n'
        '  subgraph n2["branch"]\n'
        '    n2_0["upper"]\n'
        "  end\n"
        '  n3{{"Book #34;it#34;? (waits)"}}\n'
        "  n0 --> n1\n"
        "  n0 --> n2\n"
        "  n1 --> n3\n"
        "  n2 --> n3\n"
    )
    assert drawing([]) == "flowchart TD\n"


def test_the_example_killed_at_any_boundary_of_its_journal_books_once(tmp_path: Path):
    root = Path(__file__).parent.parent
    every = 1 if os.environ.get("AGENTLOOP_STORM") == "full" else 5
    command = [sys.executable, root / "tests" / "mortal_flow.py", tmp_path, str(every)]
    environment = {**os.environ, "PYTHONPATH": str(root)}

    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=environment)  # noqa: S603  # our own

    assert done.returncode == 0, done.stderr
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    assert {"booked", "in doubt"} <= {run[2] for run in runs}
    assert [run for run in runs if run[3:] != ["booked Casa Lua and TP 571", ["Casa Lua, TP 571"]]] == []
    assert [run for run in runs[1:] if run[1][0] != "killed" or run[1][-1] != "done"] == []
    assert len(runs) > 40 // every
