"""POST /models/{model}:generateContent, as Google AI, Vertex and gateways speak it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from pydantic_core import to_json

from agentloop.errors import ConfigurationError
from agentloop.messages import HostedTool, Message, OutputSchema, Request, ToolDescription
from agentloop.tools.dialects import gemini, plain
from agentloop.tools.hosted import CodeExecution, FileSearch, ImageGeneration, MCPServer, ProviderTool, WebSearch
from agentloop.wire import Decoder, Outgoing
from agentloop.wire.answer_tool import ANSWER, answer_tool
from agentloop.wire.gemini_contents import Contents, system_parts, user_content
from agentloop.wire.gemini_decoder import GeminiDecoder
from agentloop.wire.lenient import as_object
from agentloop.wire.sayable import RenderedTools, bearer, not_offered
from agentloop.wire.speech import SAID, Frame, about, framed, speech_of

Json = dict[str, Any]
_Way = Literal["freely", "form", "tool", "words"]

_OFFERED = "WebSearch, CodeExecution, FileSearch, ImageGeneration, MCPServer and ProviderTool"
_BUDGETS = {"none": 0, "minimal": 512, "low": 1024, "medium": 8192, "high": 16384, "xhigh": 24576, "max": 24576}
_LEAST_OF_PRO = 128
_LEVELS = {"none": "minimal", "minimal": "minimal", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
# https://ai.google.dev/gemini-api/docs/image-generation
_RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")


@dataclass(frozen=True, slots=True, kw_only=True)
class GeminiQuirks:
    """Where a provider departs from Google AI."""

    bearer: bool = False
    """Whether the key is shown as a bearer token, as Vertex and most gateways want it."""
    hosted_calls_shown: bool = True
    """Whether hosted tools beside others need that the model's calls of them are asked for; Vertex has no word for it."""


