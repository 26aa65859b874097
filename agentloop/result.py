"""What a run came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, cast

from typing_extensions import TypeVar

from agentloop.errors import AgentLoopError
from agentloop.messages import Citation, ToolCall, Usage
from agentloop.run import Run
from agentloop.transcript import Transcript, Wait

Out = TypeVar("Out", default=str)


@dataclass(frozen=True, slots=True)
class Result(Generic[Out]):
    """What a run came to: done, paused, or, on an error, how far it got."""

    transcript: Transcript
    usage: Usage
    """The tokens of this run; since it was resumed, unless a journal knows them all."""
    steps: int
    """How often the model was asked in it."""
    waiting: tuple[ToolCall, ...] = ()
    """The calls that need a person's word or a result from outside: `transcript.approve(call.id)`, `.deny` or `.answer`, then resume."""
    answer: Out | None = None
    done: bool = False
    """Whether the model has finished."""
    limited: str | None = None
    """The limit that ended the work, where the model was asked for its last answer then."""

    @property
    def output(self) -> Out:
        """The answer as the type that was asked for; the text itself where none was.

        Raises:
            AgentLoopError: The run is not done.
        """
        if not self.done:
            waits = f"it waits for a word on {', '.join(call.name for call in self.waiting)}; give it and " if self.waiting else ""
            raise AgentLoopError(f"the run has no answer yet; {waits}resume it")
        return cast("Out", self.answer)

    @property
    def run_id(self) -> str:
        """The run that this came of; with a journal, it is resumed by this name."""
        return self.transcript.run_id

    @property
    def text(self) -> str:
        """The words of the last message."""
        return self.transcript.text

    @property
    def citations(self) -> tuple[Citation, ...]:
        """Where the text comes from; `start` and `end` of each are a slice of it."""
        return self.transcript.messages[-1].citations if len(self.transcript) else ()

    @property
    def paused(self) -> bool:
        """Whether a person must speak before the run can go on."""
        return bool(self.waiting)


def result_of(run: Run, *, done: bool) -> Result[Any]:
    """Say how far a run has got."""
    move = run.transcript.next_move(run.waits)
    waiting = move.calls if isinstance(move, Wait) else ()
    return Result(
        transcript=run.transcript,
        usage=run.budget.usage,
        steps=run.budget.steps,
        waiting=waiting,
        answer=run.answer,
        done=done and not waiting,
        limited=run.limited,
    )
