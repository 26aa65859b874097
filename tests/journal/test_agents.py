"""What an agent writes down, and how it goes on: over each embedded store."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from agentloop import Agent, Context, Limits, events, external, tool
from agentloop.errors import BadReply, BadTranscript, ConfigurationError, JournalError, JournalMismatch, LimitReached, RunLocked
from agentloop.journal.memory import MemoryStore
from agentloop.journal.runs import Runs
from agentloop.journal.sqlite import SQLiteStore
from agentloop.testing import Scripted, calls, fails, says


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path: Path):
    return MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "runs.db")


class Power:
    """A tool's view of a process that is cut off in the middle of a call, so often."""

    def __init__(self, cuts: int = 1) -> None:
        self.cuts = cuts
        self.made: list[str] = []
        self.keys: set[str] = set()
        self.life: asyncio.Task | None = None

    async def use(self, what: str, key: str = "") -> str:
        self.made.append(what)
        self.keys.add(key)
        if len(self.made) <= self.cuts:
            self.life.cancel()
            await asyncio.sleep(5)
        return f"made {what}"

    async def cut(self, coroutine) -> None:
        self.life = asyncio.ensure_future(coroutine)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(self.life, 5)


def sender(power: Power, **options):
    @tool(**options)
    async def send(to: str, context: Context) -> str:
        "Send."
        return await power.use(to, context.idempotency_key)

    return send


@tool
def look() -> str:
    "Look."
    return "sun"


async def test_a_run_that_failed_goes_on_by_its_name_where_it_stopped(store):
    looked: list[str] = []

    @tool
    def look() -> str:
        "Look."
        looked.append("once")
        return "sun"

    broken = Scripted(calls("look"), fails(BadReply("gone")))
    with pytest.raises(BadReply):
        await Agent(broken, tools=[look], journal=store).run("Sun?", run_id="sky")
    model = Scripted(says("It shines."))

    result = await Agent(model, tools=[look], journal=store).resume("sky")

    assert (result.text, result.steps, result.run_id, looked) == ("It shines.", 2, "sky", ["once"])
    assert model.heard[0].results[0].content == "sun"


async def test_a_run_that_is_done_is_given_back_and_nobody_is_asked(store):
    first = await Agent(Scripted(calls("look"), says("Sun.")), tools=[look], journal=store).run("Sun?", run_id="sky")
    silent = Agent(Scripted(), tools=[look], journal=store)

    again, resumed = await silent.run("Sun?", run_id="sky"), await silent.resume("sky")

    assert [each.transcript.messages for each in (again, resumed)] == [first.transcript.messages] * 2
    assert (again.text, again.usage, again.done) == (first.text, first.usage, True)


async def test_a_name_stands_for_one_prompt(store):
    agent = Agent(Scripted(says("Sun.")), journal=store)
    await agent.run("Sun?", run_id="sky")

    with pytest.raises(JournalMismatch, match="another prompt; resume it, or choose another run_id"):
        await agent.run("Rain?", run_id="sky")


async def test_a_run_that_nobody_began_cannot_go_on(store):
    with pytest.raises(ConfigurationError, match=r"no run 'sky' in the journal; begin it with agent\.run"):
        await Agent(Scripted(), journal=store).resume("sky")
    with pytest.raises(ConfigurationError, match="no journal to find the run 'sky' in"):
        await Agent(Scripted()).resume("sky")

    assert await store.runs() == []


async def test_what_the_run_writes_down_is_in_its_order(store):
    await Agent(Scripted(calls("look"), says("Sun.")), tools=[look], journal=store).run("Sun?", run_id="sky")

    records = await store.records("sky")

    assert [record.key for record in records] == ["input", "0/reply", "0/0/begun", "0/0", "1/reply", "end"]
    assert json.loads(records[0].value)["format"] == 1


