"""What type checkers know of the public names; read by mypy and pyright, run by nobody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, assert_type

from agentloop import Agent, Context, Result, Tool, Transcript, tool
from agentloop.events import Event
from agentloop.messages import ToolCall
from agentloop.testing import Scripted, says


@dataclass
class Invoice:
    total: float


@tool
def add(a: int, b: int = 0) -> int:
    """Add."""
    return a + b


@tool(effect="read", timeout=5)
async def fetch(context: Context[str], *, name: str) -> list[str]:
    """Fetch."""
    return [context.deps, name]


class Shop:
    @tool
    def price(self, item: str) -> float:
        """Look a price up."""
        return len(item)

    @staticmethod
    @tool
    def open_hours(day: str) -> str:
        """Say when it is open."""
        return day


async def works_as_itself(context: Context[str]) -> None:
    assert_type(add(1, b=2), int)
    assert_type(await fetch(context, name="x"), list[str])
    assert_type(Shop().price("tea"), float)
    assert_type(Shop.open_hours("today"), str)
    add("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Shop().price(item=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def an_agent_knows_its_output() -> None:
    plain = Agent(Scripted(says("Hi")), tools=[add, fetch, Shop().price, Shop.open_hours, len])
    assert_type(plain, Agent[str])
    assert_type((await plain.run("Hi")).output, str)
    assert_type(await plain.run("Hi"), Result[str])

    typed = Agent("openai:gpt-4o", output=Invoice)
    assert_type(typed, Agent[Invoice])
    assert_type((await typed.run("Hi")).output, Invoice)
    assert_type(typed.run_sync("Hi").output.total, float)
    assert_type((await Agent("openai:gpt-4o", output=list[int]).run("Hi")).output, list[int])
    either: Agent[Invoice | str] = Agent("openai:gpt-4o", output=Invoice | str)
    assert_type((await either.run("Hi")).output, Invoice | str)
    chosen: Agent[Literal["yes", "no"]] = Agent("openai:gpt-4o", output=Literal["yes", "no"])
    assert_type((await chosen.run("Hi")).output, Literal["yes", "no"])


async def events_are_told_apart() -> None:
    stream = Agent("openai:gpt-4o", output=Invoice).stream("Hi")
    async for event in stream:
        assert_type(event, Event)
        match event.kind:
            case "text_delta":
                assert_type(event.text, str)
            case "call_started":
                assert_type(event.call, ToolCall)
            case _:
                pass
    assert_type(stream.result, Result[Invoice])


async def a_result_can_be_resumed(agent: Agent[Invoice], result: Result[Invoice]) -> None:
    assert_type(result.transcript, Transcript)
    assert_type(await agent.resume(result), Result[Invoice])
    tools: list[Tool[..., Any]] = [add, fetch]
    assert_type(tools[0].name, str)
