"""A line to the engine."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import httpx

from agentloop import Timeouts, model
from agentloop.models.http import HTTPModel


@dataclass(frozen=True)
class Line:
    """A client of the engine that notes what goes over it."""

    address: str
    client: httpx.AsyncClient
    bodies: list[Any] = field(default_factory=list[Any])
    """What the engine was asked."""
    statuses: list[int] = field(default_factory=list[int])
    """What it answered, one for each body."""

    @property
    def model(self) -> HTTPModel:
        return model("llamacpp:tiny", base_url=f"{self.address}/v1", client=self.client, timeouts=Timeouts(attempt=60))

    async def note(self, response: httpx.Response) -> None:
        if response.request.url.path == "/v1/chat/completions":
            self.bodies.append(json.loads(response.request.content))
            self.statuses.append(response.status_code)
