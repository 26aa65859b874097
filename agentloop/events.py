"""What a run says about itself while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from agentloop.deltas import ShownDelta
from agentloop.messages import Reply, ToolCall, ToolResult


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run begins, or goes on."""

    run_id: str
    kind: Literal["run_started"] = "run_started"


@dataclass(frozen=True, slots=True)
class StepStarted:
    """The model is asked."""

    step: int
    """Counted from 0."""
    kind: Literal["step_started"] = "step_started"


@dataclass(frozen=True, slots=True)
class Retrying:
    """A request failed and is sent again."""

    error: Exception
    attempt: int
    """Which attempt failed, counted from 1."""
    seconds: float
    """How long is waited before the next."""
    kind: Literal["retrying"] = "retrying"


@dataclass(frozen=True, slots=True)
class Switched:
    """A model failed for good, and another is asked."""

    error: Exception
    model: str
    """The name of the one that is asked now."""
    kind: Literal["switched"] = "switched"


@dataclass(frozen=True, slots=True)
class PartialOutput:
    """The typed answer as far as it has come: plain JSON data, not validated yet."""

    value: Any
    kind: Literal["partial_output"] = "partial_output"


@dataclass(frozen=True, slots=True)
class Replied:
    """The model's reply is whole and written down."""

    reply: Reply
    replayed: bool = False
    """Whether an earlier life of the run wrote it down."""
    kind: Literal["replied"] = "replied"


@dataclass(frozen=True, slots=True)
class CallStarted:
    """A tool is called."""

    call: ToolCall
    kind: Literal["call_started"] = "call_started"


@dataclass(frozen=True, slots=True)
class CallProgress:
    """A tool that is still running says something."""

    call: ToolCall
    value: Any
    kind: Literal["call_progress"] = "call_progress"


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A call has its result, and it is written down."""

    call: ToolCall
    result: ToolResult
    seconds: float
    replayed: bool = False
    """Whether an earlier life of the run wrote it down."""
    kind: Literal["call_ended"] = "call_ended"


@dataclass(frozen=True, slots=True)
class Paused:
    """The run stops until a person has spoken on these calls, or their results have come from outside."""

    calls: tuple[ToolCall, ...]
    kind: Literal["paused"] = "paused"


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The run is over, paused or failed; `Stream.result` or the error has the rest."""

    outcome: Literal["done", "paused", "failed"]
    kind: Literal["run_ended"] = "run_ended"


@dataclass(frozen=True, slots=True)
class Nested:
    """An agent that is a tool says something."""

    agent: str
    call: ToolCall
    """The call by which it was given its work."""
    event: Event
    kind: Literal["nested"] = "nested"


Notice = Retrying | Switched
"""What a model says beside its reply."""
Event = (
    RunStarted
    | StepStarted
    | ShownDelta
    | Notice
    | PartialOutput
    | Replied
    | CallStarted
    | CallProgress
    | CallEnded
    | Nested
    | Paused
    | RunEnded
)
Emit = Callable[[Event], None]


def unheard(_: Event) -> None:
    """Emit to nobody."""
