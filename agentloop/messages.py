"""The words of a run: messages and their parts, what a model is asked, what it replies."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "tool_calls", "length", "content_filter", "pause"]
"""Why a reply ended; "pause" wants the model asked again with what it has said, which models behind HTTP do by themselves."""
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]

_BASE64 = {"ser_json_bytes": "base64", "val_json_bytes": "base64"}


@dataclass(frozen=True, slots=True)
class State:
    """What a provider wants to hear again with a part it made; nobody else is told."""

    origin: str
    """Who made it, and in which format: "anthropic/messages"."""
    data: str
    """JSON text, said back verbatim."""


@dataclass(frozen=True, slots=True)
class Text:
    """Words."""

    text: str
    state: State | None = None
    kind: Literal["text"] = "text"


@dataclass(frozen=True, slots=True)
class Thinking:
    """What the model thought before it answered."""

    text: str
    state: State | None = None
    kind: Literal["thinking"] = "thinking"


@dataclass(frozen=True, slots=True)
class Refusal:
    """The model's words when it declines."""

    text: str
    kind: Literal["refusal"] = "refusal"


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a piece of the reply's text comes from."""

    url: str
    title: str = ""
    start: int = 0
    """With `end`: a Python slice of the reply's text. Both 0 where the provider gives no place."""
    end: int = 0
    kind: Literal["citation"] = "citation"


@dataclass(frozen=True, slots=True)
class Image:
    """A picture, by its address or by its bytes."""

    url: str | None = None
    data: bytes | None = None
    media_type: str = "image/png"
    detail: Literal["auto", "low", "high"] | None = None
    state: State | None = None
    kind: Literal["image"] = "image"

    __pydantic_config__ = _BASE64

    def __post_init__(self) -> None:
        _one_source(self)

    @classmethod
    def read(cls, path: str | Path) -> Image:
        """Read the file at `path` now; its ending says what it is."""
        path = Path(path)
        return cls(data=path.read_bytes(), media_type=mimetypes.guess_type(path.name)[0] or "image/png")


@dataclass(frozen=True, slots=True)
class File:
    """A document or a sound, by its address or by its bytes."""

    url: str | None = None
    data: bytes | None = None
    media_type: str = "application/octet-stream"
    name: str = "file"
    state: State | None = None
    kind: Literal["file"] = "file"

    __pydantic_config__ = _BASE64

    def __post_init__(self) -> None:
        _one_source(self)

    @classmethod
    def read(cls, path: str | Path) -> File:
        """Read the file at `path` now; its ending says what it is."""
        path = Path(path)
        media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        return cls(data=path.read_bytes(), media_type=media_type, name=path.name)


@dataclass(frozen=True, slots=True)
class Opaque:
    """What a provider said and only it understands (a hosted tool's call, say); said back to it as it came, in its place."""

    state: State
    kind: Literal["opaque"] = "opaque"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model's wish to call a tool, in the model's own words."""

    id: str
    """Ours, unique in a transcript."""
    name: str
    arguments: str = "{}"
    """The JSON the model wrote, kept verbatim even when it does not parse."""
    provider_id: str | None = None
    """The provider's id, said back to it; None where it gave none, or gave one twice."""
    state: State | None = None
    kind: Literal["tool_call"] = "tool_call"


ResultPart = Text | Image | File


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool call came to."""

    call_id: str
    content: str | tuple[ResultPart, ...]
    is_error: bool = False
    name: str = ""
    """The tool's name; some providers want it beside the result."""
    whole: str | None = field(default=None, repr=False)
    """All of the text where `content` is only its beginning; no model is sent it unasked."""
    kind: Literal["tool_result"] = "tool_result"

    @property
    def text(self) -> str:
        """The words of the content, joined."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content if isinstance(part, Text))


Part = Text | Thinking | Refusal | Citation | Image | File | Opaque | ToolCall | ToolResult
UserPart = Text | Image | File


@dataclass(frozen=True, slots=True)
class Message:
    """A role and what it says."""

    role: Role
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The words of the message, joined."""
        return _text(self.parts)

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The tool calls of the message, in the model's order."""
        return tuple(part for part in self.parts if isinstance(part, ToolCall))

    @property
    def results(self) -> tuple[ToolResult, ...]:
        """The tool results of the message."""
        return tuple(part for part in self.parts if isinstance(part, ToolResult))

    @property
    def citations(self) -> tuple[Citation, ...]:
        """Where the message's text comes from."""
        return tuple(part for part in self.parts if isinstance(part, Citation))


