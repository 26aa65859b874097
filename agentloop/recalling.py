"""Takes in what earlier lives of a run left of the calls of a reply, before anything is ruled on them anew."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from time import monotonic

from agentloop.approvals import Granted
from agentloop.dispatch import context_of
from agentloop.errors import JournalMismatch
from agentloop.journal.words import DECISION, POSED
from agentloop.journal.written import LIFE, OUTCOME, Outcome
from agentloop.messages import ToolCall
from agentloop.run import Run

_log = logging.getLogger("agentloop.journal")


async def recall(run: Run) -> None:
    """Take in results, questions, words and doubts: what was said and done stays so, whatever tools, policies and limits say now.

    Raises:
        JournalMismatch: A call is open whose tool has changed.
    """
    for call in run.transcript.asked[-1].calls:
        if run.transcript.result(call.id) is None:
            while await _was_lost(call, run):
                pass


async def _was_lost(call: ToolCall, run: Run) -> bool:
    """Take in one attempt at the call; yes where its result was lost, and there may have been another."""
    place = run.place(call)
    await _recall_words(call, place, run)
    outcome = await run.journal.known(place, form=OUTCOME)
    if outcome is None:
        _check_same(call, run)
        begun = await run.journal.known(f"{place}/begun", form=LIFE)
        found = await _reconciled(call, run) if begun not in {None, run.journal.life} else None
        if found is None:
            return False
        outcome = await run.journal.note(place, found, form=OUTCOME)
    if outcome.result is None:
        run.doubt(call, _as_made(call, run))
        return True
    run.recalled[call.id] = outcome.result
    return False


async def _recall_words(call: ToolCall, place: str, run: Run) -> None:
    while True:
        key = f"{place}/question/{run.words.get(call.id, 0)}"
        if (posed := await run.journal.known(key, form=POSED)) is None:
            return
        run.transcript.pose(call.id, posed.question)
        run.asked[call.id] = posed.question
        if (word := await run.journal.known(f"{key}/word", form=DECISION)) is None:
            return
        del run.asked[call.id]
        run.words[call.id] = run.words.get(call.id, 0) + 1
        run.transcript.decisions[call.id] = word
        run.forget_ruling(call)


def _check_same(call: ToolCall, run: Run) -> None:
    """Make sure that an open call is made with the tool that it was for."""
    tool = run.tools.get(call.name)
    if run.other_tools and call.name in run.other_tools and (tool is None or tool.delegate is None):
        raise JournalMismatch(
            f"the run {run.transcript.run_id!r} calls {call.name!r}, which {run.other_tools[call.name]} since the run began; "
            "resume it with the tools it had, or with resume(..., other_tools=True)"
        )


async def _reconciled(call: ToolCall, run: Run) -> Outcome | None:
    """Find out what became of a call that an earlier life began; None where it never took effect, and may be made."""
    granted, tool = _as_made(call, run), run.tools.get(call.name)
    if tool is None or tool.options.reconcile is None:
        return Outcome(None)
    started = monotonic()
    try:
        found = await tool.reconcile(granted.call, context_of(granted.call, run))
    except LookupError:
        return None
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return Outcome(None)
    except Exception:  # noqa: BLE001  # the developer's own function
        _log.exception("nobody knows what became of a call of %r: its reconcile function failed", call.name)
        return Outcome(None)
    return Outcome(granted.told(found), monotonic() - started)


def _as_made(call: ToolCall, run: Run) -> Granted:
    """Give the call as it was begun: as a person let it, where one did, and whatever the policy says now."""
    doubt, decision = run.doubts.get(call.id), run.transcript.decisions.get(call.id)
    before = doubt.granted if doubt else Granted(call)
    if decision is None or decision.arguments is None:
        return before
    return Granted(replace(call, arguments=decision.arguments), edited=True)
