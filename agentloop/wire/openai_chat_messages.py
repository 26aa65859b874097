"""Says a transcript as the messages of a chat completion."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from agentloop.errors import ConfigurationError
from agentloop.messages import File, Image, Message, Part, Refusal, Text, Thinking, ToolCall, ToolResult
from agentloop.wire.attachments import Answering, Moving
from agentloop.wire.sayable import arguments_text, base64_text, call_id, call_name, data_url, not_for_users, own

Json = dict[str, Any]

_MISTRAL_ID = re.compile(r"[A-Za-z0-9]{9}")

Form = Literal["field", "alone", "words"]
"""How the form of an answer is said: in `response_format`, there only where no tools are offered, or in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatQuirks:
    """Where a provider departs from OpenAI."""

    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = "max_tokens"
    system_role: Literal["system", "developer"] = "system"
    required_word: Literal["required", "any"] = "required"
    empty_content: Literal[""] | None = None
    """What stands for the text of a message that only calls tools."""
    strict: bool = True
    """Whether `strict` on a tool is understood."""
    stream_usage: bool = True
    """Whether `stream_options` is understood."""
    thinking_field: Literal["reasoning_content", "reasoning_details", "content"] | None = None
    """Where the provider wants its own thinking said back."""
    form: Form | Callable[[str], Form] = "field"
    """How the form of an answer is said; a gateway with models of several families asks for the model's name."""
    gemini_schemas: bool = False
    """Whether tools for Gemini's models must be described as Gemini wants, because the gateway drops what that cannot say."""
    thinks_unless_told: bool = False
    """Whether the model thinks until `thinking` says no, and cannot be made to call a tool while it does."""
    assistant_after_results: bool = False
    """Whether only the assistant may speak behind results."""
    nine_character_ids: bool = False
    """Whether ids of calls must be nine letters or digits."""


class ChatMessages:
    """Says one transcript to one provider."""

    def __init__(self, quirks: ChatQuirks, *, origin: str) -> None:
        """Prepare to say what `origin` wants to hear again."""
        self._quirks = quirks
        self._origin = origin
        self._ids: dict[str, str] = {}
        # A chat tool message holds text only.
        self._moving = Moving(from_results=True)
        self._answering = Answering()

    def foresee(self, messages: Sequence[Message]) -> Self:
        """Go on: no message changes what was said before."""
        del messages
        return self

    def say(self, message: Message, said: list[Json]) -> None:
        """Say the next message."""
        for moved in self._moving.moved(message):
            for each in self._answering.answered(moved) if self._quirks.assistant_after_results else (moved,):
                said += self._said(each)

    def settle(self, said: Sequence[Json]) -> int:
        """Say nothing again."""
        return len(said)

    def _said(self, message: Message) -> Iterator[Json]:
        match message.role:
            case "system":
                yield {"role": self._quirks.system_role, "content": message.text}
            case "user":
                yield {"role": "user", "content": _content(message.parts)}
            case "assistant":
                self._ids = {call.id: self._call_id(call) for call in message.calls}
                yield self._assistant(message)
            case "tool":
                yield from _results(message.results, self._ids)

    def _assistant(self, message: Message) -> Json:
        # Gateways drop the field that OpenAI has for a refusal; its words are what counts.
        words = "".join(part.text for part in message.parts if isinstance(part, Text | Refusal))
        said: Json = {"role": "assistant", "content": words or self._quirks.empty_content}
        if calls := message.calls:
            said["tool_calls"] = [self._call(call, self._ids[call.id]) for call in calls]
        elif said["content"] is None:
            # An assistant message must hold content or calls.
            said["content"] = ""
        return said | self._thinking(message)

    def _thinking(self, message: Message) -> Json:
        field = self._quirks.thinking_field
        thoughts = [(part.text, own(part.state, self._origin)) for part in message.parts if isinstance(part, Thinking)]
        states = [state for _, state in thoughts if state is not None]
        if field is None or not states:
            return {}
        thought = "".join(text for text, state in thoughts if state is not None)
        match field:
            case "reasoning_details":
                details = [detail for state in states for detail in state.get(field, ())]
                return {field: details} if details else {}
            case "reasoning_content":
                return {field: thought}
            case "content":
                said: list[Json] = [{"type": "thinking", "thinking": [{"type": "text", "text": thought}]}]
                return {field: [*said, {"type": "text", "text": message.text}] if message.text else said}

    def _call_id(self, call: ToolCall) -> str:
        known = call_id(call)
        if not self._quirks.nine_character_ids or _MISTRAL_ID.fullmatch(known):
            return known
        return hashlib.sha256(known.encode()).hexdigest()[:9]

    def _call(self, call: ToolCall, known: str) -> Json:
        said: Json = {"id": known, "type": "function", "function": {"name": call_name(call.name), "arguments": arguments_text(call)}}
        return said | (own(call.state, self._origin) or {})


def _results(results: Sequence[ToolResult], ids: Mapping[str, str]) -> Iterator[Json]:
    for result in results:
        yield {"role": "tool", "tool_call_id": ids.get(result.call_id, result.call_id), "content": result.text}


def _content(parts: tuple[Part, ...]) -> str | list[Json]:
    match parts:
        case ():
            return ""
        case (Text(text),):
            return text
        case _:
            return [_part(part) for part in parts]


def _part(part: Part) -> Json:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Image():
            image: Json = {"url": part.url or data_url(part.media_type, part.data)}
            return {"type": "image_url", "image_url": image | ({"detail": part.detail} if part.detail else {})}
        case File(data=bytes(data)) if part.media_type.startswith("audio/"):
            sound = {"data": base64_text(data), "format": _audio_format(part.media_type)}
            return {"type": "input_audio", "input_audio": sound}
        case File(data=bytes(data)):
            return {"type": "file", "file": {"filename": part.name, "file_data": data_url(part.media_type, data)}}
        case File(url=str(url)) if url.startswith("data:"):
            return {"type": "file", "file": {"filename": part.name, "file_data": url}}
        case File():
            raise ConfigurationError(
                f"chat completions take no file by its address ({part.url!r:.100}); give its bytes with File(data=...)"
            )
        case _:
            raise not_for_users(part)


def _audio_format(media_type: str) -> str:
    name = media_type.removeprefix("audio/").removeprefix("x-")
    return {"mpeg": "mp3", "wave": "wav"}.get(name, name)
