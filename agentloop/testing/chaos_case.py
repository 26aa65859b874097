"""One case of chaos: an agent, one thing that goes wrong, and what must hold all the same."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

import httpx

from agentloop.agent import Agent, Prompt
from agentloop.errors import AgentLoopError, BadTranscript
from agentloop.messages import Reply, Request
from agentloop.models import Hear, Model
from agentloop.models.providers import model as model_named
from agentloop.models.retries import Retries
from agentloop.models.server import Timeouts
from agentloop.result import Result
from agentloop.testing.awaits import Worked, work_through
from agentloop.testing.chaos_tools import Ledger, watch_tools
from agentloop.testing.faults import GatewayTurn
from agentloop.testing.gateway import Gateway
from agentloop.testing.turns import Turn, always
from agentloop.transcript import Transcript

WireName = Literal["chat", "responses", "messages", "gemini"]

_MODELS: Mapping[WireName, tuple[str, str]] = {
    "chat": ("openai/chat:gpt-4o", "http://gateway/v1"),
    "responses": ("openai/responses:gpt-4o", "http://gateway/v1"),
    "messages": ("anthropic/messages:claude-sonnet-4-5", "http://gateway/v1"),
    "gemini": ("gemini/gemini:gemini-2.5-pro", "http://gateway/v1beta"),
}
_PATIENT, _IMPATIENT = 5.0, 0.04
_LONGEST = 10.0
_LONGEST_CANCEL = 1.0
_SETTLING_TURNS, _SETTLING_PAUSE = 200, 0.002
# The loop's own pool and ours keep their threads; nobody waits for either when the process ends.
_POOLS = ("agentloop-", "asyncio_")


@dataclass(frozen=True, slots=True)
class Subject:
    """What is put through the cases."""

    make: Callable[[Model], Agent[Any]]
    prompt: Prompt
    script: tuple[Turn, ...]
    deps: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What goes wrong, and where."""

    name: str
    wire: WireName
    streamed: bool
    turn: int = 0
    """The turn of the script that the fault hits."""
    fault: Callable[[Turn], GatewayTurn] | None = None
    lasting: bool = False
    """Whether the fault hits each attempt, until the run is resumed."""
    silent: bool = False
    """Whether only a time-out ends it."""
    failing: str = ""
    """The tool that raises."""
    cancel_at: int | None = None
    """The await at which the run is cancelled."""

    def __str__(self) -> str:
        where = f", turn {self.turn + 1}, {'each time' if self.lasting else 'once'}" if self.fault else ""
        place = f" {self.cancel_at}" if self.cancel_at is not None else ""
        return f"{self.name}{place}{where} ({self.wire}, {'streamed' if self.streamed else 'whole'})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a case came to."""

    case: Case
    words: str
    """How the run ended: "answered", "paused", or its error."""
    problems: tuple[str, ...]
    """What did not hold."""
    text: str = ""
    awaits: int = 0
    seconds: float = 0.0
    """How long the run took to come back, from its start or from when it was cancelled."""


async def play(subject: Subject, case: Case, *, answer: str | None = None) -> Outcome:
    """Play a case: the run, and where it did not end well, resume it without the fault.

    Args:
        subject: Whose run.
        case: What goes wrong.
        answer: What the run must answer in the end; None takes any.
    """
    stage = _Stage(subject, case)
    with _Leftovers() as leftovers:
        async with stage.client:
            first = await work_through(lambda: stage.run(None), cancel_at=case.cancel_at, seconds=_LONGEST)
            problems = [*_ended(first), *_held(first, stage)]
            words, last = _words(first), first
            if first.is_over and first.error is not None and isinstance(first.error, AgentLoopError | asyncio.CancelledError):
                last = await stage.resumed(_state(first, stage))
                problems += [f"resuming: {problem}" for problem in (*_ended(last), *_held(last, stage))]
                if last.error is not None:
                    problems.append(f"resuming: the run fails again without the fault: {_told(last.error)}")
        problems += await leftovers.problems()
    result: Result[Any] | None = last.value
    text = result.text if result else ""
    if result is not None and result.done and answer is not None and text != answer:
        problems.append(f"answer: the run answers {text!r}, and the model said {answer!r}")
    problems += stage.ledger.problems(subject.script)
    problems += [f"connections: the request {number} is left open" for number in stage.open_requests]
    return Outcome(case=case, words=words, problems=tuple(problems), text=text, awaits=first.awaits, seconds=first.seconds)


