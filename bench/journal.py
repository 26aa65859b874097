"""Print what it costs to write runs down in a file, with the goal behind each figure.

Runs take 200 steps that give 2 kB each. What a step itself does costs nothing, so that all that is measured is the journal.
"""

from __future__ import annotations

import asyncio
import signal
import statistics
import subprocess
import sys
import tempfile
from contextlib import aclosing
from pathlib import Path
from time import perf_counter, process_time

from agentloop.errors import RunLocked
from agentloop.journal.memory import MemoryStore
from agentloop.journal.sqlite import SQLiteStore
from agentloop.journal.store import Store

RUNS = 100
STEPS = 200
VALUE = f'"{"x" * 1998}"'
ROUNDS = 5


async def give(value: str) -> str:
    """Give the value one turn of the loop later, as all that waits for something does."""
    await asyncio.sleep(0)
    return value


async def run(store: Store, run_id: str, *, steps: int) -> None:
    """Take the steps of one run."""
    async with store.open(run_id, {}) as journal:
        for number in range(steps):
            await journal.step(f"{number}/reply", give, VALUE)


async def watch(lags: list[float]) -> None:
    """Note how late the loop is, every 2 ms."""
    while True:
        began = perf_counter()
        await asyncio.sleep(0.002)
        lags.append(perf_counter() - began - 0.002)


async def together(store: Store, *, runs: int, steps: int) -> tuple[float, float, float]:
    """Give steps a second, CPU seconds a step, and how late the loop was in 99 of 100 looks."""
    lags: list[float] = []
    watching = asyncio.create_task(watch(lags))
    began, used = perf_counter(), process_time()
    await asyncio.gather(*(run(store, f"run {number}", steps=steps) for number in range(runs)))
    took, used = perf_counter() - began, process_time() - used
    watching.cancel()
    return runs * steps / took, used / runs / steps, statistics.quantiles([0.0, 0.0, *lags], n=100)[-1]


async def many_at_once(folder: Path) -> None:
    """Compare the file with the memory."""
    files: list[tuple[float, float, float]] = []
    extra: list[float] = []
    for number in range(ROUNDS):
        _, in_memory, _ = await together(MemoryStore(), runs=RUNS, steps=STEPS)
        async with aclosing(SQLiteStore(folder / f"many-{number}.db")) as store:
            files.append(await together(store, runs=RUNS, steps=STEPS))
        extra.append(files[-1][1] - in_memory)
    speed, _, lag = (statistics.median(figures) for figures in zip(*files, strict=True))
    print(f"steps a second, {RUNS} runs at once:  {speed:8,.0f}     goal: at least 5,000")
    print(f"CPU a step over the memory's:     {statistics.median(extra) * 1000:8.3f} ms  goal: at most 0.15 ms")
    print(f"how late the loop is, p99:        {lag * 1000:8.1f} ms  goal: at most 20 ms")


async def one_alone(folder: Path) -> None:
    """Measure one run: its speed, its file, and how soon it goes on."""
    path = folder / "one.db"
    async with aclosing(SQLiteStore(path)) as store:
        speed, used, _ = await together(store, runs=1, steps=STEPS)
        beside = sum(file.stat().st_size for file in folder.glob("one.db*"))  # noqa: ASYNC240  # four files
    size = path.stat().st_size
    opened: list[float] = []
    for _ in range(ROUNDS):
        began = perf_counter()
        async with aclosing(SQLiteStore(path)) as store:
            await run(store, "run 0", steps=STEPS)
        opened.append(perf_counter() - began)
    payload = STEPS * len(VALUE)
    print(f"steps a second, one run alone:    {speed:8,.0f}     each waits for the disk; CPU {used * 1000:.3f} ms a step")
    print(f"the file over its payload:        {size / payload:8.2f}     goal: at most 2; {beside / payload:.1f} with its log while in use")
    print(f"a run of {STEPS} steps goes on after:  {statistics.median(opened):8.3f} s   goal: at most 0.5 s")


HOLD = """
import asyncio, sys
from agentloop.journal import note
from agentloop.journal.sqlite import SQLiteStore
async def main():
    async with SQLiteStore(sys.argv[1]).open("held", {}) as journal:
        await journal.step("input", note, "1")
        print("held", flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


async def takeover(path: Path) -> float:
    """Kill the owner of a run, and give the seconds until the run goes on here."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE) as owner:  # noqa: ASYNC220, S603  # itself
        assert owner.stdout is not None  # noqa: S101  # it is a pipe
        owner.stdout.readline()
        async with aclosing(SQLiteStore(path)) as store:
            await store.runs()
            owner.send_signal(signal.SIGKILL)
            killed = perf_counter()
            while True:
                try:
                    await run(store, "held", steps=1)
                except RunLocked:
                    await asyncio.sleep(0.001)
                else:
                    return perf_counter() - killed


async def main() -> None:
    """Print all figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        await many_at_once(folder)
        await one_alone(folder)
        seconds = statistics.median([await takeover(folder / "held.db") for _ in range(ROUNDS)])
        print(f"after a kill another goes on in:  {seconds:8.3f} s   goal: at most 0.5 s")


asyncio.run(main())
