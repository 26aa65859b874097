"""Reads what runs have written down, without their agents and their models."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from agentloop.errors import JournalError, JournalMismatch
from agentloop.journal.store import Record, Store
from agentloop.journal.words import DECISION, POSED
from agentloop.journal.written import BEGINNING, BEGUN, END, OUTCOME, REPLY, TOLD, WORD, Begun, Forked, Place, place_of, step_of
from agentloop.messages import Usage
from agentloop.transcript import Transcript

Status = Literal["done", "waiting", "open", "unreadable"]

_PHASES = {"told": 0, "reply": 1}
_KNOWN_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A run in a list of runs."""

    run_id: str
    name: str
    """Of its agent or its flow."""
    prompt: str
    """The last words of the user before the run began; "" in a flow."""
    status: Status
    """"waiting" for a person's word, in it or in a run that it has spawned; "open" where it goes on, or was cut off; "unreadable"
    where another version wrote it."""
    steps: int
    usage: Usage
    """The tokens of all its replies, those of the runs that it has spawned included."""
    begun: float
    """Seconds since 1970."""
    last: float
    """When the last record was written."""
    forked: Forked | None = None
    """Where it comes from, if it is a fork."""


async def family(store: Store, run_id: str) -> tuple[Record, ...]:
    """Read the records of a run and of all that it has spawned, in their order.

    Raises:
        JournalError: There is no such run.
    """
    names = await store.runs()
    if run_id not in names:
        raise unknown(run_id, names)
    return await records_of(store, with_spawned(names, run_id))


def with_spawned(names: Iterable[str], run_id: str) -> list[str]:
    """Choose a run, and all that it has spawned, of the names of runs."""
    return [name for name in names if name == run_id or name.startswith(f"{run_id}/")]


async def records_of(store: Store, names: Iterable[str]) -> tuple[Record, ...]:
    """Read the records of several runs, in their order."""
    return tuple(sorted([record for name in names for record in await store.records(name)], key=lambda record: record.seq))


def families(names: Sequence[str]) -> dict[str, list[str]]:
    """Sort runs by those that nobody has spawned: each of these with itself and all that came of it, in their order."""
    known = set(names)
    found: dict[str, list[str]] = {root: [] for root in roots(names)}
    for name in names:
        found[next((name[:end] for end in _slashes(name) if name[:end] in known), name)].append(name)
    return found


def unknown(run_id: str, names: Sequence[str]) -> JournalError:
    """Say that there is no such run."""
    shown = ", ".join(roots(names)[-10:])
    return JournalError(f"there is no run {run_id!r}; {f'the newest are: {shown}' if shown else 'nothing is written down there'}")


def roots(names: Sequence[str]) -> list[str]:
    """Leave those runs out that others have spawned."""
    known = set(names)
    return [name for name in names if not any(name[:end] in known for end in _slashes(name))]


def _slashes(name: str) -> list[int]:
    return [index for index, character in enumerate(name) if character == "/"]


def root_of(records: Iterable[Record]) -> str:
    """Find the run that has spawned all the others."""
    return min((record.run_id for record in records), key=len, default="")


def beginning_of(records: Iterable[Record], run_id: str) -> Begun:
    """Read the first record of a run.

    Raises:
        JournalMismatch: It is none, or of another format.
    """
    text = next((record.value for record in records if record.run_id == run_id and record.key == BEGINNING), None)
    if text is None:
        raise JournalMismatch(f"the run {run_id!r} has no beginning; it is nothing that an agent or a flow wrote")
    begun = BEGUN.read(text, key=BEGINNING)
    if begun.format != _KNOWN_FORMAT:
        raise JournalMismatch(
            f"the run {run_id!r} is written in format {begun.format}, and this version reads {_KNOWN_FORMAT}; use the one that wrote it"
        )
    return begun


def transcript_of(records: Iterable[Record]) -> Transcript:
    """Put together what was said in a run.

    Args:
        records: Those of the run; with those of the runs it has spawned, as `family` reads them, where its calls went to agents.

    Raises:
        JournalMismatch: They are not those of an agent's run.
    """
    known = tuple(records)
    run_id = root_of(known)
    said = beginning_of(known, run_id).transcript
    if said is None:
        raise JournalMismatch(f"the run {run_id!r} is a flow's, in which nothing is said; read the runs that it has spawned")
    before = Transcript.from_json(json.dumps(said))
    transcript = Transcript(before.messages, decisions=before.decisions, questions=before.questions, run_id=run_id)
    placed = [(place, record) for record in _with_delegated(known, run_id) if (place := place_of(record.key))]
    for place, record in sorted(placed, key=_order):
        _take_in(place, record, transcript)
    return transcript


