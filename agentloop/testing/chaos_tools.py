"""Counts what the tools of an agent do, whichever way they are called."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any

from agentloop.agent import Agent
from agentloop.messages import ToolCall, ToolResult
from agentloop.testing.turns import Turn
from agentloop.tools.context import Context
from agentloop.tools.function import Tool
from agentloop.transcript import Transcript

_answering: ContextVar[str] = ContextVar("_answering", default="")


class Ledger:
    """What tools did in one case."""

    transcript: Transcript | None
    """That of the last run that called one, as far as it is."""

    def __init__(self, *, failing: str = "") -> None:
        """Begin to count; `failing` is the tool that raises instead."""
        self.failing = failing
        self.transcript = None
        self._effects: dict[str, str] = {}
        self._done: Counter[tuple[str, str]] = Counter()
        self._keys: dict[tuple[str, str], set[str]] = {}
        self._calls: Counter[int] = Counter()

    @property
    def most_calls(self) -> int:
        """The most calls that one run made."""
        return max(self._calls.values(), default=0)

    def called(self, tool: Tool[..., Any], call: ToolCall, *, context: Context[Any]) -> None:
        """Write down that a tool is called."""
        self.transcript = context.run.transcript if context.run else self.transcript
        self._calls[id(context.run)] += 1
        self._effects[tool.name] = tool.options.effect
        self._keys.setdefault((tool.name, call.id), set()).add(context.idempotency_key)

    def did(self, name: str, call_id: str) -> None:
        """Write down that it did something."""
        self._done[name, call_id] += 1

    def problems(self, script: Sequence[Turn]) -> Iterator[str]:
        """Say which tools did more than they may."""
        wanted = Counter(call.name for turn in script for call in turn.calls)
        done: Counter[str] = Counter()
        for (name, call_id), times in self._done.items():
            done[name] += times
            if times > 1 and self._effects[name] == "once":
                yield f"effects: {name!r} did its work {times} times for the one call {call_id!r}"
        for name, times in done.items():
            if times > wanted[name] and self._effects[name] == "once":
                yield f"effects: {name!r} did its work {times} times, and the model called it {wanted[name]} times"
        for (name, call_id), keys in self._keys.items():
            if len(keys) > 1 and self._effects[name] == "idempotent":
                yield f"effects: {name!r} was given {len(keys)} idempotency keys for the one call {call_id!r}"


def watch_tools(agent: Agent[Any], ledger: Ledger) -> None:
    """Have the agent call tools that write down what they do; the tools that it was made with stay as they are."""
    tools = agent._tools  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # no user needs them, and no test but this
    agent._tools = {name: _watched(tool, ledger) for name, tool in tools.items()}  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def _watched(tool: Tool[..., Any], ledger: Ledger) -> Tool[..., Any]:
    def function(*args: Any, **named: Any) -> Any:
        if tool.name == ledger.failing:
            raise RuntimeError("chaos")
        ledger.did(tool.name, _answering.get())
        return tool.function(*args, **named)

    async def call(call: ToolCall, context: Context[Any]) -> ToolResult:
        ledger.called(tool, call, context=context)
        _answering.set(call.id)
        if tool.options.isolated:
            ledger.did(tool.name, call.id)
        return await type(tool).call(watched, call, context)

    watched: Tool[..., Any] = copy.copy(tool)
    vars(watched)["call"] = call
    if not tool.options.isolated:
        # A process of its own finds its function by name, and would find no other.
        watched.function = function
    return watched
