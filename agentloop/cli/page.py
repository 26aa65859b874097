"""A page of words and programs, plain or for a terminal."""

from __future__ import annotations

from typing import Protocol, TextIO

from agentloop.cli.display import is_terminal


class Page(Protocol):
    """Where the demo is written."""

    def heading(self, title: str, words: str = "") -> None:
        """Begin a part of the page."""
        ...

    def line(self, words: str = "") -> None:
        """Write a line."""
        ...

    def code(self, source: str) -> None:
        """Write a program."""
        ...

    def value(self, value: object) -> None:
        """Write a value as Python does."""
        ...

    def step(self, command: str, *, why: str) -> None:
        """Write what can be done next."""
        ...


class PlainPage:
    """For files and pipes."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def heading(self, title: str, words: str = "") -> None:
        """Begin a part of the page."""
        self.line(f"## {title}{': ' if words else ''}{words}\n")

    def line(self, words: str = "") -> None:
        """Write a line."""
        self._out.write(f"{words}\n")
        self._out.flush()

    def code(self, source: str) -> None:
        """Write a program."""
        self.line(source)

    def value(self, value: object) -> None:
        """Write a value as Python does."""
        self.line(f"{value!r}\n")

    def step(self, command: str, *, why: str) -> None:
        """Write what can be done next."""
        self.line(f"# {why}\n{command}\n")


def page_on(out: TextIO) -> Page:
    """Make the page that fits the stream."""
    if not is_terminal(out):
        return PlainPage(out)
    from agentloop.cli.pretty_page import PrettyPage  # noqa: PLC0415 - rich costs time, and only terminals need it

    return PrettyPage(out)
