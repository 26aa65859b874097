"""Answers the tool calls of a reply side by side; a call that fails answers the model and touches no other."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

from agentloop.approvals import Granted, Ruling, Settled
from agentloop.early import Answered
from agentloop.errors import LimitReached
from agentloop.events import CallEnded, CallProgress, CallStarted, Emit
from agentloop.messages import ToolCall, ToolResult
from agentloop.run import Run
from agentloop.tools.collection import describe_unknown
from agentloop.tools.context import Context
from agentloop.tools.function import Tool
from agentloop.tools.gates import gate
from agentloop.tools.results import to_failure
from agentloop.transcript import Question


async def dispatch(calls: Sequence[ToolCall], run: Run) -> None:
    """Answer the calls side by side, writing each result down as it comes.

    Raises:
        LimitReached: The run may not make so many calls; none is made.
    """
    most = run.budget.limits.calls_per_reply
    above = {call.id for call in run.transcript.asked[-1].calls[most:]}
    counted = {call.id for call in calls if run.early and run.early.has(call)}
    run.budget.take_calls(sum(call.id not in above and call.id not in counted for call in calls))
    for call in calls:
        if call.id in above:
            words = f"Not run: one reply may make {most} calls and this one made more. Make fewer at once."
            _write(ToolResult(call.id, words, is_error=True, name=call.name), call, run)
    async with asyncio.TaskGroup() as group:
        for call in calls:
            if call.id not in above:
                group.create_task(_answer(call, run))


def answer_early(call: ToolCall, run: Run) -> Coroutine[Any, Any, Answered] | None:
    """Begin to answer a call whose reply still comes, where that may be done: it only reads, and nobody need be asked."""
    tool = run.tools.get(call.name)
    if tool is None or tool.options.effect != "read" or run.waits(call) or run.repeats.answer(call):
        return None
    try:
        run.budget.take_calls(1)
    except LimitReached:
        return None
    return _timed(call, run)


async def _answer(call: ToolCall, run: Run) -> None:
    begun = run.early.taken(call) if run.early else None
    result, seconds = await (begun or _timed(call, run))
    _write(result, call, run, seconds=seconds)


async def _timed(call: ToolCall, run: Run) -> Answered:
    async with run.slots:
        ruling = run.ruling(call)
        made = ruling.call if isinstance(ruling, Granted) else call
        run.emit(CallStarted(made))
        started = monotonic()
        result = await _result(made, ruling, run)
        return result, monotonic() - started


def _write(result: ToolResult, call: ToolCall, run: Run, *, seconds: float = 0.0) -> None:
    run.write(call, result)
    run.emit(CallEnded(call, result, seconds))


async def _result(call: ToolCall, ruling: Ruling, run: Run) -> ToolResult:
    match ruling:
        case Granted():
            return ruling.told(await _made(call, run))
        case Settled(result):
            return result
        case Question():
            # The loop dispatches no such call; the door stays shut all the same.
            return ToolResult(call.id, "The call was not approved, so it was not made.", is_error=True, name=call.name)


async def _made(call: ToolCall, run: Run) -> ToolResult:
    # What a person has allowed is made, however often it was made before.
    if call.id not in run.transcript.decisions and (known := run.repeats.answer(call)):
        return known
    tool = run.tools.get(call.name)
    if tool is None:
        return ToolResult(call.id, describe_unknown(call.name, run.tools), is_error=True, name=call.name)
    try:
        async with gate(tool, call.arguments):
            return await _called(tool, call, run)
    except Exception as error:  # noqa: BLE001  # the tool's lock is the developer's own function; the tool itself raises nothing
        return to_failure(error, call_id=call.id, name=tool.name)


async def _called(tool: Tool[..., Any], call: ToolCall, run: Run) -> ToolResult:
    progress = _Progress(call, run.emit)
    try:
        return await tool.call(call, _context(call, run, progress))
    except asyncio.CancelledError:
        if tool.options.effect == "once":
            # A run that is resumed must not do it again without knowing.
            words = "The call was begun and then cancelled; whether it took effect is unknown."
            run.transcript.add_result(ToolResult(call.id, words, is_error=True, name=call.name))
        raise
    finally:
        progress.over = True


def _context(call: ToolCall, run: Run, progress: Callable[[object], None]) -> Context[Any]:
    run_id = run.transcript.run_id
    parts = f"{run_id}\n{call.id}\n{call.name}\n{call.arguments}"
    return Context(
        deps=run.deps,
        run_id=run_id,
        step=run.transcript.replies - 1,
        call=call,
        idempotency_key=hashlib.sha256(parts.encode("utf-8", "replace")).hexdigest()[:32],
        progress=progress,
        run=run,
    )


class _Progress:
    """Tells what a running tool says, from whichever thread, until its call has ended."""

    def __init__(self, call: ToolCall, emit: Emit) -> None:
        self._call = call
        self._emit = emit
        self._loop = asyncio.get_running_loop()
        self._home = threading.get_ident()
        self.over = False

    def __call__(self, value: object) -> None:
        if threading.get_ident() == self._home:
            self._tell(value)
        else:
            # The loop is closed when nobody listens any more.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._tell, value)

    def _tell(self, value: object) -> None:
        if not self.over:
            self._emit(CallProgress(self._call, value))
