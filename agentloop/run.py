"""What one run holds while it runs: who is asked, what may be called, what was said, what may be spent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from agentloop.approvals import UNKNOWN_OUTCOME, Granted, Rules, Ruling, auto, rule, rule_doubt
from agentloop.early import Early
from agentloop.errors import LimitReached, OutputInvalid
from agentloop.events import Emit, unheard
from agentloop.journal import Work
from agentloop.journal.typed import TypedJournal
from agentloop.journal.written import TOLD, Forked
from agentloop.limits import Budget
from agentloop.messages import HostedTool, Message, Settings, Text, ToolCall, ToolDescription, ToolResult, Usage, user
from agentloop.models import Model
from agentloop.output import Mismatch, Output
from agentloop.repeats import Repeats
from agentloop.tools.function import Tool
from agentloop.tools.read_on import read_on
from agentloop.tools.results import READ_ON
from agentloop.transcript import Dispatch, Question, Transcript


@dataclass(frozen=True, slots=True)
class Doubt:
    """A call that an earlier life of the run began, and whose result was lost with it."""

    granted: Granted
    """As it was made."""
    times: int
    """How often that has happened."""


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
    corrected: int = 0
    """How often in this life; a run that failed for it is told again when it is resumed."""
    repeats: Repeats = field(init=False)
    early: Early | None = None
    """The calls of the last reply that were started before it had ended."""
    slots: asyncio.Semaphore = field(init=False)
    """Lets so many calls run side by side as may."""
    limited: str | None = None
    """The limit after which the model was asked for its last answer."""
    journal: TypedJournal = field(default_factory=TypedJournal)
    works: dict[str, Work] = field(default_factory=dict[str, Work])
    """The agents that calls are given to, as runs of their own; one dict for all the agents in one another."""
    in_doubt: Literal["wait", "tell"] = "wait"
    """Whether a person is asked about calls in doubt, or the model is told at once that nobody knows."""
    doubts: dict[str, Doubt] = field(default_factory=dict[str, Doubt])
    """The calls in doubt, by their ids."""
    words: dict[str, int] = field(default_factory=dict[str, int])
    """How many questions on each call were answered, by the calls' ids."""
    held: set[str] = field(default_factory=set[str])
    """The calls given to agents that wait for a person themselves, by their ids."""
    other_tools: Mapping[str, str] | None = None
    """The tools that have changed since the run began, and how; None where that does not matter."""
    forked: Forked | None = None
    """Where the run comes from, if it is a fork."""
    recalled: dict[str, ToolResult] = field(default_factory=dict[str, ToolResult])
    """What calls of the last reply came to in earlier lives, by their ids."""
    asked: dict[str, Question] = field(default_factory=dict[str, Question])
    """What earlier lives asked about calls, and nobody has answered yet, by the calls' ids."""
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

    def place(self, call: ToolCall) -> str:
        """Name the place of a call of the last reply in the journal: its step and its index, since providers' ids are not unique."""
        doubt = self.doubts.get(call.id)
        return f"{self.transcript.replies - 1}/{self.transcript.place(call.id)}" + (f"/again/{doubt.times}" if doubt else "")

    def first_of(self, step: int) -> str:
        """Name the run that took a step first: in a fork, the one that it has the step from. Idempotency keys are built on it."""
        name, forked = self.transcript.run_id, self.forked
        while forked is not None and step < forked.at:
            name, forked = forked.run_id, forked.of
        return name

    def write(self, result: ToolResult) -> None:
        """Write down what a call came to."""
        self.transcript.add_result(result)
        if result.whole is not None:
            self.let_read_on()

    def doubt(self, call: ToolCall, granted: Granted) -> None:
        """Take a call for one whose result was lost; what was said on it before is void."""
        before = self.doubts.get(call.id)
        self.doubts[call.id] = Doubt(granted, before.times + 1 if before else 1)
        self.transcript.decisions.pop(call.id, None)
        self.forget_ruling(call)

    def let_read_on(self) -> None:
        """Offer the model to read on in a result that was cut."""
        if READ_ON not in self.tools:
            tool = read_on(self._whole)
            self.tools = {**self.tools, tool.name: tool}
            self.descriptions = (*self.descriptions, tool.description)

    def settings_now(self) -> Settings:
        """Say how the model is asked next."""
        # A model that is told to correct its answer has called what it needed, and one at its limit may call no more.
        if self.corrections or self.limited:
            return replace(self.settings, tool_choice="none")
        # A model that must call a tool in each reply would never finish.
        forced = self.settings.tool_choice not in {None, "auto", "none"}
        if forced and self.transcript.asked[-1].role == "tool":
            return replace(self.settings, tool_choice="auto")
        return self.settings

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

    async def concludes(self, reached: LimitReached) -> bool:
        """Whether the model is asked for its last answer after this limit; what it still waits for is answered, so that it can be."""
        if not self.budget.limits.final_answer or self.limited or reached.limit not in _ASKED_ONCE_MORE:
            return False
        self.limited = reached.limit
        said: list[Message] = []
        match self.transcript.next_move():
            case Dispatch(calls):
                said += [Message("tool", (self._instead(call, reached),)) for call in calls]
            case _:
                pass
        words = f"The limit of {reached.limit} is reached, and no more tools can be called. Give your best answer now, from what you have."
        await self._tell(*said, user(words))
        return True

    def _instead(self, call: ToolCall, reached: LimitReached) -> ToolResult:
        """Say what the model reads of a call that is not made any more."""
        if call.id in self.recalled:
            return self.recalled[call.id]
        words = UNKNOWN_OUTCOME if call.id in self.doubts else f"Not run: the limit of {reached.limit} is reached."
        return ToolResult(call.id, words, is_error=True, name=call.name)

    async def _tell(self, *messages: Message) -> bool:
        """Add messages of our own to the transcript, and say whether an earlier life has done so."""

        async def said() -> tuple[Message, ...]:
            return messages

        told, replayed = await self.journal.step(f"{self.transcript.replies}/told/{len(self.transcript)}", said, form=TOLD)
        for message in told:
            self.transcript.add(message)
        return replayed

    def _whole(self, call_id: str) -> str | None:
        results = (result for message in self.transcript for result in message.results)
        return next((result.whole for result in results if result.call_id == call_id), None)

    def ruling(self, call: ToolCall) -> Ruling:
        """Say what becomes of the call; ruled once in a run, so that what was let through is what runs."""
        key = (call.id, call.name, call.arguments)
        if key not in self.rulings:
            decision, tool = self.transcript.decisions.get(call.id), self.tools.get(call.name)
            if doubt := self.doubts.get(call.id):
                ruling = rule_doubt(doubt.granted, tool, times=doubt.times, decision=decision)
            else:
                ruling = rule(call, tool, policy=self.approvals, decision=decision)
            if isinstance(ruling, Granted) and decision is None:
                # What was asked stays asked, though nobody would ask about it now.
                ruling = self.asked.get(call.id, ruling)
            self.rulings[key] = ruling
        return self.rulings[key]

    def forget_ruling(self, call: ToolCall) -> None:
        """Rule on the call anew: something was said on it, or found out about it."""
        self.rulings.pop((call.id, call.name, call.arguments), None)

    def waits(self, call: ToolCall) -> bool:
        """Whether a call must not run yet, for want of a person's word or of a result from outside."""
        if call.id in self.recalled:
            return False
        return call.id in self.held or isinstance(self.ruling(call), Question)

    async def accept(self) -> bool:
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
            if self.corrected >= self.output.corrections:
                times = self.corrections + 1
                raise OutputInvalid(f"the answer did not take the form asked for, {times} times; {mismatch}") from mismatch
            self.corrections += 1
            if not await self._tell(user(str(mismatch))):
                self.corrected += 1
            return False
        return True
