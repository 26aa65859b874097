"""A floor: the loop by hand on pyreqwest, whose HTTP is written in Rust."""

from __future__ import annotations

from collections.abc import AsyncIterator

import loop
from pyreqwest.client import ClientBuilder

IMPORT = "import asyncio, pyreqwest.client, pydantic_core"
PACKAGES = ("pyreqwest", "pydantic-core")
HEADERS = {"authorization": "Bearer any", "content-type": "application/json"}


class Subject:
    """What is measured."""

    def __init__(self, base_url: str) -> None:
        self._client = ClientBuilder().default_headers(HEADERS).max_connections(1000).build()
        self._url = f"{base_url}/chat/completions"

    async def run(self, model: str) -> str:
        """Run to the end, with whole replies."""
        return await loop.run(self._post, model)

    def stream(self, model: str) -> AsyncIterator[str]:
        """Run to the end, and give the words as they come."""
        return loop.stream(self._chunks, model)

    async def _post(self, body: bytes) -> bytes:
        response = await self._client.post(self._url).body_bytes(body).build().send()
        return bytes(await response.bytes())

    async def _chunks(self, body: bytes) -> AsyncIterator[bytes]:
        async with self._client.post(self._url).body_bytes(body).build_streamed() as response:
            while chunk := await response.body_reader.read_chunk():
                yield bytes(chunk)
