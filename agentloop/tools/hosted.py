"""Tools that the provider runs: `Agent(model, tools=[WebSearch()])`. Each format offers what its provider has, and says so otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pydantic


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """Where the user is, roughly."""

    country: str | None = None
    """Two letters of ISO 3166-1: "FR"."""
    region: str | None = None
    city: str | None = None
    timezone: str | None = None
    """An IANA name: "Europe/Paris"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSearch:
    """Search the web; the reply's `citations` say where its words come from."""

    context: Literal["low", "medium", "high"] | None = None
    """How much of what is found the model reads."""
    location: Location | None = None
    domains: tuple[str, ...] = ()
    """Search these only."""
    blocked_domains: tuple[str, ...] = ()
    most_uses: int | None = None
    kind: Literal["web_search"] = "web_search"


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeExecution:
    """Run code in a container of the provider's."""

    files: tuple[str, ...] = ()
    """Ids of uploaded files that the code finds."""
    kind: Literal["code_execution"] = "code_execution"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSearch:
    """Search in files that were uploaded to the provider."""

    stores: tuple[str, ...]
    """The names or ids of the provider's file stores."""
    most_results: int | None = None
    kind: Literal["file_search"] = "file_search"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageGeneration:
    """Make pictures; they are `Image` parts of the reply."""

    size: str | None = None
    """Width x height, "1024x1024"."""
    quality: Literal["low", "medium", "high"] | None = None
    format: Literal["png", "webp", "jpeg"] | None = None
    kind: Literal["image_generation"] = "image_generation"


@dataclass(frozen=True, slots=True, kw_only=True)
class MCPServer:
    """Call the tools of a Model Context Protocol server, from the provider's side; no call of them is asked back."""

    name: str
    url: str
    token: pydantic.SecretStr | None = None
    """What the server is shown as a bearer token."""
    tools: tuple[str, ...] = ()
    """Only these; all of them where none is named."""
    kind: Literal["mcp"] = "mcp"


@dataclass(frozen=True, slots=True)
class ProviderTool:
    """Any other hosted tool, as the provider's format writes it in `tools`."""

    data: Mapping[str, Any] = field(hash=False)
    kind: Literal["provider"] = "provider"


Hosted = WebSearch | CodeExecution | FileSearch | ImageGeneration | MCPServer | ProviderTool
