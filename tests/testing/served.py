"""One request to a scripted gateway and its answer, for the tests of each format."""

from __future__ import annotations

import json
from typing import Any

import httpx

from agentloop.testing import Gateway
from agentloop.testing.faults import GatewayAnswer

ANTHROPIC = {"anthropic-version": "2023-06-01"}


async def asked(turn: GatewayAnswer, path: str, body: Any, **headers: str) -> httpx.Response:
    """Ask a gateway that plays this one turn."""
    return await sent(Gateway(turn), path, body, **headers)


async def sent(gateway: Gateway, path: str, body: Any, **headers: str) -> httpx.Response:
    """Send a request with the headers that any provider wants."""
    async with httpx.AsyncClient(transport=gateway.transport(), base_url="http://gateway", timeout=5) as client:
        return await client.post(path, json=body, headers=ANTHROPIC | {name.replace("_", "-"): value for name, value in headers.items()})


def events(answer: httpx.Response) -> list[Any]:
    """Read the events of a stream; where an event has a name, it must be its type."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    read = []
    for block in answer.text.removesuffix("\n\n").split("\n\n"):
        *name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name in ([], [f"event: {event.get('type')}"])
        read.append(event)
    return read
