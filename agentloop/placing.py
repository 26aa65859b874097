"""What an agent's run is inside of: a flow, which gives it a place of its own; and what the run then comes to, as JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol, cast

from pydantic_core import from_json, to_json

from agentloop.errors import AgentLoopError, ConfigurationError
from agentloop.failures import Failure
from agentloop.journal import Journal, Unanswered, Work
from agentloop.journal.runs import Waiting
from agentloop.journal.typed import Form
from agentloop.journal.written import END
from agentloop.messages import Message, Text, Usage, UserPart, user
from agentloop.output import Output
from agentloop.result import Result
from agentloop.transcript import Transcript

Perform = Callable[[Journal | None, str], Awaitable[str]]
"""Does what was called in a flow, as a run of its own: of its journal, if there is one, and its id it makes its outcome, as JSON."""


class Asked(Unanswered):
    """A run waits for a word, and nobody but who reads this can learn of it."""

    def __init__(self, run_id: str, waiting: tuple[Waiting, ...] = ()) -> None:
        super().__init__(run_id)
        self.waiting = waiting


class Place(Protocol):
    """Where a run in a flow is done and written down."""

    works: dict[str, Work]
    in_doubt: Literal["wait", "tell"]

    def spawn(
        self, name: str, perform: Perform, *, given: str, failed: Callable[[BaseException], str], kind: Literal["agent", "flow"] = "agent"
    ) -> Coroutine[Any, Any, str]:
        """Take the next number now, and do the work under it once this is awaited.

        Args:
            name: Of the agent, or the flow.
            perform: Does the work.
            given: What it is given, as JSON.
            failed: Says in JSON what the work came to where it failed, and the flow went on.
            kind: What the name is of.
        """
        ...


place: ContextVar[Place | None] = ContextVar("place", default=None)
"""The flow whose code runs here; None outside of flows, and in what they call."""


@contextmanager
def outside_of_flows() -> Generator[None]:
    """Do what is no step of the flow whose code runs here: the agents in it take no numbers there."""
    before = place.set(None)
    try:
        yield
    finally:
        place.reset(before)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an agent's run in a flow came to: the last record of that run."""

    steps: int
    usage: Usage
    text: str
    """The words of the last message."""
    transcript: Any = None
    """All that was said, as `Transcript.to_json` writes it."""
    limited: str | None = None
    failure: Failure | None = None
    """The error that ended it, where the flow went on in spite of it."""


_OUTCOME: Form[Outcome] = Form(Outcome)
_PROMPT: Form[str | tuple[str | UserPart, ...]] = Form(str | tuple[str | UserPart, ...])


def own_name(run_id: str | None) -> str | None:
    """Check the name of a run that is inside of nothing.

    Raises:
        ConfigurationError: It names a run inside another.
    """
    if run_id is not None and "/" in run_id:
        around = run_id.partition("/")[0]
        raise ConfigurationError(f"{run_id!r} names a run inside the run {around!r}; resume that one, or choose a run_id without '/'")
    return run_id


def said(transcript: Transcript) -> str:
    """Write down what a run begins with: a prompt as its text, or else all that was said."""
    match transcript.messages:
        case (Message("user", (Text(text),)),):
            return _PROMPT.written(text)
        case _:
            return transcript.to_json().decode()


def read_said(text: str) -> Transcript:
    """Read what a run begins with.

    Raises:
        JournalMismatch: It is no prompt.
    """
    if isinstance(from_json(text), dict):
        return Transcript.from_json(text)
    prompt = _PROMPT.read(text, key="input")
    return Transcript([user(prompt) if isinstance(prompt, str) else user(*prompt)])


def written(result: Result[Any], failure: Failure | None = None) -> str:
    """Write down what a run came to.

    Raises:
        Unanswered: It waits for a person.
    """
    if result.paused and failure is None:
        calls, questions = result.waiting, result.transcript.questions
        raise Asked(result.run_id, tuple(Waiting(result.run_id, call, questions[call.id], "") for call in calls if call.id in questions))
    transcript = from_json(result.transcript.to_json())
    return _OUTCOME.written(Outcome(result.steps, result.usage, result.text, transcript, result.limited, failure))


def failed(error: BaseException) -> str:
    """Write down what a run came to that failed."""
    result = error.result if isinstance(error, AgentLoopError) else None
    failure = Failure.of(error)
    if not isinstance(result, Result):
        return _OUTCOME.written(Outcome(0, Usage(), "", failure=failure))
    return written(cast("Result[Any]", result), failure)


async def came_to(outcome: Awaitable[str], output: Output[Any] | None) -> Result[Any]:
    """Read what a run came to.

    Args:
        outcome: As `written` and `failed` wrote it.
        output: The type of the agent's answers.

    Raises:
        Exception: It failed, and its flow went on in spite of it.
    """
    read = _OUTCOME.read(await outcome, key=END)
    transcript = Transcript() if read.transcript is None else Transcript.from_json(to_json(read.transcript))
    words = [part.text for part in transcript.asked[-1].parts if isinstance(part, Text)] if transcript else []
    result: Callable[..., Result[Any]] = partial(Result, transcript, read.usage, read.steps, limited=read.limited)
    if read.failure is None:
        return result(answer="".join(words) if output is None else output.read(*words), done=True)
    error = read.failure.error()
    if isinstance(error, AgentLoopError) and transcript:
        error.result = result()
        raise error
    return await read.failure.raise_again()


def run_in(
    flow: Place, perform: Perform, *, agent: str, begun: Transcript, output: Output[Any] | None, run_id: str | None
) -> Coroutine[Any, Any, Result[Any]]:
    """Run an agent in a flow: it takes its number there now.

    Raises:
        ConfigurationError: It was given a name of its own.
    """
    if run_id is not None:
        raise ConfigurationError(f"{agent!r} runs in a flow, which names its run; leave run_id={run_id!r} out")
    return came_to(flow.spawn(agent, perform, given=said(begun), failed=failed), output)