async def test_a_person_approves_in_another_process(store):
    @tool(needs_approval=True)
    def pay(amount: int) -> str:
        "Pay."
        return f"paid {amount}"

    paused = await Agent(Scripted(calls("pay", amount=3)), tools=[pay], journal=store).run("Pay.", run_id="bill")
    (waiting,) = await Runs(store).waiting("bill")
    await Runs(store).approve("bill", waiting.call.id, arguments={"amount": 2})
    model = Scripted(says("Done."))

    result = await Agent(model, tools=[pay], journal=store).resume("bill")

    assert (paused.paused, waiting.call.arguments, result.text) == (True, '{"amount":3}', "Done.")
    assert model.heard[0].results[0].content.endswith("paid 2")
    assert await Runs(store).waiting("bill") == ()


async def test_a_word_given_to_the_result_reaches_the_journal(store):
    @tool(needs_approval=True)
    def pay(amount: int) -> str:
        "Pay."
        return f"paid {amount}"

    paused = await Agent(Scripted(calls("pay", amount=3)), tools=[pay], journal=store).run("Pay.", run_id="bill")
    paused.transcript.deny(paused.waiting[0].id, "Too much.")
    model = Scripted(says("Done."))

    await Agent(model, tools=[pay], journal=store).resume(paused)

    assert "Too much." in model.heard[0].results[0].content
    assert [record.key for record in await store.records("bill")].count("0/0/question/0/word") == 1


async def test_words_may_come_one_by_one_and_out_of_order(store):
    @tool(needs_approval=True)
    def pay(amount: int) -> str:
        "Pay."
        return f"paid {amount}"

    model = Scripted(calls("pay", amount=1) & calls("pay", amount=2), says("Done."))
    agent = Agent(model, tools=[pay], journal=store)
    paused = await agent.run("Pay.", run_id="bills")
    one, two = (call.id for call in paused.waiting)

    await Runs(store).approve("bills", two)
    half = await agent.resume("bills")
    await Runs(store).approve("bills", one)
    result = await agent.resume("bills")

    assert [call.id for call in half.waiting] == [one]
    assert [each.content for each in model.heard[-1].results] == ["paid 1", "paid 2"]
    assert result.text == "Done."


async def test_a_result_from_outside_comes_by_the_journal(store):
    ask_editor = external("ask_editor", "Ask the editor.")
    agent = Agent(Scripted(calls("ask_editor"), says("Printed.")), tools=[ask_editor], journal=store)
    paused = await agent.run("Print.", run_id="page")

    await Runs(store).answer("page", paused.waiting[0].id, result={"verdict": "fine"})
    result = await agent.resume("page")

    assert result.transcript.messages[2].results[0].content == '{"verdict":"fine"}'


async def test_a_word_on_a_call_that_does_not_wait_names_those_that_do(store):
    @tool(needs_approval=True)
    def pay() -> str:
        "Pay."
        return "paid"

    await Agent(Scripted(calls("pay")), tools=[pay], journal=store).run("Pay.", run_id="bill")

    with pytest.raises(BadTranscript, match=r"no call 'call_9_9' of the run 'bill' waits; waiting: call_0_0 \(pay\)"):
        await Runs(store).approve("bill", "call_9_9")


@pytest.mark.fault(130)
async def test_a_call_that_was_cut_off_is_in_doubt_and_waits_for_a_person(store):
    power = Power()
    send = sender(power)
    await power.cut(Agent(Scripted(calls("send", to="ann")), tools=[send], journal=store).run("Send.", run_id="mail"))

    paused = await Agent(Scripted(), tools=[send], journal=store).resume("mail")

    assert (power.made, [call.name for call in paused.waiting]) == (["ann"], ["send"])
    assert paused.transcript.questions[paused.waiting[0].id].wants == "outcome"


async def test_a_call_in_doubt_is_made_again_where_a_person_says_so_even_twice(store):
    power = Power(cuts=2)
    send = sender(power)
    agent = Agent(Scripted(calls("send", to="ann"), says("Sent.")), tools=[send], journal=store)
    await power.cut(agent.run("Send.", run_id="mail"))
    doubtful = await agent.resume("mail")
    await Runs(store).approve("mail", doubtful.waiting[0].id)
    await power.cut(agent.resume("mail"))
    doubtful = await agent.resume("mail")
    made = list(power.made)

    await Runs(store).approve("mail", doubtful.waiting[0].id)
    result = await agent.resume("mail")

    assert (made, power.made, result.text) == (["ann"] * 2, ["ann"] * 3, "Sent.")
    assert result.transcript.messages[2].results[0].content == "made ann"


