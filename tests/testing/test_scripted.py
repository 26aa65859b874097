"""What a test can make a scripted model say."""

import asyncio
from datetime import date

import pytest

from agentloop.deltas import Delta, FinishDelta, TextDelta, ThinkingDelta, ToolCallDelta, UsageDelta
from agentloop.errors import RateLimited, ServerError
from agentloop.events import Retrying
from agentloop.messages import Message, Request, Text, Thinking, ToolCall, ToolDescription, ToolResult, Usage, user
from agentloop.testing import Scripted, ScriptExhausted, Turn, always, calls, fails, refuses, says, status


async def deaf(_: Delta | Retrying) -> None:
    raise AssertionError("nobody asked for deltas")


def asking(*words: str, step: int = 0, stream: bool = False) -> Request:
    return Request([user(*words)], step=step, stream=stream)


async def test_turns_are_played_in_order():
    model = Scripted(says("One."), says("Two."))

    first = await model.ask(asking("?"), deaf)
    second = await model.ask(asking("?"), deaf)

    assert (first.text, second.text) == ("One.", "Two.")
    assert first.finish_reason == "stop"
    assert model.turns_left == 0


async def test_a_call_carries_its_arguments_as_json_text():
    model = Scripted(calls("book", day=date(2026, 1, 31), name="Zoë", seats=[1, 2]))

    reply = await model.ask(asking("Book.", step=3), deaf)

    assert reply.calls == (ToolCall("call_3_0", "book", '{"day":"2026-01-31","name":"Zoë","seats":[1,2]}'),)
    assert reply.finish_reason == "tool_calls"


async def test_arguments_may_have_any_name_and_any_text():
    model = Scripted(calls("find", name="x", self=1), calls("find", {"arguments": 2}), calls("find", '{"name": '), calls("now"))

    said = [(await model.ask(asking("?"), deaf)).calls[0].arguments for _ in range(4)]

    assert said == ['{"name":"x","self":1}', '{"arguments":2}', '{"name":', "{}"]


async def test_calls_joined_by_and_are_made_in_one_reply_with_ids_of_their_own():
    model = Scripted(calls("add", a=1, b=2) & calls("sub", a=3, b=4) & calls("add", a=1, b=2))

    reply = await model.ask(asking("?", step=1), deaf)

    assert [(call.id, call.name) for call in reply.calls] == [("call_1_0", "add"), ("call_1_1", "sub"), ("call_1_2", "add")]


async def test_words_thoughts_and_tokens_stand_beside_the_calls():
    usage = Usage(input_tokens=10, output_tokens=5)
    model = Scripted(calls("add", a=1).saying("Let me add.", thinking="Add them.").spending(usage))

    reply = await model.ask(asking("?"), deaf)

    assert reply.parts == (Thinking("Add them."), Text("Let me add."), ToolCall("call_0_0", "add", '{"a":1}'))
    assert reply.usage == usage


async def test_a_reply_can_be_cut_by_its_length_or_be_a_refusal():
    model = Scripted(says("And then").ending("length"), refuses("I would rather not."))

    cut = await model.ask(asking("?"), deaf)
    refused = await model.ask(asking("?"), deaf)

    assert (cut.text, cut.finish_reason) == ("And then", "length")
    assert (refused.text, refused.refusal) == ("", "I would rather not.")


async def test_deltas_are_heard_when_somebody_wants_them():
    heard: list[object] = []
    usage = Usage(output_tokens=1)

    async def hear(delta: Delta | Retrying) -> None:
        heard.append(delta)

    model = Scripted(says("Hel", "lo", thinking="Hm").spending(usage), calls("add", a=1))
    await model.ask(asking("?", stream=True), hear)
    await model.ask(asking("?", stream=True), hear)

    assert heard == [
        ThinkingDelta("Hm"),
        TextDelta("Hel"),
        TextDelta("lo"),
        UsageDelta(usage),
        FinishDelta("stop"),
        ToolCallDelta(0, name="add"),
        *(ToolCallDelta(0, arguments=piece) for piece in ('{"', "a", '":', "1", "}")),
        FinishDelta("tool_calls"),
    ]


