"""A reply on its way: its pieces, and how they become whole.

Every wire turns what a server sends, streamed or whole, into these pieces, and one `Assembly` makes a `Reply` of them;
so the two cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Literal

from agentloop.errors import BadReply, StreamBroken
from agentloop.messages import FinishReason, Part, Refusal, Reply, State, Text, Thinking, ToolCall, Usage


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More words."""

    text: str
    place: int = 0
    """Which part of the reply it belongs to: parts are put in the order of their places, those of one place by their kind."""
    kind: Literal["text_delta"] = "text_delta"


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    """More thought."""

    text: str
    place: int = 0
    kind: Literal["thinking_delta"] = "thinking_delta"


@dataclass(frozen=True, slots=True)
class RefusalDelta:
    """More of the model's words where it declines."""

    text: str
    place: int = 0
    kind: Literal["refusal_delta"] = "refusal_delta"


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """More of a tool call."""

    index: int
    """Which call of the reply, counted from 0 in the order in which they began."""
    name: str = ""
    """Set once, with the first piece that knows it."""
    arguments: str = ""
    """The next characters of the arguments."""
    provider_id: str = ""
    state: State | None = None
    """The last one counts."""
    place: int = 0
    kind: Literal["tool_call_delta"] = "tool_call_delta"


@dataclass(frozen=True, slots=True)
class PartDelta:
    """A part that comes whole: a citation, a picture, something opaque."""

    part: Part
    place: int = 0
    kind: Literal["part_delta"] = "part_delta"


@dataclass(frozen=True, slots=True)
class StateDelta:
    """What the provider wants to hear again with the text or the thinking at `place`; the last one counts."""

    state: State
    of: Literal["text", "thinking"]
    place: int = 0
    kind: Literal["state_delta"] = "state_delta"


@dataclass(frozen=True, slots=True)
class RestartDelta:
    """The server begins its reply anew: all that came so far is void."""

    kind: Literal["restart_delta"] = "restart_delta"


@dataclass(frozen=True, slots=True)
class UsageDelta:
    """The tokens spent so far; the last one counts."""

    usage: Usage
    kind: Literal["usage_delta"] = "usage_delta"


@dataclass(frozen=True, slots=True)
class FinishDelta:
    """The reply has ended, and why."""

    reason: FinishReason
    kind: Literal["finish_delta"] = "finish_delta"


@dataclass(frozen=True, slots=True)
class ReplyDelta:
    """What the server says about the reply; set once for each field."""

    model: str = ""
    id: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])
    kind: Literal["reply_delta"] = "reply_delta"


ShownDelta = TextDelta | ThinkingDelta | RefusalDelta | ToolCallDelta | PartDelta | RestartDelta
"""What is told to whoever watches a reply come."""
Delta = ShownDelta | StateDelta | UsageDelta | FinishDelta | ReplyDelta

# The order of parts at one place.
_THINKING, _REFUSAL, _TEXT, _CALL, _PART = range(5)


