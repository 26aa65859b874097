"""What is measured of strands-agents. It always streams; its agent is one conversation, so each run has its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import loop
from openai import AsyncOpenAI
from strands import Agent, tool
from strands.agent.conversation_manager import NullConversationManager
from strands.models.openai import OpenAIModel

IMPORT = "from strands import Agent, tool; from strands.models.openai import OpenAIModel"
PACKAGES = ("strands-agents", "openai")
TOOLS: list[Any] = [tool(function) for function in loop.TOOLS.values()]


class Subject:
    """What is measured."""

    def __init__(self, base_url: str) -> None:
        # Without one, it makes a new client for each request, and so connects anew and reads all certificates each time.
        self._client = AsyncOpenAI(base_url=base_url, api_key="any")

    async def run(self, model: str) -> str:
        """Run to the end."""
        result = await self._agent(model).invoke_async(loop.PROMPT)
        return str(result.message["content"][-1].get("text"))

    async def stream(self, model: str) -> AsyncIterator[str]:
        """Run to the end, and give the words as they come."""
        async for event in self._agent(model).stream_async(loop.PROMPT):
            if text := event.get("data"):
                yield text

    def _agent(self, model: str) -> Agent:
        served = OpenAIModel(client=self._client, model_id=model)
        # By default it would forget all but the last 40 messages.
        return Agent(model=served, tools=TOOLS, callback_handler=None, conversation_manager=NullConversationManager())


def decorate(function: Callable[..., Any]) -> object:
    """Make a tool of a function, as far as a model must know it."""
    return tool(function).tool_spec
