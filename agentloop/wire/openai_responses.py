"""POST /responses, as OpenAI defines it and Azure, xAI, OpenRouter, DeepSeek, Bedrock and llama.cpp speak it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from agentloop.errors import ConfigurationError
from agentloop.messages import HostedTool, Message, OutputSchema, Request, Settings, Text, ToolDescription
from agentloop.tools.dialects import openai_strict, plain
from agentloop.tools.hosted import CodeExecution, FileSearch, ImageGeneration, MCPServer, ProviderTool, WebSearch
from agentloop.wire import Decoder, Outgoing
from agentloop.wire.lenient import as_list, as_object, as_text
from agentloop.wire.openai_responses_decoder import ResponsesDecoder
from agentloop.wire.openai_responses_items import InputItems, Way
from agentloop.wire.sayable import RenderedTools, bearer, instructions_of, named_form, not_offered
from agentloop.wire.speech import SAID, Frame, about, framed, speech_of

Json = dict[str, Any]

# OpenAI refuses to encrypt the thoughts of models that have none.
_REASONS = re.compile(r"(?:^|[/.])(?:o[1-9](?![0-9a-z])|gpt-[5-9](?!\d)|gpt-oss|codex|grok-3-mini|grok-[4-9])")
_REASONS_NOT = re.compile(r"gpt-5-chat|non-reasoning")
_FEWEST_TOKENS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponsesQuirks:
    """Where a provider departs from OpenAI."""

    system_role: Literal["system", "developer"] = "system"
    web_search_type: Literal["web_search", "web_search_preview"] = "web_search"
    strict: bool = True
    """Whether the provider can hold the model to a tool's schema."""
    encrypted_thinking: bool = True
    """Whether reasoning models shall give their thoughts encrypted and the provider store nothing: the transcript is all there is."""
    form: Literal["text", "response_format"] = "text"
    """The field that gives the form of the answer; llama.cpp reads that of chat completions."""
    form_beside_tools: bool = True
    """Whether it may be given beside tools; where not, the model is told it in words."""
    ids: bool = True
    """Whether the provider knows the ids of messages and calls when it hears them again."""


