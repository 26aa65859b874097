"""What was written down is read, lived over again and gone another way from, over each store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from agentloop import Agent, Context, Limits, tool
from agentloop.errors import BadRequest, ConfigurationError, JournalError, JournalMismatch, LimitReached
from agentloop.events import CallEnded, CallStarted, Nested, Replied, StepStarted
from agentloop.journal.memory import MemoryStore
from agentloop.journal.reading import family, transcript_of
from agentloop.journal.runs import Runs
from agentloop.journal.sqlite import SQLiteStore
from agentloop.journal.store import Store
from agentloop.messages import Usage
from agentloop.testing import Scripted, calls, fails, says


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "runs.db")


class Desk:
    """Tools that count what they did."""

    def __init__(self) -> None:
        self.done: list[Any] = []

    @tool
    def send(self, to: str) -> str:
        """Send a letter."""
        self.done.append(to)
        return f"sent to {to}"

    @tool(needs_approval=True)
    def pay(self, amount: int) -> str:
        """Pay."""
        self.done.append(amount)
        return f"paid {amount}"

    def tools(self):
        return [self.send, self.pay]


def never() -> Scripted:
    """A model that must not be asked."""
    return Scripted()


async def finished(store: Store, desk: Desk) -> Agent:
    """Run "r": a letter, then a payment and an agent's work side by side, then the answer."""
    inner = Agent(Scripted(calls("send", to="Bo"), says("Bo knows.")), tools=[desk.send], name="clerk")
    model = Scripted(
        calls("send", to="Al").spending(Usage(10, 2)),
        calls("pay", amount=3) & calls("clerk", task="Tell Bo."),
        says("All done.").spending(Usage(20, 5)),
    )
    agent = Agent(model, tools=[desk, inner.as_tool("Writes.")], name="boss", journal=store)
    paused = await agent.run("Do it.", run_id="r")
    await Runs(store).approve("r", paused.waiting[0].id)
    await agent.resume("r")
    return agent


async def test_a_transcript_is_read_from_the_records_alone(store: Store):
    desk = Desk()
    agent = await finished(store, desk)
    result = await agent.with_journal(store).resume("r")

    read = transcript_of(await family(store, "r"))

    assert json.loads(read.to_json()) == json.loads(result.transcript.to_json())
    assert (read.text, len(read)) == ("All done.", 6)


async def test_a_transcript_is_read_as_far_as_a_paused_run_has_got(store: Store):
    desk = Desk()
    agent = Agent(Scripted(calls("pay", amount=3) & calls("send", to="Al"), says("Done.")), tools=[desk], journal=store)
    paused = await agent.run("Go.", run_id="r")

    shown = await Runs(store).show("r")

    assert json.loads(shown.transcript.to_json()) == json.loads(paused.transcript.to_json())
    assert [waiting.call.name for waiting in shown.waiting] == ["pay"]
    shown.transcript.approve(shown.waiting[0].call.id)
    assert (await agent.resume(shown.transcript)).text == "Done."
    assert desk.done == ["Al", 3]


async def test_what_a_run_was_told_of_its_answer_is_read_in_its_place(store: Store):
    class Answer(BaseModel):
        number: int

    agent = Agent(Scripted(says("seven"), says('{"number": 7}')), output=Answer, journal=store)
    result = await agent.run("How many?", run_id="r")

    read = transcript_of(await family(store, "r"))

    assert [message.role for message in read] == ["user", "assistant", "user", "assistant"]
    assert read.messages == result.transcript.messages


async def test_runs_are_listed_with_what_they_came_to(store: Store):
    await finished(store, Desk())
    await Agent(Scripted(calls("pay", amount=1)), tools=[Desk()], journal=store, name="payer").run("Pay 1.", run_id="s")
    with pytest.raises(LimitReached):
        await Agent(Scripted(calls("send", to="x")), tools=[Desk()], journal=store, limits=Limits(steps=1)).run("Loop.", run_id="t")

    listed = await Runs(store).list()

    assert [(each.run_id, each.name, each.prompt, each.status, each.steps) for each in listed] == [
        ("r", "boss", "Do it.", "done", 3),
        ("s", "payer", "Pay 1.", "waiting", 1),
        ("t", "agent", "Loop.", "open", 1),
    ]
    assert (listed[0].usage.input_tokens, listed[0].usage.output_tokens) == (30, 7)
    assert listed[0].begun <= listed[0].last <= listed[1].begun


