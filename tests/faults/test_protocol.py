"""What a reply holds: rows 62 to 94 of the fault catalogue that no other test is about."""

from __future__ import annotations

import json

import httpx
import pytest

from agentloop import Agent, Settings, model, tool
from agentloop.errors import BadReply, EmptyReply
from agentloop.models.retries import Retries
from agentloop.testing import Gateway, Scripted, calls, raw, says
from agentloop.testing.answers import Answer
from agentloop.testing.turns import always


@tool(effect="read")
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


def completion(*choices: object, **rest: object) -> Answer:
    return raw(json.dumps({"id": "c1", "model": "m", "choices": choices, **rest}), content_type="application/json")


def choice(content: object = None, reason: str | None = "stop", **message: object) -> dict[str, object]:
    return {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": reason}


async def asked(*answers: object) -> tuple[str, Gateway]:
    gateway = Gateway(*answers)
    async with httpx.AsyncClient(transport=gateway.transport()) as client:
        chosen = model("openai/chat:m", base_url="http://gateway/v1", key="any", client=client, retries=Retries(first_wait=0))
        return (await Agent(chosen, tools=[add]).run("Go.")).text, gateway


@pytest.mark.fault(63)
async def test_of_several_choices_the_first_is_the_reply():
    text, _ = await asked(completion(choice("First."), {**choice("Second."), "index": 1}))

    assert text == "First."


@pytest.mark.fault(69)
@pytest.mark.parametrize("known", [{}, {"id": ""}, {"id": None}])
async def test_a_call_without_an_id_is_made_and_answered(known: dict[str, object]):
    call = {**known, "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}

    text, gateway = await asked(completion(choice(reason="tool_calls", tool_calls=[call])), says("3"))

    said = gateway.requests[1].body["messages"]
    assert text == "3"
    assert said[2]["content"] == "3"
    assert said[2]["tool_call_id"] == said[1]["tool_calls"][0]["id"] != ""


@pytest.mark.fault(87)
async def test_reasons_and_fields_that_nobody_knows_change_nothing():
    text, _ = await asked(completion({**choice("Fine.", "because"), "mood": "good"}, weather={"sky": "blue"}))

    assert text == "Fine."


@pytest.mark.fault(89)
async def test_two_hundred_calls_at_once_are_answered_in_their_order():
    many = calls("add", a=0, b=0)
    for number in range(1, 200):
        many &= calls("add", a=number, b=0)
    scripted = Scripted(many, says("Done."))

    await Agent(scripted, tools=[add]).run("Add.")

    assert [result.content for result in scripted.heard[-1].results] == [str(number) for number in range(200)]


@pytest.mark.fault(62, 91)
@pytest.mark.parametrize(("answer", "error", "requests"), [(completion(), BadReply, 3), (completion(choice("")), EmptyReply, 2)])
async def test_a_reply_of_nothing_is_asked_for_again_and_then_an_error(answer: Answer, error: type[BadReply], requests: int):
    gateway = Gateway(always(answer))
    async with httpx.AsyncClient(transport=gateway.transport()) as client:
        chosen = model("openai/chat:m", base_url="http://gateway/v1", key="any", client=client, retries=Retries(first_wait=0))

        with pytest.raises(error) as failure:
            await Agent(chosen).run("Go.")

    assert len(gateway.requests) == requests
    assert len(failure.value.result.transcript) == 1


@pytest.mark.fault(94)
async def test_words_where_a_tool_had_to_be_called_are_an_answer_of_the_model_that_spoke():
    gateway = Gateway(completion(choice("I would rather talk."), model="another"))
    async with httpx.AsyncClient(transport=gateway.transport()) as client:
        chosen = model("openai/chat:m", base_url="http://gateway/v1", key="any", client=client)
        stream = Agent(chosen, tools=[add], settings=Settings(tool_choice="required")).stream("Go.", deltas=False)

        replies = [event.reply async for event in stream if event.kind == "replied"]

    assert stream.result.text == "I would rather talk."
    assert [reply.model for reply in replies] == ["another"]
