"""An undo that dies: `python mortal_undo.py FOLDER`, and each boundary of its journal kills it once with SIGKILL.

Prints a line of JSON for each: how often each thing was booked and cancelled, and what the undo that came after said. Forking keeps a
life cheap: this process imports once and has no threads.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

from agentloop import Agent, tool
from agentloop.errors import UndoFailed
from agentloop.journal.sqlite import SQLiteStore
from agentloop.testing import Scripted, calls, fails, says


class Mortal:
    """A store whose process is killed at a boundary: before or after a record is written."""

    def __init__(self, path: Path, left: int) -> None:
        self._store = SQLiteStore(path)
        self._left = left

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    @asynccontextmanager
    async def open(self, run_id, works):
        async with self._store.open(run_id, works) as journal:
            yield MortalJournal(journal, self.reach)

    def reach(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class MortalJournal:
    def __init__(self, journal, reach) -> None:
        self._journal, self._reach = journal, reach
        self.wait, self.spawn = journal.wait, journal.spawn

    async def step(self, key, fn, *args):
        self._reach()
        value = await self._journal.step(key, fn, *args)
        self._reach()
        return value


def agent(folder: Path, left: int = 0) -> Agent:
    def write(line: str) -> None:
        with (folder / "effects").open("a") as effects:
            effects.write(line + "\n")

    def cancel(what: str) -> str:
        write(f"cancel {what}")
        return "cancelled"

    @tool(undo=cancel)
    def book(what: str) -> str:
        "Book."
        write(f"book {what}")
        return what

    clerk = Agent(Scripted(calls("book", what="seat"), says("Done.")), tools=[book], name="clerk")
    turns = [calls("book", what="hotel"), calls("clerk", task="Seat."), calls("book", what="car"), fails(ConnectionError("gone"))]
    return Agent(Scripted(*turns), tools=[book, clerk.as_tool("Books.")], journal=Mortal(folder / "runs.db", left))


async def run(folder: Path) -> None:
    try:
        await agent(folder).run("Go.", run_id="trip")
    except ConnectionError:
        return


async def undo(folder: Path, left: int) -> None:
    await agent(folder, left).undo("trip")


async def finish(folder: Path) -> None:
    doubts = 0
    try:
        undone = await agent(folder).undo("trip")
    except UndoFailed:
        doubts = 1
        undone = await agent(folder).undo("trip", in_doubt="leave")
    said = {"undone": [each.call.arguments for each in undone.undone], "in_doubt": [each.call.arguments for each in undone.in_doubt]}
    print(json.dumps({**said, "doubts": doubts, "effects": (folder / "effects").read_text().splitlines()}), flush=True)


def lived(coroutine) -> int:
    """Do the work in a process of its own, and say what ended that."""
    child = os.fork()
    if not child:
        asyncio.run(coroutine)
        os._exit(0)
    coroutine.close()
    return os.waitpid(child, 0)[1]


def main() -> None:
    killed, point = True, 0
    while killed:
        point += 1
        folder = Path(sys.argv[1]) / str(point)
        folder.mkdir()
        assert lived(run(folder)) == 0
        killed = lived(undo(folder, point)) == signal.SIGKILL
        assert lived(finish(folder)) == 0


if __name__ == "__main__":
    main()
