"""Tools whose results come from outside."""

from __future__ import annotations

from typing import Any

import pytest

from agentloop import Agent, Transcript, tool
from agentloop.errors import ToolDefinitionError
from agentloop.messages import Image, Text, ToolCall, ToolResult
from agentloop.testing import Scripted, calls, check_toolset, says
from agentloop.tools.context import Context
from agentloop.tools.external import external

QUESTION = {"type": "object", "properties": {"question": {"type": "string", "description": "What to ask."}}, "required": ["question"]}
EDITOR = external("ask_editor", "Ask the editor.", parameters=QUESTION)


@tool(effect="read")
def add(a: int, b: int) -> int:
    "Add."
    return a + b


async def waiting(model: Scripted, *, approvals: Any = None) -> Transcript:
    result = await Agent(model, tools=[EDITOR, add], approvals=approvals).run("Ask")
    assert [call.name for call in result.waiting] == ["ask_editor"]
    return Transcript.from_json(result.transcript.to_json())


async def test_a_run_waits_for_the_result_and_goes_on_with_it():
    model = Scripted(calls("ask_editor", question="Print it?"), says("It is printed."))

    transcript = await waiting(model)
    (call,) = transcript.waiting
    assert transcript.questions[call.id].wants == "result"
    transcript.answer(call.id, "Yes.")
    result = await Agent(model, tools=[EDITOR]).resume(Transcript.from_json(transcript.to_json()))

    assert result.text == "It is printed."
    assert model.heard[-1].results[0] == ToolResult(call.id, "Yes.", name="ask_editor")


@pytest.mark.parametrize(
    ("given", "content", "is_error"),
    [
        ({"yes": [1, None]}, '{"yes":[1,null]}', False),
        ([], "[]", False),
        ("", "", False),
        (ToolResult("any", "The editor is ill.", is_error=True), "The editor is ill.", True),
        ((Text("So:"), Image(url="https://host/i.png")), (Text("So:"), Image(url="https://host/i.png")), False),
    ],
)
async def test_the_answer_reads_like_the_result_of_any_tool(given: Any, content: Any, is_error: bool):
    model = Scripted(calls("ask_editor", question="?"), says("Done."))
    transcript = await waiting(model)

    transcript.answer(transcript.waiting[0].id, given)
    await Agent(model, tools=[EDITOR]).resume(transcript)

    told = model.heard[-1].results[0]
    assert (told.content, told.is_error, told.name) == (content, is_error, "ask_editor")


async def test_an_answer_is_cut_where_any_result_is():
    model = Scripted(calls("ask_editor", question="?"), says("Done."))
    transcript = await waiting(model)

    transcript.answer(transcript.waiting[0].id, "x" * 150_000)
    await Agent(model, tools=[EDITOR]).resume(transcript)

    told = model.heard[-1].results[0].text
    assert 100_000 < len(told) < 100_300
    assert "[cut here" in told


async def test_other_calls_of_the_reply_run_at_once():
    model = Scripted(calls("ask_editor", question="?") & calls("add", a=1, b=2), says("Done."))

    transcript = await waiting(model)

    assert [result.content for message in transcript for result in message.results] == ["3"]
    transcript.answer(transcript.waiting[0].id, "Yes.")
    await Agent(model, tools=[EDITOR, add]).resume(transcript)
    assert [result.content for result in model.heard[-1].results] == ["Yes.", "3"]


async def test_an_approval_is_no_result():
    model = Scripted(calls("ask_editor", question="?"))
    transcript = await waiting(model)

    transcript.approve(transcript.waiting[0].id)
    again = await Agent(model, tools=[EDITOR]).resume(transcript)

    assert [call.name for call in again.waiting] == ["ask_editor"]
    assert again.transcript.waiting == again.waiting


async def test_a_call_may_be_denied():
    model = Scripted(calls("ask_editor", question="?"), says("Nobody asked."))
    transcript = await waiting(model)

    transcript.deny(transcript.waiting[0].id, "She is on holiday.")
    await Agent(model, tools=[EDITOR]).resume(transcript)

    assert model.heard[-1].results[0].text == "The user denied this call: She is on holiday."


async def test_a_person_may_answer_for_a_tool_that_needs_approval():
    made: list[int] = []

    @tool(needs_approval=True)
    def count() -> int:
        "Count."
        made.append(1)
        return 1

    model = Scripted(calls("count"), says("Two."))
    asked = await Agent(model, tools=[count]).run("Count")
    asked.transcript.answer(asked.waiting[0].id, 2)

    await Agent(model, tools=[count]).resume(asked)

    assert made == []
    assert model.heard[-1].results[0].content == "2"


@pytest.mark.parametrize("arguments", [{}, {"question": "?", "wish": 1}])
async def test_a_call_that_does_not_fit_goes_back_to_the_model(arguments: dict[str, Any]):
    model = Scripted(calls("ask_editor", arguments), says("Sorry."))

    result = await Agent(model, tools=[EDITOR]).run("Ask")

    assert result.done
    assert model.heard[-1].results[0].is_error


@pytest.mark.parametrize(("policy", "waits"), [("auto", True), ("ask", True), ("read_only", False), ("deny", True)])
async def test_a_policy_may_forbid_it(policy: Any, waits: bool):
    model = Scripted(calls("ask_editor", question="?"), says("Done."))

    result = await Agent(model, tools=[EDITOR], approvals=policy).run("Ask")

    assert result.paused is waits


async def test_outside_of_a_run_it_says_where_its_results_come_from():
    result = await EDITOR.call(ToolCall("c1", "ask_editor", '{"question":"?"}'), Context())

    assert result.is_error
    assert "give it with transcript.answer(call.id, ...)" in result.text


async def test_streamed_it_is_not_answered_early():
    reads = external("ask_editor", "Ask the editor.", parameters=QUESTION, effect="read")

    kinds = [event.kind async for event in Agent(Scripted(calls("ask_editor", question="?")), tools=[reads]).stream("Ask")]

    assert kinds[-2:] == ["paused", "run_ended"]
    assert "call_started" not in kinds


def test_a_tool_without_parameters_takes_none():
    assert external("ring", "Ring the bell.").description.parameters == {
        "type": "object",
        "properties": {},
        "additionalProperties": False,
    }


def test_it_keeps_the_contract_of_a_toolset():
    check_toolset(EDITOR)


def test_a_name_that_no_model_could_call_is_refused():
    with pytest.raises(ToolDefinitionError, match="cannot name a tool"):
        external("ask editor", "Ask.")