class _Stage:
    """The agent of one case, and the gateway that it asks."""

    def __init__(self, subject: Subject, case: Case) -> None:
        self.subject = subject
        self.case = case
        self.ledger = Ledger(failing=case.failing)
        self._lifted = False
        self._attempts: Counter[int] = Counter()
        self._asked = 0
        self._gateway = Gateway(always(self._turn))
        self.client = httpx.AsyncClient(transport=self._gateway.transport(), trust_env=False)
        self._model = self._made_model()
        self.agent = subject.make(_Staged(self))
        watch_tools(self.agent, self.ledger)

    async def run(self, before: Transcript | None) -> Result[Any]:
        """Run the agent, or go on from `before`."""
        work, deps = before if before is not None else self.subject.prompt, self.subject.deps
        if self.case.streamed:
            async with self.agent.stream(work, deps=deps) as stream:
                async for _ in stream:
                    pass
            return stream.result
        return await (self.agent.resume(work, deps=deps) if isinstance(work, Transcript) else self.agent.run(work, deps=deps))

    async def resumed(self, before: Transcript | None) -> Worked[Result[Any]]:
        """Go on without the fault."""
        self._lifted = True
        self._model = self._made_model()
        return await work_through(lambda: self.run(before), seconds=_LONGEST)

    @property
    def refusals(self) -> list[str]:
        """Why the gateway refused requests."""
        return [request.refused for request in self._gateway.requests if request.refused]

    @property
    def open_requests(self) -> list[int]:
        """Which requests were neither answered nor given up."""
        return [number for number, request in enumerate(self._gateway.requests) if request.outcome == "open"]

    async def ask(self, request: Request, hear: Hear) -> Reply:
        """Ask the gateway for the turn that belongs behind this transcript, so that a run that is resumed hears what it did not hear."""
        self._asked = request.step
        return await self._model.ask(request, hear)

    def _made_model(self) -> Model:
        name, base_url = _MODELS[self.case.wire]
        seconds = _IMPATIENT if self.case.silent and not self._lifted else _PATIENT
        return model_named(
            name,
            base_url=base_url,
            key="any",
            client=self.client,
            timeouts=Timeouts(idle=seconds, attempt=seconds),
            retries=Retries(attempts=2 if self.case.silent else 4, first_wait=0, longest_wait=0),
        )

    def _turn(self, _: Any) -> GatewayTurn:
        step, case = self._asked, self.case
        if step >= len(self.subject.script):
            raise AssertionError(f"the script has {len(self.subject.script)} turns, and the model was asked for another")
        turn = self.subject.script[step]
        self._attempts[step] += 1
        is_hit = case.fault is not None and step == case.turn and (case.lasting or self._attempts[step] == 1) and not self._lifted
        return case.fault(turn) if case.fault is not None and is_hit else turn


class _Staged:
    """The model that the agent is made with."""

    name = "chaos"

    def __init__(self, stage: _Stage) -> None:
        self._stage = stage

    async def ask(self, request: Request, hear: Hear) -> Reply:
        return await self._stage.ask(request, hear)


class _Leftovers:
    """Finds what a run leaves behind in its `with` block."""

    def __init__(self) -> None:
        self._tasks = asyncio.all_tasks()
        self._threads = set(threading.enumerate())
        self._loop = asyncio.get_running_loop()
        self._before = self._loop.get_exception_handler()
        self._lost: list[str] = []

    def __enter__(self) -> Self:
        self._loop.set_exception_handler(lambda _, told: self._lost.append(str(told.get("exception") or told["message"])))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._loop.set_exception_handler(self._before)

    async def problems(self) -> list[str]:
        """Say what is still there after a moment."""
        left = [*self._left()]
        for _ in range(_SETTLING_TURNS if left else 0):
            await asyncio.sleep(_SETTLING_PAUSE)
            if not (left := [*self._left()]):
                break
        return left + [f"errors: nobody heard of {words}" for words in self._lost]

    def _left(self) -> Iterator[str]:
        for task in asyncio.all_tasks() - self._tasks:
            yield f"tasks: {task.get_name()} still runs {task.get_coro()!r}"
        for thread in set(threading.enumerate()) - self._threads:
            if not thread.name.startswith(_POOLS):
                yield f"threads: {thread.name} still runs"


def _ended(worked: Worked[Result[Any]]) -> Iterator[str]:
    """Say what is wrong with how a run ended."""
    if not worked.is_over:
        yield f"time: the run has not ended after {_LONGEST:g} s"
    elif worked.was_cancelled and worked.seconds > _LONGEST_CANCEL:
        yield f"time: the run came back {worked.seconds:.1f} s after it was cancelled"
    if worked.is_over and worked.was_cancelled and not isinstance(worked.error, asyncio.CancelledError):
        yield f"cancelling: the run was cancelled, and ended with {_told(worked.error) if worked.error else 'a result'}"
    elif worked.error is not None and not isinstance(worked.error, AgentLoopError | asyncio.CancelledError):
        yield f"errors: the run ended with {_told(worked.error)}, which is no AgentLoopError"


def _held(worked: Worked[Result[Any]], stage: _Stage) -> Iterator[str]:
    """Say what does not hold of how far a run got."""
    result: Result[Any] | None = worked.value or getattr(worked.error, "result", None)
    if isinstance(worked.error, AgentLoopError) and result is None:
        yield f"resuming: {type(worked.error).__name__} does not say how far the run got"
    if result is not None:
        yield from _pairing(result)
        limits = stage.agent.limits
        if limits.steps is not None and result.steps > limits.steps:
            yield f"budgets: the run took {result.steps} of {limits.steps} steps"
        if limits.calls is not None and stage.ledger.most_calls > limits.calls:
            yield f"budgets: the run made {stage.ledger.most_calls} of {limits.calls} calls"
    yield from (f"requests: a provider would refuse one: {words}" for words in stage.refusals)


def _pairing(result: Result[Any]) -> Iterator[str]:
    try:
        again = Transcript.from_json(result.transcript.to_json())
    except BadTranscript as error:
        yield f"pairing: {error}"
        return
    if again.messages != result.transcript.messages:
        yield "pairing: the transcript reads differently once it was stored"
    if result.done and result.transcript.messages[-1].role != "assistant":
        yield f"pairing: the run is done, and its last message is a {result.transcript.messages[-1].role}'s"


def _state(worked: Worked[Result[Any]], stage: _Stage) -> Transcript | None:
    """Find the transcript from which to go on; None begins anew, where no call was made yet."""
    result = getattr(worked.error, "result", None)
    transcript = result.transcript if result else stage.ledger.transcript
    return Transcript.from_json(transcript.to_json()) if transcript else None


def _words(worked: Worked[Result[Any]]) -> str:
    if not worked.is_over:
        return "endless"
    if worked.error is not None:
        return type(worked.error).__name__
    return "paused" if worked.value and worked.value.paused else "answered"


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
