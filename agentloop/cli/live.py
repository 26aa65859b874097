"""Tool calls as a block of lines on a terminal, completed in place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from time import monotonic
from typing import TextIO

from rich.console import Console, ConsoleOptions
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from agentloop.cli.escape import call_line, duration, one_line, outcome
from agentloop.messages import ToolCall, ToolResult

_REFRESHES = 12


@dataclass(slots=True)
class _Line:
    """One call of the block."""

    call: str
    verbose: bool
    started: float = field(default_factory=monotonic)
    said: str = ""
    result: ToolResult | None = None
    seconds: float | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        if self.result is None:
            waited = monotonic() - self.started
            words = (duration(waited) if waited >= 1 else "", self.said)
            yield self._fitted(("●", "yellow"), Text("".join(f"  {word}" for word in words if word), "dim"), options.max_width)
        elif self.result.is_error:
            yield self._fitted(("✗", "bold red"), Text(), options.max_width)
            message = Text(outcome(self.result, seconds=None, verbose=False), "red")
            for line in message.wrap(console, max(10, options.max_width - 2)):
                yield Text("  ").append_text(line)
        else:
            figures = Text(f"  {outcome(self.result, seconds=self.seconds, verbose=self.verbose)}", "dim")
            yield self._fitted(("✓", "bold green"), figures, options.max_width)

    def _fitted(self, mark: tuple[str, str], tail: Text, width: int) -> Text:
        """Make one line of the width: the call gives way to what follows it, down to a half."""
        call = Text(self.call)
        call.truncate(max(width // 2, width - 2 - tail.cell_len), overflow="ellipsis")
        line = Text.assemble(mark, " ", call, tail)
        line.truncate(width, overflow="ellipsis")
        return line


class LiveNotes:
    """Shows calls side by side while they run, and that the model is waited for."""

    def __init__(self, out: TextIO, *, model: str, verbose: bool = False) -> None:
        self._console = Console(file=out, highlight=False, markup=False, emoji=False)
        self._model = one_line(model)
        self._verbose = verbose
        self._live: Live | None = None
        self._lines: dict[str, _Line] = {}

    def wait(self) -> None:
        """Show that the model is asked."""
        self.rest()
        self._open(transient=True)

    def rest(self) -> None:
        """Leave the block as it stands, and the cursor below it."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        if self._lines:
            self._console.print()
        self._lines = {}

    def start(self, call: ToolCall) -> None:
        """Add the call to the block."""
        if not self._lines:
            self.rest()
        self._lines[call.id] = _Line(call_line(call), self._verbose)
        if self._live is None:
            self._open(transient=False)

    def progress(self, call: ToolCall, words: str) -> None:
        """Show beside the call what it says."""
        if call.id in self._lines:
            self._lines[call.id].said = words

    def end(self, call: ToolCall, result: ToolResult, *, seconds: float | None = None) -> None:
        """Complete the call's line."""
        if call.id not in self._lines:
            self.start(call)
        line = self._lines[call.id]
        line.seconds = seconds
        line.result = result

    def write(self, line: str) -> None:
        """Write a line above the block."""
        self._console.print(Text(line, "dim"))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[_Line | Spinner]:
        if self._lines:
            # Drawn in a thread of its own, while calls are added.
            yield from tuple(self._lines.values())
        else:
            yield self._spinner

    def _open(self, *, transient: bool) -> None:
        self._spinner = Spinner("dots", Text(self._model, "dim"), style="cyan")
        # What goes to stderr meanwhile appears above the block.
        self._live = Live(self, console=self._console, refresh_per_second=_REFRESHES, transient=transient, redirect_stdout=False)
        self._live.start(refresh=True)
