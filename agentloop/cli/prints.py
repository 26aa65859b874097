"""Keeps what tools print out of the answer."""

from __future__ import annotations

import io
import sys
import threading

from agentloop.cli.escape import printable


class ToolPrints(io.StringIO):
    """What tools print: shown on stderr, since it is no part of the answer, and escaped, since it may be a stranger's."""

    def __init__(self) -> None:
        super().__init__()
        self._here = threading.local()

    def write(self, text: str, /) -> int:
        """Show what is a whole line; tools print side by side."""
        whole, newline, rest = text.rpartition("\n")
        if newline:
            _show_print(f"{self._begun}{whole}\n")
            self._here.begun = rest
        else:
            self._here.begun = self._begun + text
        return len(text)

    def flush(self) -> None:
        """Show the line so far."""
        _show_print(self._begun)
        self._here.begun = ""

    @property
    def _begun(self) -> str:
        return getattr(self._here, "begun", "")


def _show_print(text: str) -> None:
    if text:
        sys.stderr.write(printable(text, keep="\n\t"))
        sys.stderr.flush()
