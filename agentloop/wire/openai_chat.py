"""POST /chat/completions, as OpenAI defines it and some thirty others speak it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from agentloop.messages import HostedTool, Request, Settings, ToolDescription
from agentloop.tools.dialects import gemini, openai_strict, plain
from agentloop.tools.hosted import ProviderTool, WebSearch
from agentloop.wire import Decoder, Outgoing
from agentloop.wire.openai_chat_decoder import ChatDecoder
from agentloop.wire.openai_chat_messages import ChatMessages, ChatQuirks
from agentloop.wire.sayable import RenderedTools, bearer, instructions_of, named_form, not_offered
from agentloop.wire.speech import SAID, Frame, about, framed, speech_of

Json = dict[str, Any]


class OpenAIChat:
    """Speaks chat completions."""

    def __init__(self, quirks: ChatQuirks | None = None, *, origin: str = "openai/chat") -> None:
        """Speak as one provider understands it; `origin` marks what it wants to hear again."""
        self._quirks = quirks or ChatQuirks()
        self._origin = origin
        self._rendered = RenderedTools()

    def encode(self, request: Request, *, model: str) -> Outgoing:
        """Say the request as a chat completion."""
        speech = speech_of(request.messages, lambda: ChatMessages(self._quirks, origin=self._origin), key=self)
        return speech.outgoing(speech.frame(about(request, model), lambda: self._frame(request, model)))

    def _frame(self, request: Request, model: str) -> Frame:
        body: Json = {"model": model, "messages": SAID}
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
        instructions = instructions_of(request, tells_form=self._tells_form(request, model))
        first: list[Json] = [{"role": self._quirks.system_role, "content": instructions}] if instructions else []
        return framed("chat/completions", body, first=first)

    def headers(self, key: str | None) -> Mapping[str, str]:
        """Show the key as a bearer token."""
        return bearer(key)

    def decoder(self) -> Decoder:
        """Make a fresh decoder, for one reply."""
        return ChatDecoder(self._origin)

    def _tells_form(self, request: Request, model: str) -> bool:
        """Whether the model is told in words how its answer must look."""
        form = self._quirks.form if isinstance(self._quirks.form, str) else self._quirks.form(model)
        may_call = bool(request.tools) and request.settings.tool_choice != "none"
        return form == "words" or (form == "alone" and may_call)

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
