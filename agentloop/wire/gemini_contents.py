"""Says a transcript in Gemini's words: contents of a user and a model, made of parts."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, cast

from pydantic_core import from_json

from agentloop.messages import File, Image, Message, Opaque, Part, Refusal, Text, Thinking, ToolCall, ToolResult
from agentloop.wire.attachments import Moving
from agentloop.wire.sayable import arguments_object, base64_text, call_name, not_for_users, own

Json = dict[str, Any]

# Google's word for calls and pictures that its model did not make itself, https://ai.google.dev/gemini-api/docs/thought-signatures
_STAND_IN = {"thoughtSignature": "skip_thought_signature_validator"}
# What a functionResponse may hold, https://ai.google.dev/gemini-api/docs/function-calling#multimodal
_SHOWN_IN_RESULTS = {"image/png", "image/jpeg", "image/webp", "application/pdf", "text/plain"}
_ANY_BYTES = "application/octet-stream"


@dataclass(slots=True)
class Contents:
    """Says one transcript."""

    origin: str
    """Whose states are said back."""
    is_third: bool
    """Whether the model is of the third generation, which wants signatures and sees pictures in results."""
    leading: list[Message] = field(default_factory=list[Message])
    """What the system says before anybody else speaks, which is no content."""
    _calls: dict[str, ToolCall] = field(default_factory=dict[str, ToolCall])
    _has_led: bool = False
    _has_spoken: bool = False

    def foresee(self, messages: Sequence[Message]) -> Self:
        """Go on: no message changes what was said before."""
        del messages
        return self

    def say(self, message: Message, said: list[Json]) -> None:
        """Say the next message, results of one reply together in the order of its calls."""
        if message.role == "system" and not self._has_led:
            self.leading.append(message)
            return
        self._has_led = True
        for content in self._contents(message):
            # A model's call is taken only right behind what a user said, or a result; nor is it taken as the first word.
            if content["role"] == "model" and not self._has_spoken:
                said.append({"role": "user", "parts": [{"text": " "}]})
            if said and content["role"] == said[-1]["role"] == "model":
                said[-1]["parts"] += content["parts"]
            else:
                said.append(content)
            self._has_spoken = True

    def settle(self, said: Sequence[Json]) -> int:
        """Keep the last content open, since what a model says in two messages is one content."""
        return max(0, len(said) - 1)

    def _contents(self, message: Message) -> Iterator[Json]:
        for moved in self._moved(message):
            match moved.role:
                case "system" | "user":
                    yield user_content(moved)
                case "assistant":
                    self._calls = {call.id: call for call in moved.calls}
                    # A content without parts is refused.
                    if parts := [*self._model_parts(moved)]:
                        yield {"role": "model", "parts": parts}
                case "tool":
                    yield {"role": "user", "parts": [self._result(result) for result in moved.results]}

    def _moved(self, message: Message) -> Iterable[Message]:
        if all(self._can_show(part) for result in message.results if not isinstance(result.content, str) for part in result.content):
            return (message,)
        return Moving(from_results=True).moved(message)

    def _can_show(self, part: Part) -> bool:
        match part:
            case Image() | File():
                return self.is_third and part.data is not None and part.media_type in _SHOWN_IN_RESULTS
            case _:
                return True

    def _model_parts(self, message: Message) -> Iterator[Json]:
        is_first_call = True
        for part in message.parts:
            match part:
                case Text(text) if text or self._own(part):
                    yield {"text": text, **self._own(part)}
                # Google wants its signatures to come back, and does not need the thoughts without one.
                case Thinking(text) if state := self._own(part):
                    yield {"text": text, "thought": True, **state}
                case Refusal(text):
                    yield {"text": text}
                case Image():
                    yield _part(part) | (self._own(part) or self._stand_in())
                case File():
                    yield _part(part) | self._own(part)
                case Opaque(state):
                    said = own(state, self.origin) or {}
                    if said and ("thoughtSignature" in said or not said.get("thought")):
                        yield said
                case ToolCall():
                    yield self._call(part, is_first=is_first_call)
                    is_first_call = False
                case _:
                    pass

    def _call(self, call: ToolCall, *, is_first: bool) -> Json:
        state = self._own(call)
        known = {"id": state.pop("id")} if "id" in state else {}
        said: Json = {"functionCall": {**known, "name": _name(call.name), "args": arguments_object(call)}}
        # Of parallel calls Gemini signs the first, and wants it signed.
        return said | (state or (self._stand_in() if is_first else {}))

    def _result(self, result: ToolResult) -> Json:
        call = self._calls.get(result.call_id)
        state = self._own(call) if call else {}
        known = {"id": state["id"]} if "id" in state else {}
        said: Json = {**known, "name": _name(call.name if call else result.name), "response": _response(result)}
        if shown := [_part(part) for part in result.content if not isinstance(part, str | Text)]:
            said["parts"] = shown
        return {"functionResponse": said}

    def _own(self, part: Text | Thinking | Image | File | ToolCall) -> Json:
        return own(part.state, self.origin) or {}

    def _stand_in(self) -> Json:
        return dict(_STAND_IN) if self.is_third else {}


def user_content(message: Message) -> Json:
    """Say what a user says, or the system further on."""
    return {"role": "user", "parts": [_part(part) for part in message.parts if part != Text("")] or [{"text": " "}]}


def system_parts(instructions: str, leading: Iterable[Message], *, form: str) -> list[Mapping[str, str]]:
    """Say the instructions, the system messages before all others, and the form of the answer where only words can."""
    return [{"text": text} for text in (instructions, *(message.text for message in leading), form) if text]


def _name(name: str) -> str:
    """Make a name that Gemini takes, which begins with a letter or an underscore."""
    known = call_name(name)
    return known if re.match(r"[A-Za-z_]", known) else f"_{known}"[:64]


def _response(result: ToolResult) -> Json:
    """Say a result as the object that it must be; the key "error" is Gemini's own word for a failure."""
    if result.is_error:
        return {"error": result.text}
    try:
        value: object = from_json(result.text.encode("utf-8", "replace"), allow_inf_nan=False)
    except ValueError:
        value = None
    match value:
        case dict():
            return cast("Json", value)
        case list():
            return {"result": cast("list[object]", value)}
        case _:
            # A number or a word of JSON would lose how it was written: "1.10", "007".
            return {"result": result.text}


