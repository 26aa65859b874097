"""A call to `parallel` becomes the calls that it holds, where all of them can be made."""

from __future__ import annotations

import json
from dataclasses import replace
from time import monotonic
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentloop import Agent, tool
from agentloop.deltas import Assembly
from agentloop.messages import Reply, State, Text, Thinking, ToolCall, ToolResult, Usage, user
from agentloop.models.reading import Reading
from agentloop.testing import Scripted, calls, says
from agentloop.transcript import Transcript
from agentloop.unpacking import unpacked
from agentloop.wire.openai_responses_decoder import ResponsesDecoder
from tests.exchanges import exchanges

STATE = State("openai/responses", '{"id": "fc_1"}')
KNOWN = {"weather", "news"}


def use(name: str, **parameters: Any) -> dict[str, Any]:
    return {"recipient_name": name, "parameters": parameters}


def wrapper(arguments: Any, *, name: str = "parallel", id_: str = "call_0_0") -> ToolCall:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return ToolCall(id_, name, text, provider_id="call_parallel", state=STATE)


def reply(*parts: Any) -> Reply:
    return Reply(parts, "tool_calls", Usage(3, 4), model="m", id="r")


@pytest.mark.parametrize(
    "name", ["parallel", "multi_tool_use.parallel", "multi_tool_use_parallel", "functions.parallel", "functions.multi_tool_use.parallel"]
)
def test_a_wrapper_becomes_the_calls_that_it_holds_in_its_place(name: str):
    text, last = Text("Both."), ToolCall("call_0_1", "news", provider_id="p2", state=STATE)
    both = wrapper({"tool_uses": [use("functions.weather", city="Köln", at=[1.0, None]), use("news")]}, name=name)
    before = reply(Thinking("Hm."), text, both, last)

    after = unpacked(before, KNOWN)

    held = (ToolCall("call_0_0_0", "weather", '{"city": "Köln", "at": [1.0, null]}'), ToolCall("call_0_0_1", "news", "{}"))
    assert after == replace(before, parts=(Thinking("Hm."), text, *held, last))


def test_what_the_provider_wants_to_hear_again_of_the_wrapper_is_not_said_of_its_calls():
    after = unpacked(reply(wrapper({"tool_uses": [use("weather"), use("weather")]})), KNOWN)

    assert [(call.provider_id, call.state) for call in after.calls] == [(None, None)] * 2


def test_the_ids_are_unique_whatever_the_others_are():
    first = wrapper({"tool_uses": [use("weather")] * 3}, id_="a")
    second = wrapper({"tool_uses": [use("news")] * 2}, id_="a_1")

    after = unpacked(reply(ToolCall("a_0", "news"), first, second, ToolCall("a_1_0", "news")), KNOWN)

    ids = [call.id for call in after.calls]
    assert len(set(ids)) == len(ids) == 7
    assert (ids[0], ids[-1]) == ("a_0", "a_1_0")


LEFT_ALONE: list[Any] = [
    {"tool_uses": [use("functions.weather"), use("functions.unknown")]},
    {"tool_uses": [use("parallel", tool_uses=[use("weather")])]},
    {"tool_uses": [use("Weather")]},
    {"tool_uses": [use("default_api.weather")]},
    {"tool_uses": [use("functions.functions.weather")]},
    {"tool_uses": []},
    {"tool_uses": {}},
    {"tool_uses": [use("weather"), "news"]},
    {"tool_uses": [use("weather"), None]},
    {"tool_uses": [{"recipient_name": "weather"}]},
    {"tool_uses": [{"recipient_name": "weather", "parameters": "{}"}]},
    {"tool_uses": [{"recipient_name": "weather", "parameters": None}]},
    {"tool_uses": [{"recipient_name": 1, "parameters": {}}]},
    {"tool_uses": [{**use("weather"), "if": "it is sunny"}]},
    {"tool_uses": [use("weather")], "one_after_the_other": True},
    {"uses": [use("weather")]},
    [use("weather")],
    "weather",
    "",
    "{}",
    '{"tool_uses": [{"recipient_name": "weather", "parameters": {}}',
    '{"tool_uses": [{"recipient_name": "weather", "parameters": {}}]} and so on',
    '{"tool_uses": [{"recipient_name": "weather", "parameters": {"a": 1, "a": 2}}]}',
    '{"tool_uses": [{"recipient_name": "weather", "recipient_name": "news", "parameters": {}}]}',
    '{"tool_uses": [{"recipient_name": "weather", "parameters": {"a": NaN}}]}',
    '{"tool_uses": [{"recipient_name": "weather", "parameters": {"a": 1e400}}]}',
    '{"tool_uses": [{"recipient_name": "weather", "parameters": {"a": "\ud800"}}]}',
    "[" * 100_000,
]


