"""How a tool may be called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Effect = Literal["read", "idempotent", "once"]
Lock = str | Callable[[Mapping[str, Any]], str]
Reconcile = Callable[..., Any]
Undo = Callable[..., Any]
Preview = Callable[..., Any]
NeedsApproval = bool | Callable[[Mapping[str, Any]], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a tool may be called."""

    effect: Effect = "once"
    """What calling again would do: "read" changes nothing, "idempotent" changes nothing more, "once" may do harm."""
    retries: int = 0
    """How often a failed call is tried again; only where the effect allows it."""
    timeout: float | None = 60.0
    """Seconds until a call is given up; None waits for ever."""
    max_concurrency: int | None = None
    """How many calls of the tool run at once in one event loop."""
    lock: Lock | None = None
    """Calls with the same key run one after the other in one event loop: a key, or a function of the arguments that gives one."""
    needs_approval: NeedsApproval = False
    """Whether a person must allow the call first: a flag, or a function of the arguments."""
    destructive: bool = False
    """The call may delete or overwrite: people who approve are told, and broken JSON is never repaired for it."""
    open_world: bool = False
    """A hint for people who approve: the call reaches beyond this machine."""
    isolated: bool = False
    """Whether each call runs in a process of its own, without the run's deps and without keys in its environment."""
    memory: int | None = 2**30
    """Bytes that the process of an isolated call may fill with data; None sets no limit. Linux holds it to them, macOS does not."""
    cpu: float | None = None
    """Seconds of processor time that the process of an isolated call may use, rounded up; None sets no limit but `timeout`."""
    poll: bool = False
    """Whether the same call with the same result, again and again, is meant."""
    reconcile: Reconcile | None = None
    """Finds out what became of a call of effect "once" that was cut off. It takes what the tool takes, and returns what the call came
    to, or raises LookupError where the call never took effect and may be made; whatever else it raises leaves the call in doubt."""
    undo: Undo | None = None
    """Takes back what a call did. It takes what the tool takes, and may name a further parameter `result`: what the call came to, as text
    if the parameter is a `str`, else as the JSON value. Where it is cut off, it is in doubt, unless it is a tool of another effect than
    "once", which is run again with the same `context.idempotency_key`."""
    preview: Preview | None = None
    """Says what a call would do, while a plan is made. It takes what the tool takes, has no effect, and returns what the model reads
    instead of the tool's result; where it raises, the call has no place in the plan."""
