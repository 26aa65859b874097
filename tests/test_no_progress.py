"""A run that makes the same call again and again ends; a model at its limit may give a last answer; a long result is read on."""

from __future__ import annotations

import pytest

from agentloop import Agent, LimitReached, Limits, Transcript, tool
from agentloop.testing import Scripted, always, calls, says


class Counter:
    def __init__(self) -> None:
        self.made = 0

    @tool(effect="read")
    def same(self) -> str:
        """Say the same."""
        self.made += 1
        return "the same"

    @tool(effect="read")
    def other(self, number: int) -> int:
        """Say something new."""
        self.made += 1
        return number

    @tool(effect="read", poll=True)
    def ready(self) -> bool:
        """Ask whether it is ready."""
        self.made += 1
        return False

    @tool(effect="read")
    def fails(self) -> None:
        """Fail."""
        self.made += 1
        raise ValueError("no")


async def test_from_the_third_on_the_same_call_is_answered_without_being_made_and_ends_the_run_at_the_fifth():
    counter = Counter()
    model = Scripted(always(calls("same")))

    with pytest.raises(LimitReached, match="called 'same' 5 times in a row") as reached:
        await Agent(model, tools=[counter.same]).run("Go.")

    assert reached.value.limit == "repeats"
    assert counter.made == 2
    assert model.heard[2].results[0].content == "the same"
    assert model.heard[3].results[0].content.startswith("the same\n[You have made this call before")


@pytest.mark.fault(83)
async def test_a_failing_call_that_is_made_again_and_again_ends_the_run_too():
    counter = Counter()

    with pytest.raises(LimitReached, match="'fails'"):
        await Agent(Scripted(always(calls("fails"))), tools=[counter.fails]).run("Go.")

    assert counter.made == 2


async def test_two_calls_in_turn_make_no_progress_either():
    counter = Counter()
    model = Scripted(*[calls("same"), calls("other", number=1)] * 6, says("never"))

    with pytest.raises(LimitReached, match="5 times in a row"):
        await Agent(model, tools=[counter.same, counter.other]).run("Go.")

    assert counter.made == 4


async def test_something_new_in_between_is_progress():
    counter = Counter()
    turns = [turn for number in range(8) for turn in (calls("same"), calls("other", number=number))]

    result = await Agent(Scripted(*turns, says("Done.")), tools=[counter.same, counter.other]).run("Go.")

    assert result.text == "Done."
    assert counter.made == 16


async def test_the_same_calls_side_by_side_count_once():
    counter = Counter()
    many = calls("same") & calls("same") & calls("same") & calls("same") & calls("same") & calls("same")

    result = await Agent(Scripted(many, says("Done.")), tools=[counter.same]).run("Go.")

    assert result.text == "Done."
    assert counter.made == 6


async def test_a_tool_that_is_polled_may_say_the_same_for_ever():
    counter = Counter()

    result = await Agent(Scripted(*[calls("ready")] * 20, says("Done.")), tools=[counter.ready]).run("Go.")

    assert result.text == "Done."
    assert counter.made == 20


async def test_a_resumed_run_remembers_what_it_has_tried():
    counter = Counter()
    with pytest.raises(LimitReached) as reached:
        await Agent(Scripted(always(calls("same"))), tools=[counter.same], limits=Limits(steps=4)).run("Go.")
    stored = reached.value.result.transcript.to_json()

    with pytest.raises(LimitReached, match="'same' 5 times"):
        await Agent(Scripted(always(calls("same"))), tools=[counter.same]).resume(Transcript.from_json(stored))

    assert counter.made == 2


@pytest.mark.parametrize(
    ("limits", "limit"),
    [
        (Limits(steps=2, final_answer=True), "steps"),
        (Limits(calls=2, final_answer=True), "calls"),
        (Limits(final_answer=True), "repeats"),
    ],
)
async def test_a_model_at_its_limit_may_give_a_last_answer(limits: Limits, limit: str):
    counter = Counter()
    model = Scripted(always(lambda request: says("So far: the same.") if request.settings.tool_choice == "none" else calls("same")))

    result = await Agent(model, tools=[counter.same], limits=limits).run("Go.")

    assert (result.text, result.limited) == ("So far: the same.", limit)
    assert f"The limit of {limit} is reached" in model.heard[-1].text


