"""What a run asks people about its calls, and what they said."""

from __future__ import annotations

from collections.abc import Sequence

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
        posed = await run.journal.note(keys[call.id], Posed(call, question), form=POSED)
        run.transcript.pose(call.id, posed.question)
    answered = [await _answered(call, question, keys[call.id], run=run) for call, question in asked]
    if not any(answered):
        run.emit(Paused(tuple(calls)))
    return any(answered)


async def _answered(call: ToolCall, question: Question, key: str, *, run: Run) -> bool:
    key = f"{key}/word"
    if question.wants == "outcome" and run.in_doubt == "tell" and run.journal.keeps:
        decision: Decision | None = await run.journal.note(key, Decision("denied"), form=DECISION)
    else:
        decision = await run.journal.wait(key, form=DECISION)
    if decision is None:
        return False
    run.words[call.id] = run.words.get(call.id, 0) + 1
    run.transcript.decisions[call.id] = decision
    run.forget_ruling(call)
    return True
