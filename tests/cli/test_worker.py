"""Runs on many machines, from the command line: a worker, a submission, a look at it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.durable.postgres import MISSING, binaries, fresh, postgres

from .conftest import PATIENCE

AGENTS = """
from agentloop import Agent, tool
from agentloop.flows import flow, step
from agentloop.testing import Scripted, always, calls, says

@tool
def look(place: str) -> str:
    "Look."
    return "sun in " + place

def replies(request):
    return says("It shines.") if request.step else calls("look", place="Rome")

scout = Agent(Scripted(always(replies)), tools=[look], name="scout")

@flow
async def trip(city: str) -> str:
    seen = await scout.run("Look at " + city)
    return seen.text + " " + await step(str.upper, city, effect="read")
"""


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    if binaries() is None:
        pytest.skip(MISSING)
    with postgres() as url:
        yield fresh(url, f"test_{uuid4().hex}")


def agentloop(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 - the command under test
        [sys.executable, "-m", "agentloop.cli", *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def told(folder: Path, *arguments: str) -> tuple[str, str]:
    process = agentloop(folder, *arguments)
    out, err = process.communicate(timeout=2 * PATIENCE)
    assert process.returncode == 0, err
    return out, err


def test_a_worker_does_what_is_submitted_and_stops_in_good_order(folder: Path, database: str):
    (folder / "agents.py").write_text(AGENTS)
    worker = agentloop(folder, "worker", "agents:scout", "agents:trip", "--database", database)
    try:
        assert "at work on scout, trip" in worker.stderr.readline()

        outcome, _ = told(folder, "submit", "scout", "Is it sunny in Rome?", "--database", database, "--run-id", "rome", "--wait")
        trip, _ = told(folder, "submit", "trip", '{"city": "Oslo"}', "--database", database, "--wait")
        listed, _ = told(folder, "runs", "list", "--journal", database)
        shown, _ = told(folder, "runs", "show", "rome", "--journal", database)

        worker.send_signal(signal.SIGTERM)
        assert worker.wait(PATIENCE) == 0
    finally:
        if worker.poll() is None:
            os.kill(worker.pid, signal.SIGKILL)
        worker.communicate()

    assert "It shines." in outcome
    assert "It shines. OSLO" in trip
    assert "rome" in listed
    assert "sun in Rome" in shown or "look" in shown


def test_what_is_no_agent_is_no_work(folder: Path):
    (folder / "agents.py").write_text("number = 3")

    worker = agentloop(folder, "worker", "agents:number", "--database", "postgresql://nowhere/x")

    assert "'agents:number' is a int, and neither an Agent nor a flow" in worker.communicate(timeout=PATIENCE)[1]
    assert worker.returncode == 2
