"""A worker to be killed that has an agent: its tools write what they do into a file, and take as long as another file is there."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from agentloop import Agent, Context, tool
from agentloop.durable.dbos import Worker
from agentloop.messages import Request
from agentloop.testing import Scripted, calls, says
from agentloop.testing.turns import Turn, always

SIDE = Path(os.environ["SIDE"])
HOLD = SIDE.with_name("hold")
"""While this file is there, no call ends."""


async def does(what: str, context: Context) -> str:
    """Take effect, and be a while before that is recorded."""
    with SIDE.open("a") as side:  # noqa: ASYNC230  # a small local file
        side.write(json.dumps([what, context.run_id, context.idempotency_key]) + "\n")
    while HOLD.exists():  # noqa: ASYNC110  # nobody sends word
        await asyncio.sleep(0.02)
    return f"{what}: done"


@tool(effect="read")
async def look(context: Context) -> str:
    """Look at the order."""
    return await does("look", context)


@tool(effect="idempotent")
async def put(context: Context) -> str:
    """Put the order into the ledger."""
    return await does("put", context)


@tool(effect="once")
async def charge(context: Context) -> str:
    """Charge the card."""
    return await does("charge", context)


def turn(request: Request) -> Turn:
    """Call all three, and then say what came of it: whichever process is asked."""
    if request.results:
        return says("; ".join(result.text for result in request.results))
    return calls("look") & calls("put") & calls("charge")


async def main() -> None:
    shop = Agent(Scripted(always(turn)), name="shop", tools=[look, put, charge])
    worker = Worker(sys.argv[1], {"shop": shop.work}, grace=float(os.environ.get("GRACE", "5")))
    print(worker.executor_id, flush=True)
    await worker.run()


if __name__ == "__main__":
    asyncio.run(main())
