"""Asks a person whether a call may run."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from agentloop.cli.display import is_terminal
from agentloop.cli.escape import arguments_of, as_json, call_line, one_line, printable
from agentloop.errors import InvalidArguments
from agentloop.messages import ToolCall
from agentloop.tools.function import Tool
from agentloop.transcript import Decision

_EFFECTS = {
    "read": "changes nothing",
    "idempotent": "changes nothing more when called again",
    "once": "may do harm",
}
_SHOWN = 2000


class NobodyToAsk(Exception):
    """A call waits for a person's word, and there is no person, or the person went away."""

    def __init__(self, call: ToolCall) -> None:
        super().__init__(f"{call_line(call)} needs a person's approval, and nobody can be asked here; run it on a terminal")


def decide(call: ToolCall, tool: Tool[..., Any], *, answers: TextIO, out: TextIO) -> Decision:
    """Ask on the terminal until there is a yes or a no.

    Raises:
        NobodyToAsk: The streams are no terminal, or it was closed.
    """
    if not (is_terminal(answers) and is_terminal(out)):
        raise NobodyToAsk(call)
    out.write("".join(f"{line}\n" for line in _question(call, tool)))
    _forget_what_was_typed(answers)

    def answer(question: str) -> str:
        out.write(question)
        out.flush()
        line = answers.readline()
        if not line:
            out.write("\n")
            raise NobodyToAsk(call)
        return line.strip()

    while True:
        match answer("  [y]es, [n]o (tell the model why): ").lower():
            case "y" | "yes":
                return Decision("approved")
            case "n" | "no":
                return Decision("denied", answer("  why? "))
            case _:
                pass


def _question(call: ToolCall, tool: Tool[..., Any]) -> Iterator[str]:
    options = tool.options
    hints = [word for word, holds in (("destructive", options.destructive), ("reaches beyond this machine", options.open_world)) if holds]
    yield f"? {one_line(call.name)} asks to run: {options.effect}, {', '.join([_EFFECTS[options.effect], *hints])}"
    arguments = _final_arguments(call, tool)
    if isinstance(arguments, str):
        yield f"    {_whole(printable(arguments))}"
    else:
        yield from (f"    {one_line(name)} = {_whole(as_json(value))}" for name, value in arguments.items())


def _final_arguments(call: ToolCall, tool: Tool[..., Any]) -> Mapping[str, Any] | str:
    """Read the arguments as the tool will get them; as the model wrote them where they are wrong, for then the tool gets none."""
    try:
        return tool.arguments(call.arguments)
    except InvalidArguments:
        return arguments_of(call)


def _whole(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… and {len(text) - _SHOWN:,} characters more"


def _forget_what_was_typed(answers: TextIO) -> None:
    """Drop what was typed before the question was there: it answers something else."""
    if sys.platform != "win32":
        import termios  # noqa: PLC0415 - there is none on Windows

        termios.tcflush(answers, termios.TCIFLUSH)
