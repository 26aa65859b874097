"""Watching a run from outside: its records, as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from agentloop.journal.store import Record, Store


async def follow(store: Store, run_id: str, *, after: int = 0, every: float = 0.1) -> AsyncGenerator[Record]:
    """Give each record of the run, those there are and those to come, up to the one under "end"; the run may go on in another process.

    Whoever stops listening before that closes what this gives, as `contextlib.aclosing` does.

    Args:
        store: Where the run is kept.
        run_id: The run; it need not have begun.
        after: The `seq` of the last record that is known already.
        every: Seconds between two looks.
    """
    known = await store.records(run_id) if after else ()
    if any(record.key == "end" and record.seq <= after for record in known):
        return
    while True:
        for record in await store.records(run_id, after=after):
            yield record
            if record.key == "end":
                return
            after = record.seq
        await asyncio.sleep(every)
