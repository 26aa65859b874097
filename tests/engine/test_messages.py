"""Whole runs against a real engine that is spoken to as Anthropic is; it has no answer of a form but by a tool."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import httpx
import pytest
from pydantic import BaseModel, Field

from agentloop import Agent, Context, Result, Settings, Timeouts, tool
from agentloop.deltas import TextDelta, ToolCallDelta
from agentloop.errors import ContextTooLong, LengthLimit
from agentloop.events import Replied
from agentloop.messages import ToolCall
from agentloop.models.http import HTTPModel
from agentloop.wire.anthropic import AnthropicMessages, MessagesQuirks
from tests.engine.conftest import TRUST

# The engine takes no seed in this format: a test either asks for its surest reply, or holds for any.
ROUNDS = range(4)


class Place(BaseModel):
    city: Literal["Århus", "東京", 'the "old" town']
    floor: Annotated[int, Field(ge=-2, le=40)]


@tool
def paint(color: Literal["red", "blue"], coats: Annotated[int, Field(ge=1, le=4)]) -> str:
    "Paint the wall."
    return f"{coats} of {color}"


@dataclass(frozen=True)
class Connection:
    """A model at the engine, and what was sent to it."""

    model: HTTPModel
    bodies: list[Any] = field(default_factory=list[Any])
    statuses: list[int] = field(default_factory=list[int])

    async def note(self, response: httpx.Response) -> None:
        self.bodies.append(json.loads(response.request.content))
        self.statuses.append(response.status_code)


@pytest.fixture
async def engine(address: str) -> AsyncIterator[Connection]:
    async with httpx.AsyncClient(trust_env=False, verify=TRUST) as client:
        wire = AnthropicMessages(MessagesQuirks(native_output=False, strict=False, cache="none", betas=False, unsigned_thinking=True))
        base_url = f"{address}/v1"
        model = HTTPModel(
            "tiny", model="tiny", wire=wire, base_url=base_url, key=lambda: None, client=client, timeouts=Timeouts(attempt=60)
        )
        connection = Connection(model)
        client.event_hooks["response"].append(connection.note)
        yield connection


def forced(**settings: Any) -> Settings:
    return replace(Settings(tool_choice="required", temperature=0.0, max_tokens=2_000), **settings)


def calls_of(result: Result[Any]) -> list[ToolCall]:
    return [call for message in result.transcript for call in message.calls]


def said(result: Result[Any]) -> list[Any]:
    return [(call.id, call.name, json.loads(call.arguments)) for call in calls_of(result)]


async def streamed(agent: Agent[Any], prompt: str) -> Result[Any]:
    stream = agent.stream(prompt)
    async for _ in stream:
        pass
    return stream.result


Way = Callable[[Agent[Any], str], Coroutine[Any, Any, Result[Any]]]
either_way = pytest.mark.parametrize("way", [Agent.run, streamed], ids=["whole", "streamed"])


@either_way
@pytest.mark.parametrize("_round", ROUNDS)
async def test_what_the_model_calls_is_called_and_the_results_are_read(engine: Connection, way: Way, _round: int):
    orders: dict[str, dict[str, Any]] = {}

    @tool
    def order(context: Context, dish: Literal["soup", "tea"], count: Annotated[int, Field(ge=1, le=12)], place: Place, quick: bool) -> str:
        "Order a dish."
        assert context.call is not None
        orders[context.call.id] = {"dish": dish, "count": count, "place": place.model_dump(), "quick": quick}
        return f"{count} for {place.city}"

    result = await way(Agent(engine.model, tools=[order], instructions="Be quick.", settings=forced(temperature=1.0)), "Order!")

    assert engine.statuses == [200, 200]
    assert orders == {call_id: arguments for call_id, _, arguments in said(result)}
    assert orders
    answered = [block["content"] for block in engine.bodies[1]["messages"][2]["content"]]
    assert answered == [f"{arguments['count']} for {arguments['place']['city']}" for _, _, arguments in said(result)]
    assert (result.text, result.steps) == ("Done.", 2)


async def test_the_surest_reply_is_the_same_streamed_and_whole(engine: Connection):
    agent = Agent(engine.model, tools=[paint], settings=forced())

    whole, in_pieces = await agent.run("Paint!"), await streamed(agent, "Paint!")

    assert calls_of(whole)
    assert said(in_pieces) == said(whole)
    assert in_pieces.usage == whole.usage


async def test_the_pieces_of_a_streamed_call_add_up_to_it(engine: Connection):
    stream = Agent(engine.model, tools=[paint], settings=forced()).stream("Paint!")

    events = [event async for event in stream]

    first, last = (event.reply for event in events if isinstance(event, Replied))
    pieces = [event for event in events if isinstance(event, ToolCallDelta)]
    assert len(pieces) > len(first.calls)
    for index, call in enumerate(first.calls):
        assert "".join(piece.arguments for piece in pieces if piece.index == index) == call.arguments
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == last.text == "Done."
    assert {first.model, last.model} == {"tiny"}


@either_way
@pytest.mark.parametrize("tokens", [10, 30])
async def test_a_call_that_the_engine_cut_is_never_run(engine: Connection, way: Way, tokens: int):
    painted: list[str] = []

    @tool
    def spray(color: Literal["the red of a long evening", "the blue of a long morning"]) -> str:
        "Spray the wall."
        painted.append(color)
        return color

    with pytest.raises(LengthLimit) as raised:
        await way(Agent(engine.model, tools=[spray], settings=forced(max_tokens=tokens)), "Spray!")

    assert painted == []
    assert raised.value.result.usage.output_tokens == tokens


@either_way
async def test_a_prompt_that_the_engine_cannot_hold_is_too_long(engine: Connection, way: Way):
    with pytest.raises(ContextTooLong):
        await way(Agent(engine.model), "word " * 8_192)

    assert engine.statuses == [400]


async def test_a_transcript_goes_on_with_the_next_prompt(engine: Connection):
    agent = Agent(engine.model, tools=[paint], settings=forced())
    before = await agent.run("Paint!")

    after = await agent.run("Again!", transcript=before.transcript)

    assert engine.statuses == [200] * 4
    assert len(calls_of(after)) > len(calls_of(before))
    assert after.text == "Done."


@either_way
async def test_the_answer_takes_the_type_that_was_asked_for(engine: Connection, way: Way):
    result = await way(Agent(engine.model, output=Place, settings=Settings(temperature=0.0, max_tokens=2_000)), "Where?")

    assert isinstance(result.output, Place)
    assert result.output == Place.model_validate_json(result.text)
    assert result.steps == 1
    assert engine.bodies[0]["tool_choice"] == {"type": "any"}
