"""A transcript as the items of POST /responses: what the provider made goes back as it came, in its place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from agentloop.errors import ConfigurationError
from agentloop.messages import Citation, File, Image, Message, Opaque, Part, Refusal, Text, Thinking, ToolCall, ToolResult
from agentloop.wire.attachments import Moving
from agentloop.wire.lenient import as_list, as_object, as_text
from agentloop.wire.sayable import arguments_text, base64_text, call_id, call_name, data_url, not_for_users, own, own_opaque

Json = dict[str, Any]

_CALL_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Which field of a message's part holds its words.
_WORDS = {"output_text": "text", "text": "text", "refusal": "refusal"}
# Calls that whoever asks must answer; without their outputs OpenAI refuses them.
_ANSWERED_BY_US = {"apply_patch_call", "computer_call", "custom_tool_call", "local_shell_call", "shell_call"}


def without_nulls(item: Mapping[str, Any]) -> Json:
    """Leave out what is null; OpenAI's schema of what is said back knows fewer nulls than its replies hold."""
    return {name: value for name, value in item.items() if value is not None}


def message_words(item: Mapping[str, Any]) -> dict[str, str]:
    """Read the words of a message item: its "text" and its "refusal"."""
    words = {"text": "", "refusal": ""}
    for part in message_parts(item):
        if field := _WORDS.get(as_text(part.get("type"))):
            words[field] += as_text(part.get(field))
    return words


