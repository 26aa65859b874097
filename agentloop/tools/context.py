"""What a tool may know about its run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic

from typing_extensions import TypeVar

from agentloop.messages import ToolCall

Deps = TypeVar("Deps", default=Any)


def _unheard(_: object) -> None:
    pass


# Without slots, with which `Context[None]()` fails on Python 3.11: `typing` then sets an attribute, and forgives an AttributeError only.
@dataclass(frozen=True, kw_only=True)
class Context(Generic[Deps]):
    """What a tool may know about its run; a parameter annotated `Context` receives it and stays hidden from the model."""

    deps: Deps = None  # type: ignore[assignment]  # a run without deps has None
    """What `Agent.run(deps=...)` was given."""
    run_id: str = ""
    step: int = 0
    """How many replies the run had before the one that made this call."""
    call: ToolCall | None = None
    """The call being answered; None where a tool is called outside a run."""
    idempotency_key: str = ""
    """Stable over retries and resumes of this very call: made of the run, the call's place and its arguments."""
    progress: Callable[[object], None] = _unheard
    """Say something while still running; users see it as a `CallProgress` event. Callable from any thread."""
    run: Any = field(default=None, repr=False, compare=False)
    """The run that the call belongs to; an agent that is a tool shares its budget and its watchers."""


def key_of(run_id: str, call: ToolCall, *, purpose: str = "") -> str:
    """Make the idempotency key of a call: of the run, the call's place and its arguments, and of what else is done about it."""
    parts = [run_id, call.id, call.name, call.arguments, *([purpose] if purpose else [])]
    return hashlib.sha256("\n".join(parts).encode("utf-8", "replace")).hexdigest()[:32]
