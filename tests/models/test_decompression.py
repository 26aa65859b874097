"""Gzip, undone piece by piece."""

from __future__ import annotations

import zlib

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentloop.errors import BadReply, ReplyTooLarge
from agentloop.models.decompression import plain, whole

PIECE = 256 * 2**10
GZIP = {"content-encoding": "gzip"}


class Sent(httpx.AsyncByteStream):
    def __init__(self, *chunks: bytes) -> None:
        self._chunks = iter(chunks)

    async def __aiter__(self):
        for chunk in self._chunks:
            yield chunk


def packed(*pieces: bytes, end: bool = True) -> list[bytes]:
    file = zlib.compressobj(wbits=31)
    return [file.compress(piece) + file.flush(zlib.Z_SYNC_FLUSH) for piece in pieces] + ([file.flush()] if end else [])


@given(body=st.binary(max_size=500), size=st.integers(1, 40), headers=st.sampled_from([GZIP, {"content-encoding": "X-GZIP "}]))
async def test_whatever_was_packed_is_unpacked_wherever_it_is_cut(body: bytes, size: int, headers: dict[str, str]):
    file = b"".join(packed(body))

    response = httpx.Response(200, headers=headers, stream=Sent(*(file[place : place + size] for place in range(0, len(file), size))))

    assert await whole(response) == body


@pytest.mark.parametrize("size", [PIECE - 1, PIECE, PIECE + 1, PIECE + 257, 2 * PIECE, 3 * PIECE + 100])
@pytest.mark.parametrize("missing", range(9))
async def test_all_that_can_be_read_is_given_before_more_comes(size: int, missing: int):
    first, second = packed(b"x" * size, b"y", end=False)
    chunk = first[: len(first) - missing]
    readable = zlib.decompressobj(31).decompress(chunk)
    pieces = plain(httpx.Response(200, headers=GZIP, stream=Sent(chunk, second)))

    given = b""
    while len(given) < len(readable):
        piece = await anext(pieces)
        assert len(piece) <= PIECE
        given += piece
    await pieces.aclose()

    assert given == readable


async def test_a_file_without_its_end_is_a_bad_reply():
    response = httpx.Response(200, headers=GZIP, stream=Sent(*packed(b"Hi", end=False)))

    with pytest.raises(BadReply, match="ends in the middle"):
        await whole(response)


async def test_what_is_larger_than_32_mib_is_refused_however_it_comes():
    response = httpx.Response(200, stream=Sent(*[b"x" * 2**20] * 33))

    with pytest.raises(ReplyTooLarge):
        await whole(response)


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, gzip", "utf-8"])
async def test_an_encoding_that_was_not_asked_for_is_named(encoding: str):
    response = httpx.Response(200, headers={"content-encoding": encoding}, stream=Sent(b"x"))

    with pytest.raises(BadReply, match=f"'{encoding}', which was not asked for"):
        await whole(response)


async def test_zeros_behind_the_end_are_padding():
    response = httpx.Response(200, headers=GZIP, stream=Sent(*packed(b"Hi"), b"\0\0\0\0"))

    assert await whole(response) == b"Hi"
