"""A real engine: llama.cpp's server in a process of its own, with a model that is written on the spot."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest

from agentloop import model
from agentloop.models.http import HTTPModel

NEEDED = ("xllamacpp", "gguf", "numpy")
SERVER = Path(__file__).with_name("server.py")
TRUST = ssl.create_default_context()


@dataclass(frozen=True)
class Line:
    """A client of the engine that notes what goes over it."""

    address: str
    client: httpx.AsyncClient
    bodies: list[Any] = field(default_factory=list)
    """The requests that were answered."""
    statuses: list[int] = field(default_factory=list)

    @property
    def model(self) -> HTTPModel:
        return model("llamacpp:tiny", base_url=f"{self.address}/v1", client=self.client)

    async def note(self, response: httpx.Response) -> None:
        self.bodies.append(json.loads(response.request.content))
        self.statuses.append(response.status_code)


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start the engine, and stop it when all tests are done."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        pytest.skip(f"no engine: {', '.join(missing)} not installed; `uv sync --group engine` installs it")
    folder = tmp_path_factory.mktemp("engine")
    log = folder / "log.txt"
    with log.open("w") as errors:
        process = subprocess.Popen(  # noqa: S603 - a script of ours
            [sys.executable, str(SERVER), str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
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
