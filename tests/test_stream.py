"""The events of a run, as they come."""

from __future__ import annotations

import asyncio

import pytest

from agentloop import Agent, AgentLoopError, tool
from agentloop.deltas import TextDelta
from agentloop.errors import ServerError
from agentloop.messages import Reply, Request, Text
from agentloop.models import Hear
from agentloop.testing import Scripted, calls, fails, says


@tool(effect="read")
def add(a: int, b: int) -> int:
    "Add."
    return a + b


async def test_a_stream_tells_the_whole_run_in_order():
    stream = Agent(Scripted(calls("add", a=1, b=2), says("It ", "is 3.")), tools=[add]).stream("1+2?")

    kinds = [event.kind async for event in stream]

    assert [kind for kind in kinds if kind != "tool_call_delta"] == [
        "run_started",
        "step_started",
        "replied",
        "call_started",
        "call_ended",
        "step_started",
        "text_delta",
        "text_delta",
        "replied",
        "run_ended",
    ]
    assert "tool_call_delta" in kinds
    assert stream.result.text == "It is 3."


async def test_a_resumed_run_is_streamed_too():
    @tool(needs_approval=True)
    def send() -> str:
        "Send."
        return "sent"

    agent = Agent(Scripted(calls("send"), says("Done.")), tools=[send])
    paused = await agent.run("Send")
    paused.transcript.approve(paused.waiting[0].id)

    stream = agent.stream(paused)
    kinds = [event.kind async for event in stream]

    assert kinds[:3] == ["run_started", "call_started", "call_ended"]
    assert stream.result.text == "Done."
    assert stream.result.transcript.run_id == paused.transcript.run_id


async def test_a_stream_without_deltas_asks_for_whole_replies():
    model = Scripted(says("It ", "is 3."))

    kinds = [event.kind async for event in Agent(model).stream("1+2?", deltas=False)]

    assert kinds == ["run_started", "step_started", "replied", "run_ended"]
    assert not model.heard[0].stream


async def test_leaving_the_loop_cancels_the_run_and_leaves_no_task():
    cancelled = asyncio.Event()

    @tool
    async def hang() -> None:
        "Hang."
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with Agent(Scripted(calls("hang")), tools=[hang]).stream("Hang") as stream:
        async for event in stream:
            if event.kind == "call_started":
                break

    assert cancelled.is_set()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_leaving_the_loop_without_a_with_cancels_the_run_too():
    cancelled = asyncio.Event()

    @tool
    async def hang() -> None:
        "Hang."
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async for event in Agent(Scripted(calls("hang")), tools=[hang]).stream("Hang"):
        if event.kind == "call_started":
            break

    await asyncio.wait_for(cancelled.wait(), 5)


async def test_the_error_of_a_run_comes_after_its_last_event():
    events = aiter(Agent(Scripted(fails("down"))).stream("Go"))

    kinds = [(await anext(events)).kind for _ in range(3)]

    with pytest.raises(ServerError, match="down"):
        await anext(events)
    assert kinds == ["run_started", "step_started", "run_ended"]


async def test_a_slow_reader_slows_the_model():
    said: list[int] = []

    class Talkative:
        name = "talkative"

        async def ask(self, request: Request, hear: Hear) -> Reply:
            for number in range(2000):
                await hear(TextDelta("word "))
                said.append(number)
            return Reply((Text("word"),), "stop")

    async with Agent(Talkative()).stream("Talk") as stream:
        async for event in stream:
            if isinstance(event, TextDelta):
                break

    assert 0 < len(said) < 300


async def test_a_stream_has_no_result_before_its_end():
    stream = Agent(Scripted(says("Hi"))).stream("Go")

    with pytest.raises(AgentLoopError, match="read the stream to its end"):
        _ = stream.result


async def test_a_stream_is_read_once():
    stream = Agent(Scripted(says("Hi"))).stream("Go")
    async for _ in stream:
        pass

    with pytest.raises(AgentLoopError, match="read once"):
        async for _ in stream:
            pass


async def test_a_run_that_was_left_early_has_no_result():
    @tool
    async def hang() -> None:
        "Hang."
        await asyncio.Event().wait()

    async with Agent(Scripted(calls("hang")), tools=[hang]).stream("Hang") as stream:
        async for event in stream:
            if event.kind == "call_started":
                break

    with pytest.raises(AgentLoopError, match="read the stream to its end"):
        _ = stream.result
