"""Undoes what a run has done, its last call first, and writes each undo down, so that it goes on where it was cut off."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, Literal

from pydantic_core import from_json

from agentloop.errors import ConfigurationError, InvalidArguments, JournalError, JournalMismatch, RunUndone, UndoFailed
from agentloop.journal.reading import beginning_of, family, roots
from agentloop.journal.runs import Runs, check_undoable, store_at
from agentloop.journal.store import Record, Store
from agentloop.journal.typed import Form, TypedJournal
from agentloop.journal.written import END, ENDING, LIFE, ORDER, ORDERED, Ending, Order
from agentloop.made_calls import Made, MadeCalls, Undoable, made_calls
from agentloop.messages import ToolCall, ToolResult, Usage
from agentloop.placing import outside_of_flows
from agentloop.tools.companions import companion
from agentloop.tools.context import Context, key_of
from agentloop.tools.deadline import NoResult
from agentloop.tools.function import Tool
from agentloop.transcript import Decision

UNDONE = "undone"
"""The key of what became of it."""

InDoubt = Literal["wait", "again", "leave"]


@dataclass(frozen=True, slots=True)
class Undone:
    """What became of a run that was undone."""

    run_id: str
    reason: str = ""
    undone: tuple[Made, ...] = ()
    """In the order in which they were undone."""
    stays: tuple[Made, ...] = ()
    """The calls that took effect, and that nothing undoes."""
    in_doubt: tuple[Made, ...] = ()
    """The calls that may have been begun when the run was cut off, or whose undo was: nobody knows whether they hold."""


@dataclass(frozen=True, slots=True)
class _Past:
    """What the undo of a call came to, as it is written down."""

    result: ToolResult | None
    """None where it was cut off, and is left so."""


_UNDONE: Form[Undone] = Form(Undone)
_PAST: Form[_Past] = Form(_Past)
_WORDS: Form[str] = Form(str)


async def undo(
    agent: Any, run_id: str, *, reason: str = "", deps: Any = None, in_doubt: InDoubt = "wait", other_tools: bool = False
) -> Undone:
    """Abort a run of the journal: no further step of it is made, and its calls that took effect are undone, the last one first.

    Each undo is written down. Cut off, or after one has failed, it goes on where it stopped when it is called again.

    Args:
        agent: The agent whose run it is.
        run_id: The run, done or not. It must not be going on right now.
        reason: Why, for those who read the journal.
        deps: What undo functions find as `context.deps`.
        in_doubt: What becomes of an undo that was begun and cut off, or ran out of time, and may not be run twice: "wait" raises,
            "again" runs it once more, "leave" names its call in the outcome and goes on.
        other_tools: Whether it may be undone with tools that have changed since it began; calls whose tools are gone stay.

    Raises:
        UndoFailed: An undo failed or is in doubt; `.so_far`, `.failed` and `.left` say how far it got.
        JournalError: There is no such run, or it is going on.
        JournalMismatch: The agent has other tools than the run began with; nothing was undone.
        ConfigurationError: It is a flow's, or inside another.
    """
    store: Store | None = agent._store  # noqa: SLF001  # a method of the agent, kept here
    if store is None:
        raise ConfigurationError(f"the agent has no journal to find the run {run_id!r} in; write Agent(..., journal='runs.db')")
    _check_whole(await family(store, run_id), run_id, names=await store.runs())
    # The order comes after the lock: a run that is going on must not find it later.
    async with store.open(run_id, {}) as journal:
        known = {record.key: record.value for record in await store.records(run_id)}
        if UNDONE in known:
            return _UNDONE.read(known[UNDONE], key=UNDONE)
        if not other_tools:
            _check_same(made_calls(await family(store, run_id), run_id, tools=agent.tools), run_id)
        await order_undo(store, run_id, reason=reason)
        records = await family(store, run_id)
        known = {record.key: record.value for record in records if record.run_id == run_id}
        life = _Undoing(TypedJournal(journal), run_id, known=known, deps=deps)
        with outside_of_flows():
            return await life.finish(made_calls(records, run_id, tools=agent.tools), in_doubt)


async def order_undo(journal: str | Path | Store, run_id: str, *, reason: str = "") -> None:
    """Say, from whichever process, that a run shall be undone: its open questions are denied, and the agent that resumes it undoes it.

    Raises:
        JournalError: There is no such run.
        ConfigurationError: It is a flow's, or inside another.
    """
    store = store_at(journal)
    records = await family(store, run_id)
    _check_whole(records, run_id, names=await store.runs())
    if not _ordered(records, run_id):
        await store.tell(run_id, key=ORDER, value=ORDERED.written(Order(reason)))
    runs = Runs(store)
    for waiting in await runs.waiting(run_id):
        # Somebody may have said something else meanwhile; no call is made of it any more.
        with suppress(JournalError):
            await runs.say(waiting, Decision("denied", reason))


async def refuse_undone(agent: Any, records: Iterable[Record], *, run_id: str, deps: Any) -> None:
    """Make sure that a run which is to be undone does not go on; what is not undone yet is undone first.

    Args:
        agent: The agent whose run it is.
        records: Those of the run.
        run_id: The run.
        deps: What undo functions find as `context.deps`.

    Raises:
        RunUndone: It was undone.
        UndoFailed: It could not be.
    """
    if _ordered(records, run_id):
        raise RunUndone(await undo(agent, run_id, deps=deps))


def _check_whole(records: Iterable[Record], run_id: str, *, names: Sequence[str]) -> None:
    """Make sure that the run is an agent's, and no part of another."""
    if run_id not in roots(names):
        raise ConfigurationError(f"{run_id!r} is a run inside another; undo that one")
    check_undoable(beginning_of(records, run_id), run_id)


