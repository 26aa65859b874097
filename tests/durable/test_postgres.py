"""The Postgres of the tests is gone when whoever started it is, however that ended."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.durable.postgres import MISSING, binaries

ROOT = Path(__file__).parent.parent.parent
HOLDS = """
import time
from tests.durable.postgres import postgres
with postgres() as url:
    print(url, flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(binaries() is None, reason=MISSING)
async def test_postgres_does_not_outlive_a_killed_test():
    holder = await asyncio.create_subprocess_exec(sys.executable, "-c", HOLDS, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, stdout=-1)
    assert holder.stdout is not None
    url = (await asyncio.wait_for(holder.stdout.readline(), 20)).decode()
    port = int(url.rpartition(":")[2].partition("/")[0])
    assert is_open(port)

    holder.send_signal(signal.SIGKILL)
    await holder.wait()

    async with asyncio.timeout(10):
        # Of its end, nobody sends word.
        while is_open(port):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def is_open(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
