"""Workers in processes of their own, to be told to stop or to be killed, and what must hold afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from agentloop.durable.dbos import DBOSStore

MORTAL = Path(__file__).with_name("mortal.py")
ROOT = MORTAL.parent.parent.parent


async def until(true: Callable[[], Awaitable[bool]], *, seconds: float = 5) -> float:
    """Wait until this is so, and say how many seconds that took."""
    began = time.monotonic()
    async with asyncio.timeout(seconds):
        # Of what other processes do, nobody sends word.
        while not await true():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return time.monotonic() - began


async def becomes(store: DBOSStore, run_id: str, state: str) -> None:
    """Wait until the run is at this."""

    async def is_there() -> bool:
        return await store.state(run_id) == state

    await until(is_there)


async def over(store: DBOSStore, run_ids: Sequence[str]) -> bool:
    """Say whether all the runs are over."""
    return all([await store.state(run_id) in {"done", "failed", "cancelled"} for run_id in run_ids])


async def idle(store: DBOSStore, executor: str) -> bool:
    """Say whether a worker has no runs."""
    return not await store.database.threaded(store.database.running, executor)


async def grown(side: Path, size: int) -> bool:
    """Say whether anything has taken effect since."""
    return side.stat().st_size > size  # noqa: ASYNC240  # a small local file


class Crew:
    """Workers in processes of their own."""

    def __init__(self, url: str, side: Path, settings: Mapping[str, str], *, script: Path) -> None:
        self._url = url
        self._script = script
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT), "SIDE": str(side), **settings}
        self.workers: dict[str, asyncio.subprocess.Process] = {}

    async def hire(self) -> str:
        worker = await asyncio.create_subprocess_exec(
            sys.executable, str(self._script), self._url, env=self._environment, cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        assert worker.stdout is not None
        name = (await asyncio.wait_for(worker.stdout.readline(), 30)).decode().strip()
        self.workers[name] = worker
        return name

    async def dismiss(self, name: str, how: signal.Signals) -> int:
        worker = self.workers.pop(name)
        # It may have ended by itself.
        with suppress(ProcessLookupError):
            worker.send_signal(how)
        return await asyncio.wait_for(worker.wait(), 20)


@asynccontextmanager
async def crew(url: str, side: Path, *, script: Path = MORTAL, **settings: str) -> AsyncIterator[Crew]:
    workers = Crew(url, side, settings, script=script)
    try:
        yield workers
    finally:
        for name in list(workers.workers):
            await workers.dismiss(name, signal.SIGKILL)


class Orders:
    """What is submitted, so that there is always something to do."""

    def __init__(self, store: DBOSStore) -> None:
        self._store = store
        self.run_ids: list[str] = []
        self._open: list[str] = []

    async def keep(self, count: int) -> None:
        """Have so many runs that are not over yet."""
        self._open = [run_id for run_id in self._open if not await over(self._store, [run_id])]
        while len(self._open) < count:
            run_id = f"run-{len(self.run_ids)}"
            work = ("chores", "chores", "office")[len(self.run_ids) % 3]
            self.run_ids.append(await self._store.submit(work, json.dumps(run_id), run_id=run_id))
            self._open.append(run_id)

    async def done(self) -> None:
        """Wait until all are over."""
        await until(lambda: over(self._store, self._open), seconds=60)


async def breaches(store: DBOSStore, run_ids: Sequence[str], side: Path) -> list[str]:
    """List what must never be found, whatever was killed."""
    effects = [json.loads(line) for line in side.read_text().splitlines()]  # noqa: ASYNC240  # a small local file
    once = Counter((run, call) for run, call, effect, _ in effects if effect == "once")
    last = {(run, call): token for run, call, _, token in effects}
    records = [record for run_id in await store.runs() for record in await store.records(run_id)]
    # A run that another one spawned is given that one's name, a dot, and its index.
    names = {run_id: run_id.replace("/0/", ".") for run_id in await store.runs()}
    recorded = {(names[record.run_id], record.key): json.loads(record.value) for record in records if record.key[-1] in "012y"}
    states = {run_id: await store.state(run_id) for run_id in run_ids}
    return [
        *(f"{call} took effect {times} times" for call, times in once.items() if times > 1),
        *(f"{call} was done again after its record" for call, token in recorded.items() if token not in {"in doubt", last.get(call)}),
        *(f"{run_id} is {state}" for run_id, state in states.items() if state != "done"),
    ]
