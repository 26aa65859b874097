"""Answers the tool calls of a reply side by side; a call that fails answers the model and touches no other."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from agentloop.events import CallEnded, CallProgress, CallStarted, Emit
from agentloop.messages import ToolCall, ToolResult
from agentloop.run import Run
from agentloop.tools.collection import describe_unknown
from agentloop.tools.context import Context
from agentloop.tools.gates import gate


async def dispatch(calls: Sequence[ToolCall], run: Run) -> None:
    """Answer the calls side by side, writing each result down as it comes.

    Raises:
        LimitReached: The run may not make so many calls; none is made.
    """
    most = run.budget.limits.calls_per_reply
    run.budget.take_calls(min(len(calls), most))
    for call in calls[most:]:
        words = f"Not run: one reply may make {most} calls and this one made more. Make fewer at once."
        run.transcript.add_result(ToolResult(call.id, words, is_error=True, name=call.name))
    async with asyncio.TaskGroup() as group:
        for call in calls[:most]:
            group.create_task(_answer(call, run))


async def _answer(call: ToolCall, run: Run) -> None:
    run.emit(CallStarted(call))
    started = monotonic()
    result = await _result(call, run)
    run.transcript.add_result(result)
    run.emit(CallEnded(call, result, monotonic() - started))


async def _result(call: ToolCall, run: Run) -> ToolResult:
    decision = run.transcript.decisions.get(call.id)
    if decision and decision.word == "denied":
        words = f"The user denied this call{f': {decision.reason}' if decision.reason else '.'}"
        return ToolResult(call.id, words, is_error=True, name=call.name)
    tool = run.tools.get(call.name)
    if tool is None:
        return ToolResult(call.id, describe_unknown(call.name, run.tools), is_error=True, name=call.name)
    context = _context(call, run)
    async with gate(tool, call.arguments):
        return await tool.call(call, context)


def _context(call: ToolCall, run: Run) -> Context[Any]:
    run_id = run.transcript.run_id
    parts = f"{run_id}\n{call.id}\n{call.name}\n{call.arguments}"
    return Context(
        deps=run.deps,
        run_id=run_id,
        step=run.transcript.replies - 1,
        call=call,
        idempotency_key=hashlib.sha256(parts.encode("utf-8", "replace")).hexdigest()[:32],
        progress=_progress(call, run.emit),
    )


def _progress(call: ToolCall, emit: Emit) -> Callable[[object], None]:
    loop = asyncio.get_running_loop()
    home = threading.get_ident()

    def progress(value: object) -> None:
        event = CallProgress(call, value)
        if threading.get_ident() == home:
            emit(event)
        else:
            loop.call_soon_threadsafe(emit, event)

    return progress
