"""The runs of a store, for whoever looks after them: what they ask, the words they wait for, what they have said."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentloop.errors import BadTranscript
from agentloop.journal.store import Record, Store
from agentloop.journal.words import DECISION, POSED
from agentloop.messages import Message, ToolCall
from agentloop.transcript import Decision, Question, Transcript

_QUESTION = re.compile(r".*/question/\d+")
_WORD = "/word"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A call on which a run waits for a word."""

    run_id: str
    """The run itself, or one that it has spawned."""
    call: ToolCall
    question: Question
    key: str
    """Where the word is looked for."""


class Runs:
    """The runs of a store: name them, see what they wait for, and say it, from whichever process."""

    def __init__(self, journal: str | Path | Store) -> None:
        self.store = store_at(journal)

    async def waiting(self, run_id: str) -> tuple[Waiting, ...]:
        """List the calls on which the run, or one that it has spawned, waits for a word."""
        own = [each for each in await self.store.runs() if each == run_id or each.startswith(f"{run_id}/")]
        return tuple([waiting for each in own for waiting in _open(each, await self.store.records(each))])

    async def approve(self, run_id: str, call_id: str, *, arguments: Mapping[str, Any] | None = None) -> None:
        """Let a waiting call run; see `Transcript.approve`."""
        waiting = await self._find(run_id, call_id)
        asked = _asked(waiting)
        asked.approve(call_id, arguments=arguments)
        await self.say(waiting, asked.decisions[call_id])

    async def deny(self, run_id: str, call_id: str, *, reason: str = "") -> None:
        """Refuse a waiting call; the model reads the reason."""
        await self.say(await self._find(run_id, call_id), Decision("denied", reason))

    async def answer(self, run_id: str, call_id: str, *, result: Any) -> None:
        """Say what a waiting call came to; see `Transcript.answer`."""
        waiting = await self._find(run_id, call_id)
        asked = _asked(waiting)
        asked.answer(call_id, result)
        await self.say(waiting, asked.decisions[call_id])

    async def say(self, waiting: Waiting, decision: Decision) -> None:
        """Send the word on a waiting call; the run takes it in when it goes on.

        Raises:
            JournalError: Somebody has said something else before.
        """
        await self.store.tell(waiting.run_id, key=waiting.key, value=DECISION.written(decision))

    async def _find(self, run_id: str, call_id: str) -> Waiting:
        waiting = await self.waiting(run_id)
        for each in waiting:
            if each.call.id == call_id:
                return each
        names = ", ".join(f"{each.call.id} ({each.call.name})" for each in waiting)
        raise BadTranscript(f"no call {call_id!r} of the run {run_id!r} waits; waiting: {names or 'none'}")


def store_at(journal: str | Path | Store) -> Store:
    """Find the store that is meant: a file is opened once in a process, on first use."""
    if isinstance(journal, str | Path):
        # Only who keeps a journal pays for sqlite3.
        from agentloop.journal.sqlite import SQLiteStore  # noqa: PLC0415

        return SQLiteStore(journal)
    return journal


def _open(run_id: str, records: Sequence[Record]) -> list[Waiting]:
    said = {record.key for record in records}
    asked = [record for record in records if _QUESTION.fullmatch(record.key) and record.key + _WORD not in said]
    posed = [(record.key + _WORD, POSED.read(record.value, key=record.key)) for record in asked]
    return [Waiting(run_id, each.call, each.question, key) for key, each in posed]


def _asked(waiting: Waiting) -> Transcript:
    return Transcript([Message("assistant", (waiting.call,))], questions={waiting.call.id: waiting.question})
