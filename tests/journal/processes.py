"""Other processes that work on the same file, for the tests to stop, kill and listen to."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SECONDS = 30
"""How long a process may take; on a busy machine its start alone takes some."""

BEGINNING = """
import asyncio, os, sys
from agentloop.errors import *
from agentloop.journal import note
from agentloop.journal.sqlite import SQLiteStore
path = sys.argv[1]
def say(*words):
    print(*words, flush=True)
"""

HOLD = """
async def main():
    async with SQLiteStore(path).open("held", {}) as journal:
        await journal.step("input", note, "1")
        say("held")
        await asyncio.to_thread(sys.stdin.readline)
asyncio.run(main())
"""
"""Hold the run "held" until a line comes in."""


@asynccontextmanager
async def another_process(code: str, path: Path, *words: str) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Run the code behind `BEGINNING`, and kill what is left of it."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", BEGINNING + code, str(path), *words, cwd=ROOT, stdin=pipe, stdout=pipe
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def heard(process: asyncio.subprocess.Process) -> str:
    """Give the next line that the process says."""
    line = await asyncio.wait_for(process.stdout.readline(), SECONDS)
    return line.decode().strip()


async def said(code: str, path: Path, *words: str) -> str:
    """Run the code to its end, and give all that it says."""
    async with another_process(code, path, *words) as process:
        told, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    assert process.returncode == 0
    return told.decode().strip()
