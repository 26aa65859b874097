"""Splits a byte stream into server-sent events.

Lines end with CR, LF or CRLF and nothing else (WHATWG HTML, 9.2.6): U+2028 and its kin are ordinary characters of the JSON.
"""

from __future__ import annotations


class EventStream:
    """Takes bytes as they come and gives the data of each whole event, in time linear in their length."""

    def __init__(self) -> None:
        self._pending: list[bytes] = []
        self._data: list[bytes] = []
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
        head, newline, rest = chunk.partition(b"\n")
        self._pending.append(head)
        if not newline:
            return []
        lines = rest.split(b"\n")
        lines.insert(0, b"".join(self._pending))
        self._pending = [lines.pop()]
        return self._events(lines)

    def end(self) -> list[bytes]:
        """Give the last event where the stream ended without the blank line after it."""
        return self._events([b"".join(self._pending), b""])

    def _events(self, lines: list[bytes]) -> list[bytes]:
        events: list[bytes] = []
        for line in lines:
            if not line:
                if self._data:
                    events.append(b"\n".join(self._data))
                    self._data = []
            elif line.startswith(b"data:"):
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            elif line[:1] in (b"{", b"[") and not self.stray:
                self.stray = line
        return events
