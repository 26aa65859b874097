"""A floor: the loop by hand on asyncio's own streams, as near to the sockets as Python gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import loop

IMPORT = "import asyncio, pydantic_core"
PACKAGES = ("pydantic-core",)
_LARGEST = 2**20


class Subject:
    """What is measured."""

    def __init__(self, base_url: str) -> None:
        _, _, place = base_url.partition("//")
        self._host, _, port = place.partition("/")[0].partition(":")
        self._port = int(port)
        self._head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {place}\r\ncontent-type: application/json\r\ncontent-length: ".encode()
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def run(self, model: str) -> str:
        """Run to the end, with whole replies."""
        return await loop.run(self._post, model)

    def stream(self, model: str) -> AsyncIterator[str]:
        """Run to the end, and give the words as they come."""
        return loop.stream(self._chunks, model)

    async def _post(self, body: bytes) -> bytes:
        reader, writer = await self._sent(body)
        head = await reader.readuntil(b"\r\n\r\n")
        _, _, length = head.partition(b"content-length: ")
        content = await reader.readexactly(int(length.partition(b"\r")[0]))
        self._idle.append((reader, writer))
        return content

    async def _chunks(self, body: bytes) -> AsyncIterator[bytes]:
        reader, writer = await self._sent(body)
        await reader.readuntil(b"\r\n\r\n")
        while size := int(await reader.readuntil(b"\r\n"), 16):
            yield (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
        self._idle.append((reader, writer))

    async def _sent(self, body: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(self._host, self._port, limit=_LARGEST)
        writer.write(self._head + b"%d\r\n\r\n" % len(body) + body)
        return reader, writer
