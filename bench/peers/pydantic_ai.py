"""What is measured of pydantic-ai."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import cache
from typing import Any

import loop
from pydantic_ai import Agent, PartDeltaEvent, PartStartEvent, TextPart, TextPartDelta, Tool, UsageLimits
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

IMPORT = "from pydantic_ai import Agent, Tool; from pydantic_ai.models.openai import OpenAIChatModel"
PACKAGES = ("pydantic-ai-slim", "openai")
UNLIMITED = UsageLimits(request_limit=None)


class Subject:
    """What is measured."""

    def __init__(self, base_url: str) -> None:
        self._provider = OpenAIProvider(base_url=base_url, api_key="any")
        self._agent = cache(self._made)

    def _made(self, model: str) -> Agent[None, str]:
        return Agent(OpenAIChatModel(model, provider=self._provider), tools=list(loop.TOOLS.values()))

    async def run(self, model: str) -> str:
        """Run to the end, with whole replies."""
        return (await self._agent(model).run(loop.PROMPT, usage_limits=UNLIMITED)).output

    async def said(self, steps: int) -> list[ModelMessage]:
        """Give what was said in so many steps."""
        _, *made, _ = (await self._agent("s10p2").run(loop.PROMPT)).all_messages()
        return made * (steps // 10)

    async def run_behind(self, said: list[ModelMessage], model: str) -> str:
        """Run to the end, behind what was said before."""
        return (await self._agent(model).run(loop.PROMPT, message_history=said, usage_limits=UNLIMITED)).output

    async def stream(self, model: str) -> AsyncIterator[str]:
        """Run to the end, and give the words as they come."""
        async with self._agent(model).run_stream_events(loop.PROMPT, usage_limits=UNLIMITED) as events:
            async for event in events:
                match event:
                    case PartStartEvent(part=TextPart(content=text)) | PartDeltaEvent(delta=TextPartDelta(content_delta=text)):
                        yield text
                    case _:
                        pass


def decorate(function: Callable[..., Any]) -> object:
    """Make a tool of a function, as far as a model must know it."""
    return Tool(function).tool_def
