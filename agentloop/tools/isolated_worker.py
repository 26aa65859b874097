"""Does an isolated tool's work in the process made for it, and writes down what comes of it, one JSON line each."""

from __future__ import annotations

import asyncio
import importlib
import io
import json
import math
import os
import resource
import sys
import threading
import traceback
from typing import Any, cast

from pydantic_core import to_json

from agentloop.messages import ToolCall, ToolResult
from agentloop.tools.context import Context
from agentloop.tools.function import Tool, tool
from agentloop.tools.isolation import call_form, found_at, result_form
from agentloop.tools.results import to_failure


def work(request: dict[str, Any], out: int) -> None:
    """Answer the one call of the request; its lines go to the descriptor `out`."""
    lines = _Lines(out)
    # In whole lines, so that nothing printed is lost when the process is killed.
    cast("io.TextIOWrapper", sys.stdout).reconfigure(line_buffering=True)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_DATA, request["memory"])
    try:
        made = _tool(request)
    except BaseException as error:  # noqa: BLE001  # the developer's module, which may do anything when it is imported
        lines.write(say="refused", words=to_failure(error, call_id="", name="").text, traceback=_told(error))
        return
    lines.write(say="ready")
    if request["cpu"] is not None:
        spent = resource.getrusage(resource.RUSAGE_SELF)
        _limit(resource.RLIMIT_CPU, math.ceil(spent.ru_utime + spent.ru_stime + request["cpu"]))
    _answer(made, request, lines)


class _Lines:
    """Writes lines from any thread."""

    def __init__(self, out: int) -> None:
        self._out = out
        self._lock = threading.Lock()

    def write(self, **line: Any) -> None:
        """Write one line."""
        left = memoryview(_encoded(line) + b"\n")
        with self._lock:
            while left:
                left = left[os.write(self._out, left) :]

    def progress(self, value: object) -> None:
        """Pass on what the tool says."""
        self.write(say="progress", value=value)

    def yielded(self, value: object) -> None:
        """Pass on what the tool yields."""
        self.write(say="yielded", value=value)


def _encoded(line: dict[str, Any]) -> bytes:
    try:
        return to_json(line, bytes_mode="base64", inf_nan_mode="null", serialize_unknown=True)
    except ValueError:
        # Half a surrogate pair, or what holds itself.
        return json.dumps({**line, "value": f"a {type(line.get('value')).__name__} that has no JSON form"}).encode()


def _limit(kind: int, most: int | None) -> None:
    if most is None:
        return
    hard = resource.getrlimit(kind)[1]
    # The hard limit is one more: of processor time the soft one sends SIGXCPU, by which we tell what happened, and the hard one kills.
    within = [most, most + 1] if hard == resource.RLIM_INFINITY else [min(most, hard), min(most + 1, hard)]
    resource.setrlimit(kind, (within[0], within[1]))


def _tool(request: dict[str, Any]) -> Tool[..., Any]:
    importlib.import_module(request["module"])
    found: Any = found_at(request["module"], request["qualname"])
    return cast("Tool[..., Any]", found) if isinstance(found, Tool) else tool(found, **request["given"])


def _answer(made: Tool[..., Any], request: dict[str, Any], lines: _Lines) -> None:
    call: ToolCall = call_form().validate_python(request["call"])
    context: Context[Any] = Context(
        run_id=request["run_id"],
        step=request["step"],
        call=call if request["in_run"] else None,
        idempotency_key=request["idempotency_key"],
        progress=lines.progress,
    )
    failed = None
    try:
        result: ToolResult = asyncio.run(made.perform(call, context, seconds=None, yielded=lines.yielded))
        written = result_form().dump_python(result, mode="json")
    except BaseException as error:  # noqa: BLE001  # the tool is a stranger's code, and may even call sys.exit
        if isinstance(error, MemoryError) and not error.args and request["memory"] is not None:
            error = MemoryError(f"it may use {request['memory']:,} bytes").with_traceback(error.__traceback__)
        failed = _told(error)
        written = result_form().dump_python(to_failure(error, call_id=call.id, name=made.name), mode="json")
    lines.write(say="result", result=written, failed=failed)


def _told(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))
