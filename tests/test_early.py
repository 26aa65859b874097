"""Calls that only read start while the reply still comes; all others when it has ended well."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentloop import Agent, Limits, tool
from agentloop.deltas import Assembly, Delta, FinishDelta, RestartDelta, TextDelta, ToolCallDelta
from agentloop.early import Early
from agentloop.errors import LengthLimit, LimitReached, StreamBroken
from agentloop.messages import Reply, Request, ToolCall
from agentloop.models import Hear
from agentloop.testing import Scripted, says


class Paced:
    """Streams these deltas as its first reply, and waits where an event stands among them; then it says so."""

    name = "paced"

    def __init__(self, *turn: Delta | asyncio.Event | Exception) -> None:
        self._turn = turn
        self.heard: list[Request] = []

    async def ask(self, request: Request, hear: Hear) -> Reply:
        """Stream the next turn."""
        # The list of messages grows while the run goes on.
        self.heard.append(replace(request, messages=tuple(request.messages)))
        assembly = Assembly(request.step)
        for delta in self._turn if len(self.heard) == 1 else (TextDelta("Done."), FinishDelta("stop")):
            match delta:
                case asyncio.Event():
                    await asyncio.wait_for(delta.wait(), 5)
                case Exception():
                    raise delta
                case _:
                    assembly.add(delta)
                    await hear(delta)
        return assembly.reply()


async def watched(agent: Agent[str]) -> list[str]:
    return [event.kind async for event in agent.stream("Go.")]


async def test_a_reading_call_starts_as_soon_as_its_arguments_are_complete():
    started = asyncio.Event()

    @tool(effect="read")
    async def look(place: str) -> str:
        """Look."""
        started.set()
        return f"seen {place}"

    model = Paced(ToolCallDelta(0, "look", '{"place": '), ToolCallDelta(0, arguments='"sea"}'), started, FinishDelta("tool_calls"))
    kinds = await watched(Agent(model, tools=[look]))

    assert model.heard[1].results[0].content == "seen sea"
    assert kinds.index("call_started") < kinds.index("replied") < kinds.index("call_ended")
    assert kinds.count("call_started") == 1


@pytest.mark.parametrize("effect", ["once", "idempotent"])
async def test_a_call_with_an_effect_waits_for_the_end_of_the_reply(effect: str):
    began: list[str] = []

    @tool(effect=effect)
    async def pay() -> None:
        """Pay."""
        began.append("pay")

    @tool(effect="read")
    async def look() -> None:
        """Look."""
        looked.set()

    looked = asyncio.Event()

    class Checks(Paced):
        async def ask(self, request: Request, hear: Hear) -> Reply:
            reply = await super().ask(request, hear)
            assert len(self.heard) > 1 or began == []
            return reply

    model = Checks(ToolCallDelta(0, "pay", "{}"), ToolCallDelta(1, "look", "{}"), looked, FinishDelta("tool_calls"))

    await watched(Agent(model, tools=[pay, look]))

    assert began == ["pay"]


async def test_a_call_that_needs_a_persons_word_does_not_start_early():
    looked: list[str] = []

    @tool(effect="read", needs_approval=True)
    async def look() -> None:
        """Look."""
        looked.append("look")

    stream = Agent(Paced(ToolCallDelta(0, "look", "{}"), FinishDelta("tool_calls")), tools=[look]).stream("Go.")
    _ = [event async for event in stream]

    assert stream.result.paused
    assert looked == []


async def test_a_broken_reply_gives_up_what_was_started_and_writes_nothing_down():
    started, ended = asyncio.Event(), asyncio.Event()

    @tool(effect="read")
    async def look() -> None:
        """Look."""
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    model = Paced(ToolCallDelta(0, "look", "{}"), started, StreamBroken("cut"))

    with pytest.raises(StreamBroken) as broken:
        await watched(Agent(model, tools=[look]))

    await asyncio.wait_for(ended.wait(), 5)
    assert [message.role for message in broken.value.result.transcript] == ["user"]


@pytest.mark.fault(66)
async def test_arguments_that_the_length_cut_are_never_run():
    began: list[str] = []

    @tool(effect="read")
    async def look(place: str) -> None:
        """Look."""
        began.append(place)

    model = Paced(ToolCallDelta(0, "look", '{"place": "se'), FinishDelta("length"))

    with pytest.raises(LengthLimit):
        await watched(Agent(model, tools=[look]))

    assert began == []


async def test_a_reply_that_begins_anew_gives_up_what_was_started():
    looked: list[str] = []

    @tool(effect="read")
    async def look(place: str) -> str:
        """Look."""
        looked.append(place)
        return place

    model = Paced(
        ToolCallDelta(0, "look", '{"place": "sea"}'),
        RestartDelta(),
        ToolCallDelta(0, "look", '{"place": "hill"}'),
        FinishDelta("tool_calls"),
    )

    await watched(Agent(model, tools=[look]))

    assert [result.content for result in model.heard[1].results] == ["hill"]


async def test_what_comes_behind_the_arguments_makes_it_another_call():
    model = Paced(ToolCallDelta(0, "look", "{}"), ToolCallDelta(0, arguments=" and more"), FinishDelta("tool_calls"))

    @tool(effect="read")
    async def look() -> str:
        """Look."""
        return "seen"

    await watched(Agent(model, tools=[look]))

    assert model.heard[1].results[0].is_error


async def test_early_calls_count_for_the_limit_of_calls():
    model = Paced(*(ToolCallDelta(number, "look", "{}") for number in range(3)), FinishDelta("tool_calls"))
    looked: list[int] = []

    @tool(effect="read")
    async def look() -> None:
        """Look."""
        looked.append(1)

    with pytest.raises(LimitReached, match="calls"):
        await watched(Agent(model, tools=[look], limits=Limits(calls=2)))

    assert len(looked) <= 2


async def test_without_a_watcher_nothing_starts_early():
    model = Scripted(says("Hi."))

    assert (await Agent(model).run("Go.")).text == "Hi."
    assert not model.heard[0].stream


texts = st.text(max_size=6) | st.sampled_from(['"', "\\", '\\"', "{", "}", "[", "\\\\"])
values = st.recursive(texts | st.integers(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))


@given(arguments=st.dictionaries(texts, values, max_size=3), sizes=st.lists(st.integers(1, 5), min_size=1), escaped=st.booleans())
async def test_arguments_are_complete_with_their_last_brace_and_not_before(arguments: dict[str, object], sizes: list[int], escaped: bool):
    text = json.dumps(arguments, ensure_ascii=escaped)
    begun: list[ToolCall] = []
    early = Early(begun.append, give_up=lambda count: None, step=0, most=256)
    start = 0

    while start < len(text):
        assert begun == []
        size = sizes[start % len(sizes)]
        early.hear(ToolCallDelta(0, "look", text[start : start + size]))
        start += size

    assert [call.arguments for call in begun] == [text]


async def test_no_more_calls_start_early_than_one_reply_may_make():
    looked: list[int] = []

    @tool(effect="read")
    async def look(number: int) -> None:
        """Look."""
        looked.append(number)

    deltas = [ToolCallDelta(number, "look", f'{{"number": {number}}}') for number in range(30)]
    model = Paced(*deltas, FinishDelta("tool_calls"))

    await watched(Agent(model, tools=[look], limits=Limits(calls_per_reply=3)))

    assert sorted(looked) == [0, 1, 2]
    assert [result.is_error for result in model.heard[1].results] == [False] * 3 + [True] * 27


async def test_calls_of_a_reply_that_begins_anew_are_given_back():
    @tool(effect="read")
    async def look() -> str:
        """Look."""
        return "seen"

    model = Paced(ToolCallDelta(0, "look", "{}"), RestartDelta(), ToolCallDelta(0, "look", "{}"), FinishDelta("tool_calls"))

    await watched(Agent(model, tools=[look], limits=Limits(calls=1)))

    assert [result.content for result in model.heard[1].results] == ["seen"]


async def test_a_call_that_the_whole_reply_does_not_make_holds_no_slot():
    @tool(effect="read")
    async def look() -> str:
        """Look."""
        if not started.is_set():
            started.set()
            await asyncio.Event().wait()
        return "seen"

    started = asyncio.Event()
    # What comes behind the brace makes it another call, which is repaired.
    model = Paced(ToolCallDelta(0, "look", "{}"), started, ToolCallDelta(0, arguments="}"), FinishDelta("tool_calls"))

    await asyncio.wait_for(watched(Agent(model, tools=[look], limits=Limits(calls_at_once=1))), 5)

    assert model.heard[1].results[0].content.startswith("seen")
