"""An agent as a tool of another."""

from __future__ import annotations

import asyncio

import pytest

from agentloop import Agent, LimitReached, Limits, tool
from agentloop.events import CallStarted, Nested
from agentloop.messages import Usage
from agentloop.testing import Scripted, always, calls, says


@tool(effect="read")
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


async def test_an_agent_is_given_a_task_and_answers_with_its_output():
    clerk = Agent(Scripted(calls("add", a=1, b=2), says("3")), tools=[add], name="clerk")
    model = Scripted(calls("clerk", task="What is 1+2?"), says("It is 3."))

    result = await Agent(model, tools=[clerk.as_tool("Does sums.")]).run("1+2?")

    assert result.text == "It is 3."
    assert model.heard[1].results[0].content == "3"
    assert model.heard[0].tools[0].description == "Does sums."
    assert clerk.model.heard[0].text == "What is 1+2?"


async def test_what_an_agent_in_an_agent_spends_counts_above_too():
    clerk = Agent(Scripted(calls("add", a=1, b=2).spending(Usage(10, 5)), says("3").spending(Usage(20, 5))), tools=[add], name="clerk")
    boss = Agent(
        Scripted(calls("clerk", task="1+2?").spending(Usage(1, 1)), says("3").spending(Usage(1, 1))), tools=[clerk.as_tool("Sums.")]
    )

    result = await boss.run("1+2?")

    assert result.steps == 4
    assert result.usage.total_tokens == 44


async def test_fifty_agents_in_one_agent_never_take_a_step_more_than_it_may():
    clerk = Agent(Scripted(always(calls("add", a=1, b=2))), tools=[add], name="clerk", limits=Limits(repeats=None))
    many = calls("clerk", task="0")
    for number in range(1, 50):
        many &= calls("clerk", task=str(number))
    boss = Agent(Scripted(many, says("Done.")), tools=[clerk.as_tool("Sums.")], limits=Limits(steps=120, calls_at_once=50))

    with pytest.raises(LimitReached) as reached:
        await boss.run("Go.")

    assert reached.value.limit == "steps"
    assert reached.value.result.steps == 120
    assert len(clerk.model.heard) == 119


async def test_fifty_agents_in_one_agent_never_spend_more_tokens_than_it_may():
    def answer(request):
        # It reads what was guessed, and writes all that it may.
        return says("x").spending(Usage(0, request.settings.max_tokens))

    clerk = Agent(Scripted(always(answer)), name="clerk")
    many = calls("clerk", task="0")
    for number in range(1, 50):
        many &= calls("clerk", task=str(number))
    boss = Agent(
        Scripted(many, always(says("Done."))), tools=[clerk.as_tool("Sums.")], limits=Limits(steps=None, tokens=50_000, calls_at_once=50)
    )

    with pytest.raises(LimitReached) as reached:
        await boss.run("Go.")

    assert reached.value.limit == "tokens"
    assert 45_000 < reached.value.result.usage.total_tokens <= 50_000


@pytest.mark.fault(112)
async def test_agents_may_be_only_so_deep_in_one_another():
    inner = Agent(Scripted(always(calls("inner", task="deeper"))), name="inner", limits=Limits(steps=2))
    inner = Agent(inner.model, tools=[inner.as_tool("Goes deeper.")], name="inner", limits=Limits(steps=1))
    model = Scripted(calls("inner", task="down"), says("Enough."))

    result = await Agent(model, tools=[inner.as_tool("Goes deeper.")], limits=Limits(depth=1)).run("Down.")

    assert "LimitReached" in model.heard[1].results[0].text
    assert result.text == "Enough."


@pytest.mark.fault(112)
async def test_the_model_is_told_that_it_may_go_no_deeper():
    deepest = Scripted(says("never asked"))
    middle_model = Scripted(calls("deepest", task="more"), says("That far."))
    middle = Agent(middle_model, tools=[Agent(deepest, name="deepest").as_tool("Deepest.")], name="middle")

    await Agent(Scripted(calls("middle", task="go"), says("Done.")), tools=[middle.as_tool("Middle.")], limits=Limits(depth=1)).run("Down.")

    assert deepest.heard == []
    assert "agents may be 1 deep in one another" in middle_model.heard[1].results[0].text


async def test_events_of_an_agent_in_an_agent_are_told_as_its_own():
    clerk = Agent(Scripted(calls("add", a=1, b=2), says("3")), tools=[add], name="clerk")
    boss = Agent(Scripted(calls("clerk", task="1+2?"), says("3")), tools=[clerk.as_tool("Sums.")])

    nested = [event async for event in boss.stream("1+2?") if isinstance(event, Nested)]

    started = [event.event.call.name for event in nested if isinstance(event.event, CallStarted)]
    assert started == ["add"]
    assert {(event.agent, event.call.name) for event in nested} == {("clerk", "clerk")}


async def test_a_cancelled_run_cancels_the_agents_in_it():
    began, ended = asyncio.Event(), asyncio.Event()

    @tool
    async def hang() -> None:
        """Hang."""
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    clerk = Agent(Scripted(calls("hang")), tools=[hang], name="clerk")
    task = asyncio.create_task(Agent(Scripted(calls("clerk", task="x")), tools=[clerk.as_tool("Hangs.")]).run("Go."))
    await asyncio.wait_for(began.wait(), 5)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)

    assert ended.is_set()


async def test_what_needs_a_persons_word_is_not_done_by_an_agent_in_an_agent():
    done: list[str] = []

    @tool(needs_approval=True)
    def pay(to: str) -> None:
        """Pay."""
        done.append(to)

    clerk = Agent(Scripted(calls("pay", to="Bob")), tools=[pay], name="clerk")
    model = Scripted(calls("clerk", task="Pay Bob."), says("It could not be paid."))

    result = await Agent(model, tools=[clerk.as_tool("Pays.")]).run("Pay Bob.")

    assert done == []
    assert result.text == "It could not be paid."
    assert "needs a person's word on pay" in model.heard[1].results[0].text
