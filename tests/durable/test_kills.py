"""Kill -9 of a worker that is alone, again and again: every run ends, no recorded work is done again, no effect is doubled."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from contextlib import aclosing
from pathlib import Path

import pytest

pytest.importorskip("dbos")

from agentloop.durable.dbos import DBOSStore
from tests.durable.crew import Orders, breaches, crew, grown, until

FULL = os.environ.get("AGENTLOOP_STORM") == "full"


async def test_a_lone_worker_that_is_killed_again_and_again_gets_its_runs_done(
    database: str, tmp_path: Path, record_property: pytest.RecordProperty
):
    kills = 200 if FULL else 10
    dice = random.Random(kills)  # noqa: S311  # when to kill
    side = tmp_path / "effects"
    side.touch()

    async with aclosing(DBOSStore(database)) as store, crew(database, side) as workers:
        orders = Orders(store)
        for _ in range(kills):
            await orders.keep(6)
            seen = side.stat().st_size
            name = await workers.hire()
            await until(lambda seen=seen: grown(side, seen), seconds=20)
            await asyncio.sleep(dice.uniform(0, 0.6))
            await workers.dismiss(name, signal.SIGKILL)
        await workers.hire()
        await orders.done()
        found = await breaches(store, orders.run_ids, side)

    done = f"{len(orders.run_ids)} runs, {len(side.read_text().splitlines())} effects"
    record_property("table", f"DBOS, a lone worker: {kills} kills, {done}")
    assert found == []
