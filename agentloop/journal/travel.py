"""Time travel: lives a run over again from what it wrote down, or makes another one that goes its own way from one of its steps."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from typing import NoReturn

from pydantic_core import from_json

from agentloop.errors import ConfigurationError, JournalError, JournalMismatch
from agentloop.journal import Journal, Unanswered, Works, note
from agentloop.journal.reading import beginning_of, delegated, family, open_questions, roots, transcript_of, unknown
from agentloop.journal.store import Record, Store
from agentloop.journal.written import BEGINNING, BEGUN, END, OUTCOME, REPLY, TAKEN_OVER, Begun, Forked, place_of, step_of
from agentloop.messages import Message, user
from agentloop.transcript import Dispatch, Transcript

_NOTHING: Works = {}


async def fork(store: Store, run_id: str, *, at: int, prompt: str | Message | None, run_id_of_fork: str | None) -> str:
    """Write a run down that has done the steps of another before `at`, and name it.

    Raises:
        JournalError: There is no such run, or the name is taken.
        ConfigurationError: The run has not so many steps, or the prompt has no place there.
    """
    made = run_id_of_fork or f"{run_id.partition('/')[0]}-{secrets.token_hex(3)}"
    records = await family(store, run_id)
    names = await store.runs()
    if made in names:
        raise JournalError(f"there is a run {made!r} already; choose another name for the fork")
    if made not in roots([*names, made]):
        raise ConfigurationError(f"{made!r} is the name of a run that another has spawned; choose one without a slash for the fork")
    begun = beginning_of(records, run_id)
    _check_step(records, run_id, at=at, begun=begun)
    kept_runs = _kept(records, run_id, at=at, begun=begun, prompt=prompt)
    # The fork itself comes last: cut off before that, nobody can resume it without the runs that it has spawned.
    for name, kept in sorted(kept_runs.items(), key=lambda run: -len(run[0])):
        await _write(store, made + name.removeprefix(run_id), {**kept, TAKEN_OVER: "true"} if name == run_id else kept)
    return made


def _check_step(records: Sequence[Record], run_id: str, *, at: int, begun: Begun) -> None:
    before = _said_before(begun).replies if begun.transcript else 0
    own = (step_of(record.key) for record in records if record.run_id == run_id)
    last = max([before - 1, *(step for step in own if step is not None)]) + 1
    if not 0 <= at <= last:
        raise ConfigurationError(f"the run {run_id!r} has {last} steps, so it cannot be forked at {at}; choose 0 to {last}")


def _kept(
    records: Sequence[Record], run_id: str, *, at: int, begun: Begun, prompt: str | Message | None
) -> Mapping[str, Mapping[str, str]]:
    """Choose what the fork begins with: the values of its runs, by the names that those of the first run have, and by their keys."""
    forked = Forked(run_id, at, begun.forked)
    whole = [record for record in records if _is_before(record, run_id, at)]
    if prompt is None and (begun.transcript is None or at >= _said_before(begun).replies):
        kept: dict[str, dict[str, str]] = {}
        for record in whole:
            own = forked if record.run_id == run_id else Forked(record.run_id, _replies(whole, record.run_id))
            kept.setdefault(record.run_id, {})[record.key] = _goes_on(record, own) if record.key == BEGINNING else record.value
        if begun.transcript is not None:
            # For an agent that does not give these calls to agents itself.
            for record in delegated(whole, run_id):
                kept[run_id].setdefault(record.key, record.value)
        return kept
    if begun.transcript is None:
        raise ConfigurationError(f"the run {run_id!r} is a flow's, which has no prompt; fork it without one")
    said = _with_prompt(_before(transcript_of(whole), at), prompt, at=at)
    return {run_id: {BEGINNING: BEGUN.written(replace(begun, tools={}, transcript=from_json(said.to_json()), forked=forked))}}


def _is_before(record: Record, run_id: str, at: int) -> bool:
    place = record.key if record.run_id == run_id else record.run_id.removeprefix(f"{run_id}/")
    step = step_of(place)
    return place == BEGINNING if step is None else step < at


def _replies(records: Sequence[Record], run_id: str) -> int:
    """Count the steps that a run has begun."""
    own = (place_of(record.key) for record in records if record.run_id == run_id)
    return max((place.step + 1 for place in own if place and place.kind == "reply"), default=0)


def _goes_on(record: Record, forked: Forked) -> str:
    """Change the first record of a run so that it goes on with whatever tools there are."""
    begun = BEGUN.read(record.value, key=BEGINNING)
    # Not all that stands there is known here: flows write their arguments down.
    raw = from_json(record.value)
    if begun.transcript is not None:
        raw["tools"] = {}
    raw["forked"] = asdict(replace(forked, of=begun.forked))
    return json.dumps(raw, ensure_ascii=False)


def _said_before(begun: Begun) -> Transcript:
    return Transcript.from_json(json.dumps(begun.transcript))


def _before(transcript: Transcript, at: int) -> Transcript:
    """Cut what was said at a reply, for runs that went on with an earlier conversation."""
    replies = 0
    kept: list[Message] = []
    for message in transcript:
        if message.role == "assistant":
            if replies == at:
                break
            replies += 1
        kept.append(message)
    return Transcript(kept, run_id=transcript.run_id)


def _with_prompt(said: Transcript, prompt: str | Message | None, *, at: int) -> Transcript:
    match said.next_move():
        case Dispatch(calls) if prompt is not None:
            names = ", ".join(repr(call.name) for call in calls)
            raise ConfigurationError(f"the calls of {names} before step {at} have no result yet; resume the run, or fork it before them")
        case _:
            pass
    if prompt is None:
        return said
    messages = list(said.messages)
    if messages and messages[-1].role == "user":
        messages.pop()
    return Transcript([*messages, user(prompt) if isinstance(prompt, str) else prompt], run_id=said.run_id)


async def _write(store: Store, run_id: str, values: Mapping[str, str]) -> None:
    async with store.open(run_id, _NOTHING) as journal:
        for key, value in values.items():
            await journal.step(key, note, value)


class Replaying:
    """A store whose runs are lived over again from what they wrote down: nothing is done, and nothing is written."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __repr__(self) -> str:
        return f"<Replaying {self._store!r}>"

    @asynccontextmanager
    async def open(self, run_id: str, works: Works) -> AsyncGenerator[Journal]:
        """Live a run over again; it may go on elsewhere meanwhile.

        Raises:
            JournalError: There is no such run.
        """
        records = await self._store.records(run_id)
        if not records:
            raise unknown(run_id, await self._store.runs())
        yield _Replay(self, run_id, works, records=records)

    async def tell(self, run_id: str, *, key: str, value: str) -> NoReturn:
        """Refuse: what is over takes no words.

        Raises:
            JournalError: Always.
        """
        del key, value
        raise JournalError(f"the run {run_id!r} is replayed, and takes no word; resume it instead")

    async def records(self, run_id: str, *, after: int = 0) -> Sequence[Record]:
        """Read what a run wrote down and was told."""
        return await self._store.records(run_id, after=after)

    async def runs(self) -> Sequence[str]:
        """Name all runs."""
        return await self._store.runs()


