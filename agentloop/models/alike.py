"""Knows events that differ in nothing but the words they bring, so that those which came together are read as one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

# Possessive, since each escape would otherwise leave a frame to come back to: 1.7 GiB for an event of 28 MiB.
_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+')
_LONGEST = 64 * 2**10
"""In bytes; over this, joining saves nothing."""
# Where like events differ as well: noise (OpenAI), a number that we do not read (its responses), and counts of which the last one counts.
_NOISE = re.compile(
    rb'"(?:obfuscation|sequence_number|(?:candidates|thoughts|total|)[tT]okenCount|(?:completion|total)_tokens)":\s*(?:\d+|"[^"\\]*")'
)


@runtime_checkable
class NamesWords(Protocol):
    """A decoder that can tell which events may be read as one; others are given each event for itself."""

    def words_in(self, event: Mapping[str, Any]) -> str:
        """Name the field whose words are all that the event adds; '' where it adds more.

        Events that are equal but for these words must come to the same as one of them with the words of all.
        """
        ...


class Alike:
    """Remembers the last event, and takes the words out of those that are like it."""

    def __init__(self) -> None:
        self._before = self._after = self._opening = self._last = self._said = b""
        self._is_noisy = False

    def learn(self, data: bytes, field: str) -> None:
        """Remember an event, whose words are in this field; '' for none."""
        self._before = b""
        if not field or len(data) > _LONGEST:
            return
        shape = _NOISE.sub(b"", data)
        # Within a string the quotes of the name would be escaped, so what is found is a field.
        match [*re.finditer(rb'"%b":\s*(")?' % re.escape(field).encode(), shape)]:
            case [found] if found[1] and (words := _STRING.match(shape, found.end())):
                self._before, self._after, self._opening = shape[: found.end()], shape[words.end() :], found[0]
                self._is_noisy = shape != data
            case _:
                pass

    def words(self, data: bytes) -> bytes | None:
        """Give the words of an event that is like the one remembered, as they are written in JSON; None where it is not."""
        before, after = self._before, self._after
        if len(data) > _LONGEST:
            return None
        shape = _NOISE.sub(b"", data) if self._is_noisy else data
        if not before or not shape.startswith(before) or not shape.endswith(after) or len(shape) < len(before) + len(after):
            return None
        words = shape[len(before) : len(shape) - len(after)]
        if not _STRING.fullmatch(words):
            return None
        self._last, self._said = data, words
        return words

    def event(self, words: Iterable[bytes]) -> bytes:
        """Write the last event that was like the one remembered, with all these words."""
        before, opening, rest = self._last.partition(self._opening)
        return b"".join((before, opening, *words, rest[len(self._said) :]))
