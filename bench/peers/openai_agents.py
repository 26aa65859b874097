"""What is measured of openai-agents."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import cache
from typing import Any

import loop
from agents import Agent, OpenAIChatCompletionsModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI

IMPORT = "from agents import Agent, OpenAIChatCompletionsModel, Runner, function_tool"
PACKAGES = ("openai-agents", "openai")
UNLIMITED = 10**9
TOOLS = [function_tool(function) for function in loop.TOOLS.values()]

set_tracing_disabled(True)


class Subject:
    """What is measured."""

    def __init__(self, base_url: str) -> None:
        self._client = AsyncOpenAI(base_url=base_url, api_key="any")
        self._agent = cache(self._made)

    def _made(self, model: str) -> Agent[None]:
        return Agent("bench", model=OpenAIChatCompletionsModel(model, self._client), tools=[*TOOLS])

    async def run(self, model: str) -> str:
        """Run to the end, with whole replies."""
        return str((await Runner.run(self._agent(model), loop.PROMPT, max_turns=UNLIMITED)).final_output)

    async def said(self, steps: int) -> list[Any]:
        """Give what was said in so many steps."""
        prompt, *made, _ = (await Runner.run(self._agent("s10p2"), loop.PROMPT, max_turns=UNLIMITED)).to_input_list()
        return [prompt, *(made * (steps // 10))]

    async def run_behind(self, said: list[Any], model: str) -> str:
        """Run to the end, behind what was said before."""
        return str((await Runner.run(self._agent(model), said, max_turns=UNLIMITED)).final_output)

    async def stream(self, model: str) -> AsyncIterator[str]:
        """Run to the end, and give the words as they come."""
        async for event in Runner.run_streamed(self._agent(model), loop.PROMPT, max_turns=UNLIMITED).stream_events():
            if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                yield event.data.delta


def decorate(function: Callable[..., Any]) -> object:
    """Make a tool of a function, as far as a model must know it."""
    return function_tool(function).params_json_schema