class OpenAIResponses:
    """Speaks responses. The format has no `stop` and no `seed`; `max_tokens` below 16, which OpenAI refuses, are said as 16."""

    def __init__(self, quirks: ResponsesQuirks | None = None, *, origin: str = "openai/responses") -> None:
        """Speak as one provider understands it; `origin` marks what it wants to hear again."""
        self._quirks = quirks or ResponsesQuirks()
        self._origin = origin
        self._rendered = RenderedTools()

    def encode(self, request: Request, *, model: str) -> Outgoing:
        """Say the request as a response to be made."""
        thinks = self._quirks.encrypted_thinking and _thinks(model, request.settings)
        quirks = self._quirks
        way = Way(
            origin=self._origin,
            system_role=quirks.system_role,
            ids=quirks.ids,
            thinks=thinks or not quirks.encrypted_thinking,
            stored=quirks.ids and not thinks,
        )
        speech = speech_of(request.messages, lambda: InputItems(way), key=(self, way))
        said = _alone(request.messages) or (" " if speech.is_silent else SAID)
        frame = speech.frame(about(request, model, said), lambda: self._frame(request, model, said=said, thinks=thinks))
        return speech.outgoing(frame)

    def _frame(self, request: Request, model: str, *, said: object, thinks: bool) -> Frame:
        body: Json = {"model": model}
        if instructions := instructions_of(request, tells_form=self._tells_form(request)):
            body["instructions"] = instructions
        if tools := [*self._rendered.said(request.tools, self._tool), *self._hosted(request.hosted)]:
            body["tools"] = tools
        body["input"] = said
        body |= self._settings(request)
        if thinks:
            body |= {"include": ["reasoning.encrypted_content"], "store": False}
        if request.output:
            body |= self._form(request, request.output)
        if request.stream:
            body["stream"] = True
        return framed("responses", _with_extra(body, request.settings.extra))

    def headers(self, key: str | None) -> Mapping[str, str]:
        """Show the key as a bearer token."""
        return bearer(key)

    def decoder(self) -> Decoder:
        """Make a fresh decoder, for one reply."""
        return ResponsesDecoder(self._origin)

    def _tells_form(self, request: Request) -> bool:
        return not self._quirks.form_beside_tools and bool(request.tools) and request.settings.tool_choice != "none"

    def _form(self, request: Request, output: OutputSchema) -> Json:
        if self._tells_form(request):
            return {}
        if self._quirks.form == "response_format":
            return {"response_format": {"type": "json_schema", "json_schema": named_form(output)}}
        return {"text": {"format": {"type": "json_schema", **named_form(output)}}}

    def _tool(self, tool: ToolDescription) -> Json:
        said: Json = {"type": "function", "name": tool.name}
        if tool.description:
            said["description"] = tool.description
        strict = openai_strict(tool.parameters) if tool.strict and self._quirks.strict else None
        # Where nothing is said, OpenAI makes tools strict by itself, and refuses those that cannot be.
        return said | {"parameters": strict or plain(tool.parameters), "strict": strict is not None}

    def _hosted(self, hosted: Sequence[HostedTool]) -> Iterator[Json]:
        for tool in hosted:
            match tool:
                case WebSearch():
                    yield self._web_search(tool)
                case CodeExecution(files=files):
                    yield {"type": "code_interpreter", "container": _given({"type": "auto", "file_ids": list(files)})}
                case FileSearch(stores=stores, most_results=most):
                    yield _given({"type": "file_search", "vector_store_ids": list(stores), "max_num_results": most})
                case ImageGeneration(size=size, quality=quality, format=form):
                    yield _given({"type": "image_generation", "size": size, "quality": quality, "output_format": form})
                case MCPServer():
                    yield _mcp(tool)
                case ProviderTool(data=data):
                    yield dict(data)
                case _:
                    offered = "WebSearch, CodeExecution, FileSearch, ImageGeneration, MCPServer and ProviderTool"
                    raise not_offered(tool, origin=self._origin, offered=offered)

    def _web_search(self, tool: WebSearch) -> Json:
        kind = self._quirks.web_search_type
        if tool.blocked_domains or (tool.domains and kind == "web_search_preview"):
            what = "blocked domains" if tool.blocked_domains else "domains"
            remedy = "name the domains to search" if kind == "web_search" else "leave them out"
            raise ConfigurationError(f"{self._origin} searches the web without {what}; {remedy}")
        return _given(
            {
                "type": kind,
                "search_context_size": tool.context,
                "user_location": {"type": "approximate", **_given(asdict(tool.location))} if tool.location else None,
                "filters": {"allowed_domains": list(tool.domains)} if tool.domains else None,
            }
        )

    def _settings(self, request: Request) -> Json:
        settings = request.settings
        said: Json = {
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "max_output_tokens": max(settings.max_tokens, _FEWEST_TOKENS) if settings.max_tokens is not None else None,
            "max_tool_calls": _most_uses(request.hosted),
            "reasoning": {"effort": settings.effort} if settings.effort else None,
            "metadata": dict(settings.metadata),
        }
        if request.tools or request.hosted:
            said["tool_choice"] = self._tool_choice(request)
            said["parallel_tool_calls"] = settings.parallel_tool_calls
        return _given(said)

    def _tool_choice(self, request: Request) -> str | Json | None:
        choice = request.settings.tool_choice
        if choice in {None, "auto", "none", "required"}:
            return choice
        hosted = [tool for tool in request.hosted if tool.kind == choice]
        if not hosted or any(tool.name == choice for tool in request.tools):
            return {"type": "function", "name": choice}
        said = next(self._hosted(hosted))
        named: Json = {name: said[name] for name in ("type", "server_label") if name in said}
        # OpenAI's schema has a choice for web_search_preview, but none for web_search.
        return {"type": "allowed_tools", "mode": "required", "tools": [named]} if named["type"] == "web_search" else named


def _alone(messages: Sequence[Message]) -> str:
    """Give the words that the input is where a user's are all there is."""
    match [(message.role, message.parts) for message in messages[:2]]:
        case [("user", (Text(text),))]:
            return text
        case _:
            return ""


def _thinks(model: str, settings: Settings) -> bool:
    by_name = _REASONS.search(model) is not None and _REASONS_NOT.search(model) is None
    return by_name or settings.effort not in {None, "none"}


def _given(fields: Mapping[str, Any]) -> Json:
    return {name: value for name, value in fields.items() if value not in (None, [], {})}


def _most_uses(hosted: Sequence[HostedTool]) -> int | None:
    """Say how often the web may be searched; the format counts the uses of all hosted tools together."""
    uses = [tool.most_uses for tool in hosted if isinstance(tool, WebSearch) and tool.most_uses is not None]
    if uses and len(hosted) > 1:
        raise ConfigurationError("responses count the uses of all hosted tools together; give extra={'max_tool_calls': ...} instead")
    return uses[0] if uses else None


def _mcp(server: MCPServer) -> Json:
    token = server.token.get_secret_value() if server.token else None
    said = {"type": "mcp", "server_label": server.name, "server_url": server.url, "authorization": token}
    return _given({**said, "allowed_tools": list(server.tools), "require_approval": "never"})


def _with_extra(body: Json, extra: Mapping[str, Any]) -> Json:
    """Add further fields; of a field that is already there (`reasoning`, `text`, `include`) what is said stays beside them."""
    said = body | dict(extra)
    for name in ("reasoning", "text"):
        if name in body and name in extra:
            said[name] = {**body[name], **as_object(extra[name])}
    if "include" in body and "include" in extra:
        said["include"] = list(dict.fromkeys([*body["include"], *map(as_text, as_list(extra["include"]))]))
    return said
