"""A floor: the loop by hand on httpx that encodes each message once."""

from __future__ import annotations

import httpx
import loop

IMPORT = "import asyncio, httpx, pydantic_core"
PACKAGES = ("httpx", "pydantic-core")
HEADERS = {"authorization": "Bearer any", "content-type": "application/json"}


class Subject:
    """What is measured."""

    def __init__(self, base_url: str) -> None:
        limits = httpx.Limits(max_connections=1000, max_keepalive_connections=1000)
        self._client = httpx.AsyncClient(limits=limits, timeout=None, trust_env=False)  # noqa: S113  # a bench waits
        self._url = httpx.URL(f"{base_url}/chat/completions")

    async def run(self, model: str) -> str:
        """Run to the end, with whole replies."""
        return await loop.run_incrementally(self._post, model)

    async def _post(self, body: bytes) -> bytes:
        request = httpx.Request("POST", self._url, headers=HEADERS, content=body)
        return (await self._client.send(request)).content
