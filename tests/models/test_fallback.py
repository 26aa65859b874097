"""Another model when one fails for good."""

from __future__ import annotations

import pytest

from agentloop import Agent, tool
from agentloop.deltas import TextDelta
from agentloop.errors import AuthError, BadRequest, ConfigurationError, ProviderError, ServerError
from agentloop.events import Switched
from agentloop.messages import Reply, Request
from agentloop.models import Hear, Model
from agentloop.models.fallback import Fallback
from agentloop.testing import Scripted, calls, fails, says


@tool(effect="read")
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


async def test_another_model_takes_over_in_the_middle_of_a_run():
    first = Scripted(calls("add", a=1, b=2), fails(AuthError("no more")), name="first")
    second = Scripted(says("3"), name="second")

    result = await Agent(Fallback(first, second), tools=[add]).run("1+2?")

    assert result.text == "3"
    assert second.heard[0].results[0].content == "3"


async def test_a_switch_is_told_to_whoever_watches():
    agent = Agent(Fallback(Scripted(fails("down"), name="first"), Scripted(says("Up."), name="second")))

    switches = [event async for event in agent.stream("Hi") if isinstance(event, Switched)]

    assert [(type(switch.error), switch.model) for switch in switches] == [(ServerError, "second")]


async def test_when_all_fail_the_last_error_is_raised_and_names_the_one_before_as_its_cause():
    agent = Agent(Fallback(Scripted(fails("one down")), Scripted(fails(BadRequest("two will not")))))

    with pytest.raises(BadRequest, match="two will not") as failed:
        await agent.run("Hi")

    assert str(failed.value.__cause__) == "one down"
    assert len(failed.value.result.transcript) == 1


async def test_what_was_shown_is_not_asked_for_again():
    class Breaks:
        name = "breaks"

        async def ask(self, request: Request, hear: Hear) -> Reply:
            await hear(TextDelta("Hel"))
            raise ServerError("gone")

    second = Scripted(says("Hello"))

    with pytest.raises(ServerError, match="gone"):
        _ = [event async for event in Agent(Fallback(Breaks(), second)).stream("Hi")]

    assert second.heard == []


@pytest.mark.parametrize(("failure", "asked_again"), [(ServerError("down"), 0), (BadRequest("too long"), 1)])
async def test_a_model_whose_server_is_down_rests_and_one_that_refused_a_request_does_not(failure: Exception, asked_again: int):
    seconds = [0.0]
    first: Scripted = Scripted(fails(failure), says("I am back."))
    fallback = Fallback(first, Scripted(says("a"), says("b")), rest=60, clock=lambda: seconds[0])
    await Agent(fallback).run("one")
    seconds[0] = 59.0

    await Agent(fallback).run("two")

    assert len(first.heard) == 1 + asked_again


async def test_a_rested_model_is_asked_first_again():
    seconds = [0.0]
    first = Scripted(fails("down"), says("I am back."))
    fallback = Fallback(first, Scripted(says("a")), rest=60, clock=lambda: seconds[0])
    await Agent(fallback).run("one")
    seconds[0] = 61.0

    assert (await Agent(fallback).run("two")).text == "I am back."


async def test_models_that_all_rest_are_asked_all_the_same():
    only = Scripted(fails("down"), says("Up."))
    fallback = Fallback(only, rest=60, clock=lambda: 0.0)
    with pytest.raises(ServerError):
        await Agent(fallback).run("one")

    assert (await Agent(fallback).run("two")).text == "Up."


def test_a_fallback_of_nothing_is_refused():
    with pytest.raises(ConfigurationError, match="at least one model"):
        Fallback()


def test_a_fallback_names_its_models():
    model: Model = Fallback("openai:gpt-5", Scripted(name="other"))

    assert model.name == "openai:gpt-5 or other"


async def test_a_mistake_in_the_setting_names_the_failure_that_led_to_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    with pytest.raises(ProviderError) as failed:
        await Agent(Fallback(Scripted(fails("down")), "openai:gpt-5")).run("Hi")

    assert str(failed.value.__cause__) == "down"
