"""Tools in a process of their own, which is ended for good when their time is up, their caller is cancelled or the app is gone."""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import json
import logging
import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import FunctionType
from typing import Any

import pydantic

from agentloop.errors import ToolDefinitionError
from agentloop.messages import ToolCall, ToolResult
from agentloop.tools.context import Context
from agentloop.tools.deadline import NoResult
from agentloop.tools.options import Options
from agentloop.tools.threads import run_in_thread

_SUPERVISOR = Path(__file__).with_name("isolated_supervisor.py")
_START_SECONDS = 60.0
_END_SECONDS = 1.0
_LONGEST_LINE = 64 * 2**20
_SECRET_NAME = re.compile(r"(?:^|_)(?:API_?)?(?:KEYS?|TOKENS?|SECRETS?|PASSWORDS?|PASSWD|CREDENTIALS?)(?:_|$)", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"://[^/\s:@]*:[^/\s@]+@")
_log = logging.getLogger("agentloop.tools")


class Failed(Exception):
    """The tool failed in its process."""

    def __init__(self, result: ToolResult) -> None:
        super().__init__(result.text)
        self.result = result
        """What the model shall read of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolatedTool:
    """What another process needs to know of a tool, to find it there and call it."""

    name: str
    function: Callable[..., Any]
    options: Options
    given: Mapping[str, Any]
    """What `tool` must be given to make it again, where its module has the plain function."""

    async def call(self, call: ToolCall, context: Context[Any], *, yielded: Callable[[object], None]) -> ToolResult:
        """Answer the call in a new process, and leave nothing of that.

        Args:
            call: With the model's own text, which is read again in the process.
            context: All but its deps crosses over; what the tool says there is said here, from some thread.
            yielded: Is told each value that a generator yields, as plain JSON values.

        Raises:
            NoResult: The time was up; it runs from when the tool's module is imported.
            Failed: The tool raised.
            ChildProcessError: The process ended before there was a result.
            ToolDefinitionError: The process cannot import the tool.
        """
        heard: dict[str, Callable[[object], None]] = {"progress": context.progress, "yielded": yielded}
        child = _Child(self._request(call, context), seconds=self.options.timeout, heard=heard)
        talk = asyncio.ensure_future(run_in_thread(child.talk, name=self.name))
        try:
            last = await asyncio.shield(talk)
        except asyncio.CancelledError:
            if child.stop():
                await asyncio.wait({talk}, timeout=2 * _END_SECONDS)
            talk.cancel()
            raise
        return self._outcome(last)

    def check(self) -> None:
        """Check that the tool is found again under its name.

        Raises:
            ToolDefinitionError: Something else is.
        """
        module, qualname = self.function.__module__, self.function.__qualname__
        try:
            found = found_at(module, qualname)
        except (AttributeError, KeyError):
            found = None
        if getattr(found, "function", found) != self.function:
            raise ToolDefinitionError(
                f"tool {self.name!r} runs in a process of its own, and {module}.{qualname} is not it there; "
                "let it keep its function's name in its module"
            )

    def _request(self, call: ToolCall, context: Context[Any]) -> dict[str, Any]:
        return {
            "path": sys.path,
            "module": self.function.__module__,
            "qualname": self.function.__qualname__,
            "given": dict(self.given),
            "memory": self.options.memory,
            "cpu": self.options.cpu,
            "call": call_form().dump_python(call, mode="json"),
            "in_run": context.call is not None,
            "run_id": context.run_id,
            "step": context.step,
            "idempotency_key": context.idempotency_key,
        }

    def _outcome(self, last: dict[str, Any]) -> ToolResult:
        match last:
            case {"say": "result", "result": written, "failed": None}:
                return result_form().validate_python(written)
            case {"say": "result", "result": written, "failed": told}:
                _log.debug("tool %r failed in its process\n%s", self.name, told)
                raise Failed(result_form().validate_python(written))
            case {"say": "refused", "words": words, "traceback": told}:
                _log.warning("tool %r cannot be imported in a process of its own\n%s", self.name, told)
                raise ToolDefinitionError(
                    f"tool {self.name!r} runs in a process of its own, which cannot import {self.function.__module__!r} ({words}); "
                    "keep isolated tools in a module that needs no keys and does nothing when it is imported"
                )
            case {"say": "too much"}:
                raise ChildProcessError(f"the process of {self.name!r} said more than {_LONGEST_LINE:,} bytes at once and was killed")
            case {"say": "late"}:
                raise ChildProcessError(f"the process of {self.name!r} was not ready in {_START_SECONDS:g} s and was killed")
            case _:
                raise ChildProcessError(f"the process of {self.name!r} {self._end(last.get('status'))} before it gave a result")

    def _end(self, status: int | None) -> str:
        if status is None:
            return "was killed"
        if status == -signal.SIGXCPU:
            return f"was ended by SIGXCPU, having used the {self.options.cpu:g} s of processor time that it may use,"
        if status < 0:
            return f"was ended by {signal.Signals(-status).name}"
        return f"ended itself with exit code {status}"


def check_isolated(function: Any, *, tool: str) -> None:
    """Check that another process can import the function.

    Raises:
        ToolDefinitionError: It cannot, or the system knows no such processes.
    """
    if importlib.util.find_spec("resource") is None:
        raise ToolDefinitionError(f"tool {tool!r}: isolated=True needs a POSIX system, as Linux or macOS; leave it out on this one")
    if getattr(sys, "frozen", False):
        raise ToolDefinitionError(f"tool {tool!r}: isolated=True needs a Python interpreter, and a frozen app has none; leave it out")
    if not isinstance(function, FunctionType) or "<" in function.__qualname__:
        raise ToolDefinitionError(
            f"tool {tool!r}: isolated=True runs it in a process that must import it, which it can only do with a function of a module; "
            "move it to the top of one"
        )
    if function.__module__ == "__main__":
        raise ToolDefinitionError(
            f"tool {tool!r}: isolated=True runs it in a process that must import it, and the script that was started cannot be imported "
            "without being run again; move it to a module"
        )


def found_at(module: str, qualname: str) -> Any:
    """Find what an imported module calls so.

    Raises:
        AttributeError: It has no such thing.
        KeyError: It is not imported.
    """
    return functools.reduce(getattr, qualname.split("."), sys.modules[module])


@functools.cache
def call_form() -> pydantic.TypeAdapter[ToolCall]:
    """Read and write calls as JSON."""
    return pydantic.TypeAdapter(ToolCall)


@functools.cache
def result_form() -> pydantic.TypeAdapter[ToolResult]:
    """Read and write results as JSON."""
    return pydantic.TypeAdapter(ToolResult)


class _Child:
    """The process of one call, and what it says."""

    def __init__(self, request: Mapping[str, Any], *, seconds: float | None, heard: Mapping[str, Callable[[object], None]]) -> None:
        self._request = json.dumps(request).encode() + b"\n"
        self._seconds = seconds
        self._heard = heard
        self._wake: socket.socket | None = None
        self._stopped = False
        self._ready = False
        self._ended = False
        self._last: dict[str, Any] | None = None
        self._deadline: float | None = None
        self._pieces: list[bytes] = []
        self._size = 0

    def stop(self) -> bool:
        """End it, from another thread than the one that talks; tells whether that one has begun, and so comes back soon."""
        self._stopped = True
        if self._wake is None:
            return False
        with suppress(OSError):
            self._wake.send(b"!")
        return True

    def talk(self) -> dict[str, Any]:
        """Start it, listen until it has ended, and give its last line.

        Raises:
            NoResult: It had not ended when its time was up, and was killed.
        """
        with ExitStack() as opened:
            wake, woken = (opened.enter_context(each) for each in socket.socketpair())
            self._wake = wake
            if self._stopped:
                return {"say": "stopped"}
            process = opened.enter_context(_started())
            opened.callback(_end, process)
            assert process.stdin is not None  # noqa: S101  # it was asked for
            assert process.stdout is not None  # noqa: S101
            # Where it has died already, there is nothing to read, and that tells.
            with suppress(BrokenPipeError):
                process.stdin.write(self._request)
                process.stdin.flush()
            self._deadline = monotonic() + _START_SECONDS
            return self._listen(process.stdout.fileno(), woken.fileno())

    def _listen(self, out: int, woken: int) -> dict[str, Any]:
        poll = select.poll()
        poll.register(out, select.POLLIN)
        poll.register(woken, select.POLLIN)
        while not self._ended:
            left = None if self._deadline is None else max(0.0, self._deadline - monotonic())
            ready = {descriptor for descriptor, _ in poll.poll(None if left is None else left * 1_000)}
            if woken in ready:
                break
            if out in ready:
                self._read(out)
            elif self._last is None:
                if self._ready:
                    raise NoResult
                return {"say": "late"}
            else:
                # It has answered and lingers, as with threads that have not ended.
                break
        return self._last or {"say": "stopped"}

    def _read(self, out: int) -> None:
        piece = os.read(out, 2**18)
        self._ended = not piece
        first, *more = piece.split(b"\n")
        self._pieces.append(first)
        self._size += len(first)
        if more:
            for line in (b"".join(self._pieces), *more[:-1]):
                self._hear(json.loads(line))
            self._pieces, self._size = [more[-1]], len(more[-1])
        if self._size > _LONGEST_LINE:
            self._last, self._ended = {"say": "too much"}, True

    def _hear(self, line: dict[str, Any]) -> None:
        match line["say"]:
            case "ready":
                self._ready = True
                self._deadline = None if self._seconds is None else monotonic() + self._seconds
            case "ended":
                self._last = self._last or line
                self._ended = True
            case "progress" | "yielded" as said:
                self._heard[said](line["value"])
            case _:
                self._last = line
                self._deadline = monotonic() + _END_SECONDS


def _started() -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if not (_SECRET_NAME.search(name) or _SECRET_VALUE.search(value))}
    return subprocess.Popen(  # noqa: S603  # a script of ours
        # Not its own folder is put first on its path, where our modules would stand before others of the same names.
        [sys.executable, "-P", str(_SUPERVISOR)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        with suppress(BrokenPipeError):
            process.stdin.close()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
