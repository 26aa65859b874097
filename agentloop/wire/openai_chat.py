"""POST /chat/completions, as OpenAI defines it and some thirty others speak it."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic_core import PydanticSerializationError, from_json, to_json

from agentloop.errors import ConfigurationError
from agentloop.messages import (
    File,
    Image,
    Message,
    OutputSchema,
    Part,
    Request,
    Settings,
    Text,
    Thinking,
    ToolCall,
    ToolDescription,
    ToolResult,
)
from agentloop.tools.dialects import openai_strict, plain
from agentloop.wire import Decoder, Outgoing
from agentloop.wire.openai_chat_decoder import WIRE, ChatDecoder

Json = dict[str, Any]

_MISTRAL_ID = re.compile(r"[A-Za-z0-9]{9}")


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
    thinking_field: Literal["reasoning_content", "reasoning_details"] | None = None
    """Where the provider wants its own thinking said back."""
    form_beside_tools: bool = True
    """Whether a form for the answer may be given beside tools; where not, the model is told it in words."""
    nine_character_ids: bool = False
    """Whether ids of calls must be nine letters or digits."""


class OpenAIChat:
    """Speaks chat completions."""

    def __init__(self, quirks: ChatQuirks | None = None) -> None:
        self._quirks = quirks or ChatQuirks()
        self._said: tuple[Sequence[ToolDescription], list[Json]] = ((), [])

    def encode(self, request: Request, *, model: str) -> Outgoing:
        """Say the request as a chat completion."""
        body: Json = {"model": model, "messages": list(self._messages(request))}
        if request.tools:
            body["tools"] = self._tools(request.tools)
        body |= self._settings(request.settings, has_tools=bool(request.tools))
        if request.output and not self._tells_form(request):
            body["response_format"] = {"type": "json_schema", "json_schema": _output(request.output)}
        if request.stream:
            body["stream"] = True
            if self._quirks.stream_usage:
                body["stream_options"] = {"include_usage": True}
        body |= request.settings.extra
        return Outgoing("chat/completions", _json(body))

    def headers(self, key: str | None) -> Mapping[str, str]:
        """Show the key as a bearer token."""
        return {"authorization": f"Bearer {key}"} if key else {}

    def decoder(self) -> Decoder:
        """Make a fresh decoder, for one reply."""
        return ChatDecoder()

    def _messages(self, request: Request) -> Iterator[Json]:
        if instructions := self._instructions(request):
            yield {"role": self._quirks.system_role, "content": instructions}
        ids: dict[str, str] = {}
        for message in request.messages:
            match message.role:
                case "system":
                    yield {"role": self._quirks.system_role, "content": message.text}
                case "user":
                    yield {"role": "user", "content": _content(message.parts)}
                case "assistant":
                    ids = {call.id: self._call_id(call) for call in message.calls}
                    yield self._assistant(message, ids)
                case "tool":
                    yield from _results(message.results, ids)

    def _tells_form(self, request: Request) -> bool:
        return bool(request.tools) and request.settings.tool_choice != "none" and not self._quirks.form_beside_tools

    def _instructions(self, request: Request) -> str:
        if request.output is None or not self._tells_form(request):
            return request.instructions
        form = to_json(plain(request.output.schema)).decode()
        told = f"When you have what you need, answer with JSON that fits this schema, and nothing else: {form}"
        return f"{request.instructions}\n\n{told}".lstrip()

    def _assistant(self, message: Message, ids: Mapping[str, str]) -> Json:
        said: Json = {"role": "assistant", "content": message.text or self._quirks.empty_content}
        if calls := message.calls:
            said["tool_calls"] = [_call(call, ids[call.id]) for call in calls]
        elif said["content"] is None:
            # An assistant message must hold content or calls.
            said["content"] = ""
        said |= self._thinking(message.parts)
        return said

    def _thinking(self, parts: Sequence[Part]) -> Json:
        field = self._quirks.thinking_field
        own = [part for part in parts if isinstance(part, Thinking) and part.wire == WIRE and part.state]
        if field is None or not own:
            return {}
        states: list[Json] = [from_json(part.state) for part in own if part.state]
        if field == "reasoning_details":
            details = [detail for state in states for detail in state.get(field, ())]
            return {field: details} if details else {}
        return {field: "".join(part.text for part in own)}

    def _call_id(self, call: ToolCall) -> str:
        call_id = call.provider_id or call.id
        if not self._quirks.nine_character_ids or _MISTRAL_ID.fullmatch(call_id):
            return call_id
        return hashlib.sha256(call_id.encode()).hexdigest()[:9]

    def _tools(self, tools: Sequence[ToolDescription]) -> list[Json]:
        # An agent asks with the same tools in every step; they are rendered in the first.
        known, said = self._said
        if known is not tools:
            said = [self._tool(tool) for tool in tools]
            self._said = (tools, said)
        return said

    def _tool(self, tool: ToolDescription) -> Json:
        function: Json = {"name": tool.name}
        if tool.description:
            function["description"] = tool.description
        strict = openai_strict(tool.parameters) if tool.strict and self._quirks.strict else None
        function["parameters"] = strict or plain(tool.parameters)
        if tool.strict is not None and self._quirks.strict:
            function["strict"] = strict is not None
        return {"type": "function", "function": function}

    def _settings(self, settings: Settings, *, has_tools: bool) -> Json:
        said: Json = {
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            self._quirks.max_tokens_field: settings.max_tokens,
            "stop": list(settings.stop) or None,
            "seed": settings.seed,
            "reasoning_effort": settings.effort,
            "metadata": dict(settings.metadata) or None,
        }
        if has_tools:
            said["tool_choice"] = self._tool_choice(settings.tool_choice)
            said["parallel_tool_calls"] = settings.parallel_tool_calls
        return {name: value for name, value in said.items() if value is not None}

    def _tool_choice(self, choice: str | None) -> str | Json | None:
        match choice:
            case None | "auto" | "none":
                return choice
            case "required":
                return self._quirks.required_word
            case name:
                return {"type": "function", "function": {"name": name}}


def _output(output: OutputSchema) -> Json:
    strict = openai_strict(output.schema)
    return {"name": output.name, "schema": strict or plain(output.schema), "strict": strict is not None}


def _call(call: ToolCall, call_id: str) -> Json:
    # A name that no tool can have was answered with an error; providers refuse to hear it again.
    name = re.sub(r"[^A-Za-z0-9_-]", "_", call.name)[:64]
    said: Json = {"id": call_id, "type": "function", "function": {"name": name, "arguments": _valid_arguments(call.arguments)}}
    if call.extra:
        said |= from_json(call.extra)
    return said


def _valid_arguments(arguments: str) -> str:
    # Providers refuse a replayed call whose arguments are no JSON object, and some gateways drop it without a word.
    try:
        return arguments if isinstance(from_json(arguments, allow_inf_nan=False), dict) else "{}"
    except ValueError:
        return "{}"


def _results(results: Sequence[ToolResult], ids: Mapping[str, str]) -> Iterator[Json]:
    pictures: list[Part] = []
    for result in results:
        attached = [part for part in result.content if not isinstance(part, Text)] if isinstance(result.content, tuple) else []
        if attached:
            pictures += [Text(f"From the result of {result.name or result.call_id}:"), *attached]
        text = result.text or ("See the next message." if attached else "")
        yield {"role": "tool", "tool_call_id": ids.get(result.call_id, result.call_id), "content": text}
    # A chat tool message holds text only; pictures go into a user message behind the last result.
    if pictures:
        yield {"role": "user", "content": _content(tuple(pictures))}


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
            image: Json = {"url": part.url or _data_url(part.media_type, part.data)}
            return {"type": "image_url", "image_url": image | ({"detail": part.detail} if part.detail else {})}
        case File(data=bytes(data)) if part.media_type.startswith("audio/"):
            sound = {"data": base64.b64encode(data).decode(), "format": _audio_format(part.media_type)}
            return {"type": "input_audio", "input_audio": sound}
        case File(data=bytes(data)):
            return {"type": "file", "file": {"filename": part.name, "file_data": _data_url(part.media_type, data)}}
        case File():
            raise ConfigurationError(f"chat completions take no file by its address ({part.url!r}); give its bytes with File(data=...)")
        case _:
            raise ConfigurationError(f"a user message cannot hold a {part.kind}; give it Text, Image or File")


def _data_url(media_type: str, data: bytes | None) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data or b'').decode()}"


def _audio_format(media_type: str) -> str:
    name = media_type.removeprefix("audio/").removeprefix("x-")
    return {"mpeg": "mp3", "wave": "wav"}.get(name, name)


def _json(body: Json) -> bytes:
    try:
        return to_json(body)
    except PydanticSerializationError:
        # A lone surrogate (from os.listdir, say) has no UTF-8; servers refuse such a request whole.
        try:
            return to_json(_without_surrogates(body))
        except PydanticSerializationError as error:
            raise ConfigurationError(f"the request has no JSON form: {error}; check Settings(extra=...)") from error


def _without_surrogates(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case Mapping():
            return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
        case list() | tuple():
            return [_without_surrogates(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
        case _:
            return value