def message_parts(item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """List the parts of a message item; some servers give one text in their place."""
    content = item.get("content")
    return [{"type": "output_text", "text": content}] if isinstance(content, str) else [as_object(part) for part in as_list(content)]


def kept_message(item: Mapping[str, Any]) -> Json:
    """Keep all of a message item but its words, which its text has; where each part's words end is kept in "length"."""
    content: list[Json] = []
    for part in message_parts(item):
        kept = without_nulls(part)
        kept.pop("logprobs", None)
        if field := _WORDS.get(as_text(part.get("type"))):
            kept["length"] = len(as_text(kept.pop(field, "")))
        content.append(kept)
    return {**without_nulls(item), "type": "message", "content": content}


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How transcripts are said to one provider."""

    origin: str
    system_role: Literal["system", "developer"] = "system"
    ids: bool = True
    """Whether the provider's ids of messages and calls are said."""
    thinks: bool = True
    """Whether the model takes encrypted thoughts; OpenAI refuses them for models that have none."""
    stored: bool = True
    """Whether the provider can look up what an item leaves out by its id."""


class InputItems:
    """Says one transcript."""

    def __init__(self, way: Way, *, answered: frozenset[str] = frozenset()) -> None:
        """Begin with nothing said.

        Args:
            way: How it is said.
            answered: The calls of the provider's own kinds that have an output further on.
        """
        self.way = way
        self.answered = {*answered}
        self.left_out: set[str] = set()
        """The calls that were not said, for want of an output."""
        self.call_ids: dict[str, str] = {}
        """As which the calls of the last reply are known, by our ids."""
        self._moving = Moving(from_results=False, left_to=way.origin)

    def foresee(self, messages: Sequence[Message]) -> InputItems:
        """Find the outputs of the provider's own kinds of calls: one that comes in a later message changes what was said of its call."""
        states = (state for message in messages for state in own_opaque(message, self.way.origin))
        self.answered |= {as_text(state.get("call_id")) for state in states if as_text(state.get("type")).endswith("_output")}
        return self if self.answered.isdisjoint(self.left_out) else InputItems(self.way, answered=frozenset(self.answered))

    def say(self, message: Message, said: list[Json]) -> None:
        """Say the next message."""
        for moved in self._moving.moved(message):
            said += self._said(moved)

    def settle(self, said: Sequence[Json]) -> int:
        """Say nothing again."""
        return len(said)

    def _said(self, message: Message) -> Iterator[Json]:
        match message.role:
            case "assistant":
                self.call_ids = {call.id: self._call_id(call) for call in message.calls}
                yield from self._reply(message)
            case "tool":
                yield from (_output(result, self.call_ids) for result in message.results)
                yield from own_opaque(message, self.way.origin)
            case "system" if message.text:
                yield {"role": self.way.system_role, "content": message.text}
            case "user":
                yield from own_opaque(message, self.way.origin)
                yield from _user(message)
            case _:
                pass

    def _call_id(self, call: ToolCall) -> str:
        known = call.provider_id if own(call.state, self.way.origin) is not None else None
        return known if known and _CALL_ID.fullmatch(known) else call_id(call)

    def _reply(self, message: Message) -> list[Json]:
        items = list(_Reply(self, ids=self.way.ids).items(message))
        led = self._without_orphans(items)
        if len(led) < len(items) and self.way.ids:
            # By its id OpenAI knows which thought an item came from, and refuses it without that thought.
            items = list(_Reply(self, ids=False).items(message))
            led = self._without_orphans(items)
        return led

    def _without_orphans(self, items: Sequence[tuple[Json, bool]]) -> list[Json]:
        """Leave out each reasoning item that says nothing by itself, and each without the item that it led to; OpenAI refuses both."""
        led: list[Json] = []
        is_followed = False
        for item, is_own in reversed(items):
            if item.get("type") == "reasoning":
                is_sealed = bool(item.get("encrypted_content"))
                says_it_all = is_sealed or bool(item.get("content"))
                if not is_followed or (is_sealed and not self.way.thinks) or not (self.way.stored or says_it_all):
                    continue
            is_followed = is_own
            led.append(item)
        return led[::-1]


@dataclass(frozen=True, slots=True)
class _Reply:
    """Says one reply."""

    speaker: InputItems
    ids: bool
    """Whether the provider's ids are said."""

    def items(self, message: Message) -> Iterator[tuple[Json, bool]]:
        """Say its parts, each with whether the provider made it; foreign words that stand side by side become one message."""
        foreign: list[str] = []
        refusal = ""
        for part in message.parts:
            if isinstance(part, Refusal):
                refusal += part.text
                continue
            item = self._own(part, refusal)
            is_own = item is not None
            if item is None:
                foreign += [refusal, part.text if isinstance(part, Text) else ""]
                item = self._call(part) if isinstance(part, ToolCall) else None
            refusal = ""
            if item is not None:
                yield from _spoken(foreign)
                foreign = []
                yield item, is_own
        yield from _spoken([*foreign, refusal])

    def _own(self, part: Part, refusal: str) -> Json | None:
        """Say a part that the provider made as it was; None for any other."""
        state = None if isinstance(part, Refusal | Citation | File | ToolResult) else own(part.state, self.speaker.way.origin)
        if state is None:
            return None
        match part:
            case Thinking() if state.get("type") == "reasoning":
                return {"summary": [], **without_nulls(state)}
            case Text(text) | Thinking(text):
                return self._message(state, text, refusal)
            case ToolCall():
                kept = {name: value for name, value in state.items() if name != "id" or self.ids}
                return kept | self._call(part)
            case Image():
                return {**state, "result": part.url or base64_text(part.data)}
            case _:
                call = as_text(state.get("call_id"))
                if as_text(state.get("type")) in _ANSWERED_BY_US and call not in self.speaker.answered:
                    self.speaker.left_out.add(call)
                    return None
                return state

    def _call(self, call: ToolCall) -> Json:
        return {
            "type": "function_call",
            "call_id": self.speaker.call_ids[call.id],
            "name": call_name(call.name),
            "arguments": arguments_text(call),
        }

    def _message(self, kept: Json, text: str, refusal: str) -> Json | None:
        parts: list[Json] = [dict(as_object(part)) for part in as_list(kept.get("content", [{"type": "output_text"}]))]
        left = {"text": text, "refusal": refusal}
        is_whole = True
        for part in parts:
            if field := _WORDS.get(as_text(part.get("type"))):
                length = part.pop("length", len(left[field]))
                part[field], left[field] = left[field][:length], left[field][length:]
                is_whole = is_whole and len(part[field]) == length
            if part.get("type") == "output_text":
                part |= {"annotations": part.get("annotations", []), "logprobs": []}
        if not is_whole or any(left.values()):
            # Somebody has changed the words: they are no longer the provider's.
            return None
        if self.ids and kept.get("id"):
            return {"type": "message", "role": "assistant", "status": "completed", **kept, "content": parts}
        phase: Json = {"phase": kept["phase"]} if kept.get("phase") else {}
        return _assistant(text + refusal) | phase


def _spoken(words: Sequence[str]) -> Iterator[tuple[Json, bool]]:
    if text := "".join(words):
        yield _assistant(text), False


def _assistant(text: str) -> Json:
    # The type may be left out of other messages; llama.cpp wants it here.
    return {"type": "message", "role": "assistant", "content": text}


def _output(result: ToolResult, call_ids: Mapping[str, str]) -> Json:
    content = result.content
    is_text = isinstance(content, str) or all(isinstance(part, Text) for part in content)
    said = result.text if is_text or isinstance(content, str) else [_part(part) for part in content]
    return {"type": "function_call_output", "call_id": call_ids.get(result.call_id, result.call_id), "output": said}


def _user(message: Message) -> Iterator[Json]:
    match tuple(part for part in message.parts if not isinstance(part, Opaque)):
        case () | (Text(""),):
            # A message must have content.
            return
        case (Text(text),):
            yield {"role": "user", "content": text}
        case parts:
            yield {"role": "user", "content": [_part(part) for part in parts]}


def _part(part: Part) -> Json:
    match part:
        case Text(text):
            return {"type": "input_text", "text": text}
        case Image():
            url = part.url or data_url(part.media_type, part.data)
            return {"type": "input_image", "image_url": url, "detail": part.detail or "auto"}
        case File() if part.media_type.startswith("audio/"):
            raise ConfigurationError(f"responses take no sound ({part.name!r}); write it down first, or use the chat format")
        case File(url=str(url)) if url.startswith("data:"):
            return {"type": "input_file", "filename": part.name, "file_data": url}
        case File(url=str(url)):
            return {"type": "input_file", "file_url": url}
        case File(data=data):
            return {"type": "input_file", "filename": part.name, "file_data": data_url(part.media_type, data)}
        case _:
            raise not_for_users(part)
