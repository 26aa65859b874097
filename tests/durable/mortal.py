"""A worker to be killed: its runs make calls with effects that it writes into a file, so that each shows, whoever did it."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys

from agentloop.durable.dbos import Worker
from agentloop.journal import Journal, note

STEPS = 6
CALLS = 3


async def chores(journal: Journal, given: str) -> str:
    """Do what the loop does: a reply, a mark that calls begin, and the calls, side by side, each at most once."""
    life = f'"{secrets.token_hex(4)}"'
    for step in range(STEPS):
        await journal.step(f"{step}/reply", _done, given, f'"{step}/reply"', '"read"', "0")
        begun = await journal.step(f"{step}/begun", note, life)
        calls = (f'"{step}/{index}"' for index in range(CALLS))
        await asyncio.gather(*(journal.step(call.strip('"'), _once, given, call, begun, life) for call in calls))
    return '"all done"'


async def office(journal: Journal, given: str) -> str:
    """Let two others do chores."""
    said = await asyncio.gather(*(journal.spawn(f"0/{index}", "chores", input=f'"{given[1:-1]}.{index}"') for index in range(2)))
    return f"[{', '.join(said)}]"


async def _once(run: str, call: str, begun: str, life: str) -> str:
    if begun != life:
        return '"in doubt"'
    return await _done(run, call, '"once"', "0.05")


async def _done(run: str, what: str, effect: str, seconds: str) -> str:
    """Take effect, and be a while before that is recorded."""
    token = f'"{secrets.token_hex(8)}"'
    side = os.open(os.environ["SIDE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(side, f"[{run}, {what}, {effect}, {token}]\n".encode())
    os.close(side)
    await asyncio.sleep(float(seconds))
    return token


async def main() -> None:
    worker = Worker(sys.argv[1], {"chores": chores, "office": office}, concurrency=8, grace=float(os.environ.get("GRACE", "5")))
    print(worker.executor_id, flush=True)
    await worker.run()


if __name__ == "__main__":
    asyncio.run(main())
