"""Splits a byte stream into server-sent events.

Lines end with CR, LF or CRLF and nothing else (WHATWG HTML, 9.2.6): U+2028 and its kin are ordinary characters of the JSON.
"""

from __future__ import annotations


class EventStream:
    """Takes bytes as they come and gives the data of each whole event, in time linear in their length."""

    def __init__(self) -> None:
        self._pending: list[bytes] = []
        self._ends_line = False
        self._after_cr = False
        self.stray = b""
        """The first line that is bare JSON and no field: a gateway that fails late writes its error like this."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes; give the data of the events that they complete, lines joined by LF."""
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        if b"\r" in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        ends = b"\n\n" in chunk or (chunk.startswith(b"\n") and self._ends_line)
        self._ends_line = chunk.endswith(b"\n") if chunk else self._ends_line
        self._pending.append(chunk)
        if not ends:
            return []
        *blocks, rest = b"".join(self._pending).split(b"\n\n")
        self._pending = [rest]
        return self._events(blocks)

    def end(self) -> list[bytes]:
        """Give the last event where the stream ended without the blank line after it."""
        return self._events([b"".join(self._pending)])

    def _events(self, blocks: list[bytes]) -> list[bytes]:
        """Read blocks that end with a blank line."""
        events: list[bytes] = []
        for block in blocks:
            # The commonest by far, at a third of what it costs to look at the lines.
            if block.startswith(b"event:"):
                block = block.partition(b"\n")[2]  # noqa: PLW2901  # the name of the event stands in its data, too
            if block.startswith(b"data: ") and b"\n" not in block:
                events.append(block[6:])
            elif data := self._data(block.split(b"\n")):
                events.append(b"\n".join(data))
        return events

    def _data(self, lines: list[bytes]) -> list[bytes]:
        data: list[bytes] = []
        for line in lines:
            if line.startswith(b"data:"):
                data.append(line[6:] if line[5:6] == b" " else line[5:])
            elif line[:1] in (b"{", b"[") and not self.stray:
                self.stray = line
        return data