class Assembly:
    """Makes a `Reply` of deltas, in time linear in their length."""

    def __init__(self, step: int = 0) -> None:
        """`step` makes the calls' ids unique in the transcript."""
        self._step = step
        self._begin()

    def _begin(self) -> None:
        self._words: dict[tuple[int, int], _Words] = {}
        self._calls: dict[int, _Call] = {}
        self._parts: list[tuple[int, Part]] = []
        self._usage = Usage()
        self._finish: FinishReason | None = None
        self._model = ""
        self._id = ""
        self._extra: dict[str, Any] = {}

    def add(self, delta: Delta) -> None:
        """Take in the next piece."""
        match delta:
            case TextDelta(text, place):
                self._at(place, _TEXT).pieces.append(text)
            case ThinkingDelta(text, place):
                self._at(place, _THINKING).pieces.append(text)
            case ToolCallDelta():
                self._add_call(delta)
            case RefusalDelta(text, place):
                self._at(place, _REFUSAL).pieces.append(text)
            case PartDelta(part, place):
                self._parts.append((place, part))
            case StateDelta(state, of, place):
                self._at(place, _TEXT if of == "text" else _THINKING).state = state
            case RestartDelta():
                self._begin()
            case _:
                self._note(delta)

    def _note(self, delta: UsageDelta | FinishDelta | ReplyDelta) -> None:
        match delta:
            case UsageDelta(usage):
                self._usage = usage
            case FinishDelta(reason):
                self._finish = reason
            case ReplyDelta(model, id_, extra):
                self._model = self._model or model
                self._id = self._id or id_
                self._extra.update(extra)

    def reply(self) -> Reply:
        """Make the reply.

        Raises:
            StreamBroken: No delta said that the reply has ended. `.partial` holds what came.
            BadReply: A tool call never got a name, or calls were announced and none came.
        """
        reply = self.partial()
        if self._finish is None:
            raise StreamBroken("the stream ended without a finish reason, so the reply may be cut; ask again", partial=reply)
        if not all(call.name for call in reply.calls):
            raise BadReply("the reply holds a tool call without a name; ask again", partial=reply)
        if self._finish == "tool_calls" and not reply.calls:
            raise BadReply("the reply announces tool calls and holds none; ask again", partial=reply)
        return reply

    def partial(self) -> Reply:
        """Make a reply of what has come so far, ended or not."""
        placed = [*self._whole_words(), *self._whole_calls(), *((place, _PART, part) for place, part in self._parts)]
        placed.sort(key=itemgetter(0, 1))
        # Servers say "stop" beside calls when a tool was forced, and "tool_calls" without any; what is there decides.
        finish = self._finish if self._finish in {"length", "content_filter", "pause"} else None
        return Reply(
            parts=tuple(part for _, _, part in placed),
            finish_reason=finish or ("tool_calls" if self._calls else "stop"),
            usage=self._usage,
            model=self._model,
            id=self._id,
            extra=self._extra,
        )

    def _at(self, place: int, kind: int) -> _Words:
        words = self._words.get((place, kind))
        if words is None:
            words = self._words[place, kind] = _Words()
        return words

    def _whole_words(self) -> Iterator[tuple[int, int, Part]]:
        for (place, kind), words in self._words.items():
            text = _joined(words.pieces)
            if not text and words.state is None:
                continue
            if kind == _TEXT:
                yield place, kind, Text(text, words.state)
            else:
                yield place, kind, Thinking(text, words.state) if kind == _THINKING else Refusal(text)

    def _add_call(self, delta: ToolCallDelta) -> None:
        call = self._calls.get(delta.index)
        if call is None:
            call = self._calls[delta.index] = _Call(delta.place)
        call.name = call.name or delta.name
        call.provider_id = call.provider_id or delta.provider_id
        call.state = delta.state or call.state
        if delta.arguments:
            call.arguments.append(delta.arguments)

    def _whole_calls(self) -> Iterator[tuple[int, int, Part]]:
        seen: set[str] = set()
        for index, call in self._calls.items():
            provider_id = call.provider_id if call.provider_id not in seen else ""
            seen.add(provider_id)
            arguments = _joined(call.arguments).strip()
            yield (
                call.place,
                _CALL,
                ToolCall(
                    id=f"call_{self._step}_{index}",
                    name=call.name,
                    arguments=arguments if arguments not in {"", "null"} else "{}",
                    provider_id=provider_id or None,
                    state=call.state,
                ),
            )


class _Words:
    """A text, a thought or a refusal on its way."""

    __slots__ = ("pieces", "state")

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.state: State | None = None


class _Call:
    """A tool call on its way."""

    __slots__ = ("arguments", "name", "place", "provider_id", "state")

    def __init__(self, place: int) -> None:
        self.place = place
        self.name = ""
        self.provider_id = ""
        self.arguments: list[str] = []
        self.state: State | None = None


def _joined(pieces: list[str]) -> str:
    text = "".join(pieces)
    try:
        text.encode()
    except UnicodeEncodeError:
        # Halves of a character that came in two pieces become one; a half that stays alone has no UTF-8.
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