async def test_a_person_gives_the_result_of_a_call_in_doubt(store):
    power = Power()
    send = sender(power)
    agent = Agent(Scripted(calls("send", to="ann"), says("Sent.")), tools=[send], journal=store)
    await power.cut(agent.run("Send.", run_id="mail"))
    doubtful = await agent.resume("mail")

    await Runs(store).answer("mail", doubtful.waiting[0].id, result="it was sent")
    result = await agent.resume("mail")

    assert (power.made, result.transcript.messages[2].results[0].content) == (["ann"], "it was sent")


@pytest.mark.parametrize("by", ["a person", "resume"])
async def test_the_model_is_told_that_nobody_knows(store, by: str):
    power = Power()
    send = sender(power)
    agent = Agent(Scripted(calls("send", to="ann"), says("Sorry.")), tools=[send], journal=store)
    await power.cut(agent.run("Send.", run_id="mail"))
    if by == "a person":
        doubtful = await agent.resume("mail")
        await Runs(store).deny("mail", doubtful.waiting[0].id)

    result = await agent.resume("mail", in_doubt="tell" if by == "resume" else "wait")

    told = result.transcript.messages[2].results[0]
    assert (power.made, told.is_error) == (["ann"], True)
    assert "whether it took effect is unknown" in told.content


@pytest.mark.parametrize("effect", ["read", "idempotent"])
async def test_what_may_be_made_again_is_made_again_with_the_same_key(store, effect: str):
    power = Power()
    send = sender(power, effect=effect)
    agent = Agent(Scripted(calls("send", to="ann"), says("Sent.")), tools=[send], journal=store)
    await power.cut(agent.run("Send.", run_id="mail"))

    result = await agent.resume("mail")

    assert (result.text, power.made, len(power.keys)) == ("Sent.", ["ann", "ann"], 1)


@pytest.mark.fault(131)
async def test_the_finished_one_of_two_calls_is_not_made_again(store):
    power, written, finished = Power(), asyncio.Event(), []

    @tool
    async def note(text: str) -> str:
        "Note."
        finished.append(text)
        return text

    @tool(effect="idempotent")
    async def after(to: str) -> str:
        "Break, once the note is written down."
        await asyncio.wait_for(written.wait(), 5)
        return await power.use(to)

    async def told() -> None:
        async for event in agent.stream("Go.", run_id="both"):
            if isinstance(event, events.CallEnded) and event.call.name == "note":
                written.set()

    agent = Agent(Scripted(calls("note", text="a") & calls("after", to="ann"), says("Done.")), tools=[note, after], journal=store)
    await power.cut(told())

    result = await agent.resume("both")

    assert (finished, power.made, result.text) == (["a"], ["ann", "ann"], "Done.")


@pytest.mark.parametrize(
    ("found", "content", "made"),
    [("it went out", "it went out", 1), (LookupError("no trace"), "made ann", 2), (OSError("no line"), None, 1)],
)
async def test_a_tool_finds_out_what_became_of_its_call(store, found, content, made: int):
    power, asked = Power(), []

    async def trace(to: str, context: Context) -> str:
        asked.append((to, context.idempotency_key))
        if isinstance(found, Exception):
            raise found
        return found

    send = sender(power, reconcile=trace)
    agent = Agent(Scripted(calls("send", to="ann"), says("Sent.")), tools=[send], journal=store)
    await power.cut(agent.run("Send.", run_id="mail"))

    result = await agent.resume("mail")

    assert asked == [("ann", next(iter(power.keys)))]
    assert len(power.made) == made
    assert result.paused == (content is None)
    assert content is None or result.transcript.messages[2].results[0].content == content


