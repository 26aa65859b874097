"""What is measured of smolagents. It has no coroutines: runs at once are threads; and a reply must call something, the last one too."""

# ruff: noqa: ARG001 - the tools are there to be called, and look nothing up

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import loop
from smolagents import LogLevel, OpenAIModel, ToolCallingAgent, tool

IMPORT = "from smolagents import OpenAIModel, ToolCallingAgent, tool"
PACKAGES = ("smolagents", "openai")
UNLIMITED = 10**9
NO_TEXT = "it takes no reply for an answer that is a text and calls nothing"
CANNOT = {"t": NO_TEXT, "b": NO_TEXT, "e": NO_TEXT, "n": "it has no coroutine functions"}
"""By the first letter of what the server's model is called."""


@tool
def look(query: str, limit: int = 10) -> str:
    """Look something up.

    Args:
        query: What to look for.
        limit: How many lines to give.
    """
    return loop.PAGE + query


@tool
def blocking_nap(query: str, limit: int = 10) -> str:
    """Look something up, which takes 50 ms.

    Args:
        query: What to look for.
        limit: How many lines to give.
    """
    time.sleep(loop.NAP_SECONDS)
    return loop.PAGE


@tool
def look_slowly(query: str, limit: int = 10) -> str:
    """Look something up, which takes 300 ms.

    Args:
        query: What to look for.
        limit: How many lines to give.
    """
    time.sleep(loop.SLOW_SECONDS)
    return loop.PAGE


@tool
def save(text: str) -> str:
    """Save a text.

    Args:
        text: What to save.
    """
    return f"{len(text)} characters"


class Subject:
    """What is measured."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._models: dict[str, OpenAIModel] = {}
        self._threads = ThreadPoolExecutor(1000)

    async def run(self, model: str) -> str:
        """Run to the end, with whole replies."""
        agent = self._agent(model, streams=False)
        return str(await asyncio.get_running_loop().run_in_executor(self._threads, agent.run, loop.PROMPT))

    async def stream(self, model: str) -> AsyncIterator[str]:
        """Run to the end, and give the words as they come."""
        agent = self._agent(model, streams=True)
        for event in agent.run(loop.PROMPT, stream=True):
            if text := getattr(event, "content", None):
                yield text

    def _agent(self, name: str, *, streams: bool) -> ToolCallingAgent:
        if name not in self._models:
            self._models[name] = OpenAIModel(f"{name}f", api_base=self._base_url, api_key="any")
        offered = [look, blocking_nap, look_slowly, save]
        return ToolCallingAgent(
            offered, self._models[name], max_steps=UNLIMITED, stream_outputs=streams, max_tool_threads=32, verbosity_level=LogLevel.OFF
        )


def decorate(function: Callable[..., Any]) -> object:
    """Make a tool of a function, as far as a model must know it."""
    return tool(function)
