"""A real engine: llama.cpp's server in a process of its own, with a model that is written on the spot."""

from __future__ import annotations

import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from tests.engine.line import Line

NEEDED = ("xllamacpp", "gguf", "numpy")
ROOT = Path(__file__).parents[2]
TRUST = ssl.create_default_context()


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start the engine, and stop it when all tests are done."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        pytest.skip(f"no engine: {', '.join(missing)} not installed; `uv sync --group engine` installs it")
    folder = tmp_path_factory.mktemp("engine")
    log = folder / "log.txt"
    command = [sys.executable, "-m", "tests.engine.server", str(folder)]
    with log.open("w") as errors:
        process = subprocess.Popen(  # noqa: S603 - a script of ours
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        yield _first_line(process) or pytest.fail(f"the engine did not start:\n{log.read_text(errors='replace')}")
    finally:
        status = _stop(process)
    assert status == 0, f"the engine ended with status {status}:\n{log.read_text(errors='replace')[-2_000:]}"


def _first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    patience = threading.Timer(20, process.kill)
    patience.start()
    try:
        return process.stdout.readline().strip()
    finally:
        patience.cancel()
        patience.join()


def _stop(process: subprocess.Popen[str]) -> int:
    """End its standard input, on which it ends itself."""
    try:
        process.communicate(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
    return process.returncode


@pytest.fixture
async def line(address: str) -> AsyncIterator[Line]:
    async with httpx.AsyncClient(trust_env=False, verify=TRUST) as client:
        line = Line(address, client)
        client.event_hooks["response"].append(line.note)
        yield line
