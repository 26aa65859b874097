"""The loop: ask, answer the calls, repeat."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from dataclasses import dataclass

import pytest

from agentloop import Agent, Context, LimitReached, Limits, Settings, Transcript, tool
from agentloop.deltas import TextDelta
from agentloop.errors import ConfigurationError, ContentFiltered, LengthLimit, ModelRefused, OutputInvalid, ServerError, ToolDefinitionError
from agentloop.events import CallEnded, CallProgress, CallStarted, PartialOutput
from agentloop.messages import Reply, Request, Text, Usage, user
from agentloop.models import Hear
from agentloop.output import Mismatch, Output
from agentloop.testing import Scripted, always, calls, fails, refuses, says


@tool(effect="read")
def add(a: int, b: int) -> int:
    "Add."
    return a + b


@pytest.mark.fault(95)
async def test_a_failing_tool_answers_the_model_instead_of_ending_the_run():
    @tool
    def divide(a: int, b: int) -> float:
        "Divide."
        return a / b

    model = Scripted(calls("divide", a=1, b=0), says("That cannot be done."))

    result = await Agent(model, tools=[divide]).run("1/0?")

    assert result.text == "That cannot be done."
    assert model.heard[-1].results[0].content == "ZeroDivisionError: division by zero"


async def test_results_reach_the_model_in_the_order_of_its_calls():
    first_may_end = asyncio.Event()

    @tool
    async def slow() -> str:
        "Wait for the other."
        await asyncio.wait_for(first_may_end.wait(), 5)
        return "slow"

    @tool
    async def quick() -> str:
        "Let the other go."
        first_may_end.set()
        return "quick"

    model = Scripted(calls("slow") & calls("quick"), says("Done."))

    await Agent(model, tools=[slow, quick]).run("Go")

    assert [result.content for result in model.heard[-1].results] == ["slow", "quick"]


async def test_calls_of_one_reply_run_side_by_side_in_tasks_and_in_threads():
    barrier = threading.Barrier(2, timeout=5)

    @tool
    def meet() -> str:
        "Meet the other call."
        barrier.wait()
        return "met"

    model = Scripted(calls("meet") & calls("meet"), says("Done."))

    await Agent(model, tools=[meet]).run("Go")

    assert [result.content for result in model.heard[-1].results] == ["met", "met"]


@pytest.mark.fault(115)
async def test_a_failing_call_never_touches_its_siblings():
    failed = asyncio.Event()

    @tool
    async def fail() -> None:
        "Fail."
        failed.set()
        raise RuntimeError("no")

    @tool
    async def go_on() -> str:
        "Go on after the other failed."
        await asyncio.wait_for(failed.wait(), 5)
        await asyncio.sleep(0)
        return "fine"

    model = Scripted(calls("fail") & calls("go_on"), says("Done."))

    await Agent(model, tools=[fail, go_on]).run("Go")

    assert [(result.content, result.is_error) for result in model.heard[-1].results] == [("RuntimeError: no", True), ("fine", False)]


@pytest.mark.fault(78)
async def test_an_unknown_tool_is_told_with_the_nearest_name():
    model = Scripted(calls("ad", a=1, b=2), says("Sorry."))

    await Agent(model, tools=[add]).run("Go")

    assert "Did you mean 'add'?" in model.heard[-1].results[0].text


@pytest.mark.fault(81)
async def test_wrong_arguments_go_back_to_the_model_and_the_tool_is_not_run():
    model = Scripted(calls("add", a="one", b=2), calls("add", a=1, b=2), says("3"))

    result = await Agent(model, tools=[add]).run("1+2?")

    told = model.heard[1].results[0]
    assert told.is_error
    assert told.text.startswith("The arguments do not fit: a: should be a valid integer")
    assert told.text.endswith('got "one".')
    assert model.heard[2].results[0].content == "3"
    assert result.steps == 3


@pytest.mark.fault(111)
async def test_sync_and_async_tools_see_the_callers_context_variables():
    who = contextvars.ContextVar("who", default="nobody")

    @tool
    def in_thread() -> str:
        "Say who."
        return who.get()

    @tool
    async def in_task() -> str:
        "Say who."
        return who.get()

    model = Scripted(calls("in_thread") & calls("in_task"), says("Done."))
    who.set("Ada")

    await Agent(model, tools=[in_thread, in_task]).run("Go")

    assert [result.content for result in model.heard[-1].results] == ["Ada", "Ada"]


async def test_a_tool_gets_its_context_and_the_model_never_sees_it():
    @dataclass
    class Shop:
        name: str

    seen: list[Context[Shop]] = []

    @tool
    def order(context: Context[Shop], item: str) -> str:
        "Order."
        seen.append(context)
        return f"{item} from {context.deps.name}"

    model = Scripted(calls("order", item="tea"), says("Done."))

    result = await Agent(model, tools=[order]).run("Tea", deps=Shop("Corner"))

    assert model.heard[-1].results[0].content == "tea from Corner"
    assert list(model.heard[0].tools[0].parameters["properties"]) == ["item"]
    assert seen[0].run_id == result.transcript.run_id
    assert seen[0].call is not None
    assert len(seen[0].idempotency_key) == 32


async def test_the_idempotency_key_tells_calls_apart_and_stays_the_same_when_a_run_is_resumed():
    keys: list[str] = []

    @tool(effect="idempotent")
    def pay(context: Context, amount: int) -> str:
        "Pay."
        keys.append(context.idempotency_key)
        return "paid"

    model = Scripted(calls("pay", amount=1) & calls("pay", amount=1), fails("down"))
    agent = Agent(model, tools=[pay])
    with pytest.raises(ServerError) as failure:
        await agent.run("Pay")
    before = Transcript(failure.value.result.transcript.messages[:2], run_id=failure.value.result.transcript.run_id)

    with pytest.raises(AssertionError):
        await agent.resume(before)

    assert len(set(keys[:2])) == 2
    assert sorted(keys[2:]) == sorted(keys[:2])


async def test_what_a_generator_yields_is_progress_and_together_the_result():
    @tool
    async def count(to: int):
        "Count."
        for number in range(to):
            yield number

    model = Scripted(calls("count", to=3), says("Done."))
    stream = Agent(model, tools=[count]).stream("Count")

    progress = [event.value async for event in stream if isinstance(event, CallProgress)]

    assert progress == [0, 1, 2]
    assert model.heard[-1].results[0].content == "[0,1,2]"


async def test_progress_from_a_thread_comes_before_the_calls_end():
    @tool
    def work(context: Context) -> str:
        "Work."
        context.progress("half")
        return "done"

    stream = Agent(Scripted(calls("work"), says("Done.")), tools=[work]).stream("Go")

    kinds = [event.kind async for event in stream if isinstance(event, CallStarted | CallProgress | CallEnded)]

    assert kinds == ["call_started", "call_progress", "call_ended"]


@pytest.mark.fault(88)
async def test_a_run_ends_at_its_limit_of_steps_and_goes_on_when_resumed():
    agent = Agent(Scripted(*[calls("add", a=1, b=2)] * 3, says("3")), tools=[add], limits=Limits(steps=2))

    with pytest.raises(LimitReached, match=r"took all 2 steps it was allowed; raise Limits\(steps=...\) or resume it") as reached:
        await agent.run("1+2?")
    result = await agent.resume(reached.value.result)

    assert reached.value.limit == "steps"
    assert reached.value.result.steps == 2
    assert result.text == "3"


async def test_a_run_that_may_not_make_all_calls_of_a_reply_makes_none():
    made: list[int] = []

    @tool
    def note(number: int) -> str:
        "Note."
        made.append(number)
        return "noted"

    model = Scripted(calls("note", number=1) & calls("note", number=2), says("Done."))

    with pytest.raises(LimitReached) as reached:
        await Agent(model, tools=[note], limits=Limits(calls=1)).run("Note")

    assert reached.value.limit == "calls"
    assert made == []


@pytest.mark.fault(89)
async def test_calls_above_the_limit_of_one_reply_are_told_and_the_others_run():
    many = calls("add", a=0, b=0)
    for number in range(1, 4):
        many &= calls("add", a=number, b=0)
    model = Scripted(many, says("Done."))

    await Agent(model, tools=[add], limits=Limits(calls_per_reply=2)).run("Add")

    results = model.heard[-1].results
    assert [result.is_error for result in results] == [False, False, True, True]
    assert "Make fewer at once" in results[2].text


async def test_a_run_ends_at_its_limit_of_tokens():
    model = Scripted(calls("add", a=1, b=2).spending(Usage(90, 20)), says("3"))

    with pytest.raises(LimitReached) as reached:
        await Agent(model, tools=[add], limits=Limits(tokens=100)).run("1+2?")

    assert reached.value.limit == "tokens"
    assert reached.value.result.usage.total_tokens == 110


@pytest.mark.fault(125)
async def test_a_run_ends_at_its_limit_of_seconds_and_cancels_what_runs():
    cancelled = asyncio.Event()

    @tool(effect="read")
    async def hang() -> None:
        "Hang."
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(LimitReached) as reached:
        await Agent(Scripted(calls("hang")), tools=[hang], limits=Limits(seconds=0.5)).run("Hang")

    assert reached.value.limit == "seconds"
    assert cancelled.is_set()
    assert reached.value.result.transcript.messages[-1].calls


async def test_a_call_that_may_do_harm_and_was_cancelled_is_not_made_again_when_the_run_is_resumed():
    paid: list[int] = []

    @tool
    async def pay() -> None:
        "Pay."
        paid.append(1)
        await asyncio.Event().wait()

    model = Scripted(calls("pay"), says("It is unclear."))
    with pytest.raises(LimitReached) as reached:
        await Agent(model, tools=[pay], limits=Limits(seconds=0.5)).run("Pay")

    result = await Agent(model, tools=[pay]).resume(reached.value.result)

    assert paid == [1]
    assert model.heard[-1].results[0].text == "The call was begun and then cancelled; whether it took effect is unknown."
    assert result.text == "It is unclear."


async def test_a_lock_that_fails_answers_the_model_and_touches_no_other_call():
    @tool(lock=lambda arguments: arguments["options"]["key"])
    async def write(options: dict[str, str]) -> str:
        "Write."
        return "written"

    model = Scripted(calls("write", options={}) & calls("add", a=1, b=2), says("Done."))

    await Agent(model, tools=[write, add]).run("Write")

    assert [result.content for result in model.heard[-1].results] == ["KeyError: 'key'", "3"]


@pytest.mark.parametrize("option", ["lock", "needs_approval"])
def test_a_coroutine_function_where_a_plain_one_is_called_is_refused(option: str):
    async def decide(arguments) -> bool:
        return False

    with pytest.raises(ToolDefinitionError, match=f"{option} is a coroutine function"):
        tool(add.function, **{option: decide})


async def test_a_tool_says_nothing_after_its_call_has_ended():
    go_on, told = threading.Event(), threading.Event()

    @tool(effect="read", timeout=0.05)
    def work(context: Context) -> None:
        "Work."
        go_on.wait(5)
        context.progress("too late")
        told.set()

    kinds: list[str] = []
    async for event in Agent(Scripted(calls("work"), says("Done.")), tools=[work]).stream("Go"):
        kinds.append(event.kind)
        if event.kind == "call_ended":
            go_on.set()
            await asyncio.to_thread(told.wait, 5)

    assert "call_progress" not in kinds


async def test_calls_above_the_limit_of_one_reply_count_though_some_of_it_waited():
    made: list[int] = []

    @tool(needs_approval=lambda arguments: arguments["number"] > 1)
    def note(number: int) -> str:
        "Note."
        made.append(number)
        return "noted"

    many = calls("note", number=0) & calls("note", number=1) & calls("note", number=2) & calls("note", number=3)
    agent = Agent(Scripted(many, says("Done.")), tools=[note], limits=Limits(calls_per_reply=3))

    paused = await agent.run("Note")
    for call in paused.waiting:
        paused.transcript.approve(call.id)
    await agent.resume(paused)

    assert sorted(made) == [0, 1, 2]


async def test_a_limit_that_one_reply_exceeds_does_not_invite_to_resume():
    with pytest.raises(LimitReached, match=r"one reply wants 2 tool calls, and the run may make 1; raise Limits\(calls=...\)$"):
        await Agent(Scripted(calls("add", a=1, b=1) & calls("add", a=1, b=1)), tools=[add], limits=Limits(calls=1)).run("Add")


@pytest.mark.fault(143)
async def test_an_error_of_the_developers_own_model_still_ends_the_events():
    class Broken:
        name = "broken"

        async def ask(self, request, hear):
            raise ValueError("mine")

    events = aiter(Agent(Broken()).stream("Go"))

    kinds = [(await anext(events)).kind for _ in range(3)]

    assert kinds[-1] == "run_ended"
    with pytest.raises(ValueError, match="mine"):
        await anext(events)


async def test_messages_where_a_prompt_belongs_are_refused_with_the_place_for_them():
    with pytest.raises(ConfigurationError, match="give earlier messages as transcript"):
        await Agent(Scripted()).run([user("Hi")])


@pytest.mark.fault(121)
async def test_cancelling_a_run_cancels_its_tools():
    started, cancelled = asyncio.Event(), asyncio.Event()

    @tool
    async def hang() -> None:
        "Hang."
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    running = asyncio.create_task(Agent(Scripted(calls("hang")), tools=[hang]).run("Hang"))
    await asyncio.wait_for(started.wait(), 5)

    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running
    assert cancelled.is_set()


@pytest.mark.fault(66, 67, 84, 85, 128)
@pytest.mark.parametrize(
    ("turn", "error"),
    [
        (says("and so").ending("length"), LengthLimit),
        (calls("add", '{"a": 1').ending("length"), LengthLimit),
        (says("bad").ending("content_filter"), ContentFiltered),
        (refuses("I won't."), ModelRefused),
        (fails("down"), ServerError),
    ],
)
async def test_a_reply_that_is_none_ends_the_run_and_asking_again_goes_on(turn, error):
    agent = Agent(Scripted(turn, says("Fine.")), tools=[add])

    with pytest.raises(error) as failure:
        await agent.run("Go")
    result = await agent.resume(failure.value.result)

    assert len(failure.value.result.transcript) == 1
    assert result.text == "Fine."


async def test_a_call_that_needs_approval_pauses_the_run_until_it_is_given():
    made: list[str] = []

    @tool(needs_approval=True)
    def send(to: str) -> str:
        "Send."
        made.append(to)
        return "sent"

    agent = Agent(Scripted(calls("send", to="Ada") & calls("add", a=1, b=2), says("Sent.")), tools=[send, add])

    paused = await agent.run("Send")
    assert paused.paused
    assert [call.name for call in paused.waiting] == ["send"]
    assert made == []
    stored = Transcript.from_json(paused.transcript.to_json())
    stored.approve(paused.waiting[0].id)
    result = await agent.resume(stored)

    assert made == ["Ada"]
    assert result.text == "Sent."


async def test_a_denied_call_is_not_made_and_the_model_reads_why():
    @tool(needs_approval=lambda arguments: arguments["amount"] > 10)
    def pay(amount: int) -> str:
        "Pay."
        return "paid"

    model = Scripted(calls("pay", amount=5) & calls("pay", amount=50), says("One was paid."))
    agent = Agent(model, tools=[pay])

    paused = await agent.run("Pay")
    paused.transcript.deny(paused.waiting[0].id, "too much")
    await agent.resume(paused)

    assert [result.content for result in model.heard[-1].results] == ["paid", "The user denied this call: too much"]


async def test_an_approval_function_that_fails_asks_a_person():
    @tool(needs_approval=lambda arguments: arguments["nothing"])
    def pay(amount: int) -> str:
        "Pay."
        return "paid"

    paused = await Agent(Scripted(calls("pay", amount=5)), tools=[pay]).run("Pay")

    assert [call.name for call in paused.waiting] == ["pay"]


async def test_a_paused_run_has_no_output_yet():
    @tool(needs_approval=True)
    def pay() -> str:
        "Pay."
        return "paid"

    paused = await Agent(Scripted(calls("pay")), tools=[pay]).run("Pay")

    with pytest.raises(Exception, match="waits for a word on pay; give it and resume it"):
        _ = paused.output


@pytest.mark.fault(116)
async def test_locked_calls_run_one_after_the_other_in_their_order():
    inside: list[str] = []

    @tool(lock=lambda arguments: arguments["path"])
    async def write(path: str, text: str) -> str:
        "Write."
        inside.append(f"+{path}{text}")
        await asyncio.sleep(0)
        inside.append(f"-{path}{text}")
        return "ok"

    model = Scripted(
        calls("write", path="a", text="1") & calls("write", path="b", text="1") & calls("write", path="a", text="2"), says(".")
    )

    await Agent(model, tools=[write]).run("Write")

    assert [step for step in inside if "a" in step] == ["+a1", "-a1", "+a2", "-a2"]
    assert inside.index("+b1") < inside.index("-a1")


async def test_no_more_calls_of_a_tool_run_at_once_than_it_allows():
    running, most = 0, 0

    @tool(max_concurrency=2)
    async def work() -> str:
        "Work."
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return "ok"

    many = calls("work")
    for _ in range(5):
        many &= calls("work")

    await Agent(Scripted(many, says(".")), tools=[work]).run("Work")

    assert most == 2


async def test_a_tool_that_must_be_called_is_forced_only_until_it_was():
    model = Scripted(calls("add", a=1, b=2), says("3"))

    await Agent(model, tools=[add], settings=Settings(tool_choice="required")).run("1+2?")

    assert [request.settings.tool_choice for request in model.heard] == ["required", "auto"]


def test_a_choice_of_a_tool_that_is_not_there_is_refused_at_once():
    with pytest.raises(ConfigurationError, match="tool_choice='ad' is no tool of the agent; choose auto, none, required or one of: add"):
        Agent(Scripted(), tools=[add], settings=Settings(tool_choice="ad"))


@pytest.mark.fault(127)
async def test_many_runs_of_one_agent_do_not_mix():
    @tool
    async def echo(word: str) -> str:
        "Echo."
        await asyncio.sleep(0)
        return word

    agent = Agent(
        Scripted(always(lambda request: says(request.results[0].text) if request.results else calls("echo", word=request.text))),
        tools=[echo],
    )

    results = await asyncio.gather(*(agent.run(f"word {number}") for number in range(50)))

    assert [result.text for result in results] == [f"word {number}" for number in range(50)]


@dataclass
class City:
    name: str
    people: int


async def test_an_answer_is_read_as_the_type_that_was_asked_for():
    model = Scripted(says('{"name": "Rome", "people": 3}'))

    result = await Agent(model, output=City).run("Which?")

    assert result.output == City("Rome", 3)
    assert model.heard[0].output is not None
    assert model.heard[0].output.name == "City"


async def test_an_answer_of_the_wrong_form_goes_back_to_the_model():
    model = Scripted(says('{"name": "Rome"}'), says('```json\n{"name": "Rome", "people": 3}\n```'))

    result = await Agent(model, output=City).run("Which?")

    assert result.output == City("Rome", 3)
    assert "people" in model.heard[1].text
    assert model.heard[1].settings.tool_choice == "none"


def test_an_answer_of_nothing_but_newlines_is_read_in_linear_time():
    with pytest.raises(Mismatch):
        Output(City).read("```json" + "\n" * 1_000_000 + "x")


async def test_an_answer_that_never_takes_the_form_ends_the_run():
    with pytest.raises(OutputInvalid, match="3 times"):
        await Agent(Scripted(always(says("Rome"))), output=City).run("Which?")


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [(list[int], '{"value": [1, 2]}', [1, 2]), (int, '{"value": 7}', 7), (bool, '{"value": true}', True), (int, "7", 7)],
)
async def test_a_form_that_is_no_object_is_wrapped_in_one(kind, text, value):
    model = Scripted(says(text))

    result = await Agent(model, output=kind).run("?")

    assert result.output == value
    assert model.heard[0].output is not None
    assert model.heard[0].output.schema["required"] == ["value"]


async def test_a_conversation_goes_on_from_a_transcript_and_leaves_it_as_it_is():
    agent = Agent(Scripted(says("Hello."), says("Ada.")))

    first = await agent.run("I am Ada.")
    second = await agent.run("Who am I?", transcript=first.transcript)

    assert len(first.transcript) == 2
    assert [message.text for message in second.transcript] == ["I am Ada.", "Hello.", "Who am I?", "Ada."]


def test_run_sync_works_without_an_event_loop_and_twice():
    agent = Agent(Scripted(says("One."), says("Two.")))

    assert [agent.run_sync("Go").text, agent.run_sync("Go").text] == ["One.", "Two."]


async def test_run_sync_inside_an_event_loop_says_what_to_write():
    with pytest.raises(Exception, match=r"await agent\.run"):
        Agent(Scripted(says("One."))).run_sync("Go")


@dataclass
class Trip:
    to: str
    days: int = 3


async def test_a_null_that_a_strict_model_writes_for_a_field_left_out_is_the_default():
    result = await Agent(Scripted(says('{"to": "Rome", "days": null}')), output=Trip).run("Where?")

    assert result.output == Trip("Rome", 3)


async def test_a_typed_answer_is_told_as_it_grows():
    model = Scripted(says('{"name": "Ro', 'me, the eternal", ', '"people": 3}'))

    grown = [event.value async for event in Agent(model, output=City).stream("Which?") if isinstance(event, PartialOutput)]

    assert grown[0] == {"name": "Ro"}
    assert grown[-1] == {"name": "Rome, the eternal", "people": 3}


async def test_a_wrapped_answer_is_told_without_its_wrapping():
    model = Scripted(says('{"value": [1, 2, 3, 4, 5', ", 6, 7, 8, 9, 10]}"))

    grown = [event.value async for event in Agent(model, output=list[int]).stream("Count.") if isinstance(event, PartialOutput)]

    assert grown[0][:4] == [1, 2, 3, 4]
    assert grown[-1] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]


def test_a_long_answer_is_not_read_anew_with_each_piece():
    growing = Output(list[str]).growing()
    pieces = ['{"value": ["', *(["word "] * 20_000), '"]}']

    told = sum(growing.grown(TextDelta(piece)) is not None for piece in pieces)

    assert 10 < told < 200


async def test_calls_that_a_model_wraps_in_one_are_made_one_by_one():
    uses = [{"recipient_name": "functions.add", "parameters": {"a": 1, "b": 2}}, {"recipient_name": "add", "parameters": {"a": 3, "b": 4}}]
    model = Scripted(calls("multi_tool_use.parallel", tool_uses=uses), says("3 and 7"))

    result = await Agent(model, tools=[add]).run("Add.")

    assert [made.content for made in model.heard[1].results] == ["3", "7"]
    assert [call.name for call in result.transcript.messages[1].calls] == ["add", "add"]


async def test_a_typed_answer_counts_though_the_model_spoke_before_it():
    class Speaks:
        name = "speaks"

        async def ask(self, request: Request, hear: Hear) -> Reply:
            """Say something, and then the answer."""
            return Reply((Text("I have what I need."), Text('{"name": "Rome", "people": 3}')), "stop")

    result = await Agent(Speaks(), output=City).run("Which?")

    assert result.output == City("Rome", 3)


def test_what_grows_behind_other_words_is_told_too():
    growing = Output(City).growing()

    told = [
        growing.grown(delta) for delta in (TextDelta("Let me see. ", 0), TextDelta('{"name": "Rome"', 1), TextDelta(', "people": 3}', 1))
    ]

    assert told == [None, {"name": "Rome"}, {"name": "Rome", "people": 3}]
