"""POST /chat/completions, as OpenAI defines it and some thirty others speak it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from agentloop.errors import ConfigurationError
from agentloop.messages import (
    File,
    HostedTool,
    Image,
    Message,
    Part,
    Refusal,
    Request,
    Settings,
    Text,
    Thinking,
    ToolCall,
    ToolDescription,
    ToolResult,
)
from agentloop.tools.dialects import gemini, openai_strict, plain
from agentloop.tools.hosted import ProviderTool, WebSearch
from agentloop.wire import Decoder, Outgoing
from agentloop.wire.attachments import answered_before_users, attachments_moved
from agentloop.wire.openai_chat_decoder import ChatDecoder
from agentloop.wire.sayable import (
    RenderedTools,
    arguments_text,
    as_json,
    base64_text,
    bearer,
    call_id,
    call_name,
    data_url,
    instructions_of,
    named_form,
    not_for_users,
    not_offered,
    own,
)

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


class OpenAIChat:
    """Speaks chat completions."""

    def __init__(self, quirks: ChatQuirks | None = None, *, origin: str = "openai/chat") -> None:
        """Speak as one provider understands it; `origin` marks what it wants to hear again."""
        self._quirks = quirks or ChatQuirks()
        self._origin = origin
        self._rendered = RenderedTools()

    def encode(self, request: Request, *, model: str) -> Outgoing:
        """Say the request as a chat completion."""
        body: Json = {"model": model, "messages": list(self._messages(request, model))}
        further = [tool.data for tool in request.hosted if isinstance(tool, ProviderTool)]
        if request.tools or further:
            body["tools"] = [*self._tools(request.tools, model), *further]
        body |= self._hosted(request.hosted)
        body |= self._settings(request.settings, request.tools)
        if request.output and not self._tells_form(request, model):
            body["response_format"] = {"type": "json_schema", "json_schema": named_form(request.output)}
        if request.stream:
            body["stream"] = True
            if self._quirks.stream_usage:
                body["stream_options"] = {"include_usage": True}
        body |= request.settings.extra
        return Outgoing("chat/completions", as_json(body))

    def headers(self, key: str | None) -> Mapping[str, str]:
        """Show the key as a bearer token."""
        return bearer(key)

    def decoder(self) -> Decoder:
        """Make a fresh decoder, for one reply."""
        return ChatDecoder(self._origin)

    def _messages(self, request: Request, model: str) -> Iterator[Json]:
        if instructions := instructions_of(request, tells_form=self._tells_form(request, model)):
            yield {"role": self._quirks.system_role, "content": instructions}
        ids: dict[str, str] = {}
        # A chat tool message holds text only.
        moved = attachments_moved(request.messages, from_results=True)
        for message in answered_before_users(moved) if self._quirks.assistant_after_results else moved:
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

    def _tells_form(self, request: Request, model: str) -> bool:
        """Whether the model is told in words how its answer must look."""
        form = self._quirks.form if isinstance(self._quirks.form, str) else self._quirks.form(model)
        may_call = bool(request.tools) and request.settings.tool_choice != "none"
        return form == "words" or (form == "alone" and may_call)

    def _assistant(self, message: Message, ids: Mapping[str, str]) -> Json:
        # Gateways drop the field that OpenAI has for a refusal; its words are what counts.
        words = "".join(part.text for part in message.parts if isinstance(part, Text | Refusal))
        said: Json = {"role": "assistant", "content": words or self._quirks.empty_content}
        if calls := message.calls:
            said["tool_calls"] = [self._call(call, ids[call.id]) for call in calls]
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

    def _hosted(self, hosted: Sequence[HostedTool]) -> Json:
        said: Json = {}
        for tool in hosted:
            match tool:
                case WebSearch(context=context, location=place):
                    near = {name: value for name, value in asdict(place).items() if value} if place else {}
                    options: Json = {"search_context_size": context} if context else {}
                    said["web_search_options"] = options | ({"user_location": {"type": "approximate", "approximate": near}} if near else {})
                case ProviderTool():
                    pass
                case _:
                    raise not_offered(tool, origin=self._origin, offered="WebSearch and ProviderTool; the other formats have more")
        return said

    def _tools(self, tools: Sequence[ToolDescription], model: str) -> list[Json]:
        dialect = gemini if self._quirks.gemini_schemas and model.startswith("gemini") else plain
        return self._rendered.said(tools, lambda tool: self._tool(tool, dialect), way=dialect)

    def _tool(self, tool: ToolDescription, dialect: Callable[[Mapping[str, Any]], Json]) -> Json:
        function: Json = {"name": tool.name}
        if tool.description:
            function["description"] = tool.description
        strict = openai_strict(tool.parameters) if tool.strict and self._quirks.strict else None
        # Gemini's dialect has nothing to say of a tool that takes nothing, and a gateway drops a tool that says nothing.
        function["parameters"] = strict or dialect(tool.parameters) or plain(tool.parameters)
        if tool.strict is not None and self._quirks.strict:
            function["strict"] = strict is not None
        return {"type": "function", "function": function}

    def _settings(self, settings: Settings, tools: Sequence[ToolDescription]) -> Json:
        is_silent = self._quirks.thinks_unless_told and settings.effort == "none"
        said: Json = {
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            self._quirks.max_tokens_field: settings.max_tokens,
            "stop": list(settings.stop) or None,
            "seed": settings.seed,
            "reasoning_effort": None if is_silent else settings.effort,
            "thinking": {"type": "disabled"} if is_silent else None,
            # OpenAI takes metadata only with what it stores.
            "metadata": (dict(settings.metadata) or None) if settings.extra.get("store") else None,
        }
        if tools:
            may_force = is_silent or not self._quirks.thinks_unless_told
            choice = settings.tool_choice if may_force or settings.tool_choice in {None, "none"} else "auto"
            said["tool_choice"] = self._tool_choice(choice, tools)
            said["parallel_tool_calls"] = settings.parallel_tool_calls
        return {name: value for name, value in said.items() if value is not None}

    def _tool_choice(self, choice: str | None, tools: Sequence[ToolDescription]) -> str | Json | None:
        match choice:
            case None | "auto" | "none":
                return choice
            case "required":
                return self._quirks.required_word
            case name if any(tool.name == name for tool in tools):
                return {"type": "function", "function": {"name": name}}
            case _:
                # A hosted tool cannot be chosen: a search is made where the model wants one.
                return None


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