@pytest.mark.parametrize("arguments", LEFT_ALONE, ids=range(len(LEFT_ALONE)))
def test_a_wrapper_of_another_shape_or_with_an_unknown_tool_stays_as_it_is(arguments: Any):
    before = reply(Text("Both."), wrapper(arguments))

    assert unpacked(before, KNOWN) == before


def test_one_wrapper_that_stays_does_not_keep_another_from_being_unpacked():
    bad = wrapper({"tool_uses": [use("unknown")]}, id_="call_0_1")

    after = unpacked(reply(wrapper({"tool_uses": [use("news")]}), bad), KNOWN)

    assert after.calls == (ToolCall("call_0_0_0", "news", "{}"), bad)


def test_a_tool_that_is_named_parallel_is_called():
    before = reply(wrapper({"tool_uses": [use("weather")]}))

    assert unpacked(before, {*KNOWN, "parallel"}) is before


def test_a_reply_without_a_wrapper_is_the_same():
    before = reply(Text("a"), ToolCall("1", "weather"), ToolCall("2", "tool_uses"))

    assert unpacked(before, KNOWN) is before


def test_half_a_surrogate_pair_stays_an_escape_that_can_be_said_back():
    text = '{"tool_uses": [{"recipient_name": "news", "parameters": {"a": "\\ud800 é"}}]}'

    [call] = unpacked(reply(wrapper(text)), KNOWN).calls

    assert call.arguments == '{"a": "\\ud800 \\u00e9"}'


def test_ten_thousand_calls_are_unpacked_in_linear_time():
    started = monotonic()

    after = unpacked(reply(wrapper({"tool_uses": [use("weather", a="b")] * 10_000})), KNOWN)

    assert len(after.calls) == 10_000
    assert monotonic() - started < 2


NAMES = st.text(max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)
USES = st.lists(st.tuples(st.sampled_from(sorted(KNOWN)), st.dictionaries(NAMES, VALUES, max_size=3)), min_size=1, max_size=5)


@settings(max_examples=200, deadline=None)
@given(USES)
def test_names_and_arguments_arrive_as_they_were_wrapped(uses: list[tuple[str, dict[str, Any]]]):
    before = reply(wrapper({"tool_uses": [{"recipient_name": f"functions.{name}", "parameters": given} for name, given in uses]}))

    after = unpacked(before, KNOWN)

    assert [(call.name, json.loads(call.arguments)) for call in after.calls] == uses
    transcript = Transcript([user("Go")])
    transcript.add_reply(after)
    for call in after.calls:
        transcript.add_result(ToolResult(call.id, "done"))
    assert transcript.messages[-1].role == "tool"


async def test_a_run_makes_the_calls_and_answers_each():
    @tool
    def weather(city: str) -> str:
        """Tell the weather."""
        return f"Rain in {city}."

    @tool
    def news() -> str:
        """Tell the news."""
        return "None."

    both = [use("functions.weather", city="Rome"), use("functions.news")]
    model = Scripted(calls("multi_tool_use.parallel", tool_uses=both), says("Rain, no news."))

    result = await Agent(model, tools=[weather, news]).run("Weather and news?")

    assert result.text == "Rain, no news."
    assert [(each.name, each.text) for each in model.heard[-1].results] == [("weather", "Rain in Rome."), ("news", "None.")]


async def test_a_run_tells_a_model_that_wraps_an_unknown_tool_that_there_is_no_parallel():
    @tool
    def weather(city: str) -> str:
        """Tell the weather."""
        return f"Rain in {city}."

    model = Scripted(calls("parallel", tool_uses=[use("functions.weather", city="Rome"), use("functions.news")]), says("Sorry."))

    await Agent(model, tools=[weather]).run("Weather and news?")

    assert [each.text for each in model.heard[-1].results] == ["There is no tool 'parallel'. Tools: weather."]


RECORDED = [each for each in exchanges("responses") if "parallel-tool-call-wrapper" in each.name]


@pytest.mark.skipif(not RECORDED, reason="the recorded exchanges are not here")
def test_the_recorded_wrapper_is_unpacked():
    [exchange] = RECORDED
    assembly, reading = Assembly(), Reading(ResponsesDecoder(), content_type=exchange.content_type)
    for delta in reading.feed(exchange.body):
        assembly.add(delta)

    after = unpacked(assembly.partial(), {"weather", "cityAttractions"})

    assert [(call.name, call.arguments) for call in after.calls] == [
        ("weather", '{"location": "San Francisco"}'),
        ("cityAttractions", '{"city": "Rome"}'),
    ]
