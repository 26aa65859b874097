"""Bytes become events, wherever they are cut."""

from __future__ import annotations

from itertools import pairwise

import httpx
import pytest
from httpx_sse import EventSource
from hypothesis import given
from hypothesis import strategies as st

from agentloop.models.sse import EventStream


def events(*chunks: bytes) -> list[bytes]:
    stream = EventStream()
    return [data for chunk in chunks for data in stream.feed(chunk)] + stream.end()


@pytest.mark.fault(47, 48, 49)
@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: a\n\n", [b"a"]),
        (b"data:a\r\n\r\n", [b"a"]),
        (b"data: a\r\r", [b"a"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data:  a\n\n", [b" a"]),
        (b": comment\n\ndata: a\n\n", [b"a"]),
        (b"event: x\nid: 1\n: comment\nretry: 5\ndata: a\n\n", [b"a"]),
        (b"data: a\n\n\n\n\ndata: b\n\n", [b"a", b"b"]),
        ("data: a\u2028b\u0085\n\n".encode(), ["a\u2028b\u0085".encode()]),
        (b"data: a", [b"a"]),
        (b"database: a\n\n", []),
        (b"", []),
    ],
)
def test_a_stream_is_split_as_the_standard_says(stream: bytes, expected: list[bytes]):
    assert events(stream) == expected
    assert events(*(stream[place : place + 1] for place in range(len(stream)))) == expected


LINE = st.sampled_from(
    ["data: a", "data:b", "data:", ": ping", "event: error", "id: 7", "", "data: x\u2028y", 'data: {"a": 1}', "data: \u00e9"]
)


@pytest.mark.fault(47, 50)
@given(
    lines=st.lists(LINE, max_size=12),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    cuts=st.lists(st.integers(0, 200), max_size=6),
)
def test_any_stream_cut_anywhere_reads_as_httpx_sse_reads_it(lines: list[str], newline: str, cuts: list[int]):
    body = (newline.join(lines) + newline * 2).encode()
    places = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})

    ours = events(*(body[start:end] for start, end in pairwise(places)))

    response = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=body)
    theirs = [event.data.encode() for event in EventSource(response).iter_sse()]
    # An event without data ("event: error" alone) is no event for us.
    assert [data for data in ours if data] == [data for data in theirs if data]


def test_a_line_that_is_bare_json_is_kept_aside():
    stream = EventStream()

    stream.feed(b': PING\n\n{"error": {}}\n\n{"second": 1}\n')

    assert stream.stray == b'{"error": {}}'
