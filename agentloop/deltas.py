"""A reply on its way: its pieces, and how they become whole.

Every wire turns what a server sends, streamed or whole, into these pieces, and one `Assembly` makes a `Reply` of them;
so the two cannot disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from agentloop.errors import BadReply, StreamBroken
from agentloop.messages import FinishReason, Part, Refusal, Reply, Text, Thinking, ToolCall, Usage


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More words."""

    text: str
    kind: Literal["text_delta"] = "text_delta"


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    """More thought."""

    text: str
    kind: Literal["thinking_delta"] = "thinking_delta"


@dataclass(frozen=True, slots=True)
class RefusalDelta:
    """More of the model's words where it declines."""

    text: str
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
    extra: str | None = None
    kind: Literal["tool_call_delta"] = "tool_call_delta"


@dataclass(frozen=True, slots=True)
class PartDelta:
    """A part that comes whole: a citation, a picture, something opaque."""

    part: Part
    kind: Literal["part_delta"] = "part_delta"


@dataclass(frozen=True, slots=True)
class ThinkingStateDelta:
    """What `wire` wants to hear again with the thinking so far; the last one counts."""

    state: str
    wire: str
    kind: Literal["thinking_state_delta"] = "thinking_state_delta"


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


Delta = TextDelta | ThinkingDelta | RefusalDelta | ToolCallDelta | PartDelta | ThinkingStateDelta | UsageDelta | FinishDelta | ReplyDelta


class Assembly:
    """Makes a `Reply` of deltas, in time linear in their length."""

    def __init__(self, step: int = 0) -> None:
        """`step` makes the calls' ids unique in the transcript."""
        self._step = step
        self._thinking: list[str] = []
        self._thinking_state: tuple[str, str] | None = None
        self._refusal: list[str] = []
        self._text: list[str] = []
        self._calls: dict[int, _Call] = {}
        self._parts: list[Part] = []
        self._usage = Usage()
        self._finish: FinishReason | None = None
        self._model = ""
        self._id = ""
        self._extra: dict[str, Any] = {}

    def add(self, delta: Delta) -> None:
        """Take in the next piece."""
        match delta:
            case TextDelta(text):
                self._text.append(text)
            case ThinkingDelta(text):
                self._thinking.append(text)
            case ToolCallDelta():
                self._add_call(delta)
            case RefusalDelta(text):
                self._refusal.append(text)
            case PartDelta(part):
                self._parts.append(part)
            case ThinkingStateDelta(state, wire):
                self._thinking_state = (state, wire)
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
        calls = self._whole_calls()
        # Servers say "stop" beside calls when a tool was forced, and "tool_calls" without any; what is there decides.
        finish = self._finish if self._finish in {"length", "content_filter"} else None
        return Reply(
            parts=(*self._leading_parts(), *calls, *self._parts),
            finish_reason=finish or ("tool_calls" if calls else "stop"),
            usage=self._usage,
            model=self._model,
            id=self._id,
            extra=self._extra,
        )

    def _leading_parts(self) -> list[Part]:
        parts: list[Part] = []
        if self._thinking or self._thinking_state:
            state, wire = self._thinking_state or (None, None)
            parts.append(Thinking(_joined(self._thinking), state, wire))
        if refusal := _joined(self._refusal):
            parts.append(Refusal(refusal))
        if text := _joined(self._text):
            parts.append(Text(text))
        return parts

    def _add_call(self, delta: ToolCallDelta) -> None:
        call = self._calls.get(delta.index)
        if call is None:
            call = self._calls[delta.index] = _Call()
        call.name = call.name or delta.name
        call.provider_id = call.provider_id or delta.provider_id
        call.extra = call.extra or delta.extra
        if delta.arguments:
            call.arguments.append(delta.arguments)

    def _whole_calls(self) -> list[ToolCall]:
        seen: set[str] = set()
        calls: list[ToolCall] = []
        for index, call in self._calls.items():
            provider_id = call.provider_id if call.provider_id not in seen else ""
            seen.add(provider_id)
            arguments = _joined(call.arguments).strip()
            calls.append(
                ToolCall(
                    id=f"call_{self._step}_{index}",
                    name=call.name,
                    arguments=arguments if arguments not in {"", "null"} else "{}",
                    provider_id=provider_id or None,
                    extra=call.extra,
                )
            )
        return calls


class _Call:
    """A tool call on its way."""

    __slots__ = ("arguments", "extra", "name", "provider_id")

    def __init__(self) -> None:
        self.name = ""
        self.provider_id = ""
        self.arguments: list[str] = []
        self.extra: str | None = None


def _joined(pieces: list[str]) -> str:
    text = "".join(pieces)
    try:
        text.encode()
    except UnicodeEncodeError:
        # Halves of a character that came in two pieces become one; a half that stays alone has no UTF-8.
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
