"""Kill -9 of workers beside others: every run ends, nothing is done twice, and the others take over at once."""

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
from tests.durable.crew import Orders, breaches, crew, idle, until

FULL = os.environ.get("AGENTLOOP_STORM") == "full"
TAKEOVER = 5
"""Seconds within which the runs of a dead worker have been taken up."""


async def test_of_three_workers_any_may_be_killed_and_the_others_take_over_within_seconds(
    database: str, tmp_path: Path, record_property: pytest.RecordProperty
):
    kills = 50 if FULL else 15
    dice = random.Random(kills)  # noqa: S311  # whom to kill, and when
    side = tmp_path / "effects"
    side.touch()
    took: list[float] = []

    async with aclosing(DBOSStore(database)) as store, crew(database, side) as workers:
        orders = Orders(store)
        for _ in range(3):
            await workers.hire()
        while len(took) < kills:
            await orders.keep(16)
            await asyncio.sleep(dice.uniform(0.1, 0.5))
            name = dice.choice([*workers.workers])
            if not await store.database.threaded(store.database.running, name):
                continue
            await workers.dismiss(name, signal.SIGKILL)
            hiring = asyncio.create_task(workers.hire())
            took.append(await until(lambda name=name: idle(store, name), seconds=TAKEOVER))
            await hiring
        await orders.done()
        found = await breaches(store, orders.run_ids, side)

    done = f"{len(orders.run_ids)} runs, {len(side.read_text().splitlines())} effects"
    speed = f"taken over after {sorted(took)[len(took) // 2]:.1f} s (median), {max(took):.1f} s (at most)"
    record_property("table", f"DBOS, three workers: {kills} kills, {done}, {speed}")
    assert found == []