async def test_a_run_is_shown_with_those_it_has_spawned(store: Store):
    await finished(store, Desk())

    shown = await Runs(store).show("r")

    assert [(each.summary.run_id, each.summary.name, each.transcript.text) for each in shown.spawned] == [("r/1/1", "clerk", "Bo knows.")]
    assert shown.waiting == shown.spawned[0].spawned == ()


async def test_a_run_of_another_version_is_listed_and_not_shown(store: Store):
    await finished(store, Desk())
    async with store.open("new", {}) as journal:
        await journal.step("input", _given, '{"agent": "a", "tools": {}, "transcript": null, "format": 99}')

    listed = await Runs(store).list()

    assert [each.status for each in listed] == ["done", "unreadable"]
    assert "format 99" in listed[1].prompt
    with pytest.raises(JournalMismatch, match="format 99"):
        await Runs(store).show("new")


async def _given(value: str) -> str:
    return value


async def test_an_unknown_run_is_named_with_those_that_are_there(store: Store):
    await finished(store, Desk())

    with pytest.raises(JournalError, match=r"there is no run 'q'; the newest are: r$"):
        await Runs(store).show("q")


async def test_a_replay_says_and_comes_to_the_same_without_asking_or_calling(store: Store):
    desk = Desk()
    clerk = Agent(Scripted(calls("send", to="Bo"), says("Bo knows.").spending(Usage(7, 1))), tools=[desk.send], name="clerk")
    model = Scripted(calls("send", to="Al").spending(Usage(10, 2)), calls("clerk", task="Tell Bo."), says("Done."))
    agent = Agent(model, tools=[desk, clerk.as_tool("Writes.")], journal=store)
    stream = agent.stream("Go.", run_id="r", deltas=False)
    lived = [event async for event in stream]
    done, before = list(desk.done), await all_records(store)
    again = Agent(never(), tools=[desk, Agent(never(), tools=[desk.send], name="clerk").as_tool("Writes.")], journal=store)
    told: list[Any] = []

    result = await again.replay("r", emit=told.append)

    assert [_as_replayed(event) for event in told] == [_as_replayed(event) for event in lived if not _begins(event)]
    assert any(isinstance(event, Nested) for event in told)
    assert all(
        event.replayed for event in told if isinstance(event, Replied) or (isinstance(event, CallEnded) and event.call.name == "send")
    )
    assert json.loads(result.transcript.to_json()) == json.loads(stream.result.transcript.to_json())
    assert replace(result, transcript=stream.result.transcript) == stream.result
    assert (result.steps, result.usage.input_tokens, result.text) == (5, 17, "Done.")
    assert desk.done == done == ["Al", "Bo"]
    assert await all_records(store) == before


def _begins(event: Any) -> bool:
    """Whether it says that something is done now, which in a replay nothing is; but that work is given to an agent is told."""
    match event:
        case Nested():
            return _begins(event.event)
        case CallStarted(call):
            return call.name != "clerk"
        case _:
            return isinstance(event, StepStarted)


def _as_replayed(event: Any) -> Any:
    match event:
        case Nested():
            return replace(event, event=_as_replayed(event.event))
        case Replied():
            return replace(event, replayed=True)
        case CallEnded():
            # The work of an agent is timed anew.
            return replace(event, replayed=True, seconds=0 if event.call.name == "clerk" else event.seconds)
        case _:
            return event


async def all_records(store: Store) -> list[Any]:
    return [list(await store.records(run)) for run in await store.runs()]


