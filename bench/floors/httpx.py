"""The floor: a loop by hand on httpx, with pydantic-core's JSON and no framework."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import loop

IMPORT = "import asyncio, httpx, pydantic_core"
PACKAGES = ("httpx", "pydantic-core")
HEADERS = {"authorization": "Bearer any", "content-type": "application/json"}


class Subject:
    """What is measured."""

    def __init__(self, base_url: str) -> None:
        limits = httpx.Limits(max_connections=1000, max_keepalive_connections=1000)
        self._client = httpx.AsyncClient(limits=limits, timeout=None, trust_env=False, headers=HEADERS)  # noqa: S113  # a bench waits
        self._url = f"{base_url}/chat/completions"

    async def run(self, model: str) -> str:
        """Run to the end, with whole replies."""
        return await loop.run(self._post, model)

    async def said(self, steps: int) -> list[loop.Json]:
        """Give what was said in so many steps."""
        messages: list[loop.Json] = [{"role": "user", "content": loop.PROMPT}]
        await loop.run(self._post, "s10p2", messages)
        prompt, *made, _ = messages
        return [prompt, *made * (steps // 10)]

    async def run_behind(self, said: list[loop.Json], model: str) -> str:
        """Run to the end, behind what was said before."""
        return await loop.run(self._post, model, said)

    def stream(self, model: str) -> AsyncIterator[str]:
        """Run to the end, and give the words as they come."""
        return loop.stream(self._chunks, model)

    async def _post(self, body: bytes) -> bytes:
        return (await self._client.post(self._url, content=body)).content

    async def _chunks(self, body: bytes) -> AsyncIterator[bytes]:
        async with self._client.stream("POST", self._url, content=body) as response:
            async for chunk in response.aiter_bytes():
                yield chunk
