"""Undoes the compression of an answer piece by piece, so that none grows in memory before it is counted."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

from agentloop.errors import BadReply, ReplyTooLarge

MOST_BYTES = 32 * 2**20
"""Over this an answer is refused, counted as it is meant and not as it travels."""
ACCEPTED = "gzip"
"""What is asked for; whatever else comes is refused."""

_PIECE_BYTES = 256 * 2**10
# zlib's own window, and 16 to say that a gzip header stands before it (zlib.h, inflateInit2).
_GZIP = 16 + zlib.MAX_WBITS
_PLAIN = {"", "identity"}


def plain(response: Any) -> AsyncGenerator[bytes]:
    """Give the body of an answer as it is meant, in pieces of bounded size, each as soon as it can be read.

    Raises:
        BadReply: It is compressed badly, or in a way that was not asked for.
    """
    encoding = response.headers.get("content-encoding", "").strip().lower()
    # A client's own hook may have read the body, and so unpacked it.
    return response.aiter_bytes() if encoding in _PLAIN or response.is_stream_consumed else _unpacked(response, encoding)


async def _unpacked(response: Any, encoding: str) -> AsyncGenerator[bytes]:
    if encoding not in {"gzip", "x-gzip"}:
        refused = BadReply(f"the reply is compressed with {encoding!r}, which was not asked for; check the proxies on the way")
        refused.retryable = False
        raise refused
    unpacking = _Unpacking()
    async with aclosing(response.aiter_raw()) as chunks:
        async for chunk in chunks:
            for piece in unpacking.feed(chunk):
                yield piece
                # A small chunk may hold many megabytes, and others wait for the event loop.
                await asyncio.sleep(0)
    unpacking.end()


async def whole(response: Any) -> bytes:
    """Read the body of an answer to its end.

    Raises:
        ReplyTooLarge: It is larger than what is read.
        BadReply: It cannot be unpacked.
    """
    read = 0
    pieces: list[bytes] = []
    async with aclosing(plain(response)) as chunks:
        async for chunk in chunks:
            read += len(chunk)
            if read > MOST_BYTES:
                raise too_large()
            pieces.append(chunk)
    return b"".join(pieces)


def too_large() -> ReplyTooLarge:
    """Make the error of an answer that is larger than what is read."""
    return ReplyTooLarge(f"the reply is larger than {MOST_BYTES:,} bytes; ask for less at once")


class _Unpacking:
    """Takes the bytes of a gzip file as they come."""

    def __init__(self) -> None:
        self._file = zlib.decompressobj(_GZIP)

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Unpack the next bytes, a piece at a time."""
        while True:
            try:
                piece = self._file.decompress(chunk, _PIECE_BYTES)
            except zlib.error as error:
                raise BadReply(f"the reply says that it is gzip, and is not ({error}); ask again") from error
            if piece:
                yield piece
            chunk = self._file.unconsumed_tail
            # A full piece may leave some of itself behind, although all that was fed is taken.
            if not chunk and len(piece) < _PIECE_BYTES:
                break
        if self._file.unused_data.strip(b"\0"):
            raise BadReply("the reply goes on behind the end of its gzip file; ask again")

    def end(self) -> None:
        """Check that the end came."""
        if not self._file.eof:
            raise BadReply("the reply ends in the middle of its gzip file; ask again")
