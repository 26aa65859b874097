"""A floor: the loop by hand on aiohttp."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import loop

IMPORT = "import asyncio, aiohttp, pydantic_core"
PACKAGES = ("aiohttp", "pydantic-core")
HEADERS = {"authorization": "Bearer any", "content-type": "application/json"}


class Subject:
    """What is measured."""

    def __init__(self, base_url: str) -> None:
        connector = aiohttp.TCPConnector(limit=1000)
        self._client = aiohttp.ClientSession(connector=connector, headers=HEADERS, timeout=aiohttp.ClientTimeout(total=None))
        self._url = f"{base_url}/chat/completions"

    async def run(self, model: str) -> str:
        """Run to the end, with whole replies."""
        return await loop.run(self._post, model)

    def stream(self, model: str) -> AsyncIterator[str]:
        """Run to the end, and give the words as they come."""
        return loop.stream(self._chunks, model)

    async def _post(self, body: bytes) -> bytes:
        async with self._client.post(self._url, data=body) as response:
            return await response.read()

    async def _chunks(self, body: bytes) -> AsyncIterator[bytes]:
        async with self._client.post(self._url, data=body) as response:
            async for chunk in response.content.iter_any():
                yield chunk
