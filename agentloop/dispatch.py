"""Answers the tool calls of a reply side by side; a call that fails answers the model and touches no other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

from agentloop.approvals import Granted, Ruling, Settled
from agentloop.early import Answered
from agentloop.errors import AgentLoopError, Drained, JournalError, LimitReached
from agentloop.events import CallEnded, CallProgress, CallStarted, Emit
from agentloop.journal import Unanswered
from agentloop.journal.written import LIFE, OUTCOME, Outcome
from agentloop.messages import ToolCall, ToolResult
from agentloop.run import Run
from agentloop.tools.collection import describe_unknown
from agentloop.tools.context import Context, key_of
from agentloop.tools.function import Delegated, Tool
from agentloop.tools.gates import gate
from agentloop.tools.results import to_failure
from agentloop.transcript import Question


async def dispatch(calls: Sequence[ToolCall], run: Run) -> None:
    """Answer the calls side by side, writing each result down as it comes.

    Raises:
        LimitReached: The run may not make so many calls; none is made.
        JournalError: Something could not be written down; what is not begun by then is not made.
    """
    most = run.budget.limits.calls_per_reply
    above = {call.id for call in calls if run.transcript.place(call.id) >= most} - run.recalled.keys() - run.doubts.keys()
    counted = {call.id for call in calls if run.early and run.early.has(call)}
    run.budget.take_calls(len({call.id for call in calls} - above - counted))
    await _mark([call for call in calls if call.id not in above], run)
    await _side_by_side([_refused(call, most, run) if call.id in above else _answer(call, run) for call in calls])
    # In the order of the calls, so that each life of the run counts the same.
    for call in calls:
        if (result := run.transcript.result(call.id)) is not None:
            run.repeats.note(call, result, step=run.transcript.replies)


async def _mark(calls: Sequence[ToolCall], run: Run) -> None:
    """Write down that the calls begin which must not be made twice, before any does."""
    if run.journal.keeps:
        marked = [call for call in calls if call.id not in run.recalled and _leaves_doubt(call, run)]
        await _side_by_side([_marked(call, run) for call in marked])


async def _marked(call: ToolCall, run: Run) -> None:
    await run.journal.note(f"{run.place(call)}/begun", run.journal.life, form=LIFE)


def _leaves_doubt(call: ToolCall, run: Run) -> bool:
    tool = run.tools.get(call.name)
    return tool is not None and tool.options.effect == "once" and tool.delegate is None and isinstance(run.ruling(call), Granted)


async def _side_by_side(works: Sequence[Awaitable[None]]) -> None:
    drained: list[Drained] = []
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(_finished(work, drained))
    except BaseExceptionGroup as failures:
        # Whatever failed with it comes from the same cause, or from being cancelled with it.
        raise failures.exceptions[0] from failures
    if drained:
        raise drained[0]


async def _finished(work: Awaitable[None], drained: list[Drained]) -> None:
    try:
        await work
    except Drained as stopped:
        # The others have their grace.
        drained.append(stopped)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise AgentLoopError("a call was cancelled, and nobody had asked for that; resume the run") from error


def answer_early(call: ToolCall, run: Run) -> Coroutine[Any, Any, Answered] | None:
    """Begin to answer a call whose reply still comes, where that may be done: it only reads, and nobody need be asked."""
    tool = run.tools.get(call.name)
    if tool is None or tool.options.effect != "read" or run.waits(call) or run.repeats.answer(call):
        return None
    if run.journal.keeps and tool.delegate is not None:
        # It will be a run of its own, which has its place only once the reply is written down.
        return None
    try:
        run.budget.take_calls(1)
    except LimitReached:
        return None
    return _timed(call, run)


def _answer(call: ToolCall, run: Run) -> Awaitable[None]:
    tool, ruling = run.tools.get(call.name), run.ruling(call)
    if run.journal.keeps and tool is not None and tool.delegate is not None and isinstance(ruling, Granted):
        return _delegated(call, ruling, tool.delegate(ruling.call, context_of(ruling.call, run)), run=run)
    return _written(run.journal.step(run.place(call), lambda: _outcome(call, run), form=OUTCOME), call, run)


def _refused(call: ToolCall, most: int, run: Run) -> Awaitable[None]:
    async def refused() -> Outcome:
        words = f"Not run: one reply may make {most} calls and this one made more. Make fewer at once."
        return Outcome(ToolResult(call.id, words, is_error=True, name=call.name))

    return _written(run.journal.step(run.place(call), refused, form=OUTCOME), call, run)


async def _written(step: Awaitable[tuple[Outcome, bool]], call: ToolCall, run: Run) -> None:
    outcome, replayed = await step
    if outcome.result is None:
        raise JournalError(f"the journal says of a call of {call.name!r} both that it is in doubt and that it is not; nothing of ours does")
    run.write(outcome.result)
    run.emit(CallEnded(call, outcome.result, outcome.seconds, replayed))


async def _outcome(call: ToolCall, run: Run) -> Outcome:
    begun = run.early.taken(call) if run.early else None
    return Outcome(*await (begun or _timed(call, run)))


async def _timed(call: ToolCall, run: Run) -> Answered:
    async with run.slots:
        ruling = run.ruling(call)
        made = ruling.call if isinstance(ruling, Granted) else call
        run.emit(CallStarted(made))
        started = monotonic()
        result = await _result(made, ruling, run)
        return result, monotonic() - started


async def _delegated(call: ToolCall, granted: Granted, work: Awaitable[Delegated], *, run: Run) -> None:
    async with run.slots:
        try:
            done = await work
        except Unanswered:
            # It waits for a person itself, and this run with it.
            run.held.add(call.id)
            return
    result = granted.told(done.result)
    run.write(result)
    run.emit(CallEnded(call, result, done.seconds, done.replayed))


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
    except Drained:
        raise
    except Exception as error:  # noqa: BLE001  # the tool's lock is the developer's own function; the tool itself raises nothing
        return to_failure(error, call_id=call.id, name=tool.name)


async def _called(tool: Tool[..., Any], call: ToolCall, run: Run) -> ToolResult:
    progress = _Progress(call, run.emit)
    try:
        return await tool.call(call, context_of(call, run, progress=progress))
    except asyncio.CancelledError:
        if tool.options.effect == "once" and not run.journal.keeps:
            # A run that is resumed must not do it again without knowing.
            words = "The call was begun and then cancelled; whether it took effect is unknown."
            run.transcript.add_result(ToolResult(call.id, words, is_error=True, name=call.name))
        raise
    finally:
        progress.over = True


def context_of(call: ToolCall, run: Run, *, progress: Callable[[object], None] = lambda _: None) -> Context[Any]:
    """Say what a tool may know of its call."""
    step = run.transcript.replies - 1
    return Context(
        deps=run.deps,
        run_id=run.transcript.run_id,
        step=step,
        call=call,
        idempotency_key=key_of(run.first_of(step), call),
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
