"""A run that changes models, and formats, at each step."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from agentloop import Agent, Settings, Transcript, model, tool
from agentloop.messages import Reply, Request, Text, Thinking, ToolCall
from agentloop.models import Hear, Model
from agentloop.testing import Gateway, Turn, calls, says

PLACES = ("anthropic", "openai/responses", "gemini", "openai/chat", "anthropic", "openai/responses", "gemini", "openai/chat")
MODELS = {"anthropic": "claude-sonnet-4-5", "openai/responses": "gpt-5", "gemini": "gemini-3-pro", "openai/chat": "gpt-5"}


class Moving:
    """Asks another model at each step."""

    name = "moving"

    def __init__(self, models: Sequence[Model]) -> None:
        self._models = models

    async def ask(self, request: Request, hear: Hear) -> Reply:
        """Ask the model whose turn it is."""
        return await self._models[request.step % len(self._models)].ask(request, hear)


@tool(effect="read")
def weigh(stone: int) -> str:
    """Weigh a stone."""
    return f"stone {stone} weighs {stone * 7} grams"


def turn(step: int) -> Turn:
    pair = calls("weigh", stone=step) & calls("weigh", stone=step + 100)
    return pair.saying(f"Weighing {step}.", thinking=f"Thought number {step}.")


@pytest.mark.fault(92)
@pytest.mark.parametrize("streamed", [True, False])
async def test_a_run_moves_through_all_formats_and_back_and_loses_nothing(streamed: bool):
    script = [*(turn(step) for step in range(len(PLACES))), says("All weighed.")]
    with Gateway(*script) as gateway:
        models = [model(f"{place}:{MODELS[place]}", base_url=gateway.base_url, key="k") for place in PLACES]
        agent = Agent(Moving(models), tools=[weigh], settings=Settings(effort="high", max_tokens=60_000))
        if streamed:
            stream = agent.stream("Weigh them.")
            _ = [event async for event in stream]
            result = stream.result
        else:
            result = await agent.run("Weigh them.")

    assert [request.refused for request in gateway.requests] == [""] * (len(PLACES) + 1)
    assert result.text == "All weighed."
    for step, request in enumerate(gateway.requests):
        said = json.dumps(request.body, ensure_ascii=False)
        for earlier in range(step):
            assert f"Weighing {earlier}." in said
            assert f"stone {earlier} weighs {earlier * 7} grams" in said
            assert f"stone {earlier + 100} weighs {(earlier + 100) * 7} grams" in said


async def test_each_provider_hears_its_own_thinking_again_and_nobody_elses():
    with Gateway(*(turn(step) for step in range(len(PLACES))), says("All weighed.")) as gateway:
        models = [model(f"{place}:{MODELS[place]}", base_url=gateway.base_url, key="k") for place in PLACES]
        agent = Agent(Moving(models), tools=[weigh], settings=Settings(effort="high", max_tokens=60_000))
        result = await agent.run("Weigh them.")

    secrets = _secrets(result.transcript)
    assert [bool(found) for found in secrets] == [place != "openai/chat" for place in PLACES]
    for step, (request, place) in enumerate(zip(gateway.requests, PLACES, strict=False)):
        said = json.dumps(request.body)
        for earlier, found in enumerate(secrets[:step]):
            assert [secret in said for secret in found] == [PLACES[earlier] == place] * len(found), (step, earlier)


def _secrets(transcript: Transcript) -> list[list[str]]:
    """List what is opaque in each reply but the last: signatures and encrypted thinking; chat completions have none."""
    replies = [message for message in transcript if message.role == "assistant"][:-1]
    return [
        [
            value
            for part in reply.parts
            if isinstance(part, Text | Thinking | ToolCall) and part.state
            for name, value in json.loads(part.state.data).items()
            if name in {"signature", "encrypted_content", "thoughtSignature"}
        ]
        for reply in replies
    ]
