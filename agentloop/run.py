"""What one run holds while it runs: who is asked, what may be called, what was said, what may be spent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentloop.approvals import Rules, Ruling, auto, rule
from agentloop.early import Early
from agentloop.errors import LimitReached, OutputInvalid
from agentloop.events import Emit, Paused, unheard
from agentloop.limits import Budget
from agentloop.messages import HostedTool, Settings, Text, ToolCall, ToolDescription, ToolResult, Usage, user
from agentloop.models import Model
from agentloop.output import Mismatch, Output
from agentloop.repeats import Repeats
from agentloop.tools.function import Tool
from agentloop.tools.read_on import read_on
from agentloop.tools.results import READ_ON
from agentloop.transcript import Dispatch, Question, Transcript

_ASKED_ONCE_MORE = {"steps", "calls", "repeats"}


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
    approvals: Rules = auto
    """What becomes of a call: it runs, waits for a person's word or is denied."""
    rulings: dict[tuple[str, str, str], Ruling] = field(default_factory=dict[tuple[str, str, str], Ruling])
    """What became of each call, by its id, name and arguments."""
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
    repeats: Repeats = field(init=False)
    early: Early | None = None
    """The calls of the last reply that were started before it had ended."""
    slots: asyncio.Semaphore = field(init=False)
    """Lets so many calls run side by side as may."""
    limited: str | None = None
    """The limit after which the model was asked for its last answer."""
    tokens_read: int = 0
    """The tokens of the last request and its reply."""
    messages_read: int = 0
    """How many messages they were."""

    def __post_init__(self) -> None:
        limits = self.budget.limits
        polled = {name for name, tool in self.tools.items() if tool.options.poll}
        self.repeats = Repeats(limits.repeats, self.transcript, polled=polled | {READ_ON})
        self.slots = asyncio.Semaphore(limits.calls_at_once)
        if any(result.whole is not None for message in self.transcript for result in message.results):
            self.let_read_on()

    def write(self, call: ToolCall, result: ToolResult) -> None:
        """Write down what a call came to."""
        self.transcript.add_result(result)
        self.repeats.note(call, result, step=self.transcript.replies)
        if result.whole is not None:
            self.let_read_on()

    def let_read_on(self) -> None:
        """Offer the model to read on in a result that was cut."""
        if READ_ON not in self.tools:
            tool = read_on(self._whole)
            self.tools = {**self.tools, tool.name: tool}
            self.descriptions = (*self.descriptions, tool.description)

    def count(self, usage: Usage) -> None:
        """Count what the last reply took."""
        self.budget.spend(usage)
        if usage.total_tokens:
            self.tokens_read = usage.total_tokens
            self.messages_read = len(self.transcript.asked) + 1

    def expected_input(self) -> int:
        """Guess at the tokens of the next request: those of the last, and a quarter of the characters since."""
        if not self.budget.counts_tokens:
            return 0
        fresh = self.transcript.asked[self.messages_read :]
        return (
            self.tokens_read
            + sum(len(part.text) for message in fresh for part in message.parts if isinstance(part, Text | ToolResult)) // 4
        )

    def concludes(self, reached: LimitReached) -> bool:
        """Whether the model is asked for its last answer after this limit; what it still waits for is answered, so that it can be."""
        if not self.budget.limits.final_answer or self.limited or reached.limit not in _ASKED_ONCE_MORE:
            return False
        self.limited = reached.limit
        match self.transcript.next_move():
            case Dispatch(calls):
                for call in calls:
                    words = f"Not run: the limit of {reached.limit} is reached."
                    self.transcript.add_result(ToolResult(call.id, words, is_error=True, name=call.name))
            case _:
                pass
        words = f"The limit of {reached.limit} is reached, and no more tools can be called. Give your best answer now, from what you have."
        self.transcript.add(user(words))
        return True

    def _whole(self, call_id: str) -> str | None:
        results = (result for message in self.transcript for result in message.results)
        return next((result.whole for result in results if result.call_id == call_id), None)

    def ruling(self, call: ToolCall) -> Ruling:
        """Say what becomes of the call; ruled once in a run, so that what was let through is what runs."""
        key = (call.id, call.name, call.arguments)
        if key not in self.rulings:
            decision = self.transcript.decisions.get(call.id)
            self.rulings[key] = rule(call, self.tools.get(call.name), policy=self.approvals, decision=decision)
        return self.rulings[key]

    def waits(self, call: ToolCall) -> bool:
        """Whether a call must not run yet, for want of a person's word or of a result from outside."""
        return isinstance(self.ruling(call), Question)

    def pause(self, calls: Sequence[ToolCall]) -> None:
        """Write down what is asked about the calls, so that a word on one holds for that very call."""
        for call in calls:
            if isinstance(question := self.ruling(call), Question):
                self.transcript.pose(call.id, question)
        self.emit(Paused(tuple(calls)))

    def accept(self) -> bool:
        """Read the last reply as the run's answer; where it does not take the form, tell the model and say no.

        Raises:
            OutputInvalid: The model was told too often.
        """
        words = [part.text for part in self.transcript.asked[-1].parts if isinstance(part, Text)]
        if self.output is None:
            self.answer = "".join(words)
            return True
        try:
            self.answer = self.output.read(*words)
        except Mismatch as mismatch:
            if self.corrections >= self.output.corrections:
                times = self.corrections + 1
                raise OutputInvalid(f"the answer did not take the form asked for, {times} times; {mismatch}") from mismatch
            self.corrections += 1
            self.transcript.add(user(str(mismatch)))
            return False
        return True