async def test_a_replay_takes_the_words_that_people_gave(store: Store):
    desk = Desk()
    await finished(store, desk)
    done = list(desk.done)
    again = Agent(never(), tools=[desk, Agent(never(), tools=[desk.send], name="clerk").as_tool("Writes.")], journal=store)

    result = await again.replay("r")

    assert (result.text, [each.text for each in result.transcript.messages[4].results]) == ("All done.", ["paid 3", "Bo knows."])
    assert desk.done == done


async def test_a_replay_takes_an_agent_that_failed_for_failed(store: Store):
    clerk = Agent(Scripted(fails(BadRequest("no"))), name="clerk").as_tool("Writes.")
    agent = Agent(Scripted(calls("clerk", task="Tell Bo."), says("It failed.")), tools=[clerk], journal=store)
    lived = await agent.run("Go.", run_id="r")

    result = await Agent(never(), tools=[Agent(never(), name="clerk").as_tool("Writes.")], journal=store).replay("r")

    assert result.transcript.messages == lived.transcript.messages
    assert result.transcript.messages[2].results[0].is_error


async def test_a_replay_of_a_paused_run_pauses_where_it_did(store: Store):
    await Agent(Scripted(calls("pay", amount=1)), tools=[Desk()], journal=store).run("Pay.", run_id="r")

    replayed = await Agent(never(), tools=[Desk()], journal=store).replay("r")

    assert [call.name for call in replayed.waiting] == ["pay"]


async def test_a_replay_does_not_mind_that_a_tool_has_changed_since(store: Store):
    await Agent(Scripted(calls("send", to="Al"), says("Sent.")), tools=[Desk()], journal=store).run("Go.", run_id="r")

    @tool
    def send(to: str, subject: str) -> str:
        "Send."
        raise AssertionError

    replayed = await Agent(never(), tools=[send], journal=store).replay("r")

    assert replayed.text == "Sent."


async def test_a_replay_that_would_do_more_says_where_and_what(store: Store):
    agent = Agent(Scripted(calls("send", to="Al"), says("Not much.")), tools=[Desk()], journal=store)
    await agent.run("Go.", run_id="r")

    class Answer(BaseModel):
        number: int

    with pytest.raises(JournalMismatch, match=r"the replay of the run 'r' diverges at '2/told/4'.*tell the model something"):
        await Agent(never(), tools=[Desk()], output=Answer, journal=store).replay("r")


async def test_a_replay_of_a_run_that_was_cut_off_says_where_it_ends(store: Store):
    agent = Agent(Scripted(calls("send", to="Al")), tools=[Desk()], journal=store)
    with pytest.raises(AssertionError):
        await agent.run("Go.", run_id="r")

    with pytest.raises(JournalMismatch, match="'r' wrote down ends before '1/reply', where it would ask the model; resume it"):
        await Agent(never(), tools=[Desk()], journal=store).replay("r")


async def test_a_replay_of_a_call_in_doubt_does_not_make_it(store: Store):
    desk = Desk()
    await finished(store, desk)
    async with store.open("cut", {}) as journal:
        for record in await store.records("r"):
            if record.key in {"input", "0/reply", "0/0/begun"}:
                await journal.step(record.key, _given, record.value)

    with pytest.raises(JournalMismatch, match="ends before '0/0', where it would call 'send'"):
        await Agent(never(), tools=[desk], journal=store).replay("cut")

    assert desk.done.count("Al") == 1


async def test_an_unknown_run_is_not_replayed(store: Store):
    with pytest.raises(JournalError, match="there is no run 'q'; nothing is written down there"):
        await Agent(never(), journal=store).replay("q")


async def test_a_fork_takes_other_steps_from_where_it_begins(store: Store):
    desk = Desk()
    await finished(store, desk)
    runs = Runs(store)

    fork = await runs.fork("r", at=2)
    model = Scripted(says("Something else."))
    result = await Agent(model, tools=[desk], journal=store).resume(fork)

    assert result.text == "Something else."
    assert [message.text for message in model.heard[0].messages if message.role == "user"] == ["Do it."]
    assert [each.text for each in model.heard[0].results] == ["paid 3", "Bo knows."]
    assert desk.done == ["Al", "Bo", 3]
    assert (await runs.show("r")).transcript.text == "All done."
    summary = (await runs.show(fork)).summary
    assert (summary.forked.run_id, summary.forked.at, summary.name) == ("r", 2, "boss")


