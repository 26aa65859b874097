"""Shows a run again as it was."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator, Sequence

from agentloop.cli.conversation import closed
from agentloop.cli.display import display_on
from agentloop.cli.prints import ToolPrints
from agentloop.cli.targets import agent_at
from agentloop.events import CallEnded, Event, Replied
from agentloop.journal.reading import delegated, family, root_of, transcript_of
from agentloop.journal.runs import Runs
from agentloop.journal.store import Record
from agentloop.journal.written import OUTCOME, REPLY, place_of


def replay(run_id: str, *, journal: str, agent: str | None, verbose: bool) -> None:
    """Show the run, from what it wrote down alone.

    Args:
        run_id: The run.
        journal: The file.
        agent: Where an agent is, "module:attribute", that lives the run over again; it must do what the run did.
        verbose: Whether results and thoughts are shown.

    Raises:
        JournalError: There is no such run.
        JournalMismatch: The agent would do something else.
    """
    display = display_on(answer=sys.stdout, notes=sys.stderr, model="", verbose=verbose)
    with contextlib.redirect_stdout(ToolPrints()), contextlib.closing(display):
        for event in asyncio.run(_events(run_id, journal, agent=agent)):
            display.show(event)


async def _events(run_id: str, journal: str, *, agent: str | None) -> Sequence[Event]:
    known = Runs(journal)
    try:
        if agent is None:
            return list(_recorded(await family(known.store, run_id)))
        told: list[Event] = []
        await agent_at(agent).with_journal(known.store).replay(run_id, emit=told.append)
        return told
    finally:
        await closed(known.store)


def _recorded(records: Sequence[Record]) -> Iterator[Event]:
    """Tell the events of a run of which there is nothing but the records."""
    run_id = root_of(records)
    spoken = [message for message in transcript_of(records) if message.role == "assistant"]
    own = [record for record in records if record.run_id == run_id]
    for record in sorted([*own, *delegated(records, run_id)], key=lambda record: record.seq):
        place = place_of(record.key)
        if place and place.kind == "reply":
            reply = REPLY.read(record.value, key=record.key)
            yield Replied(reply, replayed=True)
        elif place and place.kind == "result" and (came_to := OUTCOME.read(record.value, key=record.key)).result:
            yield CallEnded(spoken[place.step].calls[place.index], came_to.result, came_to.seconds, replayed=True)