class Gemini:
    """Speaks generateContent.

    It has no words for `parallel_tool_calls`, `metadata`, and how much, how often or from where is searched; caches keep themselves.
    """

    def __init__(self, quirks: GeminiQuirks | None = None, *, origin: str = "gemini/gemini") -> None:
        """Speak as one provider understands it; `origin` marks what it wants to hear again."""
        self._quirks = quirks or GeminiQuirks()
        self._origin = origin
        self._rendered = RenderedTools()

    def encode(self, request: Request, *, model: str) -> Outgoing:
        """Say the request as contents."""
        is_third = _generation(model) >= (3, 0)
        speech = speech_of(request.messages, lambda: Contents(self._origin, is_third), key=(self, is_third))
        leading = speech.speaker.leading
        if speech.is_silent and leading:
            # Google wants a content; where nobody but the system has spoken yet, its last message is one.
            frame = self._frame(request, leading[:-1], model=model, is_third=is_third)
            return speech.outgoing(frame, [user_content(leading[-1])])
        # Whatever else leads the transcript does so from its beginning.
        known = about(request, model, len(leading))
        return speech.outgoing(speech.frame(known, lambda: self._frame(request, leading, model=model, is_third=is_third)))

    def _frame(self, request: Request, leading: Sequence[Message], *, model: str, is_third: bool) -> Frame:
        way = _way_to_answer(request, is_third=is_third)
        if request.tools and _has_tools(request.hosted) and (0, 0) < _generation(model) < (3, 0):
            raise ConfigurationError(f"{model} takes hosted tools or functions, and not both; leave one kind out, or ask gemini-3 or later")
        form = _form_in_words(request.output) if request.output and way == "words" else ""
        instructions = system_parts(request.instructions, leading, form=form)
        body: Json = {
            "contents": SAID,
            "systemInstruction": {"parts": instructions} if instructions else None,
            "tools": [*self._tools(request, way)],
            "toolConfig": self._tool_config(request, way, is_third=is_third),
            "generationConfig": _generation_config(request, way, model=model),
        }
        body = {name: value for name, value in body.items() if value}
        for name, value in request.settings.extra.items():
            body[name] = {**as_object(body.get(name)), **value} if isinstance(value, Mapping) else value
        action = "streamGenerateContent?alt=sse" if request.stream else "generateContent"
        place = model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"
        return framed(f"{place}:{action}", body)

    def headers(self, key: str | None) -> Mapping[str, str]:
        """Show the key."""
        return bearer(key) if self._quirks.bearer else {"x-goog-api-key": key} if key else {}

    def decoder(self) -> Decoder:
        """Make a fresh decoder, for one reply."""
        return GeminiDecoder(self._origin)

    def _tools(self, request: Request, way: _Way) -> Iterator[Json]:
        for tool in request.hosted:
            yield from self._hosted(tool)
        said = self._rendered.said(request.tools, _declaration)
        answer = [_declaration(answer_tool(request.output))] if request.output and way == "tool" else []
        if said or answer:
            yield {"functionDeclarations": [*said, *answer]}

    def _hosted(self, tool: HostedTool) -> Iterator[Json]:
        match tool:
            case WebSearch(domains=()):
                yield {"googleSearch": {"excludeDomains": list(tool.blocked_domains)} if tool.blocked_domains else {}}
            case WebSearch():
                raise ConfigurationError(f"{self._origin} cannot keep a search to {tool.domains!r}; leave WebSearch(domains=...) out")
            case CodeExecution(files=()):
                yield {"codeExecution": {}}
            case CodeExecution():
                raise ConfigurationError(f"{self._origin} puts no uploaded files beside its code; give them in a message, as File(...)")
            case FileSearch(stores=stores, most_results=most):
                yield {"fileSearch": {"fileSearchStoreNames": list(stores), **({"topK": most} if most else {})}}
            case MCPServer(tools=()):
                headers = {"headers": {"Authorization": f"Bearer {tool.token.get_secret_value()}"}} if tool.token else {}
                yield {"mcpServers": [{"name": tool.name, "streamableHttpTransport": {"url": tool.url, **headers}}]}
            case MCPServer():
                raise ConfigurationError(f"{self._origin} offers all tools of an MCP server; leave MCPServer(tools=...) out")
            case ProviderTool(data=data):
                yield dict(data)
            case ImageGeneration():
                # Google's models make pictures themselves; the settings ask for them.
                return
            case _:
                raise not_offered(tool, origin=self._origin, offered=_OFFERED)

    def _tool_config(self, request: Request, way: _Way, *, is_third: bool) -> Json:
        shows_hosted = bool(request.tools) and _has_tools(request.hosted) and is_third and self._quirks.hosted_calls_shown
        calling = _calling_with_answer(request) if way == "tool" else _calling(request, is_mixed=shows_hosted)
        config: Json = {"functionCallingConfig": calling} if calling else {}
        # "Please enable tool_config.include_server_side_tool_invocations to use Built-in tools with Function calling", says Google.
        return config | ({"includeServerSideToolInvocations": True} if shows_hosted else {})


def _generation(model: str) -> tuple[int, int]:
    """Read the version out of a model's name; names of aliases say the newest, other names nothing, which counts as old."""
    if found := re.search(r"gemini-(\d+)(?:\.(\d+))?", model):
        return int(found[1]), int(found[2] or 0)
    return (99, 0) if re.search(r"gemini-(flash|flash-lite|pro)-latest", model) else (0, 0)


def _way_to_answer(request: Request, *, is_third: bool) -> _Way:
    """Choose how the model is held to the form of its answer: before the third generation, JSON and tools exclude each other."""
    if request.output is None:
        return "freely"
    if is_third or not (request.tools or _has_tools(request.hosted)):
        return "form"
    return "tool" if request.tools else "words"


def _has_tools(hosted: Sequence[HostedTool]) -> bool:
    return any(not isinstance(tool, ImageGeneration) for tool in hosted)


def _form_in_words(output: OutputSchema) -> str:
    return f"Answer with JSON that fits this schema, and nothing else: {to_json(plain(output.schema)).decode()}"


def _declaration(tool: ToolDescription) -> Json:
    said: Json = {"name": tool.name}
    if tool.description:
        said["description"] = tool.description
    return said | _form(tool.parameters, plainly="parameters", as_json_schema="parametersJsonSchema")


def _output(output: OutputSchema) -> Json:
    return _form(output.schema, plainly="responseSchema", as_json_schema="responseJsonSchema")


