"""A recorded run as a model: `model = recorded("tests/data/run.json")`, for tests without a network and without a script."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import Any

import pydantic

from agentloop.deltas import Delta, PartDelta, RefusalDelta, TextDelta, ThinkingDelta, ToolCallDelta
from agentloop.errors import ConfigurationError
from agentloop.journal.exporting import imported
from agentloop.journal.reading import beginning_of, transcript_of
from agentloop.journal.store import Record
from agentloop.journal.written import BEGINNING, REPLY, place_of, step_of
from agentloop.messages import Message, Part, Refusal, Reply, Request, Text, Thinking, ToolCall, ToolResult
from agentloop.models import Hear
from agentloop.testing.cassette_differences import Difference, first_difference
from agentloop.testing.cassette_file import RecordedRequest
from agentloop.testing.cassette_replay import CassetteDiverged
from agentloop.tools import Toolset
from agentloop.tools.collection import collect
from agentloop.tools.context import Context
from agentloop.tools.function import Tool

RECORD_AGAIN = "export the run again, or let its tools answer from the record with model.tools(...)"


@dataclass(frozen=True, slots=True)
class _Exchange:
    """A reply of a run, and what it answers."""

    run_id: str
    step: int
    agent: str
    tools: frozenset[str]
    """The names of those that the agent had; none in a fork."""
    messages: Sequence[Any]
    """As JSON data."""
    reply: Reply

    @property
    def name(self) -> str:
        return f"step {self.step} of the run {self.run_id!r}"


class RecordedModel:
    """A model that gives the replies of a recorded run, each to the messages to which it was given; made by `recorded`.

    It speaks for all the agents of the run. What diverges is raised to whoever started the run, and nothing is answered after it.
    """

    def __init__(self, path: Path, records: Sequence[Record]) -> None:
        self._path = path
        transcripts = {run_id: transcript_of(_of(records, run_id)) for run_id in _spoken(records)}
        self._left = dict(enumerate(_exchanges(records, transcripts), start=1))
        self._total = len(self._left)
        self._agents = tuple(dict.fromkeys(each.agent for each in self._left.values()))
        self._results = [_Results(transcript) for transcript in transcripts.values()]
        self._diverged: CassetteDiverged | None = None

    def __repr__(self) -> str:
        return f"<RecordedModel {str(self._path)!r}, {self.replies_left} replies left>"

    @property
    def name(self) -> str:
        """What the model is called, for people."""
        return "recorded"

    @property
    def replies_left(self) -> int:
        """How many replies nobody has asked for yet."""
        return len(self._left)

    async def ask(self, request: Request, hear: Hear) -> Reply:
        """Give the first reply left that answers the same messages.

        Raises:
            CassetteDiverged: There is none, or agents of several names were asked the same, or something diverged before.
        """
        return await self._told(request, hear, agent=None)

    def of(self, agent: str) -> RecordedAgent:
        """Make a model that gives only the replies to the agent of this name: for agents that are asked the same.

        Raises:
            ConfigurationError: There was no such agent.
        """
        if agent not in self._agents:
            raise ConfigurationError(f"no agent {agent!r} is recorded in {str(self._path)!r}; known: {', '.join(self._agents) or 'none'}")
        return RecordedAgent(agent, partial(self._told, agent=agent))

    async def _told(self, request: Request, hear: Hear, *, agent: str | None) -> Reply:
        if self._diverged is not None:
            raise self._diverged
        exchange = self._taken(request, agent)
        if request.stream:
            calls = count()
            for place, part in enumerate(exchange.reply.parts):
                await hear(_delta(part, place, calls=calls))
        return exchange.reply

    def tools(self, *tools: Toolset | Callable[..., Any]) -> tuple[Tool[..., Any], ...]:
        """Make tools that a model takes for these and that answer from the record: none is called, and nobody is asked to approve."""
        return tuple(_Answered(tool, self._result) for tool in collect(tools).values())

    def _taken(self, request: Request, agent: str | None) -> _Exchange:
        asked = _plain(request.messages)
        numbers = [number for number, each in self._left.items() if each.messages == asked and agent in {None, each.agent}]
        if not numbers:
            raise self._divergence(asked, request.text)
        # An agent that is a tool is asked once its call was made.
        numbers = [number for number in numbers if self._may_begin(self._left[number].run_id)] or numbers
        tools = frozenset(tool.name for tool in request.tools)
        numbers = [number for number in numbers if self._left[number].tools == tools] or numbers
        self._check_whose(numbers)
        return self._left.pop(numbers[0])

    def _may_begin(self, run_id: str) -> bool:
        waits = ((each.run_id, each.step) for each in self._left.values() if run_id.startswith(f"{each.run_id}/"))
        return not any(step_of(run_id.removeprefix(f"{above}/")) == step for above, step in waits)

    def _check_whose(self, numbers: Sequence[int]) -> None:
        found = [self._left[number] for number in numbers]
        agents = dict.fromkeys(each.agent for each in found)
        if len(agents) > 1 and any(each.reply.parts != found[0].reply.parts for each in found):
            self._diverged = CassetteDiverged(
                f"the replay of {str(self._path)!r} cannot tell whom it answers: the agents {' and '.join(map(repr, agents))} were asked "
                f"the same and replied differently; give each its own model, such as model.of({found[0].agent!r})",
                exchange=numbers[0],
            )
            raise self._diverged

    def _divergence(self, asked: Sequence[Any], text: str) -> CassetteDiverged:
        replay = f"the replay of {str(self._path)!r} diverges"
        nearest = self._nearest(asked)
        if nearest is None:
            self._diverged = CassetteDiverged(
                f"{replay}: all {self._total} replies are given, and {text[:80]!r} is asked once more; {RECORD_AGAIN}"
            )
            return self._diverged
        number, difference = nearest
        words = f"{replay} from {self._left[number].name} at {difference.path}: recorded {difference.recorded}, asked {difference.asked}"
        self._diverged = CassetteDiverged(f"{words}; {RECORD_AGAIN}", exchange=number, path=difference.path)
        return self._diverged

    def _nearest(self, asked: Sequence[Any]) -> tuple[int, Difference] | None:
        differences = ((number, first_difference(_body(each.messages), _body(asked))) for number, each in self._left.items())
        candidates = [(number, difference) for number, difference in differences if difference is not None]
        return max(candidates, key=lambda candidate: candidate[1].equal_before, default=None)

    def _result(self, call: ToolCall) -> ToolResult:
        for results in self._results:
            if (found := results.take(call)) is not None:
                return found
        self._diverged = self._diverged or CassetteDiverged(
            f"the replay of {str(self._path)!r} diverges: no result is left of the call {call.name}({call.arguments}); {RECORD_AGAIN}"
        )
        raise self._diverged


@dataclass(frozen=True, slots=True)
class RecordedAgent:
    """A model that gives the replies to one of the agents of a recorded run; made by `RecordedModel.of`."""

    name: str
    """The agent's."""
    _told: Callable[[Request, Hear], Awaitable[Reply]]

    async def ask(self, request: Request, hear: Hear) -> Reply:
        """Give the first reply left to this agent that answers the same messages.

        Raises:
            CassetteDiverged: There is none, or something diverged before.
        """
        return await self._told(request, hear)