async def test_what_an_agent_answered_is_kept_in_a_fork_that_still_has_it(store: Store):
    desk = Desk()
    await finished(store, desk)

    fork = await Runs(store).fork("r", at=2)
    model = Scripted(says("Ok."))
    clerk = Agent(never(), name="clerk")
    await Agent(model, tools=[desk, clerk.as_tool("Writes.")], journal=store).resume(fork)

    assert [each.text for each in model.heard[0].results] == ["paid 3", "Bo knows."]
    assert desk.done == ["Al", "Bo", 3]


async def test_a_fork_at_the_beginning_may_have_another_prompt(store: Store):
    await finished(store, Desk())

    fork = await Runs(store).fork("r", at=0, prompt="Do less.", run_id_of_fork="less")
    model = Scripted(says("Nothing."))
    result = await Agent(model, journal=store).resume(fork)

    assert (fork, result.text) == ("less", "Nothing.")
    assert [message.text for message in model.heard[0].messages] == ["Do less."]
    assert (await Runs(store).list())[-1].prompt == "Do less."


async def test_a_fork_may_be_told_something_before_its_first_step(store: Store):
    desk = Desk()
    await finished(store, desk)

    fork = await Runs(store).fork("r", at=1, prompt="And be brief.")
    model = Scripted(calls("send", to="Cy"), says("Ok."))
    result = await Agent(model, tools=[desk], journal=store).resume(fork)

    assert [message.text for message in model.heard[0].messages] == ["Do it.", "", "", "And be brief."]
    assert result.text == "Ok."
    assert desk.done == ["Al", "Bo", 3, "Cy"]
    assert json.loads(transcript_of(await family(store, fork)).to_json()) == json.loads(result.transcript.to_json())


async def test_a_finished_run_goes_on_as_a_conversation(store: Store):
    await finished(store, Desk())

    fork = await Runs(store).fork("r", at=3, prompt="Thanks. And now?")
    result = await Agent(Scripted(says("Rest.")), journal=store).resume(fork)

    assert [message.text for message in result.transcript][-3:] == ["All done.", "Thanks. And now?", "Rest."]


async def test_a_fork_of_a_fork_may_begin_in_what_was_said_before_it(store: Store):
    await finished(store, Desk())
    runs = Runs(store)
    first = await runs.fork("r", at=2, prompt="Stop.")
    await Agent(Scripted(says("Stopped.")), journal=store).resume(first)

    second = await runs.fork(first, at=1)
    model = Scripted(says("Ok."))
    await Agent(model, journal=store).resume(second)

    assert [each.text for each in model.heard[0].results] == ["sent to Al"]


async def test_calls_in_doubt_stay_in_doubt_in_a_fork(store: Store):
    desk = Desk()
    await finished(store, desk)
    async with store.open("cut", {}) as journal:
        for record in await store.records("r"):
            if record.key in {"input", "0/reply", "0/0/begun"}:
                await journal.step(record.key, _given, record.value)

    fork = await Runs(store).fork("cut", at=1)
    paused = await Agent(never(), tools=[desk], journal=store).resume(fork)

    assert [question.wants for question in paused.transcript.questions.values()] == ["outcome"]
    assert desk.done.count("Al") == 1


