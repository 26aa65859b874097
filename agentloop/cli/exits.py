"""How the command ends: what every exit code means, and one sentence instead of a traceback."""

from __future__ import annotations

import os
import sys
from enum import IntEnum
from typing import Any

import click

from agentloop.cli.escape import one_line
from agentloop.errors import (
    AgentLoopError,
    ConfigurationError,
    ContentFiltered,
    Denied,
    Drained,
    InDoubt,
    LengthLimit,
    LimitReached,
    ModelError,
    ModelRefused,
    OutputInvalid,
    ToolDefinitionError,
)

_SENTENCE_LENGTH = 1000


class ExitCode(IntEnum):
    """What the exit code of a command means."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    APPROVAL = 3
    LIMIT = 4
    PROVIDER = 5
    INTERRUPTED = 130
    READER_GONE = 141
    """As for a program that the signal SIGPIPE ends."""
    STOPPED = 143
    """As for a program that the signal SIGTERM ends: the run ended in good order."""


class Commands(click.Group):
    """A group of commands that ends with one sentence and a code, whatever goes wrong in a command."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            code = super().invoke(ctx)
            sys.stdout.flush()
        except AgentLoopError as error:
            code = exit_code(error)
            say(sentence(error))
        except KeyboardInterrupt:
            code = ExitCode.INTERRUPTED
            say("interrupted; the run was stopped and its connection closed")
        except BrokenPipeError:
            code = ExitCode.READER_GONE
            _stop_writing()
        except OSError as error:
            code = ExitCode.FAILED
            say(str(error))
            _stop_writing()
        ctx.exit(code or ExitCode.DONE)


def exit_code(error: AgentLoopError) -> ExitCode:
    """Tell whose fault it was."""
    match error:
        case LimitReached() | LengthLimit():
            return ExitCode.LIMIT
        case ConfigurationError() | ToolDefinitionError():
            return ExitCode.USAGE
        case Denied() | InDoubt():
            return ExitCode.APPROVAL
        case Drained():
            return ExitCode.STOPPED
        case ContentFiltered() | ModelRefused() | OutputInvalid():
            return ExitCode.FAILED
        case ModelError():
            return ExitCode.PROVIDER
        case _:
            return ExitCode.FAILED


def sentence(error: AgentLoopError) -> str:
    """Say what went wrong, with a remedy only where it can be typed here."""
    match error:
        case LimitReached(limit="steps"):
            return "the run took all the steps it was allowed; allow it more with --max-steps"
        case LimitReached():
            # Its remedy is written in Python.
            return str(error).partition(";")[0]
        case _:
            return str(error)


def say(words: str) -> None:
    """Tell the user one thing on stderr; the words may be a stranger's."""
    sys.stderr.write(f"agentloop: {one_line(words, _SENTENCE_LENGTH)}\n")
    sys.stderr.flush()


def _stop_writing() -> None:
    # The interpreter flushes both on its way out, and would complain where nobody reads.
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
