"""Reads where Gemini's words come from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from agentloop.messages import Citation
from agentloop.wire.lenient import as_count, as_list, as_object, as_text

Json = Mapping[str, Any]


def citations(grounding: Iterable[Json], *, text: str, starts: Mapping[int, int]) -> Iterator[Citation]:
    """Make each citation once.

    Args:
        grounding: Each `groundingMetadata` of the reply; those of a stream may repeat what was said before.
        text: All words of the reply.
        starts: Where in the text the words of each part begin.
    """
    seen: set[Citation] = set()
    words = _Words(text, starts)
    for metadata in grounding:
        for citation in _citations(metadata, words):
            if citation not in seen:
                seen.add(citation)
                yield citation


def _citations(metadata: Json, words: _Words) -> Iterator[Citation]:
    sources = [_source(as_object(chunk)) for chunk in as_list(metadata.get("groundingChunks"))]
    supports = as_list(metadata.get("groundingSupports"))
    for support in map(as_object, supports):
        start, end = words.place(as_object(support.get("segment")))
        for index in as_list(support.get("groundingChunkIndices")):
            if isinstance(index, int) and 0 <= index < len(sources):
                yield Citation(*sources[index], start, end)
    if not supports:
        yield from (Citation(*source) for source in sources)


def _source(chunk: Json) -> tuple[str, str]:
    """Say the address and the title of what was read: a page (web), a file (retrievedContext), a place (maps)."""
    read = as_object(next(iter(chunk.values()), None))
    address = read.get("uri") or read.get("sourceUri") or read.get("documentName") or read.get("fileSearchStore")
    return as_text(address), as_text(read.get("title"))


class _Words:
    """The words of a reply, in which places are looked up that Google counts in bytes of UTF-8."""

    def __init__(self, text: str, starts: Mapping[int, int]) -> None:
        self._text = text
        # Half a character counts as many bytes as what stands for it in the reply.
        self._bytes = text.encode("utf-8", "replace")
        self._starts = starts

    def place(self, segment: Json) -> tuple[int, int]:
        """Find a segment; (0, 0) where there is none."""
        first, last = as_count(segment.get("startIndex")), as_count(segment.get("endIndex"))
        said = as_text(segment.get("text"))
        wanted = said.encode("utf-8", "replace")
        # Google says that it counts from the beginning of a part; what it sends counts from that of the reply.
        before = len(self._text[: self._starts.get(as_count(segment.get("partIndex")), 0)].encode("utf-8", "replace"))
        for offset in (before, 0):
            found = self._bytes[first + offset : last + offset]
            if found and (found == wanted or not wanted):
                return self._count(first + offset), self._count(last + offset)
        return self._nearest(said, self._count(first)) if said else (0, 0)

    def _count(self, place: int) -> int:
        return len(self._bytes[:place].decode("utf-8", "ignore"))

    def _nearest(self, said: str, start: int) -> tuple[int, int]:
        """Find the words elsewhere: some of Google's segments lie a few bytes beside what they say."""
        found = [at for at in (self._text.rfind(said, 0, start + len(said)), self._text.find(said, start)) if at >= 0]
        at = min(found, key=lambda at: abs(at - start), default=-1)
        return (at, at + len(said)) if at >= 0 else (0, 0)
