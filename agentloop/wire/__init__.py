"""How it is said: the socket for wire formats. A wire turns requests into JSON and JSON into deltas; it does no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from agentloop.deltas import Delta
from agentloop.messages import Request


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request as it goes over HTTP."""

    path: str
    """Relative to the provider's base URL."""
    content: bytes | tuple[bytes, ...] = field(default=b"", repr=False)
    """JSON text in UTF-8, a long one in pieces, to be sent without a copy; not shown, since it may hold the token of an MCP server."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Beside those that every request of the format has."""
    method: Literal["POST", "GET"] = "POST"

    @property
    def body(self) -> bytes:
        """The content as a whole."""
        return self.content if isinstance(self.content, bytes) else b"".join(self.content)


class Decoder(Protocol):
    """Reads one reply, streamed or whole, into the same deltas."""

    def feed(self, event: Mapping[str, Any]) -> Iterable[Delta]:
        """Read an event of the stream.

        Raises:
            ModelError: The event says that the request failed.
        """
        ...

    def feed_whole(self, body: Mapping[str, Any]) -> Iterable[Delta]:
        """Read a reply that came in one piece.

        Raises:
            ModelError: The body says that the request failed.
        """
        ...

    def end(self) -> Iterable[Delta]:
        """Give what could only be known at the end."""
        ...


class Wire(Protocol):
    """How a request is spoken over HTTP."""

    def encode(self, request: Request, *, model: str) -> Outgoing:
        """Say the request in the provider's words."""
        ...

    def headers(self, key: str | None) -> Mapping[str, str]:
        """Show the key, the way this format wants to see it."""
        ...

    def decoder(self) -> Decoder:
        """Make a fresh decoder, for one reply."""
        ...