class Messages(list[Message]):
    """Messages that only become more, so that what was said of them stays right."""

    __slots__ = ("said",)

    def __init__(self, messages: Iterable[Message] = ()) -> None:
        """Begin with these."""
        super().__init__(messages)
        self.said: dict[object, object] = {}
        """What wires keep of them, each under a key of its own."""

    def __reduce__(self) -> tuple[type[Messages], tuple[list[Message]]]:
        """Copy the messages alone: what wires keep may hold keys, and is right for this list only."""
        return Messages, ([*self],)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens spent."""

    input_tokens: int = 0
    """All that the model read, cached or not."""
    output_tokens: int = 0
    """All that the model wrote, thinking included."""
    cached_tokens: int = 0
    """The part of `input_tokens` that was read from a cache."""
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    """The part of `output_tokens` that was thinking."""
    details: Mapping[str, int] = field(default_factory=dict[str, int])
    """Whatever else the provider counts, under its own names."""

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        """Add up the tokens of two replies."""
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            {key: self.details.get(key, 0) + other.details.get(key, 0) for key in {**self.details, **other.details}},
        )


@dataclass(frozen=True, slots=True)
class ToolDescription:
    """What a model is told of a tool."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    """JSON Schema 2020-12 of the arguments object."""
    strict: bool | None = None
    """Whether the provider shall hold the model to the schema; None leaves it to the provider."""


class HostedTool(Protocol):
    """A tool that the provider runs; `agentloop.tools.hosted` has them."""

    @property
    def kind(self) -> str:
        """What it does, in a word: "web_search"."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a model is asked; None leaves the matter to the provider."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    """Most tokens of one reply."""
    stop: tuple[str, ...] = ()
    seed: int | None = None
    effort: Effort | None = None
    """How long a reasoning model may think."""
    tool_choice: str | None = None
    """"auto", "none", "required", or the name of a tool. The last two hold until a tool was called, so that a run can end."""
    parallel_tool_calls: bool | None = None
    cache: Literal["off", "5m", "1h"] | None = None
    """How long the provider keeps what it has read, where it must be told; None lets us choose, which is 5 minutes."""
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Further fields of the request body, as the provider names them."""


@dataclass(frozen=True, slots=True)
class OutputSchema:
    """The form in which a model must answer."""

    name: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """One question to a model."""

    messages: Sequence[Message]
    instructions: str = ""
    """What the agent is told first; no part of the messages, so that agents can share a transcript."""
    tools: Sequence[ToolDescription] = ()
    hosted: Sequence[HostedTool] = ()
    """Tools that the provider runs."""
    settings: Settings = field(default_factory=Settings)
    output: OutputSchema | None = None
    step: int = 0
    """How many replies the transcript has; the ids of the next reply's calls are made of it."""
    stream: bool = False
    """Whether somebody wants the deltas as they come."""

    @property
    def text(self) -> str:
        """The words of the last message."""
        return self.messages[-1].text if self.messages else ""

    @property
    def results(self) -> tuple[ToolResult, ...]:
        """The tool results that the model reads here for the first time."""
        fresh: list[ToolResult] = []
        for message in reversed(self.messages):
            if message.role == "assistant":
                break
            fresh[:0] = message.results
        return tuple(fresh)


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's whole answer to a request."""

    parts: tuple[Part, ...]
    finish_reason: FinishReason
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    """The model that answered, by its own word; not always the one that was asked."""
    id: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any], compare=False, repr=False)
    """What the provider said beside the reply (system_fingerprint, logprobs, ...), under its own names."""

    @property
    def message(self) -> Message:
        """The reply as a message of the transcript."""
        return Message("assistant", self.parts)

    def followed_by(self, rest: Reply) -> Reply:
        """Join what came before a pause with what came after it."""
        shift = len(self.text)
        after = tuple(
            replace(part, start=part.start + shift, end=part.end + shift) if isinstance(part, Citation) and part.end else part
            for part in rest.parts
        )
        return replace(
            rest, parts=self.parts + after, usage=self.usage + rest.usage, id=self.id or rest.id, extra={**self.extra, **rest.extra}
        )

    @property
    def text(self) -> str:
        """The words of the reply, joined."""
        return _text(self.parts)

    @property
    def thinking(self) -> str:
        """What the model thought, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, Thinking))

    @property
    def refusal(self) -> str:
        """The model's words where it declined, else ''."""
        return "".join(part.text for part in self.parts if isinstance(part, Refusal))

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The tool calls of the reply, in the model's order."""
        return tuple(part for part in self.parts if isinstance(part, ToolCall))

    @property
    def citations(self) -> tuple[Citation, ...]:
        """Where the reply's text comes from."""
        return tuple(part for part in self.parts if isinstance(part, Citation))


def user(*content: str | UserPart) -> Message:
    """Make a user message of words, pictures and files."""
    return Message("user", tuple(Text(item) if isinstance(item, str) else item for item in content))


def _text(parts: tuple[Part, ...]) -> str:
    return "".join([part.text for part in parts if isinstance(part, Text)])


def _one_source(part: Image | File) -> None:
    if (part.url is None) == (part.data is None):
        kind = type(part).__name__
        raise ValueError(f"{kind} needs either url= or data=; use {kind}.read(path) for a file on disk")