async def test_a_model_that_calls_on_instead_of_answering_ends_the_run():
    counter = Counter()

    with pytest.raises(LimitReached, match="calls more tools instead of answering") as reached:
        await Agent(Scripted(always(calls("same"))), tools=[counter.same], limits=Limits(steps=2, final_answer=True)).run("Go.")

    assert len(reached.value.result.transcript) == 6


async def test_without_the_wish_for_a_last_answer_the_limit_ends_the_run():
    with pytest.raises(LimitReached):
        await Agent(Scripted(always(calls("same"))), tools=[Counter().same], limits=Limits(steps=2)).run("Go.")


@pytest.mark.fault(106)
async def test_a_model_reads_on_in_a_result_that_was_cut():
    @tool(effect="read")
    def book() -> str:
        """Give a book."""
        return "".join(f"{number:07}" for number in range(40_000))

    model = Scripted(
        calls("book"),
        lambda request: calls("read_result", call_id=request.results[0].call_id, start=100_000),
        calls("read_result", call_id="call_0_0", start=199_000),
        says("Read."),
    )

    result = await Agent(model, tools=[book]).run("Read.")

    first, second, third = (model.heard[step].results[0].content for step in (1, 2, 3))
    assert [described.name for described in model.heard[0].tools] == ["book"]
    assert [described.name for described in model.heard[1].tools] == ["book", "read_result"]
    assert first[:100_000] + second[:99_000] + third[:81_000] == book()
    assert second.endswith("[81,000 more characters; go on with start=199000]")
    assert result.transcript.messages[2].results[0].whole == book()


async def test_a_stored_run_can_still_read_on():
    @tool(effect="read")
    def book() -> str:
        """Give a book."""
        return "x" * 150_000

    before = await Agent(Scripted(calls("book"), says("Long.")), tools=[book]).run("Read.")
    stored = Transcript.from_json(before.transcript.to_json())
    model = Scripted(calls("read_result", call_id="call_0_0", start=140_000), says("The end."))

    await Agent(model, tools=[book]).run("And the end?", transcript=stored)

    assert model.heard[1].results[0].content == "x" * 10_000


async def test_the_users_next_words_are_news():
    counter = Counter()
    transcript = None

    for _ in range(7):
        result = await Agent(Scripted(calls("same"), says("The same.")), tools=[counter.same]).run("Again?", transcript=transcript)
        transcript = result.transcript

    assert counter.made == 7


async def test_a_run_that_was_stuck_may_be_resumed_once_more():
    counter = Counter()
    with pytest.raises(LimitReached) as reached:
        await Agent(Scripted(always(calls("same"))), tools=[counter.same]).run("Go.")

    result = await Agent(Scripted(says("I see.")), tools=[counter.same]).resume(reached.value.result)

    assert result.text == "I see."


async def test_a_resumed_run_still_knows_what_is_polled():
    counter = Counter()
    with pytest.raises(LimitReached) as reached:
        await Agent(Scripted(always(calls("ready"))), tools=[counter.ready], limits=Limits(steps=6)).run("Go.")

    await Agent(Scripted(calls("ready"), says("Ready.")), tools=[counter.ready]).resume(reached.value.result)

    assert counter.made == 7


async def test_what_a_person_has_allowed_is_made_however_often():
    paid: list[int] = []

    @tool(needs_approval=True)
    def pay(amount: int) -> str:
        """Pay."""
        paid.append(amount)
        return "paid"

    agent = Agent(Scripted(*[calls("pay", amount=10)] * 4, says("Done.")), tools=[pay])
    result = await agent.run("Pay four times.")
    while result.paused:
        for call in result.waiting:
            result.transcript.approve(call.id)
        result = await agent.resume(result)

    assert paid == [10] * 4


async def test_the_last_answer_counts_as_a_step_above_too():
    clerk = Agent(Scripted(always(calls("same"))), tools=[Counter().same], name="clerk", limits=Limits(steps=1, final_answer=True))
    model = Scripted(calls("clerk", task="x"), says("Done."))

    with pytest.raises(LimitReached):
        await Agent(model, tools=[clerk.as_tool("Works.")], limits=Limits(steps=2)).run("Go.")

    assert len(clerk.model.heard) + len(model.heard) == 2
