"""The runs of a store, for whoever looks after them: what they ask, the words they wait for, what they have said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentloop.errors import BadTranscript, ConfigurationError, JournalMismatch
from agentloop.journal import travel
from agentloop.journal.differences import Diff, diff
from agentloop.journal.exporting import exported
from agentloop.journal.reading import (
    Summary,
    beginning_of,
    families,
    family,
    open_questions,
    records_of,
    roots,
    summary_of,
    transcript_of,
    unreadable,
    with_spawned,
)
from agentloop.journal.store import Record, Store
from agentloop.journal.words import DECISION, POSED
from agentloop.journal.written import ORDER, ORDERED, WORD, Begun, Order
from agentloop.messages import Message, ToolCall
from agentloop.transcript import Decision, Question, Transcript


@dataclass(frozen=True, slots=True)
class Waiting:
    """A call on which a run waits for a word."""

    run_id: str
    """The run itself, or one that it has spawned."""
    call: ToolCall
    question: Question
    key: str
    """Where the word is looked for."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A run, as far as it has got."""

    summary: Summary
    transcript: Transcript
    """What was said in it; empty in a flow."""
    waiting: tuple[Waiting, ...]
    """The calls on which it, or a run that it has spawned, waits for a word."""
    spawned: tuple[Shown, ...]
    """The runs of its agents and flows, each with its own."""


class Runs:
    """The runs of a store: name them, see what they wait for, and say it, from whichever process."""

    def __init__(self, journal: str | Path | Store) -> None:
        self.store = store_at(journal)

    async def list(self) -> tuple[Summary, ...]:
        """Sum the runs up that have begun, the newest last; those that they have spawned are counted with them."""
        own = families(await self.store.runs()).values()
        return tuple([_summary(records) for names in own if (records := await records_of(self.store, names))])

    async def show(self, run_id: str) -> Shown:
        """Read how far a run has got, without its agent.

        Raises:
            JournalError: There is no such run, or another version wrote it.
        """
        return _shown(await family(self.store, run_id), run_id)

    async def fork(self, run_id: str, *, at: int, prompt: str | Message | None = None, run_id_of_fork: str | None = None) -> str:
        """Make a run that has done the steps of another before one of them, and give its name; `resume` it with any agent.

        The calls of those steps are not made again: the fork has their results, and the words on them.

        Args:
            run_id: The run; it is left as it is, and may go on meanwhile.
            at: The first step that the fork takes on its own, counted from 0.
            prompt: What is said to the model before that: at the beginning it takes the place of the prompt, elsewhere it is added.
            run_id_of_fork: The name of the fork; one is made up otherwise.

        Raises:
            JournalError: There is no such run, or the name is taken.
            ConfigurationError: The run has not so many steps, or calls before the prompt have no result yet.
        """
        return await travel.fork(self.store, run_id, at=at, prompt=prompt, run_id_of_fork=run_id_of_fork)

    async def diff(self, run_id: str, other: str) -> Diff:
        """Compare what was said in two runs, step by step.

        Raises:
            JournalError: One is not there, or no agent's.
        """
        return diff(transcript_of(await family(self.store, run_id)), transcript_of(await family(self.store, other)))

    async def export(self, run_id: str) -> bytes:
        """Write a run, with those that it has spawned, as JSON text; `agentloop.testing.recorded` answers from it.

        Raises:
            JournalError: There is no such run.
        """
        return exported(await family(self.store, run_id), run_id)

    async def waiting(self, run_id: str) -> tuple[Waiting, ...]:
        """List the calls on which the run, or one that it has spawned, waits for a word."""
        own = with_spawned(await self.store.runs(), run_id)
        return tuple([waiting for each in own for waiting in _open(await self.store.records(each))])

    async def approve(self, run_id: str, call_id: str, *, arguments: Mapping[str, Any] | None = None) -> None:
        """Let a waiting call run; see `Transcript.approve`."""
        waiting = await self._find(run_id, call_id)
        asked = _asked(waiting)
        asked.approve(call_id, arguments=arguments)
        await self.say(waiting, asked.decisions[call_id])

    async def deny(self, run_id: str, call_id: str, *, reason: str = "", undo: bool = False) -> None:
        """Refuse a waiting call; the model reads the reason.

        Args:
            run_id: The run.
            call_id: The call.
            reason: Why.
            undo: Whether the run ends with this, and what it has done is undone when it is resumed.

        Raises:
            BadTranscript: No such call waits.
            ConfigurationError: A flow is to be undone.
        """
        waiting = await self._find(run_id, call_id)
        if undo:
            whole = next(name for name in roots(await self.store.runs()) if f"{run_id}/".startswith(f"{name}/"))
            check_undoable(beginning_of(await self.store.records(whole), whole), whole)
            await self.store.tell(whole, key=ORDER, value=ORDERED.written(Order(reason)))
        await self.say(waiting, Decision("denied", reason))

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
        found = [each for each in waiting if each.call.id == call_id]
        # Calls of several runs may bear one id; that of the run that was named is meant.
        found = [each for each in found if each.run_id == run_id] or found
        if len(found) > 1:
            runs = ", ".join(each.run_id for each in found)
            raise BadTranscript(f"the call {call_id!r} waits in several runs; name one of them instead of {run_id!r}: {runs}")
        if not found:
            names = ", ".join(f"{each.call.id} ({each.call.name})" for each in waiting)
            raise BadTranscript(f"no call {call_id!r} of the run {run_id!r} waits; waiting: {names or 'none'}")
        return found[0]


def check_undoable(begun: Begun, run_id: str) -> None:
    """Make sure that a run can be undone.

    Raises:
        ConfigurationError: It is a flow's.
    """
    if begun.transcript is None:
        raise ConfigurationError(
            f"the run {run_id!r} is a flow's, and only the runs of agents can be undone; write into the flow what takes its steps back"
        )


def store_at(journal: str | Path | Store) -> Store:
    """Find the store that is meant: a file is opened once in a process, on first use."""
    if isinstance(journal, str | Path):
        # Only who keeps a journal pays for sqlite3.
        from agentloop.journal.sqlite import SQLiteStore  # noqa: PLC0415

        return SQLiteStore(journal)
    return journal


def _open(records: Sequence[Record]) -> tuple[Waiting, ...]:
    posed = ((record, POSED.read(record.value, key=record.key)) for record in open_questions(records))
    return tuple(Waiting(record.run_id, each.call, each.question, record.key + WORD) for record, each in posed)


def _summary(records: Sequence[Record]) -> Summary:
    try:
        return summary_of(records)
    except JournalMismatch as error:
        # One such run must not hide all the others.
        return unreadable(records, error)


def _shown(records: Sequence[Record], run_id: str) -> Shown:
    names = dict.fromkeys(record.run_id for record in records)
    own = {name: [record for record in records if record.run_id == name or record.run_id.startswith(f"{name}/")] for name in names}
    inner = roots([name for name in names if name != run_id])
    says = beginning_of(records, run_id).transcript is not None
    return Shown(
        summary_of(records),
        transcript_of(records) if says else Transcript(run_id=run_id),
        _open(records),
        tuple(_shown(own[name], name) for name in inner),
    )


def _asked(waiting: Waiting) -> Transcript:
    return Transcript([Message("assistant", (waiting.call,))], questions={waiting.call.id: waiting.question})
