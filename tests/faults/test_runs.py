"""The run itself: rows 120 to 147 of the fault catalogue that no other test is about."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path

import httpx
import pytest

from agentloop import Agent, model
from agentloop.events import Retrying
from agentloop.models.retries import Retries
from agentloop.testing import Gateway, status

PACKAGE = Path(__file__).parents[2] / "agentloop"


@pytest.mark.fault(123)
async def test_cancelling_a_run_that_waits_before_a_retry_comes_out_at_once():
    gateway = Gateway(status(503, retry_after=50))
    waits = asyncio.Event()

    async with httpx.AsyncClient(transport=gateway.transport()) as client:
        agent = Agent(model("openai/chat:m", base_url="http://gateway/v1", key="any", client=client, retries=Retries(patience=60)))

        async def watch() -> None:
            async for event in agent.stream("Go."):
                if isinstance(event, Retrying):
                    waits.set()

        running = asyncio.create_task(watch())
        await asyncio.wait_for(waits.wait(), 5)
        running.cancel()

        async with asyncio.timeout(1):
            with pytest.raises(asyncio.CancelledError):
                await running

    assert len(gateway.requests) == 1


@pytest.mark.fault(141)
def test_durations_are_never_measured_by_a_clock_that_can_be_set():
    wall_clocks = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.datetime.now"}
    by_wall_clock = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Attribute) and ast.unparse(node) in wall_clocks)
        or (isinstance(node, ast.ImportFrom) and node.module == "time" and any(name.name in {"time", "time_ns"} for name in node.names))
    }

    # Dates that servers give, of a Retry-After or of a container's end, can only be compared with the wall clock.
    dates = {"wire/error_bodies.py", "wire/anthropic_blocks.py"}
    # Records bear the time at which they were written, and a flow sleeps until a time that its next life knows too.
    records = {"durable/dbos_database.py", "flow_steps.py", "journal/memory.py", "journal/sqlite_file.py"}
    assert by_wall_clock <= dates | records
