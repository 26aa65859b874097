"""Whole runs against a real engine in the format of responses, whose stream gives its items no index."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from agentloop import Agent, Context, Result, Settings, Timeouts, tool
from agentloop.deltas import TextDelta, ToolCallDelta
from agentloop.errors import EmptyReply
from agentloop.events import Replied
from agentloop.messages import ToolCall
from agentloop.models.http import HTTPModel
from agentloop.models.retries import Retries
from agentloop.wire.openai_responses import OpenAIResponses, ResponsesQuirks
from tests.engine.line import Line

# Enough for every branch that the tests ask for, such as a reply with several calls.
SEEDS = range(8)


class Place(BaseModel):
    city: Literal["Århus", "東京", 'the "old" town']
    floor: Annotated[int, Field(ge=-2, le=40)]


@tool
def paint(color: Literal["red", "blue"], coats: Annotated[int, Field(ge=1, le=4)]) -> str:
    "Paint the wall."
    return f"{coats} of {color}"


def engine(line: Line, *, ids: bool = True) -> HTTPModel:
    wire = OpenAIResponses(ResponsesQuirks(form="response_format", ids=ids), origin="llamacpp/responses")
    return HTTPModel(
        "tiny",
        model="tiny",
        wire=wire,
        base_url=f"{line.address}/v1",
        key=lambda: None,
        client=line.client,
        timeouts=Timeouts(attempt=60),
        retries=Retries(first_wait=0.01),
    )


def forced(seed: int) -> Settings:
    # The format has no seed; the engine takes one all the same.
    return Settings(tool_choice="required", temperature=1.0, max_tokens=2_000, extra={"seed": seed})


def calls_of(result: Result[Any]) -> list[ToolCall]:
    return [call for message in result.transcript for call in message.calls]


def said(result: Result[Any]) -> list[Any]:
    """List what the engine chose: all of the calls but the ids that it gives at random."""
    return [(call.id, call.name, call.arguments) for call in calls_of(result)]


async def streamed(agent: Agent[Any], prompt: str) -> Result[Any]:
    stream = agent.stream(prompt)
    async for _ in stream:
        pass
    return stream.result


Way = Callable[[Agent[Any], str], Coroutine[Any, Any, Result[Any]]]
either_way = pytest.mark.parametrize("way", [Agent.run, streamed], ids=["whole", "streamed"])


@either_way
@pytest.mark.parametrize("seed", SEEDS[:4])
async def test_what_the_model_calls_is_called_and_answered(line: Line, way: Way, seed: int):
    painted: dict[str, tuple[str, int]] = {}

    @tool
    def brush(context: Context, color: Literal["red", "blue"], coats: Annotated[int, Field(ge=1, le=4)]) -> str:
        "Paint the wall."
        assert context.call is not None
        painted[context.call.id] = (color, coats)
        return "dry"

    result = await way(Agent(engine(line), tools=[brush], settings=forced(seed)), "Paint!")

    assert list(painted) == [call.id for call in calls_of(result)] != []
    assert all(color in {"red", "blue"} and 1 <= coats <= 4 for color, coats in painted.values())
    assert (result.text, result.steps) == ("Done.", 2)


async def test_the_same_seed_makes_the_same_calls_streamed_and_whole(line: Line):
    agents = [Agent(engine(line), tools=[paint], settings=forced(seed)) for seed in SEEDS]

    whole = [await agent.run("Paint!") for agent in agents]
    in_pieces = [await streamed(agent, "Paint!") for agent in agents]

    assert [said(result) for result in in_pieces] == [said(result) for result in whole]
    assert max(len(calls_of(result)) for result in whole) > 1


async def test_the_pieces_of_a_streamed_reply_add_up_to_it(line: Line):
    stream = Agent(engine(line), tools=[paint], settings=forced(0)).stream("Paint!")

    events = [event async for event in stream]

    first, last = (event.reply for event in events if isinstance(event, Replied))
    pieces = [event for event in events if isinstance(event, ToolCallDelta)]
    assert len(pieces) > len(first.calls)
    for index, call in enumerate(first.calls):
        assert "".join(piece.arguments for piece in pieces if piece.index == index).strip() == call.arguments
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == last.text == "Done."
    assert first.usage.output_tokens > last.usage.output_tokens > 0


@either_way
@pytest.mark.parametrize("ids", [True, False])
async def test_a_transcript_goes_on_with_the_next_prompt(line: Line, way: Way, ids: bool):
    agent = Agent(engine(line, ids=ids), tools=[paint], instructions="Be quick.", settings=forced(1))
    before = await way(agent, "Paint!")

    after = await agent.run("Again!", transcript=before.transcript)

    assert len(calls_of(after)) > len(calls_of(before))
    assert after.text == "Done."


@either_way
async def test_the_answer_takes_the_type_that_was_asked_for(line: Line, way: Way):
    agent = Agent(engine(line), output=Place, settings=Settings(temperature=1.0, max_tokens=1_000, extra={"seed": 0}))

    result = await way(agent, "Where?")

    assert isinstance(result.output, Place)
    assert result.output == Place.model_validate_json(result.text)


async def test_a_call_that_the_engine_cut_is_never_run(line: Line):
    painted: list[str] = []

    @tool
    def brush(color: Literal["red", "blue"]) -> None:
        "Paint the wall."
        painted.append(color)

    # The engine calls such a reply completed: whole, its pieces are words; streamed, it holds nothing.
    whole = await Agent(engine(line), tools=[brush], settings=replace(forced(0), max_tokens=16)).run("Paint!")
    with pytest.raises(EmptyReply):
        await streamed(Agent(engine(line), tools=[brush], settings=replace(forced(0), max_tokens=16)), "Paint!")

    assert painted == []
    assert calls_of(whole) == []
    assert whole.text.startswith("<tool_call>")