@pytest.mark.fault(134)
async def test_without_a_written_intent_nothing_takes_effect(store):
    power = Power(cuts=0)

    class Full:
        def __init__(self, journal) -> None:
            self.journal, self.wait, self.spawn = journal, journal.wait, journal.spawn

        def step(self, key, fn, *args):
            if key.endswith("begun"):
                raise JournalError("no space left on the disk")
            return self.journal.step(key, fn, *args)

    class FullStore:
        def __init__(self) -> None:
            self.records, self.runs, self.tell = store.records, store.runs, store.tell

        def open(self, run_id, works):
            return _Opened(store.open(run_id, works))

    class _Opened:
        def __init__(self, block) -> None:
            self.block = block

        async def __aenter__(self):
            return Full(await self.block.__aenter__())

        async def __aexit__(self, *error):
            return await self.block.__aexit__(*error)

    agent = Agent(Scripted(calls("send", to="ann")), tools=[sender(power)], journal=FullStore())

    with pytest.raises(JournalError, match="no space left"):
        await agent.run("Send.", run_id="mail")

    assert power.made == []


async def test_an_agent_in_an_agent_is_a_run_of_its_own_and_is_never_asked_twice(store):
    inner_model = Scripted(calls("look"), says("Sunny."))
    inner = Agent(inner_model, tools=[look], name="scout")
    model = Scripted(calls("scout", task="Look."), fails(BadReply("gone")))
    with pytest.raises(BadReply):
        await Agent(model, tools=[inner.as_tool("Scouts.")], journal=store).run("Sun?", run_id="sky")

    result = await Agent(Scripted(says("Sun.")), tools=[inner.as_tool("Scouts.")], journal=store).resume("sky")

    assert (result.text, len(inner_model.heard)) == ("Sun.", 2)
    assert await store.runs() == ["sky", "sky/0/0"]
    assert result.transcript.messages[2].results[0].content == "Sunny."


async def test_an_agent_in_an_agent_waits_for_a_person_and_its_caller_with_it(store):
    power = Power(cuts=0)
    inner = Agent(Scripted(calls("send", to="ann"), says("Sent it.")), tools=[sender(power, needs_approval=True)], name="post")
    agent = Agent(Scripted(calls("post", task="Send."), says("Done.")), tools=[inner.as_tool("Posts.")], journal=store)

    paused = await agent.run("Send.", run_id="mail")
    (waiting,) = await Runs(store).waiting("mail")
    still = await agent.resume("mail")
    await Runs(store).approve("mail", waiting.call.id)
    result = await agent.resume("mail")

    assert [call.name for call in paused.waiting] == [call.name for call in still.waiting] == ["post"]
    assert (waiting.run_id, waiting.call.name) == ("mail/0/0", "send")
    assert (result.text, power.made) == ("Done.", ["ann"])


async def test_what_an_agent_in_an_agent_took_counts_in_each_life(store):
    inner = Agent(Scripted(calls("look"), says("Sunny.")), tools=[look], name="scout")
    tools = [inner.as_tool("Scouts.")]
    with pytest.raises(BadReply):
        await Agent(Scripted(calls("scout", task="Look."), fails(BadReply("gone"))), tools=tools, journal=store).run("Sun?", run_id="sky")

    stream = Agent(Scripted(says("Sun.")), tools=tools, journal=store).stream("Sun?", run_id="sky")
    told = [event async for event in stream]

    assert stream.result.steps == 4
    assert [event.replayed for event in told if isinstance(event, events.CallEnded)] == [True]
    assert not any(isinstance(event, events.CallStarted) for event in told)


async def test_a_person_edits_the_task_of_an_agent_in_an_agent(store):
    inner_model = Scripted(says("Rainy."))
    inner = Agent(inner_model, name="scout")
    model = Scripted(calls("scout", task="Sun?"), says("Done."))
    agent = Agent(model, tools=[inner.as_tool("Scouts.")], journal=store, approvals="ask")
    paused = await agent.run("Sun?", run_id="sky")

    await Runs(store).approve("sky", paused.waiting[0].id, arguments={"task": "Rain?"})
    await agent.resume("sky")

    assert inner_model.heard[0].text == "Rain?"
    assert model.heard[-1].results[0].content.startswith("A person changed the arguments")


