"""What is measured of langchain, whose agents run on langgraph."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import cache
from typing import Any

import loop
from langchain.agents import create_agent
from langchain_core.messages import AIMessageChunk
from langchain_core.tools import StructuredTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_openai import ChatOpenAI

IMPORT = "from langchain.agents import create_agent; from langchain_core.tools import tool; from langchain_openai import ChatOpenAI"
PACKAGES = ("langchain", "langgraph", "langchain-openai", "openai")
UNLIMITED: Any = {"recursion_limit": 10**9}
INPUT: Any = {"messages": [{"role": "user", "content": loop.PROMPT}]}
TOOLS = [
    StructuredTool.from_function(coroutine=function) if function is not loop.blocking_nap else StructuredTool.from_function(function)
    for function in loop.TOOLS.values()
]


class Subject:
    """What is measured."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._agent = cache(self._made)

    def _made(self, model: str) -> Any:
        return create_agent(ChatOpenAI(model=model, base_url=self._base_url, api_key="any"), tools=TOOLS)  # type: ignore[arg-type]

    async def run(self, model: str) -> str:
        """Run to the end, with whole replies."""
        return str((await self._agent(model).ainvoke(INPUT, UNLIMITED))["messages"][-1].content)

    async def stream(self, model: str) -> AsyncIterator[str]:
        """Run to the end, and give the words as they come."""
        async for chunk, _ in self._agent(model).astream(INPUT, UNLIMITED, stream_mode="messages"):
            if isinstance(chunk, AIMessageChunk) and chunk.content:
                yield str(chunk.content)


def decorate(function: Callable[..., Any]) -> object:
    """Make a tool of a function, as far as a model must know it."""
    return convert_to_openai_tool(StructuredTool.from_function(function))