def _part(part: Part) -> Json:
    match part:
        case Text(text):
            return {"text": text}
        case Image() | File() if part.data is not None:
            return {"inlineData": {"mimeType": _media_type(part), "data": base64_text(part.data)}}
        case Image() | File():
            return _by_address(part)
        case _:
            raise not_for_users(part)


def _by_address(part: Image | File) -> Json:
    address = part.url or ""
    if inline := re.fullmatch(r"data:([^;,]+);base64,(.*)", address, re.DOTALL):
        return {"inlineData": {"mimeType": inline[1], "data": inline[2]}}
    media_type = _media_type(part)
    # A film on YouTube has no media type.
    return {"fileData": {"fileUri": address, **({"mimeType": media_type} if media_type != _ANY_BYTES else {})}}


def _media_type(part: Image | File) -> str:
    """Say what the bytes are; the ending of a name or an address knows it where the part does not."""
    match part:
        case Image(url=str(address)):
            return _guessed(address) or part.media_type
        case File(url=str(address), media_type="application/octet-stream"):
            return _guessed(address) or _guessed(part.name) or _ANY_BYTES
        case File(media_type="application/octet-stream"):
            return _guessed(part.name) or _ANY_BYTES
        case _:
            return part.media_type


def _guessed(address: str) -> str | None:
    return mimetypes.guess_type(re.split(r"[?#]", address)[0])[0]
