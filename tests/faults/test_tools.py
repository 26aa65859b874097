"""Tools: rows 95 to 119 of the fault catalogue that no other test is about."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from agentloop import Agent, tool
from agentloop.testing import Scripted, calls, says


@pytest.mark.fault(110)
async def test_what_a_run_does_leaves_the_process_as_it_is():
    @tool
    def look() -> str:
        """Look."""
        return "seen"

    before = (
        sys.stdout,
        sys.stderr,
        Path.cwd(),
        dict(os.environ),
        [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
    )

    await Agent(Scripted(calls("look"), says("Done.")), tools=[look]).run("Go.")

    after = (sys.stdout, sys.stderr, Path.cwd(), dict(os.environ), [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)])
    assert after == before
