"""A run that was written down answers for its model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agentloop import Agent, tool
from agentloop.deltas import TextDelta, ToolCallDelta
from agentloop.errors import ConfigurationError
from agentloop.flows import flow
from agentloop.journal.memory import MemoryStore
from agentloop.journal.runs import Runs
from agentloop.testing import CassetteDiverged, Scripted, calls, recorded, says

RAIN = {"Paris": 0.8, "Oslo": 0.1}


@tool(effect="read")
def rain(city: str) -> float:
    """Look up the chance of rain."""
    return RAIN[city]


@tool(needs_approval=True)
def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    """A run that looks up two cities, gives work to another agent, and answers."""
    store = MemoryStore()
    friend = Agent(Scripted(calls("rain", city="Oslo"), says("Dry.")), tools=[rain], name="friend")
    model = Scripted(
        calls("rain", city="Paris") & calls("rain", city="Oslo"), calls("friend", task="And Oslo?"), says("Take one.", " Or two.")
    )
    await Agent(model, tools=[rain, friend.as_tool("Knows.")], journal=store).run("Rain?", run_id="r")
    path = tmp_path / "run.json"
    path.write_bytes(await Runs(store).export("r"))
    return path


def agent(model: Any, weather: Any = rain) -> Agent:
    friend = Agent(model, tools=[weather], name="friend")
    return Agent(model, tools=[weather, friend.as_tool("Knows.")])


async def test_a_recorded_run_answers_for_the_models_of_all_its_agents(file: Path):
    model = recorded(file)

    result = await agent(model).run("Rain?")

    assert (result.text, result.steps, model.replies_left) == ("Take one. Or two.", 5, 0)


async def test_a_recorded_reply_can_be_streamed(file: Path):
    events = [event async for event in agent(recorded(file)).stream("Rain?")]

    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "Take one. Or two."
    assert [(event.index, event.name) for event in events if isinstance(event, ToolCallDelta)][:2] == [(0, "rain"), (1, "rain")]


async def test_tools_really_run_and_a_result_that_differs_is_named_with_its_place(file: Path):
    @tool(name="rain", effect="read")
    def changed(city: str) -> float:
        """Look up the chance of rain."""
        return 0.5 if city == "Paris" else RAIN[city]

    with pytest.raises(CassetteDiverged) as caught:
        await agent(recorded(file), changed).run("Rain?")

    assert str(caught.value) == (
        f"the replay of {str(file)!r} diverges from step 1 of the run 'r' at messages[2].parts[0].content: "
        'recorded "0.8", asked "0.5"; export the run again, or let its tools answer from the record with model.tools(...)'
    )
    assert (caught.value.exchange, caught.value.path) == (2, "messages[2].parts[0].content")


async def test_another_prompt_diverges_at_once(file: Path):
    with pytest.raises(
        CassetteDiverged, match=r"from step 0 of the run 'r' at messages\[0\].parts\[0\].text: recorded \"Rain\?\", asked \"Snow\?\""
    ):
        await agent(recorded(file)).run("Snow?")


async def test_tools_may_answer_from_the_record(file: Path):
    called: list[str] = []

    @tool(name="rain", effect="read")
    def broken(city: str) -> float:
        """Look up the chance of rain."""
        called.append(city)
        raise ConnectionError

    model = recorded(file)
    result = await agent(model, model.tools(broken)[0]).run("Rain?")

    assert (result.text, called) == ("Take one. Or two.", [])


async def test_an_agent_that_is_a_tool_may_answer_from_the_record(file: Path):
    model = recorded(file)
    friend = Agent(Scripted(), name="friend").as_tool("Knows.")

    result = await Agent(model, tools=model.tools(rain, friend)).run("Rain?")

    assert (result.text, model.replies_left) == ("Take one. Or two.", 2)


async def test_nobody_need_approve_what_answers_from_the_record(tmp_path: Path):
    store = MemoryStore()
    bank = Agent(Scripted(calls("pay", amount=3), says("Paid.")), tools=[pay], journal=store)
    await bank.run("Pay.", run_id="r")
    await Runs(store).approve("r", (await Runs(store).waiting("r"))[0].call.id, arguments={"amount": 4})
    await bank.resume("r")
    (tmp_path / "run.json").write_bytes(await Runs(store).export("r"))
    model = recorded(tmp_path / "run.json")

    result = await Agent(model, tools=model.tools(pay)).run("Pay.")

    assert result.text == "Paid."


async def test_no_policy_asks_about_what_answers_from_the_record(tmp_path: Path):
    @tool(destructive=True, open_world=True)
    def send(to: str) -> str:
        """Send a letter."""
        return f"sent to {to}"

    store = MemoryStore()
    await Agent(Scripted(calls("send", to="Ann"), says("Sent.")), tools=[send], journal=store).run("Send.", run_id="r")
    (tmp_path / "run.json").write_bytes(await Runs(store).export("r"))

    for policy in ("ask", "read_only", "deny"):
        model = recorded(tmp_path / "run.json")
        result = await Agent(model, tools=model.tools(send), approvals=policy).run("Send.")
        assert (policy, result.text, result.paused) == (policy, "Sent.", False)


@pytest.fixture
async def debate(tmp_path: Path) -> Path:
    """A flow in which two agents are asked the same."""
    store = MemoryStore()
    pro, con = (Agent(Scripted(says(name.upper())), name=name) for name in ("pro", "con"))

    @flow
    async def debate() -> str:
        return (await pro.run("Topic?")).text + (await con.run("Topic?")).text

    await debate.run(journal=store, run_id="d")
    path = tmp_path / "run.json"
    path.write_bytes(await Runs(store).export("d"))
    return path


async def test_agents_that_are_asked_the_same_never_get_each_others_words(debate: Path):
    model = recorded(debate)

    with pytest.raises(CassetteDiverged, match=r"the agents 'pro' and 'con' were asked the same .* such as model.of\('pro'\)"):
        await Agent(model, name="con").run("Topic?")


async def test_agents_that_are_asked_the_same_get_their_own_words_in_any_order(debate: Path):
    model = recorded(debate)

    words = [(await Agent(model.of(name), name=name).run("Topic?")).text for name in ("con", "pro")]

    assert (words, model.replies_left) == (["CON", "PRO"], 0)


async def test_a_recorded_agent_is_asked_for_by_its_name(debate: Path):
    with pytest.raises(ConfigurationError, match=r"no agent 'judge' is recorded in .*; known: pro, con"):
        recorded(debate).of("judge")


async def test_an_agent_that_is_told_what_its_caller_was_told_answers_after_it(tmp_path: Path):
    store = MemoryStore()

    def boss(model: Any, other: Any) -> Agent:
        return Agent(model, tools=[Agent(other, name="friend").as_tool("Knows.")], journal=store)

    await boss(Scripted(calls("friend", task="Rain?"), says("Dry, I hear.")), Scripted(says("Dry."))).run("Rain?", run_id="r")
    (tmp_path / "run.json").write_bytes(await Runs(store).export("r"))
    model = recorded(tmp_path / "run.json")

    result = await boss(model, model).run("Rain?", run_id="again")

    assert (result.text, model.replies_left) == ("Dry, I hear.", 0)


async def test_agents_that_are_asked_the_same_are_told_apart_by_their_tools(tmp_path: Path):
    store = MemoryStore()
    await Agent(Scripted(calls("pro", task="?") & calls("con", task="?"), says("Both.")), tools=judged("PRO", "CON"), journal=store).run(
        "Judge.", run_id="r"
    )
    (tmp_path / "run.json").write_bytes(await Runs(store).export("r"))
    model = recorded(tmp_path / "run.json")

    words = [(await Agent(model, tools=[each]).run("?")).text for each in (pay, rain)]

    assert words == ["CON", "PRO"]


def judged(*words: str) -> list[Any]:
    pro, con = (Scripted(says(each)) for each in words)
    return [Agent(pro, tools=[rain], name="pro").as_tool("For."), Agent(con, tools=[pay], name="con").as_tool("Against.")]


async def test_a_call_that_was_not_recorded_diverges(tmp_path: Path):
    store = MemoryStore()
    await Agent(Scripted(says("Dry.")), tools=[rain], journal=store).run("Rain?", run_id="r")
    export = json.loads(await Runs(store).export("r"))
    call = {"id": "call_0_0", "name": "rain", "arguments": '{"city":"Oslo"}', "kind": "tool_call"}
    export["records"][1]["value"] |= {"parts": [call], "finish_reason": "tool_calls"}
    (tmp_path / "run.json").write_text(json.dumps(export))
    model = recorded(tmp_path / "run.json")

    with pytest.raises(CassetteDiverged, match=r"no result is left of the call rain\({\"city\":\"Oslo\"}\)"):
        await Agent(model, tools=model.tools(rain)).run("Rain?")


async def test_a_run_that_asks_more_than_was_recorded_is_told_so(file: Path):
    model = recorded(file)
    await agent(model).run("Rain?")

    with pytest.raises(CassetteDiverged, match="all 5 replies are given, and 'Rain\\?' is asked once more"):
        await agent(model).run("Rain?")


async def test_what_a_swallowed_divergence_says_is_said_again(file: Path):
    model = recorded(file)
    with pytest.raises(CassetteDiverged) as first:
        await agent(model).run("Snow?")

    with pytest.raises(CassetteDiverged) as second:
        await agent(model).run("Rain?")

    assert second.value is first.value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "there is no recorded run"),
        ("{", "is no exported run"),
        ('{"format": 2, "run": "r", "records": []}', r"is no exported run \(Input should be 1 at format\)"),
    ],
)
def test_a_file_that_is_no_recorded_run_is_refused(text: str | None, words: str, tmp_path: Path):
    if text is not None:
        (tmp_path / "run.json").write_text(text)

    with pytest.raises(ConfigurationError, match=words):
        recorded(tmp_path / "run.json")
