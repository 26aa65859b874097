"""Runs that die: an agent whose every effect leaves a line in a file, and a driver that kills it with SIGKILL where it is told to.

    python mortal.py FOLDER POINTS
    python mortal.py FOLDER share COUNT

The first reads points from POINTS ("17" is the 17th boundary of the journal, "0.013" is so many seconds), lives one run for each until
it is done, and prints a line of JSON about it. The second works on so many runs beside other processes that do the same. Forking keeps
a life cheap: this process imports once and has no threads.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic, sleep, time

from agentloop import Agent, Context, tool
from agentloop.errors import RunLocked
from agentloop.journal.sqlite import SQLiteStore
from agentloop.messages import Reply, Text, ToolCall

STEPS = 12
MOST_LIVES = 12


class Planner:
    """Calls the same five tools in each step, as a model would that has a plan."""

    name = "planner"

    async def ask(self, request, hear):
        await asyncio.sleep(0)
        if request.step == STEPS:
            return Reply((Text("done"),), "stop")
        names = ("look", "put", "send", "send", "ask_inner") if request.step % 4 == 3 else ("look", "put", "send", "send")
        calls = [ToolCall(f"call_{request.step}_{n}", name, _arguments(name, request.step, n)) for n, name in enumerate(names)]
        return Reply(tuple(calls), "tool_calls")


class InnerPlanner:
    """Sends one thing, and is done."""

    name = "inner"

    async def ask(self, request, hear):
        if request.step:
            return Reply((Text("inner done"),), "stop")
        return Reply((ToolCall("call_0_0", "send", json.dumps({"what": f"inner {request.text}"})),), "tool_calls")


def _arguments(name: str, step: int, place: int) -> str:
    if name == "ask_inner":
        return json.dumps({"task": f"{step}"})
    return json.dumps({"what": f"{step}/{place}"})


def tools(effects: Path):
    def leave(kind: str, what: str, context: Context) -> str:
        line = json.dumps({"kind": kind, "what": what, "key": context.idempotency_key, "at": time()}) + "\n"
        descriptor = os.open(effects, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, line.encode())
        os.close(descriptor)
        return f"{kind} {what}"

    @tool(effect="read")
    async def look(what: str, context: Context) -> str:
        "Look."
        await asyncio.sleep(0)
        return leave("read", what, context)

    @tool(effect="idempotent")
    async def put(what: str, context: Context) -> str:
        "Put."
        await asyncio.sleep(0)
        return leave("idempotent", what, context)

    @tool
    async def send(what: str, context: Context) -> str:
        "Send."
        await asyncio.sleep(0)
        return leave("once", what, context)

    return [look, put, send]


class Deadly:
    """A store whose journals kill their process at one of their boundaries: before a step, after its work, after its record."""

    def __init__(self, store: SQLiteStore, at: int | None) -> None:
        self.store = store
        self.at = at
        self.passed = 0

    def __getattr__(self, name: str):
        return getattr(self.store, name)

    @asynccontextmanager
    async def open(self, run_id, works):
        async with self.store.open(run_id, DeadlyWorks(works, self)) as journal:
            yield DeadlyJournal(journal, self)

    def boundary(self) -> None:
        self.passed += 1
        if self.passed == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


class DeadlyWorks:
    """The works of a run, over journals that are as deadly as its own."""

    def __init__(self, works, store: Deadly) -> None:
        self.works = works
        self.store = store

    def __getitem__(self, name: str):
        work = self.works[name]
        return lambda journal, given: work(DeadlyJournal(journal, self.store), given)


class DeadlyJournal:
    def __init__(self, journal, store: Deadly) -> None:
        self.journal = journal
        self.store = store
        self.wait = journal.wait
        self.spawn = journal.spawn

    def step(self, key: str, fn: Callable[..., Awaitable[str]], *args: str) -> Awaitable[str]:
        async def work(*given: str) -> str:
            self.store.boundary()
            value = await fn(*given)
            self.store.boundary()
            return value

        return self._recorded(self.journal.step(key, work, *args))

    async def _recorded(self, step: Awaitable[str]) -> str:
        value = await step
        self.store.boundary()
        return value


async def live(folder: Path, run_id: str, at: int | None) -> None:
    store = Deadly(SQLiteStore(folder / "runs.db"), at)
    own = tools(folder / f"{run_id}.effects")
    inner = Agent(InnerPlanner(), tools=own, name="inner")
    agent = Agent(Planner(), tools=[*own, inner.as_tool("Works inside.", name="ask_inner")], journal=store)
    if await store.records(run_id):
        result = await agent.resume(run_id, in_doubt="tell")
    else:
        result = await agent.run("Go.", run_id=run_id)
    assert result.done, result.waiting
    (folder / "boundaries").write_text(str(store.passed))


def lived(folder: Path, run_id: str, point: str | None) -> str:
    """Live once in a child, and say how that ended."""
    at = int(point) if point and "." not in point else None
    seconds = float(point) if point and "." in point else None
    child = os.fork()
    if child == 0:
        try:
            if seconds is not None:
                killer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL))
                killer.daemon = True
                killer.start()
            asyncio.run(live(folder, run_id, at))
        except BaseException:  # noqa: BLE001  # the parent reads how it ended
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return "killed"
    return "done" if os.waitstatus_to_exitcode(status) == 0 else "failed"


def share(folder: Path, count: int) -> None:
    """Work on so many runs together with whoever else does, until all are done."""
    left = {f"run-{number}" for number in range(count)}
    while left:
        for run_id in random.sample(sorted(left), len(left)):
            try:
                asyncio.run(live(folder, run_id, None))
            except RunLocked:
                continue
            left.discard(run_id)
            print(run_id, flush=True)
        sleep(0.05)


def main() -> None:
    folder = Path(sys.argv[1])
    if sys.argv[2] == "share":
        share(folder, int(sys.argv[3]))
        return
    points = sys.argv[2].split()
    for number, point in enumerate(points):
        run_id, started, ends = f"run-{number}", monotonic(), []
        # The second life of every third run dies as well.
        for again in [point, point if number % 3 == 0 else None, *[None] * MOST_LIVES]:
            ends.append(lived(folder, run_id, again))
            if ends[-1] != "killed":
                break
        print(json.dumps({"run": run_id, "point": point, "ends": ends, "seconds": round(monotonic() - started, 3)}), flush=True)


if __name__ == "__main__":
    main()