def _failed(end: str) -> bool:
    result = OUTCOME.read(end, key=END).result
    return result is not None and result.is_error


class _Replay:
    """The journal of a run that is lived over again."""

    def __init__(self, store: Replaying, run_id: str, works: Works, *, records: Sequence[Record]) -> None:
        self._store = store
        self._run_id = run_id
        self._works = works
        self._records = records
        self._known = {record.key: record.value for record in records}

    async def step(self, key: str, fn: Callable[..., Awaitable[str]], *args: str) -> str:
        if key in self._known:
            return self._known[key]
        if fn is note and (key == END or key.endswith("/begun")):
            # Whoever was cut off before it would have written no more than this.
            return args[0]
        raise self._diverges(key, self._intent(key))

    async def wait(self, key: str) -> str:
        if key not in self._known:
            raise Unanswered(key)
        return self._known[key]

    def spawn(self, key: str, name: str, *, input: str) -> Awaitable[str]:  # noqa: A002  # as the socket calls it
        return self._spawned(key, name, given=input)

    async def _spawned(self, key: str, name: str, *, given: str) -> str:
        run_id = f"{self._run_id}/{key}"
        records = await self._store.records(run_id)
        if not records:
            raise self._diverges(key, f"give work to {name!r}")
        end = next((record.value for record in records if record.key == END), None)
        try:
            async with self._store.open(run_id, self._works) as journal:
                # Done over again although its end is known, for what it spends counts, and its events are told.
                lived = await self._works[name](journal, given)
        except JournalMismatch:
            # How it failed, in its model or at its time limit, is written down nowhere else.
            if end is None or not _failed(end):
                raise
            return end
        return lived if end is None else end

    def _intent(self, key: str) -> str:
        """Say what a step that is not recorded would do."""
        place = place_of(key)
        match place.kind if place else "":
            case "reply":
                return "ask the model"
            case "result" if place and (name := self._called(place.step, place.index)):
                return f"call {name!r}"
            case "question":
                return "ask a person"
            case "told":
                return "tell the model something"
            case _:
                return "go on"

    def _called(self, step: int, index: int) -> str:
        key = f"{step}/reply"
        replied = REPLY.read(self._known[key], key=key).calls if key in self._known else ()
        return replied[index].name if index < len(replied) else ""

    def _diverges(self, key: str, would: str) -> JournalMismatch:
        steps = [step for record in self._records if (step := step_of(record.key)) is not None]
        here = step_of(key)
        if here is not None and here >= max(steps, default=0) and not any(record.key == END for record in self._records):
            waits = " without a word on its questions" if open_questions(self._records) else ""
            fact = f"what the run {self._run_id!r} wrote down ends{waits} before {key!r}, where it would {would}"
            return JournalMismatch(f"{fact}; resume it to go on")
        fact = f"the replay of the run {self._run_id!r} diverges at {key!r}: nothing is recorded there, and it would {would}"
        return JournalMismatch(f"{fact}; replay it with the agent that it had, or fork it")
