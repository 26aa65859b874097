"""A floor: the same loop by hand on httpx2."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import loop

IMPORT = "import asyncio, httpx2, pydantic_core"
PACKAGES = ("httpx2", "pydantic-core")
HEADERS = {"authorization": "Bearer any", "content-type": "application/json"}


class Subject:
    """What is measured."""

    def __init__(self, base_url: str) -> None:
        limits = httpx2.Limits(max_connections=1000, max_keepalive_connections=1000)
        self._client = httpx2.AsyncClient(limits=limits, timeout=None, trust_env=False, headers=HEADERS)  # a bench waits
        self._url = f"{base_url}/chat/completions"

    async def run(self, model: str) -> str:
        """Run to the end, with whole replies."""
        return await loop.run(self._post, model)

    def stream(self, model: str) -> AsyncIterator[str]:
        """Run to the end, and give the words as they come."""
        return loop.stream(self._chunks, model)

    async def _post(self, body: bytes) -> bytes:
        return (await self._client.post(self._url, content=body)).content

    async def _chunks(self, body: bytes) -> AsyncIterator[bytes]:
        async with self._client.stream("POST", self._url, content=body) as response:
            async for chunk in response.aiter_bytes():
                yield chunk