def _with_delegated(records: Sequence[Record], run_id: str) -> list[Record]:
    """List the run's own records, and what its agents' runs came to as if the run had written it down."""
    own = [record for record in records if record.run_id == run_id]
    written = {record.key for record in own}
    return own + [record for record in delegated(records, run_id) if record.key not in written]


def delegated(records: Iterable[Record], run_id: str) -> list[Record]:
    """Make records of what the calls came to that a run gave to agents, under the keys that its own calls have."""
    ends = (record for record in records if record.key == END and record.run_id.startswith(f"{run_id}/"))
    moved = [replace(record, run_id=run_id, key=record.run_id.removeprefix(f"{run_id}/")) for record in ends]
    return [record for record in moved if (place := place_of(record.key)) and place.kind == "result"]


def _order(placed: tuple[Place, Record]) -> tuple[int, int, int]:
    place, record = placed
    phase = _PHASES.get(place.kind, 2)
    return place.step, phase, place.order if place.kind == "told" else record.seq


def _take_in(place: Place, record: Record, transcript: Transcript) -> None:
    match place.kind:
        case "told":
            for message in TOLD.read(record.value, key=record.key):
                transcript.add(message)
        case "reply":
            transcript.add_reply(REPLY.read(record.value, key=record.key))
        case "result":
            came_to = OUTCOME.read(record.value, key=record.key)
            if came_to.result is not None:
                transcript.add_result(came_to.result)
            else:
                # What was said on the call before it came into doubt is void.
                _forget(place, transcript)
        case "question":
            posed = POSED.read(record.value, key=record.key)
            transcript.pose(posed.call.id, posed.question)
        case "word":
            transcript.decisions[transcript.asked[-1].calls[place.index].id] = DECISION.read(record.value, key=record.key)
        case _:
            pass


def _forget(place: Place, transcript: Transcript) -> None:
    transcript.decisions.pop(transcript.asked[-1].calls[place.index].id, None)


def open_questions(records: Iterable[Record]) -> list[Record]:
    """Find the questions on which nobody has spoken yet."""
    known = tuple(records)
    said = {(record.run_id, record.key) for record in known}
    ended = {record.run_id for record in known if record.key == END}
    return [
        record
        for record in known
        if is_question(record.key) and (record.run_id, record.key + WORD) not in said and record.run_id not in ended
    ]


def is_question(key: str) -> bool:
    """Whether the record under the key asks a person something."""
    head, slash, number = key.rpartition("/question/")
    return bool(slash) and bool(head) and number.isdecimal()


def summary_of(records: Iterable[Record]) -> Summary:
    """Sum a run up.

    Args:
        records: Those of the run and of the runs that it has spawned, as `family` reads them.

    Raises:
        JournalMismatch: They are no run of an agent or a flow.
    """
    known = tuple(records)
    run_id = root_of(known)
    begun = beginning_of(known, run_id)
    own = [record for record in known if record.run_id == run_id]
    return Summary(
        run_id=run_id,
        name=begun.flow or begun.agent,
        prompt=_prompt(begun),
        status=_status(known, own),
        steps=len({step_of(record.key) for record in own} - {None}),
        usage=_usage(known),
        begun=own[0].at,
        last=max(record.at for record in known),
        forked=begun.forked,
    )


def unreadable(records: Iterable[Record], error: JournalMismatch) -> Summary:
    """Sum up a run that this version cannot read."""
    known = tuple(records)
    begun, last = known[0].at, max(record.at for record in known)
    return Summary(run_id=root_of(known), name="", prompt=str(error), status="unreadable", steps=0, usage=Usage(), begun=begun, last=last)


def _usage(known: Sequence[Record]) -> Usage:
    # A flow's own steps may bear any name.
    agents = {record.run_id for record in known if record.key == BEGINNING and BEGUN.read(record.value, key=BEGINNING).transcript}
    replies = (record for record in known if record.run_id in agents and (place := place_of(record.key)) and place.kind == "reply")
    return sum((REPLY.read(record.value, key=record.key).usage for record in replies), Usage())


def _status(known: Sequence[Record], own: Sequence[Record]) -> Status:
    if any(record.key == END for record in own):
        return "done"
    return "waiting" if open_questions(known) else "open"


def _prompt(begun: Begun) -> str:
    if begun.transcript is None:
        return ""
    before = Transcript.from_json(json.dumps(begun.transcript))
    return next((message.text for message in reversed(before.messages) if message.role == "user"), "")
