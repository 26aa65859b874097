"""What one run holds while it runs: who is asked, what may be called, what was said, what may be spent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agentloop.errors import InvalidArguments, OutputInvalid
from agentloop.events import Emit, unheard
from agentloop.limits import Budget
from agentloop.messages import HostedTool, Settings, ToolCall, ToolDescription, user
from agentloop.models import Model
from agentloop.output import Mismatch, Output
from agentloop.tools.function import Tool
from agentloop.transcript import Transcript


async def _at_once() -> None:
    pass


@dataclass(slots=True, kw_only=True)
class Run:
    """One piece of work, from prompt to last reply."""

    model: Model
    tools: Mapping[str, Tool[..., Any]]
    descriptions: tuple[ToolDescription, ...]
    """What the model is told of the tools; the same object in every step."""
    transcript: Transcript
    budget: Budget
    hosted: tuple[HostedTool, ...] = ()
    """The tools that the provider runs."""
    instructions: str = ""
    settings: Settings = field(default_factory=Settings)
    output: Output[Any] | None = None
    deps: Any = None
    emit: Emit = unheard
    """Tells an event to whoever watches; it never waits."""
    stream: bool = False
    """Whether somebody wants the deltas."""
    room: Callable[[], Awaitable[None]] = _at_once
    """Waits until whoever wants the deltas has caught up."""
    answer: Any = None
    """The last reply as the type asked for, once the run is done."""
    corrections: int = 0
    """How often the model was told that its answer does not take the form."""

    def waits(self, call: ToolCall) -> bool:
        """Whether a call must not run without a person's word."""
        tool = self.tools.get(call.name)
        needs = tool.options.needs_approval if tool else False
        if tool is None or isinstance(needs, bool):
            return needs is True
        try:
            return needs(tool.arguments(call.arguments))
        except InvalidArguments:
            # Such a call is never run: its result tells the model what is wrong.
            return False
        except Exception:  # noqa: BLE001  # the developer's own function; where it fails, a person decides
            return True

    def accept(self) -> bool:
        """Read the last reply as the run's answer; where it does not take the form, tell the model and say no.

        Raises:
            OutputInvalid: The model was told too often.
        """
        text = self.transcript.text
        if self.output is None:
            self.answer = text
            return True
        try:
            self.answer = self.output.read(text)
        except Mismatch as mismatch:
            if self.corrections >= self.output.corrections:
                times = self.corrections + 1
                raise OutputInvalid(f"the answer did not take the form asked for, {times} times; {mismatch}") from mismatch
            self.corrections += 1
            self.transcript.add(user(str(mismatch)))
            return False
        return True
