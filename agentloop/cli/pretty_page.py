"""A page of words and programs for a terminal."""

from __future__ import annotations

from typing import TextIO

from rich.console import Console
from rich.highlighter import ReprHighlighter
from rich.rule import Rule
from rich.syntax import Syntax
from rich.text import Text


class PrettyPage:
    """With rules, colours and highlighted code; the colours are the terminal's own."""

    def __init__(self, out: TextIO) -> None:
        self._console = Console(file=out, highlight=False, markup=False, emoji=False)

    def heading(self, title: str, words: str = "") -> None:
        """Begin a part of the page."""
        self._console.print()
        self._console.print(Rule(Text(title, "bold cyan"), align="left", style="cyan"))
        if words:
            self._console.print(Text(words, "dim"))
        self._console.print()

    def line(self, words: str = "") -> None:
        """Write a line."""
        self._console.print(Text(words))

    def code(self, source: str) -> None:
        """Write a program."""
        self._console.print(Syntax(source.rstrip(), "python", theme="ansi_dark", background_color="default", word_wrap=True))

    def value(self, value: object) -> None:
        """Write a value as Python does."""
        self._console.print(ReprHighlighter()(Text(repr(value), "bold")))

    def step(self, command: str, *, why: str) -> None:
        """Write what can be done next."""
        self._console.print(Text(why, "dim"))
        # The terminal wraps it, so that it can be copied.
        self._console.print(Text(f"  {command}\n", "green"), soft_wrap=True)
