"""Agents in tests, as their developers write them."""

import gc

import httpx
import httpx2
import pytest

from agentloop import Agent, model, tool
from agentloop.deltas import TextDelta
from agentloop.errors import StreamBroken
from agentloop.testing import Gateway, Scripted, calls, cut, keep_alive, says, slow, status


@tool
def divide(a: int, b: int) -> float:
    """Divide."""
    return a / b


@tool(effect="read")
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


async def test_a_failing_tool_answers_the_model_instead_of_ending_the_run():
    model = Scripted(calls("divide", a=1, b=0), says("That cannot be done."))

    result = await Agent(model, tools=[divide]).run("1/0?")

    assert result.text == "That cannot be done."
    assert model.heard[-1].results[0].content == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize("library", [httpx, httpx2])
async def test_an_agent_speaks_to_the_gateway_as_to_a_provider(library):
    gateway = Gateway(calls("add", a=1, b=2) & calls("divide", a=1, b=0), says("3, and the other cannot be done."), key="sk-test")

    async with library.AsyncClient(transport=gateway.transport(library)) as client:
        chosen = model("openai:gpt-4o", base_url="http://gateway/v1", key="sk-test", client=client)
        result = await Agent(chosen, tools=[add, divide]).run("1 + 2, and 1 / 0?")

    assert result.text == "3, and the other cannot be done."
    assert [request.refused for request in gateway.requests] == ["", ""]
    said = gateway.requests[1].body["messages"]
    assert [message["role"] for message in said] == ["user", "assistant", "tool", "tool"]
    assert [message["content"] for message in said[2:]] == ["3", "ZeroDivisionError: division by zero"]
    gc.collect()


async def test_a_stream_over_a_port_survives_what_gateways_do():
    turns = [keep_alive(calls("add", a=1, b=2), times=2), slow(says("It ", "is ", "3."), between=0.001)]

    async with Gateway(*turns) as gateway:
        agent = Agent(model("openai:gpt-4o", base_url=gateway.base_url, key="any"), tools=[add])
        async with agent.stream("1 + 2?") as stream:
            words = [event.text async for event in stream if isinstance(event, TextDelta)]

    assert "".join(words) == "It is 3."
    assert gateway.turns_left == 0


async def test_a_refused_request_is_tried_again_and_a_cut_one_is_no_answer():
    async with Gateway(status(503, headers={"retry-after-ms": "1"}), cut(says("Half of ", "it."), after=2)) as gateway:
        agent = Agent(model("openai:gpt-4o", base_url=gateway.base_url, key="any"))
        async with agent.stream("Hello") as stream:
            with pytest.raises(StreamBroken) as broken:
                [event async for event in stream]

    assert broken.value.partial.text == "Half of "
    assert [request.status for request in gateway.requests] == [503, 200]