class _Results:
    """What the calls of a run came to."""

    def __init__(self, transcript: Iterable[Message]) -> None:
        messages = tuple(transcript)
        results = {result.call_id: result for message in messages for result in message.results}
        made = [call for message in messages for call in message.calls if call.id in results]
        self._left = deque((call, results[call.id]) for call in made)

    def take(self, call: ToolCall) -> ToolResult | None:
        for known, result in self._left:
            if (known.id, known.name, known.arguments) == (call.id, call.name, call.arguments):
                self._left.remove((known, result))
                return result
        return None


class _Answered(Tool[..., Any]):
    """A tool whose calls are answered from a record."""

    def __init__(self, tool: Tool[..., Any], answer: Callable[[ToolCall], ToolResult]) -> None:  # the tool is whole already
        vars(self).update(vars(tool))
        # No policy asks about what only reads; and this does no more.
        self.options = replace(
            tool.options,
            effect="read",
            destructive=False,
            open_world=False,
            needs_approval=False,
            isolated=False,
            reconcile=None,
            undo=None,
            lock=None,
        )
        self.delegate = None
        self._answer_of = answer

    async def call(self, call: ToolCall, context: Context[Any]) -> ToolResult:
        """Give the recorded result."""
        del context
        return self._answer_of(call)


def recorded(path: str | os.PathLike[str]) -> RecordedModel:
    """Make a model of a run that `agentloop runs export` or `Runs.export` wrote.

    ```python
    model = recorded("tests/data/run.json")
    result = Agent(model, tools=[get_weather]).run_sync("Do I need an umbrella in Paris?")
    ```

    Tools really run, and must return what they returned then; `tools=model.tools(get_weather)` answers from the record instead.

    Raises:
        ConfigurationError: There is no such file, or it is no exported run.
    """
    file = Path(path)
    try:
        data = file.read_bytes()
    except FileNotFoundError as error:
        raise ConfigurationError(f"there is no recorded run {str(file)!r}; write it with `agentloop runs export`") from error
    return RecordedModel(file, imported(data, source=repr(str(file))))


def _of(records: Sequence[Record], run_id: str) -> list[Record]:
    return [record for record in records if record.run_id == run_id or record.run_id.startswith(f"{run_id}/")]


def _spoken(records: Sequence[Record]) -> list[str]:
    """Name the runs in which something is said; in a flow nothing is."""
    begun = dict.fromkeys(record.run_id for record in records if record.key == BEGINNING)
    return [run_id for run_id in begun if beginning_of(records, run_id).transcript is not None]


def _exchanges(records: Sequence[Record], transcripts: Mapping[str, Iterable[Message]]) -> list[_Exchange]:
    found: list[_Exchange] = []
    for run_id, transcript in transcripts.items():
        messages = tuple(transcript)
        spoken = [index for index, message in enumerate(messages) if message.role == "assistant"]
        plain = _plain(messages)
        begun = beginning_of(records, run_id)
        for record in records:
            place = place_of(record.key)
            if record.run_id == run_id and place and place.kind == "reply":
                reply = REPLY.read(record.value, key=record.key)
                found.append(_Exchange(run_id, place.step, begun.agent, frozenset(begun.tools), plain[: spoken[place.step]], reply))
    return found


def _plain(messages: Sequence[Message]) -> list[Any]:
    plain: list[Any] = _messages().dump_python(tuple(messages), mode="json")
    return plain


@cache
def _messages() -> pydantic.TypeAdapter[tuple[Message, ...]]:
    return pydantic.TypeAdapter(tuple[Message, ...])


def _body(messages: Sequence[Any]) -> RecordedRequest:
    return RecordedRequest("", "", {"messages": messages})


def _delta(part: Part, place: int, *, calls: Iterator[int]) -> Delta:
    match part:
        case Text(text):
            return TextDelta(text, place)
        case Thinking(text):
            return ThinkingDelta(text, place)
        case Refusal(text):
            return RefusalDelta(text, place)
        case ToolCall(name=name, arguments=arguments):
            return ToolCallDelta(next(calls), name, arguments, part.provider_id or "", place=place)
        case _:
            return PartDelta(part, place)