async def test_a_call_in_doubt_has_the_key_of_the_run_that_began_it_in_forks_of_forks_and_agents_in_them(store: Store):
    keys: list[str] = []
    going: list[asyncio.Task[Any]] = []

    async def unknown(to: str, context: Context) -> str:
        raise LookupError(to)

    @tool(reconcile=unknown)
    async def send(to: str, context: Context) -> str:
        """Send."""
        keys.append(f"{context.run_id} {context.idempotency_key}")
        if len(keys) < 3:
            going[-1].cancel()
            await asyncio.sleep(5)
        return f"sent to {to}"

    async def cut_off(work: Coroutine[Any, Any, Any]) -> None:
        going.append(asyncio.ensure_future(work))
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(going[-1], 5)

    inner = Agent(Scripted(calls("send", to="Bo"), says("Bo knows.")), tools=[send], name="clerk")
    agent = Agent(Scripted(calls("clerk", task="Tell Bo."), says("Done.")), tools=[inner.as_tool("Writes.")], journal=store)
    await cut_off(agent.run("Go.", run_id="r"))
    await cut_off(agent.resume(await Runs(store).fork("r", at=1, run_id_of_fork="s")))

    await agent.resume(await Runs(store).fork("s", at=1, run_id_of_fork="t"))

    assert [key.split()[0] for key in keys] == ["r/0/0", "s/0/0", "t/0/0"]
    assert len({key.split()[1] for key in keys}) == 1


async def test_the_calls_of_a_forks_own_steps_have_keys_of_its_own(store: Store):
    keys: list[str] = []

    @tool
    def send(context: Context) -> str:
        """Send."""
        keys.append(context.idempotency_key)
        return "sent"

    model = Scripted(calls("send"), calls("send"), says("Done."), calls("send"), says("Done."))
    agent = Agent(model, tools=[send], journal=store)
    await agent.run("Go.", run_id="r")

    await agent.resume(await Runs(store).fork("r", at=1))

    assert len(set(keys)) == len(keys) == 3


async def test_a_prompt_has_no_place_before_open_calls(store: Store):
    await Agent(Scripted(calls("pay", amount=1)), tools=[Desk()], journal=store).run("Pay.", run_id="r")

    with pytest.raises(ConfigurationError, match="the calls of 'pay' before step 1 have no result yet"):
        await Runs(store).fork("r", at=1, prompt="Well?")

    assert await store.runs() == ["r"]


async def test_a_fork_needs_a_step_that_there_is_and_a_name_that_is_free(store: Store):
    await finished(store, Desk())

    with pytest.raises(ConfigurationError, match="the run 'r' has 3 steps, so it cannot be forked at 4; choose 0 to 3"):
        await Runs(store).fork("r", at=4)
    with pytest.raises(JournalError, match="there is a run 'r' already"):
        await Runs(store).fork("r", at=0, run_id_of_fork="r")
    with pytest.raises(ConfigurationError, match="without a slash"):
        await Runs(store).fork("r", at=0, run_id_of_fork="r/x")


async def test_runs_are_compared_step_by_step(store: Store):
    desk = Desk()
    await finished(store, desk)
    runs = Runs(store)
    fork = await runs.fork("r", at=1, run_id_of_fork="f")
    await Agent(Scripted(calls("send", to="Bo"), says("All done.")), tools=[desk], journal=store).resume(fork)

    found = await runs.diff("r", "f")

    assert [step.step for step in found.steps] == [1]
    assert found.text.splitlines() == [
        "--- r",
        "+++ f",
        "@@ step 1 @@",
        '- calls pay({"amount":3})',
        '- calls clerk({"task":"Tell Bo."})',
        '- pay({"amount":3}) → paid 3',
        '- clerk({"task":"Tell Bo."}) → Bo knows.',
        '+ calls send({"to":"Bo"})',
        '+ send({"to":"Bo"}) → sent to Bo',
    ]
    assert not await runs.diff("r", "r")


async def test_a_long_difference_is_shown_where_it_is(store: Store):
    words = "word " * 100
    for name, end in (("r", "one"), ("s", "two")):
        await Agent(Scripted(says(words + end)), journal=store).run("Go.", run_id=name)

    found = await Runs(store).diff("r", "s")

    removed, added = found.text.splitlines()[-2:]
    assert (removed[:3], removed[-4:], added[:3], added[-4:]) == ("- …", " one", "+ …", " two")
    assert len(removed) < 170