async def test_a_run_inside_a_run_is_not_taken_up_by_itself(store):
    agent = Agent(Scripted(), journal=store)

    with pytest.raises(ConfigurationError, match=r"'sky/0/0' names a run inside the run 'sky'; resume that one"):
        await agent.resume("sky/0/0")
    with pytest.raises(ConfigurationError, match="choose a run_id without '/'"):
        await agent.run("Sun?", run_id="sky/0")


async def test_an_agent_in_an_agent_that_was_cut_off_goes_on_in_its_middle(store):
    power = Power()
    inner_model = Scripted(calls("send", to="ann"), says("Sent it."))
    inner = Agent(inner_model, tools=[sender(power, effect="idempotent")], name="post")
    agent = Agent(Scripted(calls("post", task="Send."), says("Done.")), tools=[inner.as_tool("Posts.")], journal=store)
    await power.cut(agent.run("Send.", run_id="mail"))

    result = await agent.resume("mail")

    assert (result.text, power.made, len(inner_model.heard)) == ("Done.", ["ann", "ann"], 2)


async def test_what_an_agent_in_an_agent_failed_with_is_told_once_and_for_all(store):
    inner_model = Scripted(fails(BadReply("gone")))
    inner = Agent(inner_model, name="scout")
    model = Scripted(calls("scout", task="Look."), fails(BadReply("gone too")))
    with pytest.raises(BadReply):
        await Agent(model, tools=[inner.as_tool("Scouts.")], journal=store).run("Sun?", run_id="sky")

    result = await Agent(Scripted(says("No idea.")), tools=[inner.as_tool("Scouts.")], journal=store).resume("sky")

    assert "gone" in result.transcript.messages[2].results[0].content
    assert len(inner_model.heard) == 1


async def test_what_was_done_before_is_told_again_and_marked(store):
    with pytest.raises(BadReply):
        await Agent(Scripted(calls("look"), fails(BadReply("gone"))), tools=[look], journal=store).run("Sun?", run_id="sky")

    stream = Agent(Scripted(says("Sun.")), tools=[look], journal=store).stream("Sun?", run_id="sky")
    told = [event async for event in stream]

    marks = [event.replayed for event in told if isinstance(event, events.Replied | events.CallEnded)]
    assert marks == [True, True, False]
    assert not any(isinstance(event, events.CallStarted) for event in told)
    assert stream.result.text == "Sun."
    assert stream.transcript.messages == stream.result.transcript.messages


async def test_a_stream_of_a_run_that_goes_on_has_its_transcript(store):
    @tool(needs_approval=True)
    def pay() -> str:
        "Pay."
        return "paid"

    agent = Agent(Scripted(calls("pay"), says("Done.")), tools=[pay], journal=store)
    paused = await agent.run("Pay.", run_id="bill")
    paused.transcript.approve(paused.waiting[0].id)

    async with agent.stream(paused) as stream:
        async for _ in stream:
            pass

    assert stream.transcript.text == "Done."


async def test_a_stream_that_was_left_goes_on_from_the_journal(store):
    agent = Agent(Scripted(calls("look"), says("Sun.")), tools=[look], journal=store)
    async with agent.stream("Sun?", run_id="sky") as stream:
        async for event in stream:
            if isinstance(event, events.CallEnded):
                break

    result = await agent.resume("sky")

    assert (result.text, result.steps) == ("Sun.", 2)


async def test_a_correction_of_the_answer_is_part_of_the_run(store):
    agent = Agent(Scripted(says("many"), fails(BadReply("gone"))), output=int, journal=store)
    with pytest.raises(BadReply):
        await agent.run("How many?", run_id="count")

    result = await Agent(Scripted(says("3")), output=int, journal=store).resume("count")

    assert result.output == 3
    assert [record.key for record in await store.records("count")] == ["input", "0/reply", "1/told/2", "1/reply", "end"]


