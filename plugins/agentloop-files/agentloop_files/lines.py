"""The lines of a file, however long the file or the line."""

from __future__ import annotations

import codecs
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

_PIECE = 65_536


class Line(NamedTuple):
    """One line, without its end; a tuple because there are millions of them."""

    number: int
    """Counted from 1."""
    text: str
    cut: bool
    """Whether the line is longer than `text`."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """The moment by which a tool must have answered."""

    seconds: float
    moment: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Start to count now."""
        return cls(seconds, time.monotonic() + seconds)

    def check(self) -> None:
        """Raise once the moment has passed."""
        if time.monotonic() > self.moment:
            raise TimeoutError(f"this took over {self.seconds:g} s; ask for less at once")


def is_binary(file: BinaryIO) -> bool:
    """Judge by the first bytes, as git does: text holds no NUL."""
    start = file.read(8_192)
    file.seek(0)
    return b"\0" in start


def lines(file: BinaryIO, *, keep: int, deadline: Deadline) -> Iterator[Line]:
    """Read line by line, of each at most `keep` bytes into memory; a byte order mark is left out."""
    if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
        file.seek(0)
    for number in itertools.count(1):
        deadline.check()
        data = file.readline(keep)
        if not data:
            return
        cut = not data.endswith(b"\n") and _skip_rest(file, deadline)
        yield Line(number, _decoded(data, cut=cut), cut)


def _skip_rest(file: BinaryIO, deadline: Deadline) -> bool:
    """Go to the next line; say whether there was more of this one."""
    more = False
    while piece := file.readline(_PIECE):
        deadline.check()
        more = more or piece not in {b"\n", b"\r\n"}
        if piece.endswith(b"\n"):
            break
    return more


def _decoded(data: bytes, *, cut: bool) -> str:
    if cut:
        # The cut may fall inside a character, whose first bytes are then left out.
        return codecs.getincrementaldecoder("utf-8")("replace").decode(data)
    if data.endswith(b"\n"):
        data = data[:-1].removesuffix(b"\r")
    return data.decode("utf-8", "replace")
