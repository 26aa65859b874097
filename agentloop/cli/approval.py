"""Asks a person whether a call may run, and with which arguments, or what it came to."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TextIO

from agentloop.cli.display import is_terminal
from agentloop.cli.escape import arguments_of, as_json, call_line, one_line, printable
from agentloop.errors import InvalidArguments
from agentloop.messages import ToolCall, ToolResult
from agentloop.tools.function import Tool
from agentloop.transcript import Decision, Question

_EFFECTS = {
    "read": "changes nothing",
    "idempotent": "changes nothing more when called again",
    "once": "may do harm",
}
_SHOWN = 2000


_MENU = "  [y]es, [n]o (tell the model why), [e]dit the arguments, [a]lways for this tool, [q]uit: "
_MENU_OF_A_STRANGER = "  [y]es, [n]o (tell the model why), [e]dit the arguments, [q]uit: "
_MENU_OUTSIDE = "  [r]esult (you give it), [n]o (tell the model why), [q]uit: "
_MENU_IN_DOUBT = "  [m]ake it again, [r]esult (you give it), [t]ell the model that nobody knows, [q]uit: "


class Undecided(Exception):
    """A call waits for a person's word, and none was given."""


class Person:
    """Whoever sits at the terminal, and the tools that she lets run from now on."""

    def __init__(self, *, answers: TextIO, out: TextIO) -> None:
        self._answers = answers
        self._out = out
        self._always: set[str] = set()

    def decide(self, call: ToolCall, tool: Tool[..., Any] | None, *, question: Question) -> Decision:
        """Ask until there is a word on the call.

        Args:
            call: What waits.
            tool: The tool that it calls; None where an agent calls it that is not known here.
            question: What is asked.

        Raises:
            Undecided: The streams are no terminal, or it was closed, or the person wants to stop.
        """
        if tool and tool.name in self._always and question.wants == "approval" and not question.problem:
            return Decision("approved")
        if not (is_terminal(self._answers) and is_terminal(self._out)):
            raise _nobody(call, question)
        self._show(_asked(call, tool, question))
        _forget_what_was_typed(self._answers)
        try:
            match question.wants:
                case "approval":
                    return self._word(call, tool)
                case "result":
                    return self._result(call)
                case "outcome":
                    return self._outcome(call)
        except EOFError:
            raise _nobody(call, question) from None

    def _word(self, call: ToolCall, tool: Tool[..., Any] | None) -> Decision:
        made = call
        while True:
            match self._answer(_MENU if tool else _MENU_OF_A_STRANGER).lower():
                case "y" | "yes":
                    return _approved(made, call)
                case "n" | "no":
                    return self._denied()
                case "e" | "edit":
                    made = self._edited(made, tool)
                case "a" | "always" if tool:
                    self._always.add(tool.name)
                    return _approved(made, call)
                case "q" | "quit":
                    raise _stopped(call)
                case _:
                    pass

    def _result(self, call: ToolCall) -> Decision:
        while True:
            match self._answer(_MENU_OUTSIDE).lower():
                case "r" | "result":
                    return self._given(call)
                case "n" | "no":
                    return self._denied()
                case "q" | "quit":
                    raise _stopped(call)
                case _:
                    pass

    def _outcome(self, call: ToolCall) -> Decision:
        while True:
            # No letter here is one by which people let calls run out of habit.
            match self._answer(_MENU_IN_DOUBT).lower():
                case "m" | "make":
                    return Decision("approved")
                case "r" | "result":
                    return self._given(call)
                case "t" | "tell":
                    return Decision("denied")
                case "q" | "quit":
                    raise _stopped(call)
                case _:
                    pass

    def _given(self, call: ToolCall) -> Decision:
        return Decision("answered", result=ToolResult(call.id, self._answer("  result: ")))

    def _denied(self) -> Decision:
        return Decision("denied", self._answer("  why? "))

    def _edited(self, call: ToolCall, tool: Tool[..., Any] | None) -> ToolCall:
        self._show([f"    {_whole(as_json(arguments_of(call)))}"])
        text = self._answer("  all arguments as one JSON object, or nothing to leave them: ")
        if not text:
            return call
        made = replace(call, arguments=text)
        if isinstance(arguments_of(made), str):
            self._show(["    that is no JSON object"])
            return call
        try:
            if tool:
                tool.arguments(text)
        except Exception as error:  # noqa: BLE001 - what checks the arguments is a stranger's code
            self._show(f"    {_whole(printable(line))}" for line in str(error).splitlines())
            return call
        self._show(_arguments(made, tool))
        return made

    def _answer(self, question: str) -> str:
        line = ""
        try:
            self._out.write(question)
            self._out.flush()
            line = self._answers.readline()
        finally:
            if not line:
                # Whoever ends the input or interrupts leaves the cursor behind the question.
                self._out.write("\n")
                self._out.flush()
        if not line:
            raise EOFError
        return line.strip()

    def _show(self, lines: Iterable[str]) -> None:
        self._out.write("".join(f"{line}\n" for line in lines))


def _nobody(call: ToolCall, question: Question) -> Undecided:
    need = {
        "approval": "needs a person's approval",
        "result": "needs a result from outside",
        "outcome": "was begun and cut off, and needs a person's word on what it came to",
    }[question.wants]
    return Undecided(f"{call_line(call)} {need}, and nobody can be asked here; run it on a terminal")


def _stopped(call: ToolCall) -> Undecided:
    return Undecided(f"{call_line(call)} was neither approved nor denied, so the run stopped before it")


def _approved(made: ToolCall, call: ToolCall) -> Decision:
    return Decision("approved", arguments=None if made is call else made.arguments)


def _asked(call: ToolCall, tool: Tool[..., Any] | None, question: Question) -> Iterator[str]:
    wish = {
        "approval": "asks to run",
        "result": "asks for a result from outside",
        "outcome": "was begun, and then cut off; nobody knows whether it took effect",
    }[question.wants]
    yield f"? {one_line(call.name)} {wish}{_hints(tool)}"
    yield from _arguments(call, tool)
    if tool and (description := tool.description.description):
        yield f"  it says of itself: {_whole(printable(description))}"
    if question.problem:
        yield f"  it asks again: {_whole(printable(question.problem))}"


def _hints(tool: Tool[..., Any] | None) -> str:
    if tool is None:
        return ": a tool of an agent that is not known here"
    options = tool.options
    hints = [word for word, holds in (("destructive", options.destructive), ("reaches beyond this machine", options.open_world)) if holds]
    return f": {options.effect}, {', '.join([_EFFECTS[options.effect], *hints])}"


def _arguments(call: ToolCall, tool: Tool[..., Any] | None) -> Iterator[str]:
    arguments = _final_arguments(call, tool)
    if isinstance(arguments, str):
        yield f"    {_whole(printable(arguments))}"
    else:
        yield from (f"    {one_line(name)} = {_whole(as_json(value))}" for name, value in arguments.items())


def _final_arguments(call: ToolCall, tool: Tool[..., Any] | None) -> Mapping[str, Any] | str:
    """Read the arguments as the tool will get them; as the model wrote them where they are wrong, for then the tool gets none."""
    try:
        return tool.arguments(call.arguments) if tool else arguments_of(call)
    except InvalidArguments:
        return arguments_of(call)


def _whole(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… and {len(text) - _SHOWN:,} characters more"


def _forget_what_was_typed(answers: TextIO) -> None:
    """Drop what was typed before the question was there: it answers something else."""
    if sys.platform != "win32":
        import termios  # noqa: PLC0415 - there is none on Windows

        termios.tcflush(answers, termios.TCIFLUSH)
