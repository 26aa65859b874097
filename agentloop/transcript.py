"""What has been said in a run, and so what must happen next."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal, cast

import pydantic
from pydantic_core import PydanticSerializationError, ValidationError, to_json

from agentloop.errors import BadTranscript, ConfigurationError
from agentloop.messages import File, Image, Message, Messages, Part, Reply, Text, ToolCall, ToolResult


@dataclass(frozen=True, slots=True)
class Ask:
    """The model must speak."""


@dataclass(frozen=True, slots=True)
class Dispatch:
    """These calls have no result yet."""

    calls: tuple[ToolCall, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """These calls need a person's word first, or a result from outside."""

    calls: tuple[ToolCall, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """The model answered and called nothing."""


Move = Ask | Dispatch | Wait | Done


@dataclass(frozen=True, slots=True)
class Question:
    """What a paused run wants to know about a call."""

    wants: Literal["approval", "result", "outcome"]
    """Whether somebody must allow the call, or say what it came to; "outcome" where it was begun and its run was then cut off."""
    fingerprint: str
    """The hash of what is asked: the tool's definition and the arguments. A yes holds for nothing else."""
    problem: str = ""
    """Why the call waits again although it was approved."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A person's word on a call."""

    word: Literal["approved", "denied", "answered"]
    reason: str = ""
    """Why it was denied."""
    arguments: str | None = None
    """The JSON with which it is approved; None where the model's own will do."""
    fingerprint: str | None = None
    """Of the question that was approved."""
    result: ToolResult | None = None
    """What came from outside, as the answer."""


@dataclass(frozen=True, slots=True)
class _Stored:
    run_id: str
    messages: tuple[Message, ...]
    decisions: Mapping[str, Decision]
    questions: Mapping[str, Question] = field(default_factory=dict[str, Question])
    format: Literal[1] = 1


def _never(_: ToolCall) -> bool:
    return False


class Transcript:
    """All messages of a run in order, what a person is asked about its calls, and what was decided.

    It only grows. Results are taken in as they come; a model reads them in the order of the calls, once all are there.
    """

    def __init__(
        self,
        messages: Iterable[Message] = (),
        *,
        decisions: Mapping[str, Decision] | None = None,
        questions: Mapping[str, Question] | None = None,
        run_id: str | None = None,
    ) -> None:
        """Take up what was said before.

        Raises:
            BadTranscript: The messages are in an order that no model would accept.
        """
        self.run_id = run_id or secrets.token_hex(8)
        """The run that this is the state of; tools build their idempotency keys on it."""
        self._settled = Messages()
        self._call_ids: set[str] = set()
        self._pending: dict[str, ToolCall] = {}
        self._results: dict[str, ToolResult] = {}
        """Of the calls of the last reply; kept when they are settled."""
        self._places: dict[str, int] = {}
        self._replies = 0
        self.decisions: dict[str, Decision] = dict(decisions or {})
        self.questions: dict[str, Question] = dict(questions or {})
        """What the run wants to know about calls, by their ids; those that have an answer included."""
        for message in messages:
            self.add(message)

    def next_move(self, waits: Callable[[ToolCall], bool] = _never) -> Move:
        """Read from the messages alone what must happen next.

        Args:
            waits: Whether a call must not run yet, for want of a person's word or of a result from outside.
        """
        unanswered = tuple(call for call in self._pending.values() if call.id not in self._results)
        if unanswered:
            ready = tuple(call for call in unanswered if not waits(call))
            return Dispatch(ready) if ready else Wait(unanswered)
        if self._settled and self._settled[-1].role == "assistant":
            return Done()
        return Ask()

    @property
    def messages(self) -> tuple[Message, ...]:
        """Everything said so far; the results of a step that is still open come last, in the order of arrival."""
        return (*self._settled, *(Message("tool", (result,)) for result in self._arrived()))

    @property
    def asked(self) -> Messages:
        """What the model is asked with: the messages up to the last settled step.

        Always the same list, and it only grows, so that a wire may keep what it has encoded of it.
        """
        return self._settled

    @property
    def replies(self) -> int:
        """How often a model has spoken."""
        return self._replies

    @property
    def text(self) -> str:
        """The words of the last message."""
        return self._settled[-1].text if self._settled else ""

    def __len__(self) -> int:
        return len(self._settled) + len(self._arrived())

    def __iter__(self) -> Iterator[Message]:
        return iter(self.messages)

    def __repr__(self) -> str:
        return f"<Transcript of {len(self)} messages>"

    def add(self, message: Message) -> None:
        """Write a message down.

        Raises:
            BadTranscript: A call before it has no result, or it answers a call that was never made.
        """
        if message.role == "tool":
            if not message.results:
                raise BadTranscript("a tool message holds no result; give it a ToolResult")
            for result in message.results:
                self.add_result(result)
            return
        if self._pending:
            names = ", ".join(repr(call.name) for call in self._pending.values() if call.id not in self._results)
            raise BadTranscript(f"a {message.role} message came before the results of {names}; add those first")
        if message.role == "assistant":
            message = self._with_unique_ids(message)
            self._pending = {call.id: call for call in message.calls}
            self._places = {call_id: number for number, call_id in enumerate(self._pending)}
            self._results = {}
            self._replies += 1
        self._settled.append(message)

    def add_reply(self, reply: Reply) -> Reply:
        """Write a model's reply down, and give it back with the ids that its calls bear here."""
        self.add(reply.message)
        parts = self._settled[-1].parts
        return reply if parts is reply.parts else replace(reply, parts=parts)

    def add_result(self, result: ToolResult) -> None:
        """Write down what a call came to."""
        if result.call_id not in self._pending:
            raise BadTranscript(f"a result answers the call {result.call_id!r}, which was never made")
        if result.call_id in self._results:
            raise BadTranscript(f"the call {result.call_id!r} is answered twice; keep one of its results")
        self._results[result.call_id] = result
        if len(self._results) == len(self._pending):
            self._settled.append(Message("tool", tuple(self._results[call_id] for call_id in self._pending)))
            self._pending = {}

    def result(self, call_id: str) -> ToolResult | None:
        """Find what a call of the last reply came to; None while it has no result."""
        return self._results.get(call_id)

    def place(self, call_id: str) -> int:
        """Say which call of the last reply it is, counted from 0."""
        return self._places[call_id]

    @property
    def waiting(self) -> tuple[ToolCall, ...]:
        """The calls that a paused run asks about in `questions`, and on which nobody has spoken yet."""
        open_calls = (call for call in self._pending.values() if call.id not in self._results)
        return tuple(call for call in open_calls if call.id in self.questions and call.id not in self.decisions)

    def pose(self, call_id: str, question: Question) -> None:
        """Write down what the run wants to know about a call; what was decided on it before is void."""
        self.questions[call_id] = question
        self.decisions.pop(call_id, None)

    def approve(self, call_id: str, *, arguments: Mapping[str, Any] | None = None) -> None:
        """Let a waiting call run as it was asked: another tool or other arguments ask again.

        Args:
            call_id: The call.
            arguments: All the arguments to run it with, if not the model's; the model is told. Where the tool does not take them, the
                call waits again, and `questions[call_id].problem` says why.

        Raises:
            BadTranscript: The call does not wait, or no run has asked about it yet.
            ConfigurationError: JSON cannot say the arguments.
        """
        self._check_open(call_id)
        question = self.questions.get(call_id)
        if question is None:
            raise BadTranscript(f"no run has asked about the call {call_id!r} yet; resume the run, and approve when it has paused")
        self.decisions[call_id] = Decision("approved", arguments=self._edited(call_id, arguments), fingerprint=question.fingerprint)

    def deny(self, call_id: str, reason: str = "") -> None:
        """Refuse a waiting call; the model reads the reason as its result."""
        self._check_open(call_id)
        self.decisions[call_id] = Decision("denied", reason)

    def answer(self, call_id: str, result: Any) -> None:
        """Say what a waiting call came to: it does not run, and the model reads this as its result.

        Args:
            call_id: The call.
            result: What a tool may return: text, pictures and files, whatever JSON can say, or a `ToolResult`. It is written down now.

        Raises:
            BadTranscript: The call does not wait.
            ConfigurationError: JSON cannot say the result.
        """
        self._check_open(call_id)
        self.decisions[call_id] = Decision("answered", result=_written(result, call_id))

    def copy(self, *, run_id: str | None = None) -> Transcript:
        """Make one that can grow on its own, for the same run unless another is named; the messages are shared."""
        return Transcript(self.messages, decisions=self.decisions, questions=self.questions, run_id=run_id or self.run_id)

    def to_json(self) -> bytes:
        """Write the transcript as JSON text."""
        stored = _Stored(self.run_id, self.messages, self.decisions, self.questions)
        try:
            return _stored().dump_json(stored)
        except PydanticSerializationError:
            # A half surrogate pair, as file names have that are not UTF-8, has no place in JSON text; no model is sent it either.
            return json.dumps(_stored().dump_python(stored, mode="json"), ensure_ascii=False).encode("utf-8", "replace")

    @classmethod
    def from_json(cls, data: str | bytes) -> Transcript:
        """Read what `to_json` wrote, from where only you can write: it holds results and approvals, which no client may make up.

        Raises:
            BadTranscript: It is not that.
        """
        try:
            stored = _stored().validate_json(data)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(key) for key in first["loc"])
            raise BadTranscript(f"this is no stored transcript: {place or 'the text'}: {first['msg']}") from error
        return cls(stored.messages, decisions=stored.decisions, questions=stored.questions, run_id=stored.run_id)

    def _check_open(self, call_id: str) -> None:
        if call_id not in self._pending or call_id in self._results:
            raise BadTranscript(f"no call {call_id!r} waits; waiting: {', '.join(self._pending) or 'none'}")

    def _edited(self, call_id: str, arguments: Mapping[str, Any] | None) -> str | None:
        if arguments is None:
            return None
        text = _json(dict(arguments), f"the arguments for the call {call_id!r}")
        try:
            same = json.loads(self._pending[call_id].arguments or "{}")
        except ValueError:
            return text
        return None if json.dumps(same, sort_keys=True) == json.dumps(json.loads(text), sort_keys=True) else text

    def _arrived(self) -> Collection[ToolResult]:
        """Give the results of a step that is still open."""
        return self._results.values() if self._pending else ()

    def _with_unique_ids(self, message: Message) -> Message:
        parts = tuple([self._unique(part) if isinstance(part, ToolCall) else part for part in message.parts])
        # Equal ones are the very same, so that this is no comparison of texts.
        return message if parts == message.parts else Message(message.role, parts)

    def _unique(self, part: ToolCall) -> Part:
        # Servers use an id again in a later reply ("0", "functions.x:0"); what is said back must name one call only.
        if part.provider_id in self._call_ids:
            part = replace(part, provider_id=None)
        number = len(self._call_ids)
        while part.id in self._call_ids:
            part = replace(part, id=f"call_{self._replies}_{number}")
            number += 1
        self._call_ids.add(part.id)
        if part.provider_id:
            self._call_ids.add(part.provider_id)
        return part


def _written(value: Any, call_id: str) -> ToolResult:
    match value:
        case ToolResult():
            return replace(value, call_id=call_id)
        case Text() | Image() | File():
            return ToolResult(call_id, (value,))
        case list() | tuple() if value and all(isinstance(each, Text | Image | File) for each in cast("list[Any]", value)):
            return ToolResult(call_id, tuple(cast("list[Any]", value)))
        case _:
            text = value if isinstance(value, str) else _json(value, f"the result of the call {call_id!r}")
            # Half a surrogate pair can be neither stored nor sent.
            return ToolResult(call_id, text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def _json(value: Any, what: str) -> str:
    try:
        return to_json(value, bytes_mode="base64", inf_nan_mode="null").decode()
    except ValueError as error:
        raise ConfigurationError(f"{what} cannot be written as JSON: {error}; give text, numbers, lists or dicts") from error


@cache
def _stored() -> pydantic.TypeAdapter[_Stored]:
    return pydantic.TypeAdapter(_Stored)
