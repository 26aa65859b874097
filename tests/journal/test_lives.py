"""What was said and done in one life of a run stays so in the next, whatever tools, policies and limits say by then."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agentloop import Agent, Limits, events, tool
from agentloop.draining import draining
from agentloop.errors import BadReply, Drained, JournalMismatch, LimitReached, OutputInvalid
from agentloop.journal.memory import MemoryStore
from agentloop.journal.runs import Runs
from agentloop.journal.sqlite import SQLiteStore
from agentloop.testing import Scripted, calls, fails, says
from agentloop.transcript import Transcript


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path: Path):
    return MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "runs.db")


class Till:
    """Takes money; its process is cut off in the middle of the payments that it is told."""

    def __init__(self) -> None:
        self.paid: list[int] = []
        self.cuts_at: list[int] = []
        self.life: asyncio.Task | None = None
        self.opens: asyncio.Event | None = None
        """Payments wait for it, if it is there."""

    def tool(self, name: str = "pay", **options):
        @tool(name=name, **options)
        async def pay(n: int) -> str:
            "Pay."
            if self.opens:
                await asyncio.wait_for(self.opens.wait(), 5)
            self.paid.append(n)
            if n in self.cuts_at:
                self.cuts_at.remove(n)
                self.life.cancel()
                await asyncio.sleep(5)
            return f"paid {n}"

        return pay

    async def cut(self, coroutine, at: int) -> None:
        self.cuts_at.append(at)
        self.life = asyncio.ensure_future(coroutine)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(self.life, 5)


def payments(*amounts: int):
    turn = calls("pay", n=amounts[0])
    for amount in amounts[1:]:
        turn &= calls("pay", n=amount)
    return turn


async def test_a_call_is_in_doubt_by_its_own_mark_whichever_calls_began_beside_it(store):
    till = Till()
    agent = Agent(Scripted(payments(0, 1), says("Done.")), tools=[till.tool(needs_approval=True)], journal=store)
    first, second = (call.id for call in (await agent.run("Pay.", run_id="bills")).waiting)
    await Runs(store).approve("bills", second)
    await till.cut(agent.resume("bills"), at=1)

    await Runs(store).approve("bills", first)
    doubtful = await agent.resume("bills")

    assert till.paid == [1, 0]
    assert [(call.id, doubtful.transcript.questions[call.id].wants) for call in doubtful.waiting] == [(second, "outcome")]


async def test_a_call_that_never_began_is_in_no_doubt(store):
    till = Till()
    agent = Agent(Scripted(payments(0, 1), says("Done.")), tools=[till.tool(needs_approval=True)], journal=store)
    first, second = (call.id for call in (await agent.run("Pay.", run_id="bills")).waiting)

    await Runs(store).approve("bills", first)
    await agent.resume("bills", in_doubt="tell")
    await Runs(store).approve("bills", second)
    result = await agent.resume("bills", in_doubt="tell")

    assert (till.paid, result.text) == ([0, 1], "Done.")


async def test_what_is_in_doubt_twice_is_never_made_unasked(store):
    till = Till()
    agent = Agent(Scripted(payments(0, 1), says("Done.")), tools=[till.tool()], journal=store)
    till.cuts_at.append(0)
    await till.cut(agent.run("Pay.", run_id="bills"), at=1)
    doubtful = await agent.resume("bills")
    first, second = (call.id for call in doubtful.waiting)
    await Runs(store).approve("bills", second)
    await till.cut(agent.resume("bills"), at=1)
    await Runs(store).approve("bills", first)
    made = len(till.paid)

    doubtful = await agent.resume("bills")

    assert till.paid[made:] == [0]
    assert [call.id for call in doubtful.waiting] == [second]


@pytest.mark.parametrize("now", ["idempotent", "gone", "asked about"])
async def test_a_doubt_does_not_hang_on_what_the_call_beside_it_is_now(store, now: str):
    till, booked = Till(), []

    def book(**options):
        @tool(**options)
        async def book(n: int) -> str:
            "Book."
            booked.append(n)
            return "booked"

        return book

    model = Scripted(calls("book", n=1) & calls("pay", n=2), says("Done."))
    agent = Agent(model, tools=[book(), till.tool()], journal=store)
    till.opens = asyncio.Event()

    async def told() -> None:
        async for event in agent.stream("Go.", run_id="trip"):
            if isinstance(event, events.CallEnded):
                till.opens.set()

    await till.cut(told(), at=2)
    others = {"idempotent": [book(effect="idempotent")], "gone": [], "asked about": [book(needs_approval=True)]}[now]

    doubtful = await Agent(Scripted(says("Done.")), tools=[*others, till.tool()], journal=store).resume("trip", other_tools=True)

    assert (till.paid, booked) == ([2], [1])
    assert [call.name for call in doubtful.waiting] == ["pay"]


async def test_one_word_holds_for_one_question(store):
    till = Till()
    agent = Agent(Scripted(payments(1), says("Done.")), tools=[till.tool(needs_approval=True)], journal=store)
    kept = await agent.run("Pay.", run_id="bill")
    kept.transcript.approve(kept.waiting[0].id)
    stored = kept.transcript.to_json()
    await till.cut(agent.resume(kept), at=1)

    tries = [await agent.resume(kept), await agent.resume(Transcript.from_json(stored)), await agent.resume(kept)]

    assert till.paid == [1]
    assert all(each.paused for each in tries)


async def test_a_denial_holds_though_nobody_would_ask_any_more(store):
    till, limit = Till(), [10]
    pay = till.tool(needs_approval=lambda arguments: arguments["n"] > limit[0])
    agent = Agent(Scripted(payments(1000), says("Denied.")), tools=[pay], journal=store)
    paused = await agent.run("Pay.", run_id="bill")
    await Runs(store).deny("bill", paused.waiting[0].id)
    limit[0] = 10_000

    result = await agent.resume("bill")

    assert (till.paid, result.text) == ([], "Denied.")


async def test_what_was_asked_stays_asked_and_edits_hold(store):
    till = Till()
    agent = Agent(Scripted(payments(1000), says("Done.")), tools=[till.tool(needs_approval=True)], journal=store)
    paused = await agent.run("Pay.", run_id="bill")
    milder = Agent(Scripted(says("Done.")), tools=[till.tool()], journal=store)
    still = await milder.resume("bill")
    await Runs(store).approve("bill", paused.waiting[0].id, arguments={"n": 1})

    await milder.resume("bill")

    assert (still.paused, till.paid) == (True, [1])


async def test_a_doubt_is_about_the_arguments_that_were_used_and_takes_others(store):
    till = Till()
    agent = Agent(Scripted(payments(1000), says("Done.")), tools=[till.tool(needs_approval=True)], journal=store)
    paused = await agent.run("Pay.", run_id="bill")
    await Runs(store).approve("bill", paused.waiting[0].id, arguments={"n": 1})
    await till.cut(agent.resume("bill"), at=1)
    await agent.resume("bill")
    (waiting,) = await Runs(store).waiting("bill")
    await Runs(store).approve("bill", waiting.call.id, arguments={"n": 7})

    await agent.resume("bill")

    assert (waiting.call.arguments, till.paid) == ('{"n":1}', [1, 7])


@pytest.mark.parametrize("change", ["limit of a reply", "limit of calls", "policy", "tool"])
async def test_a_call_that_began_is_never_told_as_not_made(store, change: str):
    till = Till()
    await till.cut(Agent(Scripted(payments(3, 2)), tools=[till.tool()], journal=store).run("Pay.", run_id="bill"), at=2)
    limits = {"limit of a reply": Limits(calls_per_reply=1), "limit of calls": Limits(calls=1, final_answer=True)}.get(change)
    policy = "read_only" if change == "policy" else None
    tools = [] if change == "tool" else [till.tool()]

    changed = Agent(Scripted(says("Done.")), tools=tools, journal=store, limits=limits, approvals=policy)
    result = await changed.resume("bill", other_tools=True)

    told = {each.call_id: each.content for message in result.transcript.messages for each in message.results}
    assert told.get("call_0_0") == "paid 3"
    assert "unknown" in told.get("call_0_1", "whether it took effect is unknown")
    assert sorted(till.paid) == [2, 3]


async def test_the_tools_are_compared_before_anything_begins(store):
    till = Till()

    def look(where: str) -> str:
        "Look."
        return "sun"

    def look_twice(where: str, times: int = 2) -> str:
        "Look."
        return "sun"

    model = Scripted(calls("pay", n=1) & calls("look", where="here"))
    with pytest.raises(LimitReached):
        await Agent(model, tools=[till.tool(), tool(look)], journal=store, limits=Limits(calls=1)).run("Go.", run_id="trip")

    with pytest.raises(JournalMismatch, match="'look', which takes other arguments"):
        await Agent(Scripted(), tools=[till.tool(), tool(look_twice, name="look")], journal=store).resume("trip")

    assert till.paid == []


async def test_calls_beside_an_agent_that_is_told_to_stop_have_their_grace(store):
    done, begun = [], asyncio.Event()

    @tool
    async def slow() -> str:
        "Be slow."
        begun.set()
        await asyncio.sleep(0.2)
        done.append("slow")
        return "done"

    @tool
    async def quick() -> str:
        "Be quick."
        await begun.wait()
        drain.begin()
        return "done"

    inner = Agent(Scripted(calls("quick"), says("Done.")), tools=[quick], name="inner")
    model = Scripted(calls("inner", task="Go.") & calls("slow"), says("Done."))
    agent = Agent(model, tools=[inner.as_tool("Works."), slow], journal=store)

    async with draining(grace=5) as drain:
        with pytest.raises(Drained):
            await agent.run("Go.", run_id="both")

    assert done == ["slow"]
    assert (await agent.resume("both")).text == "Done."


async def test_blocks_of_draining_in_one_loop_share_it():
    inside, leave = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with draining():
            inside.set()
            await leave.wait()

    task = asyncio.create_task(first())
    await inside.wait()
    async with draining() as drain:
        leave.set()
        await task
        drain.begin()

        with pytest.raises(Drained):
            await Agent(Scripted(says("Hi."))).run("Hi!")


async def test_an_agent_that_only_reads_is_one_run_in_a_stream_too(store):
    inner_model = Scripted(says("Sunny."))
    inner = Agent(inner_model, name="scout")
    agent = Agent(Scripted(calls("scout", task="Look."), says("Sun.")), tools=[inner.as_tool("Scouts.", effect="read")], journal=store)

    async with agent.stream("Sun?", run_id="sky") as stream:
        async for _ in stream:
            pass

    assert (len(inner_model.heard), stream.result.steps) == (1, 3)


async def test_an_answer_that_never_took_the_form_is_asked_for_again_when_the_run_is_resumed(store):
    with pytest.raises(OutputInvalid):
        await Agent(Scripted(*[says("many")] * 3), output=int, journal=store).run("How many?", run_id="count")

    result = await Agent(Scripted(says("3")), output=int, journal=store).resume("count")

    assert result.output == 3


async def test_a_cancellation_that_nobody_asked_for_ends_the_run_with_an_error_or_a_doubt(store):
    till = Till()

    async def lost(n: int) -> str:
        gone = asyncio.get_running_loop().create_future()
        gone.cancel()
        return await gone

    agent = Agent(Scripted(payments(1), says("Done.")), tools=[till.tool(reconcile=lost)], journal=store)
    await till.cut(agent.run("Pay.", run_id="bill"), at=1)

    doubtful = await asyncio.wait_for(agent.resume("bill"), 5)

    assert doubtful.paused


async def test_half_a_surrogate_pair_in_a_prompt_is_the_same_prompt_again(store):
    agent = Agent(Scripted(says("Odd.")), journal=store)
    await agent.run("What is \ud800?", run_id="odd")

    assert (await agent.run("What is \ud800?", run_id="odd")).text == "Odd."


async def test_a_person_may_speak_while_the_model_is_about_to_be_told(store):
    till = Till()
    agent = Agent(Scripted(payments(1), says("Done.")), tools=[till.tool()], journal=store)
    await till.cut(agent.run("Pay.", run_id="bill"), at=1)
    doubtful = await agent.resume("bill")
    await Runs(store).answer("bill", doubtful.waiting[0].id, result="it was paid")

    result = await agent.resume("bill", in_doubt="tell")

    assert result.transcript.messages[2].results[0].content == "it was paid"


async def test_a_pending_call_of_a_transcript_is_in_doubt_like_any_other(store):
    till = Till()
    with pytest.raises(BadReply):
        await Agent(Scripted(fails(BadReply("gone")))).run("Pay.")
    before = Transcript(run_id="bill")
    for message in (await Agent(Scripted(payments(1)), tools=[till.tool(needs_approval=True)]).run("Pay.")).transcript:
        before.add(message)
    agent = Agent(Scripted(says("Done.")), tools=[till.tool()], journal=store)
    await till.cut(agent.resume(before), at=1)

    doubtful = await agent.resume("bill")

    assert (till.paid, doubtful.paused) == ([1], True)
