"""What may be called: the socket for toolsets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from agentloop.tools.function import Tool


class Toolset(Protocol):
    """Tools that belong together."""

    def tools(self) -> Sequence[Tool[..., Any]]:
        """List the tools; asked once, when an agent is put together."""
        ...
