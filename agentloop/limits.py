"""What a run may spend: steps, calls, tokens, seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic

from agentloop.errors import LimitReached
from agentloop.messages import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a run may spend; None is no limit. A run that is resumed may spend as much again."""

    steps: int | None = 25
    """Replies of the model."""
    calls: int | None = None
    """Tool calls, over all steps."""
    calls_per_reply: int = 256
    """Tool calls in one reply; the model is told that those above it were not run."""
    tokens: int | None = None
    """Input and output together, over all steps; checked before each step."""
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "calls", "calls_per_reply", "tokens", "seconds"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"Limits({name}={value!r}) allows nothing; give a positive number, or None for no limit")


@dataclass(slots=True)
class Budget:
    """What a run has spent of its limits."""

    limits: Limits
    steps: int = 0
    calls: int = 0
    usage: Usage = field(default_factory=Usage)
    started: float = field(default_factory=monotonic)

    def take_step(self) -> None:
        """Spend a step.

        Raises:
            LimitReached: There is none left, or no token.
        """
        if self.limits.steps is not None and self.steps >= self.limits.steps:
            raise _reached("steps", f"took all {self.limits.steps} steps")
        if self.limits.tokens is not None and self.usage.total_tokens >= self.limits.tokens:
            raise _reached("tokens", f"spent {self.usage.total_tokens} of the {self.limits.tokens} tokens")
        self.steps += 1

    def take_calls(self, count: int) -> None:
        """Spend `count` tool calls.

        Raises:
            LimitReached: There are not that many left; none is spent.
        """
        if self.limits.calls is not None and self.calls + count > self.limits.calls:
            if count > self.limits.calls:
                words = f"one reply wants {count} tool calls, and the run may make {self.limits.calls}; raise Limits(calls=...)"
                raise LimitReached(words, limit="calls")
            raise _reached("calls", f"wants {count} more tool calls after {self.calls} of the {self.limits.calls}")
        self.calls += count

    def out_of_time(self) -> LimitReached:
        """Make the error of a run that took too long."""
        return _reached("seconds", f"ran for {monotonic() - self.started:.1f} of the {self.limits.seconds} seconds")


def _reached(limit: str, what: str) -> LimitReached:
    return LimitReached(f"the run {what} it was allowed; raise Limits({limit}=...) or resume it", limit=limit)
