"""Shows a run while it runs: the answer on one stream, everything else on another."""

from __future__ import annotations

import os
from typing import Protocol, TextIO

from agentloop.cli.escape import as_json, call_line, duration, one_line, outcome, printable
from agentloop.deltas import RestartDelta, TextDelta
from agentloop.events import CallEnded, CallProgress, CallStarted, Event, Replied, Retrying, StepStarted, Switched
from agentloop.messages import Message, ToolCall, ToolResult

_NOTE_LENGTH = 400


class Words(Protocol):
    """Where the model's words go."""

    def add(self, text: str) -> None:
        """Take in the next words of a reply."""
        ...

    def end(self, text: str, *, is_answer: bool) -> None:
        """The reply is whole, and this is its text; one that is no answer goes on to call tools."""
        ...


class Notes(Protocol):
    """Where everything else is told."""

    def wait(self) -> None:
        """The model is asked."""
        ...

    def rest(self) -> None:
        """The model speaks: keep the terminal free for it."""
        ...

    def start(self, call: ToolCall) -> None:
        """A tool is called."""
        ...

    def progress(self, call: ToolCall, words: str) -> None:
        """It says something."""
        ...

    def end(self, call: ToolCall, result: ToolResult, *, seconds: float | None = None) -> None:
        """It has its result; without seconds, where nobody was there to measure them."""
        ...

    def write(self, line: str) -> None:
        """Say something else."""
        ...


class Display:
    """Shows the events of a run."""

    def __init__(self, words: Words, notes: Notes, *, verbose: bool = False) -> None:
        self._words = words
        self._notes = notes
        self._verbose = verbose
        self._replying = False
        self._early: list[ToolCall] = []

    def show(self, event: Event) -> None:
        """Show one event."""
        match event:
            case StepStarted():
                self._replying = True
                self._early.clear()
                self._notes.wait()
            case TextDelta(text):
                self._notes.rest()
                self._words.add(text)
            case RestartDelta():
                # The new reply makes its calls anew.
                self._early.clear()
            case Replied(reply):
                self._replying = False
                self._reply(reply.message, reply.thinking)
                for call in self._early:
                    self._notes.start(call)
            case CallStarted(call) if self._replying:
                # Its words come first, and it may yet break.
                self._early.append(call)
            case CallStarted(call):
                self._notes.start(call)
            case CallProgress(call, value):
                self._notes.progress(call, one_line(value if isinstance(value, str) else as_json(value)))
            case CallEnded(call, result, seconds):
                self._notes.end(call, result, seconds=seconds)
            case _:
                self._notice(event)

    def _notice(self, event: Event) -> None:
        match event:
            case Retrying(error, _, seconds):
                self._notes.write(f"↻ {one_line(str(error), _NOTE_LENGTH)}; asking again in {duration(seconds)}")
            case Switched(error, model):
                self._notes.write(f"⇄ {one_line(str(error), _NOTE_LENGTH)}; asking {one_line(model)}")
            case _:
                pass

    def note(self, words: str) -> None:
        """Say something beside the events."""
        self._notes.rest()
        self._notes.write(words)

    def close(self) -> None:
        """Leave the terminal as it was, at the beginning of a line."""
        self._notes.rest()
        self._words.end("", is_answer=False)

    def _reply(self, message: Message, thinking: str) -> None:
        self._notes.rest()
        if self._verbose and thinking:
            self._notes.write(f"∴ {one_line(thinking, _NOTE_LENGTH)}")
        self._words.end(message.text, is_answer=not message.calls)
        for url, title in {citation.url: citation.title for citation in message.citations if citation.url}.items():
            self._notes.write(f"  {one_line(f'{title} {url}'.strip(), _NOTE_LENGTH)}")


class StreamedWords:
    """Shows a person the words of the model as they come."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._shown = ""

    def add(self, text: str) -> None:
        """Show the next words."""
        if text:
            self._shown = text
            self._out.write(printable(text, keep="\n\t"))
            self._out.flush()

    def end(self, text: str, *, is_answer: bool) -> None:
        """End the line, and show the text where it did not come in pieces."""
        del is_answer
        if not self._shown:
            self.add(text)
        if self._shown and not self._shown.endswith("\n"):
            self.add("\n")
        self._shown = ""


class WholeWords:
    """Gives a program the answer as the model wrote it, and nothing else of its words."""

    def __init__(self, out: TextIO | None, notes: Notes) -> None:
        """Write answers to `out`, if to anything, and what is said on the way to them to `notes`."""
        self._out = out
        self._notes = notes

    def add(self, text: str) -> None:
        """Wait for the rest."""

    def end(self, text: str, *, is_answer: bool) -> None:
        """Write the text where it belongs."""
        if not is_answer:
            if text.strip():
                self._notes.write(printable(text.strip(), keep="\n\t"))
        elif self._out is not None:
            self._out.write(text if text.endswith("\n") else f"{text}\n")
            self._out.flush()


class PlainNotes:
    """One line when a call starts and one when it ends, for files and pipes."""

    def __init__(self, out: TextIO, *, verbose: bool = False) -> None:
        self._out = out
        self._verbose = verbose

    def wait(self) -> None:
        """A file need not know."""

    def rest(self) -> None:
        """Nothing is in the way."""

    def start(self, call: ToolCall) -> None:
        """Write the call."""
        self.write(f"● {call_line(call)}")

    def progress(self, call: ToolCall, words: str) -> None:
        """Write what the tool says, where much is wanted."""
        if self._verbose:
            self.write(f"… {one_line(call.name)}: {words}")

    def end(self, call: ToolCall, result: ToolResult, *, seconds: float | None = None) -> None:
        """Write what the call came to."""
        mark = "✗" if result.is_error else "✓"
        self.write(f"{mark} {call_line(call)}  {outcome(result, seconds=seconds, verbose=self._verbose)}")

    def write(self, line: str) -> None:
        """Write a line."""
        self._out.write(f"{line}\n")
        self._out.flush()


def is_terminal(stream: TextIO) -> bool:
    """Whether a person looks at the stream, on something that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM") not in {"dumb", "unknown"}


def display_on(*, answer: TextIO | None, notes: TextIO, model: str, verbose: bool = False) -> Display:
    """Make the display that fits the streams.

    Args:
        answer: Where the answer goes; None shows none.
        notes: Where everything else goes.
        model: What the model is called, for people.
        verbose: Whether results, thoughts and progress are shown too.
    """
    told = _notes_on(notes, model=model, verbose=verbose)
    words = StreamedWords(answer) if answer is not None and is_terminal(answer) else WholeWords(answer, told)
    return Display(words, told, verbose=verbose)


def _notes_on(out: TextIO, *, model: str, verbose: bool) -> Notes:
    if not is_terminal(out):
        return PlainNotes(out, verbose=verbose)
    from agentloop.cli.live import LiveNotes  # noqa: PLC0415 - rich costs time, and only terminals need it

    return LiveNotes(out, model=model, verbose=verbose)
