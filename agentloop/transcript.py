"""What has been said in a run, and so what must happen next."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import pydantic
from pydantic_core import ValidationError

from agentloop.errors import BadTranscript
from agentloop.messages import Message, Part, Reply, ToolCall, ToolResult


@dataclass(frozen=True, slots=True)
class Ask:
    """The model must speak."""


@dataclass(frozen=True, slots=True)
class Dispatch:
    """These calls have no result yet."""

    calls: tuple[ToolCall, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """These calls need a person's word first."""

    calls: tuple[ToolCall, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """The model answered and called nothing."""


Move = Ask | Dispatch | Wait | Done


@dataclass(frozen=True, slots=True)
class Decision:
    """A person's word on a call."""

    word: Literal["approved", "denied"]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Stored:
    run_id: str
    messages: tuple[Message, ...]
    decisions: Mapping[str, Decision]
    format: Literal[1] = 1


def _never(_: ToolCall) -> bool:
    return False


class Transcript:
    """All messages of a run in order, and the decisions on its calls.

    It only grows. Results are taken in as they come; a model reads them in the order of the calls, once all are there.
    """

    def __init__(
        self, messages: Iterable[Message] = (), *, decisions: Mapping[str, Decision] | None = None, run_id: str | None = None
    ) -> None:
        """Take up what was said before.

        Raises:
            BadTranscript: The messages are in an order that no model would accept.
        """
        self.run_id = run_id or secrets.token_hex(8)
        """The run that this is the state of; tools build their idempotency keys on it."""
        self._settled: list[Message] = []
        self._call_ids: set[str] = set()
        self._pending: dict[str, ToolCall] = {}
        self._results: dict[str, ToolResult] = {}
        self._replies = 0
        self.decisions: dict[str, Decision] = dict(decisions or {})
        for message in messages:
            self.add(message)

    def next_move(self, waits: Callable[[ToolCall], bool] = _never) -> Move:
        """Read from the messages alone what must happen next.

        Args:
            waits: Whether a call must not run without a person's word.
        """
        unanswered = tuple(call for call in self._pending.values() if call.id not in self._results)
        if unanswered:
            ready = tuple(call for call in unanswered if call.id in self.decisions or not waits(call))
            return Dispatch(ready) if ready else Wait(unanswered)
        if self._settled and self._settled[-1].role == "assistant":
            return Done()
        return Ask()

    @property
    def messages(self) -> tuple[Message, ...]:
        """Everything said so far; the results of a step that is still open come last, in the order of arrival."""
        return (*self._settled, *(Message("tool", (result,)) for result in self._results.values()))

    @property
    def asked(self) -> list[Message]:
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
        return len(self._settled) + len(self._results)

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
            self._replies += 1
        self._settled.append(message)

    def add_reply(self, reply: Reply) -> Reply:
        """Write a model's reply down, and give it back with the ids that its calls bear here."""
        self.add(reply.message)
        return replace(reply, parts=self._settled[-1].parts)

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
            self._results = {}

    def approve(self, call_id: str) -> None:
        """Let a waiting call run."""
        self._decide(call_id, Decision("approved"))

    def deny(self, call_id: str, reason: str = "") -> None:
        """Refuse a waiting call; the model reads the reason as its result."""
        self._decide(call_id, Decision("denied", reason))

    def copy(self, *, run_id: str | None = None) -> Transcript:
        """Make one that can grow on its own, for the same run unless another is named; the messages are shared."""
        return Transcript(self.messages, decisions=self.decisions, run_id=run_id or self.run_id)

    def to_json(self) -> bytes:
        """Write the transcript as JSON text."""
        return _stored().dump_json(_Stored(self.run_id, self.messages, self.decisions))

    @classmethod
    def from_json(cls, data: str | bytes) -> Transcript:
        """Read what `to_json` wrote.

        Raises:
            BadTranscript: It is not that.
        """
        try:
            stored = _stored().validate_json(data)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(key) for key in first["loc"])
            raise BadTranscript(f"this is no stored transcript: {place or 'the text'}: {first['msg']}") from error
        return cls(stored.messages, decisions=stored.decisions, run_id=stored.run_id)

    def _decide(self, call_id: str, decision: Decision) -> None:
        if call_id not in self._pending or call_id in self._results:
            raise BadTranscript(f"no call {call_id!r} waits; waiting: {', '.join(self._pending) or 'none'}")
        self.decisions[call_id] = decision

    def _with_unique_ids(self, message: Message) -> Message:
        if not message.calls:
            return message
        return Message(message.role, tuple(self._unique(part) if isinstance(part, ToolCall) else part for part in message.parts))

    def _unique(self, part: ToolCall) -> Part:
        # Servers use an id again in a later reply ("0", "functions.x:0"); what is said back must name one call only.
        if part.provider_id in self._call_ids:
            part = replace(part, provider_id=None)
        if part.id in self._call_ids:
            part = replace(part, id=f"call_{self._replies}_{len(self._call_ids)}")
        self._call_ids.add(part.id)
        if part.provider_id:
            self._call_ids.add(part.provider_id)
        return part


@cache
def _stored() -> pydantic.TypeAdapter[_Stored]:
    return pydantic.TypeAdapter(_Stored)
