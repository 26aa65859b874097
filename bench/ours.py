"""What is measured of agentloop, through its public door."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import loop

from agentloop import Agent, Context, Limits, model, plugins, tool
from agentloop.deltas import TextDelta
from agentloop.messages import Reply, Request, Text, ToolCall
from agentloop.models import Hear
from agentloop.transcript import Transcript

IMPORT = "from agentloop import Agent, tool"
PACKAGES = ("agentloop-core", "httpx", "pydantic")
FORMATS = {"chat": "openai/chat", "responses": "openai/responses", "messages": "anthropic/messages", "gemini": "gemini/gemini"}
TOOLS = [tool(function, effect="read") if name == "look_slowly" else tool(function) for name, function in loop.TOOLS.items()]


class Subject:
    """What is measured."""

    def __init__(self, base_url: str, *, spoken: str = "chat") -> None:
        self._base_url = base_url
        self._provider = FORMATS[spoken]
        self._agents: dict[str, Agent[str]] = {}

    async def run(self, model: str) -> str:
        """Run to the end, with whole replies."""
        return (await self._agent(model).run(loop.PROMPT)).text

    async def said(self, steps: int) -> Transcript:
        """Give what was said in so many steps."""
        prompt, *made, _ = (await self._agent("s10p2").run(loop.PROMPT)).transcript.messages
        said = Transcript([prompt])
        for message in made * (steps // 10):
            if message.calls:
                said.add(message)
            # Ids that come again get others.
            for call, result in zip(said.asked[-1].calls, message.results, strict=False):
                said.add_result(replace(result, call_id=call.id))
        return said

    async def run_behind(self, said: Transcript, model: str) -> str:
        """Run to the end, behind what was said before, all of which is encoded with the first request."""
        return (await self._agent(model).run(loop.PROMPT, transcript=said)).text

    async def stream(self, model: str) -> AsyncIterator[str]:
        """Run to the end, and give the words as they come."""
        async for event in self._agent(model).stream(loop.PROMPT):
            if isinstance(event, TextDelta):
                yield event.text

    async def transcript(self, model: str) -> tuple[object, int]:
        """Run to the end, and give what the run holds, and its size as JSON."""
        result = await self._agent(model).run(loop.PROMPT)
        # Read again, so that what writing it caches is not counted with the run.
        return result, len(result.transcript.copy().to_json())

    def _agent(self, name: str) -> Agent[str]:
        if name not in self._agents:
            served = model(f"{self._provider}:{name}", base_url=self._base_url, key="any")
            self._agents[name] = Agent(served, tools=TOOLS, limits=Limits(steps=None))
        return self._agents[name]


def decorate(function: object) -> object:
    """Make a tool of a function, as far as a model must know it."""
    return tool(function).description  # type: ignore[call-overload]


class Speaking:
    """A model in this process: it makes so many calls in each of 10 replies, and is done."""

    name = "speaking"

    def __init__(self, calls: int) -> None:
        self._calls = calls

    async def ask(self, request: Request, hear: Hear) -> Reply:  # noqa: ARG002  # nothing is streamed
        """Make the calls of the step."""
        step = request.step
        if step == loop.SPOKEN:
            return Reply((Text("The work is done."),), "stop")
        calls = (ToolCall(f"c{step}_{n}", "look", f'{{"query": "step {step}, call {n}", "limit": 10}}') for n in range(self._calls))
        return Reply(tuple(calls), "tool_calls")


async def called(_: Subject, *, times: int) -> dict[str, float]:
    """Validate arguments and call a tool, without a run; give the CPU of each over that of the function itself."""
    one, call, context = TOOLS[0], ToolCall("c", "look", '{"query": "step 1, call 1", "limit": 10}'), Context()
    used = process_time()
    for _ in range(times):
        await one.call(call, context)
    between = process_time()
    for _ in range(times):
        await loop.look("step 1, call 1", limit=10)
    return {"cpu": (between - used - (process_time() - between)) / times}


async def dispatched(_: Subject, *, calls: int) -> dict[str, float]:
    """Make runs with a model in this process that differ by their calls; give the CPU of each call, all that a run does with it."""
    spent: list[float] = []
    for number in (1, 1 + calls):
        agent = Agent(Speaking(number), tools=TOOLS, limits=Limits(steps=None, calls_at_once=1 + calls))
        used = process_time()
        await agent.run(loop.PROMPT)
        spent.append(process_time() - used)
    return {"cpu": (spent[1] - spent[0]) / calls / loop.SPOKEN}


async def plugged(_: Subject, *, tools: int) -> dict[str, float]:
    """Install a plugin of so many tools, and give what it takes until an agent has them described."""
    with TemporaryDirectory() as folder:
        about = Path(folder) / "many-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: many\nVersion: 1.0\n", encoding="ascii")
        (about / "entry_points.txt").write_text("[agentloop.tools]\nmany = many:TOOLS\n", encoding="ascii")
        made = "\n".join(f"@tool{loop.source(number)}" for number in range(tools))
        listed = f"TOOLS = [{', '.join(f'look_{number}' for number in range(tools))}]"
        (Path(folder) / "many.py").write_text(f"from agentloop import tool\n\n{made}\n{listed}\n", encoding="ascii")
        sys.path.insert(0, folder)
        sys.modules.pop("many", None)
        try:
            began, used = perf_counter(), process_time()
            agent = Agent(Speaking(0), tools=[plugins.tools("many")])
            found = len(agent.tools)
            used, took = process_time() - used, perf_counter() - began
        finally:
            sys.path.remove(folder)
    if found != tools:
        raise ValueError(f"{found} tools were found, and not {tools}")
    return {"cpu": used, "wall": took}
