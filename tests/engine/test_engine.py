"""Whole runs against a real engine, which holds its model to the tools' schemas and renders the transcript itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import replace
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from agentloop import Agent, Context, Result, Settings, Tool, tool
from agentloop.deltas import TextDelta, ToolCallDelta
from agentloop.errors import ContextTooLong, LengthLimit
from agentloop.events import Replied
from agentloop.messages import ToolCall
from tests.engine.line import Line

# Enough for every branch that the tests ask for, such as a reply with several calls.
SEEDS = range(8)


class Dish(Enum):
    SOUP = "soup"
    TEA = "tea"


class Place(BaseModel):
    city: Literal["Århus", "東京", 'the "old" town']
    floor: Annotated[int, Field(ge=-2, le=40)]


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")

    dish: Dish
    count: Annotated[int, Field(ge=1, le=12)]
    place: Place
    extras: Annotated[list[Literal["salt", "oil"]], Field(max_length=2)]
    guest: Annotated[str, Field(max_length=8)] | None
    quick: bool
    table: Annotated[int, Field(ge=1, le=9)] | None = None


def ordering(orders: dict[str, Order]) -> Tool[..., Any]:
    @tool
    def order(
        context: Context,
        dish: Dish,
        count: Annotated[int, Field(ge=1, le=12)],
        place: Place,
        extras: Annotated[list[Literal["salt", "oil"]], Field(max_length=2)],
        guest: Annotated[str, Field(max_length=8)] | None,
        quick: bool,
        table: Annotated[int, Field(ge=1, le=9)] | None = None,
    ) -> str:
        "Order a dish."
        assert context.call is not None
        # What comes is kept as it is; pydantic checks nothing here.
        orders[context.call.id] = Order.model_construct(
            dish=dish, count=count, place=place, extras=extras, guest=guest, table=table, quick=quick
        )
        return f"{count} for {guest!r} in {place.city}"

    return order


@tool
def paint(color: Literal["red", "blue"], coats: Annotated[int, Field(ge=1, le=4)]) -> str:
    "Paint the wall."
    return f"{coats} of {color}"


def forced(seed: int, **settings: Any) -> Settings:
    return replace(Settings(tool_choice="required", temperature=1.0, seed=seed, max_tokens=2_000), **settings)


def calls_of(result: Result[Any]) -> list[ToolCall]:
    return [call for message in result.transcript for call in message.calls]


def said(result: Result[Any]) -> list[Any]:
    """List what the engine chose: all of the calls but the ids that it gives at random."""
    return [(call.id, call.name, call.arguments) for call in calls_of(result)]


def as_json(call: ToolCall) -> str:
    """Write the arguments as the engine's template does, without the model's white space."""
    return json.dumps(json.loads(call.arguments))


async def streamed(agent: Agent[Any], prompt: str) -> Result[Any]:
    stream = agent.stream(prompt)
    async for _ in stream:
        pass
    return stream.result


Way = Callable[[Agent[Any], str], Coroutine[Any, Any, Result[Any]]]
either_way = pytest.mark.parametrize("way", [Agent.run, streamed], ids=["whole", "streamed"])


@either_way
@pytest.mark.parametrize("seed", SEEDS[4:])
async def test_what_the_model_calls_is_called_with_values_of_the_annotated_types(line: Line, way: Way, seed: int):
    orders: dict[str, Order] = {}
    agent = Agent(line.model, tools=[ordering(orders)], settings=forced(seed))

    result = await way(agent, "Order!")

    assert calls_of(result)
    assert orders == {call.id: Order.model_validate_json(call.arguments) for call in calls_of(result)}
    assert line.statuses == [200, 200]
    assert (result.text, result.steps) == ("Done.", 2)


async def test_the_same_seed_makes_the_same_calls_streamed_and_whole(line: Line):
    agents = [Agent(line.model, tools=[paint], settings=forced(seed)) for seed in SEEDS]

    whole = [await agent.run("Paint!") for agent in agents]
    in_pieces = [await streamed(agent, "Paint!") for agent in agents]

    assert [said(result) for result in in_pieces] == [said(result) for result in whole]
    assert len({str(said(result)) for result in whole}) > 1


async def test_the_pieces_of_a_streamed_call_add_up_to_it(line: Line):
    stream = Agent(line.model, tools=[paint], settings=forced(0)).stream("Paint!")

    events = [event async for event in stream]

    first, last = (event.reply for event in events if isinstance(event, Replied))
    pieces = [event for event in events if isinstance(event, ToolCallDelta)]
    assert len(pieces) > len(first.calls)
    for index, call in enumerate(first.calls):
        assert "".join(piece.arguments for piece in pieces if piece.index == index) == call.arguments
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == last.text == "Done."


async def test_every_call_of_a_reply_is_answered_and_the_engine_reads_the_results_in_their_order(line: Line):
    @tool
    def sign(context: Context, name: Literal["A", "B"]) -> str:
        "Sign."
        return f"signed in {context.call.id}" if context.call else ""

    results = [await Agent(line.model, tools=[sign], instructions="Be quick.", settings=forced(seed)).run("Sign!") for seed in SEEDS]
    several = [(result, request) for result, request in zip(results, line.bodies[1::2], strict=True) if len(calls_of(result)) > 1]

    prompts = [(await line.client.post(f"{line.address}/apply-template", json=request)).json()["prompt"] for _, request in several]

    assert several
    for (result, _), prompt in zip(several, prompts, strict=True):
        calls = "".join(f'<tool_call>{{"name": "sign", "arguments": {as_json(call)}}}</tool_call>' for call in calls_of(result))
        answers = "".join(f"<|tool|>signed in {call.id}</s>" for call in calls_of(result))
        assert prompt.endswith(f"</s><|system|>Be quick.</s><|user|>Sign!</s><|assistant|>{calls}</s>{answers}<|answer|>")


@either_way
@pytest.mark.parametrize("tokens", [60, 120])
async def test_a_call_that_the_engine_cut_is_never_run(line: Line, way: Way, tokens: int):
    orders: dict[str, Order] = {}
    agent = Agent(line.model, tools=[ordering(orders)], settings=forced(0, max_tokens=tokens))

    with pytest.raises(LengthLimit) as raised:
        await way(agent, "Order!")

    assert orders == {}
    assert raised.value.result.usage.output_tokens == tokens


async def test_a_reply_that_was_cut_before_its_first_word_says_so(line: Line):
    agent = Agent(line.model, tools=[paint], settings=forced(0, max_tokens=5))

    with pytest.raises(LengthLimit):
        await streamed(agent, "Paint!")


@either_way
async def test_a_prompt_that_the_engine_cannot_hold_is_too_long(line: Line, way: Way):
    with pytest.raises(ContextTooLong):
        await way(Agent(line.model), "word " * 8_192)

    assert line.statuses == [400]


async def test_arguments_that_the_grammar_lets_through_and_the_tool_does_not_take_answer_the_model(line: Line):
    packed: list[int] = []

    @tool
    def pack(eggs: Annotated[int, Field(ge=1, le=12, multiple_of=6)]) -> str:
        "Pack eggs."
        packed.append(eggs)
        return "packed"

    results = [await Agent(line.model, tools=[pack], settings=forced(seed)).run("Pack!") for seed in SEEDS]

    answers = [answer for result in results for message in result.transcript for answer in message.results]
    wanted = [json.loads(call.arguments)["eggs"] for result in results for call in calls_of(result)]
    assert [answer.is_error for answer in answers] == [eggs % 6 != 0 for eggs in wanted]
    assert sorted(packed) == sorted(eggs for eggs in wanted if eggs % 6 == 0)
    assert any(answer.is_error for answer in answers)
    assert {result.text for result in results} == {"Done."}


async def test_a_transcript_goes_on_with_the_next_prompt(line: Line):
    agent = Agent(line.model, tools=[paint], settings=forced(1))
    before = await agent.run("Paint!")

    after = await agent.run("Again!", transcript=before.transcript)

    assert line.statuses == [200] * 4
    assert len(calls_of(after)) > len(calls_of(before))
    assert after.text == "Done."


async def test_runs_side_by_side_do_not_mix(line: Line):
    agents = [Agent(line.model, tools=[paint], settings=forced(seed)) for seed in SEEDS]
    alone = [await agent.run("Paint!") for agent in agents]

    ways: list[Way] = [Agent.run, streamed] * 4
    together = await asyncio.gather(*(way(agent, "Paint!") for agent, way in zip(agents, ways, strict=True)))

    assert [said(result) for result in together] == [said(result) for result in alone]


@either_way
async def test_the_answer_takes_the_type_that_was_asked_for(line: Line, way: Way):
    agent = Agent(line.model, output=Place, settings=Settings(temperature=1.0, seed=0, max_tokens=1_000))

    result = await way(agent, "Where?")

    assert isinstance(result.output, Place)
    assert result.output == Place.model_validate_json(result.text)
    assert result.steps == 1


async def test_tools_are_called_before_an_answer_that_must_take_a_type(line: Line):
    result = await Agent(line.model, tools=[paint], output=Place, settings=forced(0)).run("Paint!")

    assert calls_of(result)


async def test_the_reply_names_the_model_that_the_engine_lists(line: Line):
    events = [event async for event in Agent(line.model, tools=[paint], settings=forced(0)).stream("Paint!")]

    listed = (await line.client.get(f"{line.address}/v1/models")).json()["data"]

    assert {event.reply.model for event in events if isinstance(event, Replied)} == {model["id"] for model in listed} == {"tiny"}
