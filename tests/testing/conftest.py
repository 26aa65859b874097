"""The four ways to a gateway: two client libraries, over a port and in process."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import httpx2
import pytest

from agentloop.testing import Gateway

TRUST = ssl.create_default_context()


@dataclass(frozen=True)
class Way:
    library: Any
    over_port: bool

    @asynccontextmanager
    async def to(self, gateway: Gateway, *, patience: float = 5.0) -> AsyncIterator[Any]:
        """Open a client for the gateway that waits `patience` seconds for a byte."""
        timeout = (5.0, patience, 5.0, 5.0)
        if not self.over_port:
            transport = gateway.transport(self.library)
            async with self.library.AsyncClient(transport=transport, base_url="http://gateway/v1", timeout=timeout) as client:
                yield client
            return
        async with gateway, self.library.AsyncClient(base_url=gateway.base_url, timeout=timeout, trust_env=False, verify=TRUST) as client:
            yield client


WAYS = {
    "httpx-port": Way(httpx, over_port=True),
    "httpx2-port": Way(httpx2, over_port=True),
    "httpx-in-process": Way(httpx, over_port=False),
    "httpx2-in-process": Way(httpx2, over_port=False),
}


@pytest.fixture(params=WAYS.values(), ids=WAYS.keys())
def way(request: pytest.FixtureRequest) -> Way:
    """Run the test once for each way."""
    return request.param


@pytest.fixture
def all_ways() -> list[Way]:
    """Compare the ways in one test."""
    return [*WAYS.values()]
