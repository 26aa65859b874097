"""What is measured of agno."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import cache
from typing import Any

import loop
from agno.agent import Agent
from agno.models.openai import OpenAIChat
from agno.tools import Function

IMPORT = "from agno.agent import Agent; from agno.models.openai import OpenAIChat; from agno.tools import tool"
PACKAGES = ("agno", "openai")


class Subject:
    """What is measured."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._agent = cache(self._made)

    def _made(self, model: str) -> Agent:
        served = OpenAIChat(id=model, base_url=self._base_url, api_key="any")
        return Agent(model=served, tools=list(loop.TOOLS.values()), telemetry=False)

    async def run(self, model: str) -> str:
        """Run to the end, with whole replies."""
        return str((await self._agent(model).arun(loop.PROMPT)).content)

    async def stream(self, model: str) -> AsyncIterator[str]:
        """Run to the end, and give the words as they come."""
        async for event in self._agent(model).arun(loop.PROMPT, stream=True):
            if event.event == "RunContent" and event.content:
                yield str(event.content)


def decorate(function: Callable[..., Any]) -> object:
    """Make a tool of a function, as far as a model must know it."""
    made = Function(name=function.__name__, entrypoint=function)
    made.process_entrypoint()
    return made.to_dict()