@pytest.mark.parametrize("text", ["", " ", "one", "two words", "  led by\n\nspace, ending in it \n", "déjà\u2028vu 你好"])
async def test_one_text_is_streamed_word_by_word_and_loses_nothing(text):
    pieces = says(text).text

    assert "".join(pieces) == text
    assert len(pieces) >= len(text.split())


async def test_a_streamed_reply_equals_a_whole_one():
    async def hear(_: Delta | Retrying) -> None:
        pass

    turn = calls("add", a=1).saying("Let me see.", thinking="Hm") & calls("sub", '{"')
    model = Scripted(turn, turn)

    streamed = await model.ask(asking("?", stream=True), hear)
    whole = await model.ask(asking("?"), deaf)

    assert streamed == whole


async def test_failures_are_raised():
    limited = RateLimited("slow down", status=429)
    model = Scripted(fails(limited), fails("overloaded"))

    with pytest.raises(RateLimited) as first:
        await model.ask(asking("?"), deaf)
    with pytest.raises(ServerError, match="overloaded"):
        await model.ask(asking("?"), deaf)

    assert first.value is limited


async def test_what_was_heard_stays_as_it_was_when_the_transcript_grows():
    messages = [user("Hello")]
    tools = [ToolDescription("add", "Add.", {})]
    model = Scripted(says("Hi."))

    await model.ask(Request(messages, tools=tools), deaf)
    messages.append(user("More"))
    tools.clear()

    assert [message.text for message in model.heard[0].messages] == ["Hello"]
    assert [tool.name for tool in model.heard[0].tools] == ["add"]


async def test_a_turn_may_depend_on_the_results():
    def sum_up(request: Request) -> Turn:
        return says(f"The tool said {request.results[-1].text}.")

    call = ToolCall("call_0_0", "add")
    messages = [user("1 + 2?"), Message("assistant", (call,)), Message("tool", (ToolResult(call.id, "3"),))]

    reply = await Scripted(sum_up).ask(Request(messages, step=1), deaf)

    assert reply.text == "The tool said 3."


async def test_a_turn_may_wait_so_that_requests_meet():
    meeting = asyncio.Barrier(2)

    async def meet(request: Request) -> Turn:
        await meeting.wait()
        return says(f"You said {request.text}.")

    model = Scripted(meet, meet)
    async with asyncio.timeout(5):
        replies = await asyncio.gather(model.ask(asking("one"), deaf), model.ask(asking("two"), deaf))

    assert [reply.text for reply in replies] == ["You said one.", "You said two."]


async def test_an_endless_script_plays_its_last_turn_for_ever():
    model = Scripted(says("First."), always(calls("poll")))

    replies = [await model.ask(asking("?"), deaf) for _ in range(4)]

    assert [reply.text for reply in replies] == ["First.", "", "", ""]
    assert [len(reply.calls) for reply in replies] == [0, 1, 1, 1]


@pytest.mark.parametrize(
    ("turns", "request_", "words"),
    [
        ([], asking("Hello?"), "0 turns .* 'Hello\\?'"),
        ([says("Hi.")], asking("Again?"), "1 turn .* 'Again\\?'.*add a turn"),
        ([], Request([Message("tool", (ToolResult("call_0_0", "42"),))]), "the results '42'"),
    ],
)
async def test_a_script_that_ran_out_says_what_was_asked(turns, request_, words):
    model = Scripted(*turns)
    for _ in turns:
        await model.ask(asking("?"), deaf)

    with pytest.raises(ScriptExhausted, match=words) as raised:
        await model.ask(request_, deaf)

    assert isinstance(raised.value, AssertionError)


def test_faults_of_http_belong_to_the_gateway():
    with pytest.raises(TypeError, match=r"a scripted model cannot play Problem\(.*; give it calls"):
        Scripted(status(429))


async def test_a_function_that_gives_no_turn_is_told_so():
    with pytest.raises(TypeError, match="cannot play 'Hello'; give it calls"):
        await Scripted(lambda _: "Hello").ask(asking("?"), deaf)