async def test_a_limit_holds_over_all_lives_and_goes_on_when_it_is_raised(store):
    def agent(*replies, steps: int) -> Agent:
        return Agent(Scripted(*replies), tools=[look], journal=store, limits=Limits(steps=steps, repeats=None))

    with pytest.raises(LimitReached):
        await agent(calls("look"), calls("look"), steps=2).run("Sun?", run_id="sky")
    with pytest.raises(LimitReached):
        await agent(steps=2).resume("sky")

    result = await agent(says("Sun."), steps=3).resume("sky")

    assert (result.text, result.steps) == ("Sun.", 3)


async def test_a_last_answer_is_asked_for_once(store):
    limits = Limits(steps=1, final_answer=True)
    agent = Agent(Scripted(calls("look"), fails(BadReply("gone"))), tools=[look], journal=store, limits=limits)
    with pytest.raises(BadReply):
        await agent.run("Sun?", run_id="sky")

    result = await Agent(Scripted(says("Sun.")), tools=[look], journal=store, limits=limits).resume("sky")

    assert (result.text, result.limited) == ("Sun.", "steps")


@pytest.mark.fault(137)
async def test_an_open_call_is_not_made_with_another_tool_than_it_was_for(store):
    power = Power()
    await power.cut(Agent(Scripted(calls("send", to="ann")), tools=[sender(power, effect="read")], journal=store).run("Go.", run_id="mail"))

    @tool(effect="read")
    def send(to: str, twice: bool = False) -> str:
        "Send."
        return "other"

    changed = Agent(Scripted(says("Done.")), tools=[send], journal=store)
    gone = Agent(Scripted(), journal=store)

    with pytest.raises(JournalMismatch, match="'send', which takes other arguments since the run began"):
        await changed.resume("mail")
    with pytest.raises(JournalMismatch, match="'send', which is gone since the run began"):
        await gone.resume("mail")
    assert (await changed.resume("mail", other_tools=True)).text == "Done."


@pytest.mark.fault(137)
async def test_a_run_of_a_later_format_is_refused(store):
    async def later() -> str:
        return '{"format":2,"agent":"agent","tools":{},"transcript":{}}'

    async with store.open("sky", {}) as journal:
        await journal.step("input", later)

    with pytest.raises(JournalMismatch, match="format 2, and this version reads 1"):
        await Agent(Scripted(), journal=store).resume("sky")


@pytest.mark.fault(138)
async def test_one_run_has_one_life_at_a_time(store):
    begun, go_on = asyncio.Event(), asyncio.Event()

    @tool
    async def hold() -> str:
        "Hold."
        begun.set()
        await go_on.wait()
        return "held"

    agent = Agent(Scripted(calls("hold"), says("Done.")), tools=[hold], journal=store)
    first = asyncio.create_task(agent.run("Hold.", run_id="sky"))
    await asyncio.wait_for(begun.wait(), 5)

    with pytest.raises(RunLocked):
        await agent.resume("sky")

    go_on.set()
    assert (await asyncio.wait_for(first, 5)).text == "Done."


async def test_a_run_without_a_name_gets_one(store):
    result = await Agent(Scripted(says("Hi.")), journal=store).run("Hi!")

    assert await store.runs() == [result.run_id]


async def test_what_was_said_before_belongs_to_the_run(store):
    first = await Agent(Scripted(says("Hi.")), journal=store).run("Hi!")
    with pytest.raises(BadReply):
        await Agent(Scripted(fails(BadReply("gone"))), journal=store).run("And?", transcript=first.transcript, run_id="second")
    model = Scripted(says("More."))

    result = await Agent(model, journal=store).resume("second")

    assert [message.text for message in model.heard[0].messages] == ["Hi!", "Hi.", "And?"]
    assert result.text == "More."


async def test_a_file_is_named_in_one_word(tmp_path: Path):
    path = tmp_path / "runs.db"
    await Agent(Scripted(says("Hi.")), journal=path).run("Hi!", run_id="one")

    result = await Agent(Scripted(), journal=str(path)).resume("one")

    assert result.text == "Hi."
