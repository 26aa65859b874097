"""Who answers: the socket for models."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from agentloop.deltas import Delta
from agentloop.events import Notice
from agentloop.messages import Reply, Request

Hear = Callable[[Delta | Notice], Awaitable[None]]
"""Takes what comes before the whole reply; a slow hearer slows the model."""


class Model(Protocol):
    """Whoever can answer a request."""

    @property
    def name(self) -> str:
        """What the model is called, for people."""
        ...

    async def ask(self, request: Request, hear: Hear) -> Reply:
        """Answer the request, telling `hear` each delta on the way if `request.stream` is set.

        Once a delta was heard the request is never sent again; what fails before that may be retried.

        Raises:
            ModelError: There is no reply, or only a part of one.
        """
        ...
