"""What a run asks people about its calls, and what they said."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from agentloop.errors import JournalError
from agentloop.events import Paused
from agentloop.journal.words import DECISION, POSED, Posed
from agentloop.messages import ToolCall
from agentloop.run import Run
from agentloop.transcript import Decision, Question


async def heard(calls: Sequence[ToolCall], run: Run) -> bool:
    """Ask about the calls, and take in what was said on them; no where nobody has said anything new, and the run pauses."""
    asked = [(call, question) for call in calls if isinstance(question := run.ruling(call), Question)]
    keys: dict[str, str] = {}
    # An engine that knows steps by their order gets all questions before it waits for the first answer.
    for call, question in asked:
        keys[call.id] = f"{run.place(call)}/question/{run.words.get(call.id, 0)}"
        doubt = run.doubts.get(call.id)
        posed = await run.journal.note(keys[call.id], Posed(doubt.granted.call if doubt else call, question), form=POSED)
        run.transcript.pose(call.id, posed.question)
    answered = [await _answered(call, question, keys[call.id], run=run) for call, question in asked]
    if not any(answered):
        run.emit(Paused(tuple(calls)))
    return any(answered)


async def _answered(call: ToolCall, question: Question, key: str, *, run: Run) -> bool:
    decision = await _word(f"{key}/word", question, run)
    if decision is None:
        return False
    run.asked.pop(call.id, None)
    run.words[call.id] = run.words.get(call.id, 0) + 1
    run.transcript.decisions[call.id] = decision
    run.forget_ruling(call)
    return True


def _is_told(question: Question, run: Run) -> bool:
    """Whether the model is told at once that nobody knows what a call in doubt came to."""
    return question.wants == "outcome" and run.in_doubt == "tell" and run.journal.keeps


async def _word(key: str, question: Question, run: Run) -> Decision | None:
    if _is_told(question, run):
        # Where somebody has spoken meanwhile, the first word holds.
        with suppress(JournalError):
            return await run.journal.note(key, Decision("denied"), form=DECISION)
    return await run.journal.wait(key, form=DECISION)