def _form(schema: Mapping[str, Any], *, plainly: str, as_json_schema: str) -> Json:
    """Say a schema in the plain form where that has words for it; no properties need no words."""
    said = gemini(schema)
    if not said:
        return {}
    return {as_json_schema: plain(schema)} if _has_free_object(said) else {plainly: said}


def _has_free_object(said: Mapping[str, Any]) -> bool:
    """Whether there is an object without properties: a mapping with free keys, or where a form that contains itself was cut.

    "should be non-empty for OBJECT type", says Google of those.
    """
    if said.get("type") == "object" and not said.get("properties"):
        return True
    inner = [*as_object(said.get("properties")).values(), *said.get("anyOf", ()), *([said["items"]] if "items" in said else ())]
    return any(_has_free_object(part) for part in inner)


def _calling(request: Request, *, is_mixed: bool) -> Json | None:
    choice = request.settings.tool_choice
    if choice is None or not request.tools:
        return None
    match choice:
        case "auto":
            # https://ai.google.dev/gemini-api/docs/tool-combination
            return {"mode": "VALIDATED" if is_mixed else "AUTO"}
        case "none":
            return {"mode": "NONE"}
        case "required":
            return {"mode": "ANY"}
        case kind if any(tool.kind == kind for tool in request.hosted):
            # A hosted tool cannot be forced.
            return None
        case name:
            return {"mode": "ANY", "allowedFunctionNames": [name]}


def _calling_with_answer(request: Request) -> Json:
    """Force a call: of a tool, or of the one that takes the answer."""
    names = [tool.name for tool in request.tools]
    match request.settings.tool_choice:
        case "none":
            return {"mode": "ANY", "allowedFunctionNames": [ANSWER]}
        case "required":
            return {"mode": "ANY", "allowedFunctionNames": names}
        case str(name) if name in names:
            return {"mode": "ANY", "allowedFunctionNames": [name]}
        case _:
            return {"mode": "ANY"}


def _generation_config(request: Request, way: _Way, *, model: str) -> Json:
    settings = request.settings
    said: Json = {
        "temperature": settings.temperature,
        "topP": settings.top_p,
        "maxOutputTokens": settings.max_tokens,
        "stopSequences": list(settings.stop) or None,
        "seed": settings.seed,
        "thinkingConfig": _thinking(settings.effort, model) if settings.effort else None,
    }
    said = {name: value for name, value in said.items() if value is not None} | _images(request.hosted)
    if request.output and way == "form":
        said |= {"responseMimeType": "application/json", **_output(request.output)}
    return said


def _thinking(effort: str, model: str) -> Json | None:
    generation, is_pro = _generation(model), "pro" in model
    shown: Json = {"includeThoughts": True} if effort != "none" else {}
    if generation >= (3, 0):
        return {"thinkingLevel": _level(effort, generation, is_pro=is_pro), **shown}
    if (0, 0) < generation < (2, 5):
        # These do not think, and refuse to be asked.
        return None
    return {"thinkingBudget": max(_BUDGETS[effort], _LEAST_OF_PRO if is_pro else 0), **shown}


def _level(effort: str, generation: tuple[int, int], *, is_pro: bool) -> str:
    level = _LEVELS[effort]
    # No third-generation pro model knows "minimal", and the first knows "low" and "high" only.
    if is_pro and level == "minimal":
        return "low"
    return "high" if is_pro and generation == (3, 0) and level == "medium" else level


def _images(hosted: Sequence[HostedTool]) -> Json:
    said: Json = {}
    for tool in hosted:
        if isinstance(tool, ImageGeneration):
            said = {"responseModalities": ["TEXT", "IMAGE"]} | ({"imageConfig": _image_config(tool.size)} if tool.size else {})
    return said


def _image_config(size: str) -> Json:
    if size in {"1K", "2K", "4K"}:
        return {"imageSize": size}
    if found := re.fullmatch(r"([1-9]\d*)[x:]([1-9]\d*)", size):
        ratios = {Fraction(*map(int, ratio.split(":"))): ratio for ratio in _RATIOS}
        if ratio := ratios.get(Fraction(int(found[1]), int(found[2]))):
            return {"aspectRatio": ratio}
    raise ConfigurationError(f"Gemini makes no pictures of the size {size!r}; choose one of {', '.join(_RATIOS)}, 1K, 2K, 4K")
