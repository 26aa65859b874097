"""POST /messages, as Anthropic defines it, and gateways, llama.cpp, Ollama and vLLM speak it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

from agentloop.errors import ConfigurationError
from agentloop.messages import HostedTool, Request, Settings, ToolDescription
from agentloop.tools.dialects import anthropic, anthropic_strict
from agentloop.tools.hosted import CodeExecution, MCPServer, ProviderTool, WebSearch
from agentloop.wire import Decoder, Outgoing
from agentloop.wire.answer_tool import answer_tool
from agentloop.wire.anthropic_blocks import Chain, Speaker, open_container, sayable
from agentloop.wire.anthropic_decoder import MessagesDecoder
from agentloop.wire.anthropic_models import ClaudeModel, claude_model
from agentloop.wire.lenient import as_text
from agentloop.wire.sayable import RenderedTools, bearer, not_offered
from agentloop.wire.speech import SAID, Frame, about, framed, speech_of

Json = dict[str, Any]

_LEAST_BUDGET = 1_024
_BUDGETS = {"minimal": 1_024, "low": 2_048, "medium": 8_192, "high": 16_384, "xhigh": 24_576, "max": 32_000}
_DROPS_BOUND_THINKING = "thinking-binding-controls-2026-08-01"
_SERVERS = "mcp-client-2025-11-20"
_FILES = "files-api-2025-04-14"


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagesQuirks:
    """Where a provider departs from Anthropic."""

    bearer: bool = False
    """Whether the key is shown as a bearer token."""
    native_output: bool = True
    """Whether `output_config.format` is understood; where not, a tool takes the answer."""
    strict: bool = True
    """Whether `strict` on a tool is understood."""
    cache: Literal["top", "blocks", "none"] = "top"
    """How it is told what to cache: once for the whole request, block by block, or not at all."""
    betas: bool = True
    """Whether it is told what is not yet settled of the format, by headers."""
    unsigned_thinking: bool = False
    """Whether it wants its thinking back even where no signature came with it."""


class AnthropicMessages:
    """Speaks Anthropic's messages.

    There is no `seed`, no `context` of a web search, and no `metadata` but "user_id": these are left out. So are `temperature` and `top_p`
    for models from 4.7 on, which refuse them, and beside thinking, and `top_p` beside `temperature` for models from 4.1 on, which take one
    of them. Models that refuse to be forced to call a tool (from Opus 5.5 and Sonnet 5.5 on) may decide; older ones do not think in the
    requests in which they are forced.
    """

    def __init__(self, quirks: MessagesQuirks | None = None, *, origin: str = "anthropic/messages") -> None:
        """Speak as one provider understands it; `origin` marks what it wants to hear again."""
        self._quirks = quirks or MessagesQuirks()
        self._origin = origin
        self._rendered = RenderedTools()

    def encode(self, request: Request, *, model: str) -> Outgoing:
        """Say the request as a message to be made."""
        begin = partial(Speaker, self._origin, says_unsigned=self._quirks.unsigned_thinking)
        speech = speech_of(request.messages, begin, key=self)
        last = sayable(speech.open, is_all=speech.is_open)
        before = Before.of(speech.speaker, last)
        frame = speech.frame(about(request, model, before), lambda: self._frame(request, before, model=model))
        return speech.outgoing(frame, self._marked(last, request.settings))

    def _frame(self, request: Request, before: Before, *, model: str) -> Frame:
        claude = claude_model(model)
        form = self._form(request, claude)
        answers = request.output is not None and form is None
        tools = self._tools(request, claude, answers=answers)
        body: Json = {"model": model, "messages": SAID}
        if system := "\n\n".join(text for text in (request.instructions, *before.leading) if text.strip()):
            body["system"] = system
        if tools:
            body["tools"] = tools
        if servers := [_server(tool) for tool in request.hosted if isinstance(tool, MCPServer)]:
            body["mcp_servers"] = servers
        body |= _settings(request.settings)
        body |= self._thinking(request, claude, may_think_on=before.may_think_on)
        thinks = body.get("thinking", {}).get("type")
        if not claude.takes_sampling or thinks in {"enabled", "adaptive"}:
            body = {name: value for name, value in body.items() if name not in {"temperature", "top_p"}}
        if claude.takes_one_sampling and "temperature" in body:
            body.pop("top_p", None)
        can_force = claude.can_be_forced and thinks != "enabled"
        if tools and (choice := self._choice(request.settings, can_force=can_force, answers=answers)):
            body["tool_choice"] = choice
        if form:
            body["output_config"] = body.get("output_config", {}) | {"format": {"type": "json_schema", "schema": form}}
        if before.container and _runs_code(tools, before):
            body["container"] = before.container
        if request.stream:
            body["stream"] = True
        self._mark(body, request.settings)
        uploads = _uploads(request.hosted)
        headers = self._betas(body, before, uploads=bool(uploads))
        return framed("messages", body | dict(request.settings.extra), first=uploads, headers=headers)

    def headers(self, key: str | None) -> Mapping[str, str]:
        """Show the key, and name the version of the format."""
        shown = bearer(key) if self._quirks.bearer else {"x-api-key": key} if key else {}
        return {"anthropic-version": "2023-06-01"} | shown

    def decoder(self) -> Decoder:
        """Make a fresh decoder, for one reply."""
        return MessagesDecoder(self._origin)

    def _form(self, request: Request, claude: ClaudeModel) -> Json | None:
        """Say the form of the answer, where the model can be held to it."""
        if request.output is None or not (self._quirks.native_output and claude.answers_in_form):
            return None
        return anthropic_strict(request.output.schema)

    def _tools(self, request: Request, claude: ClaudeModel, *, answers: bool) -> list[Json]:
        choice = request.settings.tool_choice
        answer = [_tool(answer_tool(request.output), strict=False)] if request.output is not None and answers else []
        if answer and choice == "none":
            return answer
        strict = self._quirks.strict and claude.answers_in_form
        tools = [*self._rendered.said(request.tools, lambda tool: _tool(tool, strict=strict), way=strict)]
        tools += [self._hosted(tool, claude) for tool in request.hosted]
        # Whoever must call a tool first cannot do so by answering.
        return tools if tools and choice == "required" else [*tools, *answer]

    def _hosted(self, tool: HostedTool, claude: ClaudeModel) -> Json:
        match tool:
            case WebSearch(location=place):
                # Called by the model itself, and not from code that it runs, it works on all models.
                said: Json = {"type": "web_search_20260318", "name": "web_search", "allowed_callers": ["direct"]}
                near = {name: value for name, value in asdict(place).items() if value} if place else {}
                options: Json = {
                    "max_uses": tool.most_uses,
                    "allowed_domains": list(tool.domains),
                    "blocked_domains": list(tool.blocked_domains),
                    "user_location": {"type": "approximate"} | near if near else None,
                }
                return said | {name: value for name, value in options.items() if value}
            case CodeExecution():
                date = "20260521" if claude.answers_in_form else "20250825"
                return {"type": f"code_execution_{date}", "name": "code_execution"}
            case MCPServer(tools=names):
                chosen: Json = (
                    {"default_config": {"enabled": False}, "configs": {name: {"enabled": True} for name in names}} if names else {}
                )
                return {"type": "mcp_toolset", "mcp_server_name": tool.name} | chosen
            case ProviderTool(data):
                return dict(data)
            case _:
                raise not_offered(tool, origin=self._origin, offered="WebSearch, CodeExecution, MCPServer and ProviderTool")

    def _thinking(self, request: Request, claude: ClaudeModel, *, may_think_on: bool) -> Json:
        """Say how much the model may think, and so how long its reply may be."""
        settings = request.settings
        most = settings.max_tokens or claude.most_tokens
        if not claude.thinks:
            return {"max_tokens": most}
        if claude.thinks_adaptively:
            return {"max_tokens": most} | self._adaptive(settings, claude)
        if settings.effort == "none":
            return {"max_tokens": most, "thinking": {"type": "disabled"}}
        forced = settings.tool_choice not in {None, "auto", "none"} and bool(request.tools or request.hosted)
        if settings.effort is None or forced or not may_think_on:
            return {"max_tokens": most}
        budget = _BUDGETS[settings.effort]
        if settings.max_tokens is None:
            most += min(budget, claude.most_thinking)
        # The budget must be smaller than what the whole reply may take.
        budget = max(_LEAST_BUDGET, min(budget, most - _LEAST_BUDGET))
        return {"max_tokens": most} | ({"thinking": {"type": "enabled", "budget_tokens": budget}} if budget < most else {})

    def _adaptive(self, settings: Settings, claude: ClaudeModel) -> Json:
        effort = settings.effort
        if effort == "none" and claude.thinks_between_tools:
            return {"thinking": {"type": "between_tools"}}
        if effort == "none" and not claude.always_thinks:
            return {"thinking": {"type": "disabled"}}
        thinking: Json = {"display": "summarized"} if effort not in {None, "none"} else {}
        if claude.binds_thinking and self._quirks.betas:
            # Agents with other instructions and tools share a transcript; without this, such a model refuses the thinking in it.
            thinking["block_binding"] = {"prefix_mismatch_behavior": "drop_block"}
        said: Json = {"thinking": {"type": "adaptive"} | thinking} if thinking else {}
        return said | ({"output_config": {"effort": claude.nearest(effort)}} if effort else {})

    def _choice(self, settings: Settings, *, can_force: bool, answers: bool) -> Json | None:
        """Say whether and what to call; a model that answers by a tool is made to call one, where it can be made to."""
        choice = settings.tool_choice
        if choice == "none" and not answers:
            return {"type": "none"}
        alone: Json = {"disable_parallel_tool_use": True} if settings.parallel_tool_calls is False else {}
        if can_force and choice not in {None, "auto", "none", "required", "mcp"}:
            return {"type": "tool", "name": choice} | alone
        if can_force and (answers or choice in {"required", "mcp"}):
            return {"type": "any"} | alone
        return {"type": "auto"} | alone if alone or choice else None

    def _cache_mark(self, settings: Settings) -> Json:
        if self._quirks.cache == "none" or settings.cache == "off":
            return {}
        return {"cache_control": {"type": "ephemeral"} | ({"ttl": "1h"} if settings.cache == "1h" else {})}

    def _mark(self, body: Json, settings: Settings) -> None:
        """Tell what to cache: the beginning, which other runs share, and the transcript so far."""
        mark = self._cache_mark(settings)
        if not mark:
            return
        if system := body.get("system"):
            body["system"] = [{"type": "text", "text": system} | mark]
        elif tools := body.get("tools"):
            body["tools"] = [*tools[:-1], tools[-1] | mark]
        if self._quirks.cache == "top":
            body |= mark

    def _marked(self, last: Sequence[Json], settings: Settings) -> Sequence[Json]:
        """Tell it block by block: the mark of the request before is where what was cached then is found."""
        mark = self._cache_mark(settings)
        if self._quirks.cache != "blocks" or not mark:
            return last
        users = [number for number, message in enumerate(last) if message["role"] == "user"][-2:]
        return [_with_mark(message, mark) if number in users else message for number, message in enumerate(last)]

    def _betas(self, body: Json, before: Before, *, uploads: bool) -> dict[str, str]:
        if not self._quirks.betas:
            return {}
        needed = {
            _DROPS_BOUND_THINKING: "block_binding" in body.get("thinking", {}),
            _SERVERS: "mcp_servers" in body or not before.kinds.isdisjoint(("mcp_tool_use", "mcp_tool_result")),
            _FILES: uploads or "container_upload" in before.kinds,
        }
        said = ",".join(name for name, is_needed in needed.items() if is_needed)
        return {"anthropic-beta": said} if said else {}


@dataclass(frozen=True, slots=True)
class Before:
    """What of a transcript decides on how the request around it is made."""

    leading: tuple[str, ...]
    kinds: frozenset[str]
    called: frozenset[str]
    container: str | None
    may_think_on: bool

    @classmethod
    def of(cls, speaker: Speaker, last: Sequence[Json]) -> Before:
        """Look at what was said, and at the end of it as it is sent."""
        chain = speaker.chain
        for said in last:
            chain = Chain.with_next(chain, said)
        container = open_container(speaker.containers)
        return cls((*speaker.leading,), speaker.kinds, speaker.called, container, chain is None or chain.may_think_on)


def _uploads(hosted: Sequence[HostedTool]) -> list[Json]:
    files = [name for tool in hosted if isinstance(tool, CodeExecution) for name in tool.files]
    return [{"role": "user", "content": [{"type": "container_upload", "file_id": name} for name in files]}] if files else []


def _with_mark(message: Json, mark: Json) -> Json:
    *blocks, last = message["content"]
    return message | {"content": [*blocks, last | mark]}


def _runs_code(tools: Sequence[Json], before: Before) -> bool:
    """Whether the model may run code in a container, or has begun to."""
    return any("code_execution" in name for name in (*(as_text(tool.get("type")) for tool in tools), *before.called))


def _tool(tool: ToolDescription, *, strict: bool) -> Json:
    said: Json = {"name": tool.name}
    if tool.description:
        said["description"] = tool.description
    schema = anthropic_strict(tool.parameters) if tool.strict and strict else None
    return said | {"input_schema": schema or anthropic(tool.parameters)} | ({"strict": True} if schema else {})


def _server(tool: MCPServer) -> Json:
    said: Json = {"type": "url", "name": tool.name, "url": tool.url}
    return said | ({"authorization_token": tool.token.get_secret_value()} if tool.token else {})


def _settings(settings: Settings) -> Json:
    if blank := [word for word in settings.stop if not word.strip()]:
        raise ConfigurationError(
            f"Anthropic's messages stop at no white space ({blank[0]!r}); stop at words, or take them out of the reply"
        )
    said: Json = {
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "stop_sequences": list(settings.stop) or None,
        "metadata": {"user_id": settings.metadata["user_id"]} if "user_id" in settings.metadata else None,
    }
    return {name: value for name, value in said.items() if value is not None}