def _check_same(calls: MadeCalls, run_id: str) -> None:
    if calls.other_tools:
        changed = ", ".join(f"{name!r}, which {how} since it began" for name, how in calls.other_tools.items())
        remedy = "undo it with an agent that has the tools it had, or with undo(..., other_tools=True)"
        raise JournalMismatch(f"the run {run_id!r} has called {changed}; {remedy}")


def _ordered(records: Iterable[Record], run_id: str) -> bool:
    return any(record.key == ORDER and record.run_id == run_id for record in records)


class _Stuck(Exception):
    """An undo failed, or is in doubt."""


class _UndoTool(Tool[..., Any]):
    """Undoes one call, and knows whether its time was up."""

    late = False

    def __init__(self, tool: Tool[..., Any]) -> None:
        super().__init__(tool.function, tool._definition)  # noqa: SLF001  # the same tool, watched

    async def perform(
        self, call: ToolCall, context: Context[Any], *, seconds: float | None, yielded: Callable[[object], None]
    ) -> ToolResult:
        try:
            return await super().perform(call, context, seconds=seconds, yielded=yielded)
        except NoResult:
            self.late = True
            raise


class _Undoing:
    """One life of the undoing of a run."""

    def __init__(self, journal: TypedJournal, run_id: str, *, known: Mapping[str, str], deps: Any) -> None:
        self._journal = journal
        self._run_id = run_id
        self._known = known
        self._deps = deps

    async def finish(self, calls: MadeCalls, in_doubt: InDoubt) -> Undone:
        """Undo what is not undone yet, and write the end down."""
        reason = ORDERED.read(self._known[ORDER], key=ORDER).reason
        so_far = Undone(self._run_id, reason, stays=tuple(calls.stays), in_doubt=tuple(calls.in_doubt))
        ordered = sorted(calls.undoable, key=lambda each: -each.seq)
        for index, each in enumerate(ordered):
            try:
                past = await self._past(each, in_doubt)
            except _Stuck as stuck:
                left = tuple(later.made for later in ordered[index + 1 :])
                message = f"the undo of {each.made.call.name!r} in the run {each.made.run_id!r} {stuck}"
                raise UndoFailed(message, failed=each.made, so_far=so_far, left=left) from stuck
            if past.result is None:
                so_far = replace(so_far, in_doubt=(*so_far.in_doubt, each.made))
            else:
                so_far = replace(so_far, undone=(*so_far.undone, replace(each.made, said=past.result.text)))
        await self._journal.note(UNDONE, so_far, form=_UNDONE)
        if END not in self._known:
            await self._journal.note(END, Ending(0, Usage(), str(RunUndone(so_far))), form=ENDING)
        return so_far

    async def _past(self, call: Undoable, in_doubt: InDoubt) -> _Past:
        """Undo the call, or find what is written down of that.

        Raises:
            _Stuck: The undo failed, or is in doubt.
        """
        key = f"{call.made.run_id}/{call.made.place}/undo".removeprefix(f"{self._run_id}/")
        if key in self._known:
            return _PAST.read(self._known[key], key=key)
        undoing = _undoing(call)
        times = next(number for number in count() if f"{key}/failed/{number}" not in self._known)
        if f"{key}/begun/{times}" in self._known and undoing.options.effect == "once":
            match in_doubt:
                case "wait":
                    raise _Stuck('was cut off, and may have taken effect; say undo(..., in_doubt="again") or in_doubt="leave"')
                case "leave":
                    return await self._journal.note(key, _Past(None), form=_PAST)
                case "again":
                    await self._journal.note(f"{key}/failed/{times}", "It was cut off.", form=_WORDS)
                    times += 1
        await self._journal.note(f"{key}/begun/{times}", self._journal.life, form=LIFE)
        result = await undoing.call(ToolCall(call.made.call.id, undoing.name), self._context(call.made))
        if undoing.late and undoing.options.effect == "once":
            raise _Stuck('ran out of time, and may have taken effect; say undo(..., in_doubt="again") or in_doubt="leave"')
        if result.is_error:
            await self._journal.note(f"{key}/failed/{times}", result.text, form=_WORDS)
            raise _Stuck(f"failed: {result.text}; call agent.undo(...) again to go on")
        return await self._journal.note(key, _Past(result), form=_PAST)

    def _context(self, made: Made) -> Context[Any]:
        return Context(
            deps=self._deps,
            run_id=made.run_id,
            step=int(made.place.partition("/")[0]),
            call=made.call,
            idempotency_key=key_of(made.run_id, made.call, purpose="undo"),
        )


def _undoing(call: Undoable) -> _UndoTool:
    try:
        return _UndoTool(companion(_undo_of(call.tool), call.tool, arguments=call.made.call.arguments, **_result_for(call)))
    except InvalidArguments as error:
        raise _Stuck(f"cannot be made, as the tool takes other arguments now: {error}") from error


def _undo_of(tool: Tool[..., Any]) -> Callable[..., Any]:
    assert tool.options.undo is not None  # noqa: S101  # only such calls can be undone
    return tool.options.undo


def _result_for(call: Undoable) -> dict[str, Any]:
    """Give an undo what the tool returned: the text to who wants a `str`, else the value if it is JSON."""
    function: Any = _undo_of(call.tool)
    wanted = inspect.signature(function.function if isinstance(function, Tool) else function).parameters.get("result")
    if wanted is None:
        return {}
    if wanted.annotation in {str, "str"}:
        return {"result": call.came_to}
    try:
        return {"result": from_json(call.came_to)}
    except ValueError:
        return {"result": call.came_to}
