"""The fixtures that pytest finds by itself where agentloop is installed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from zlib import crc32

import pytest

if TYPE_CHECKING:
    from agentloop.testing.cassettes import Cassette
    from agentloop.testing.faults import GatewayAnswer
    from agentloop.testing.gateway import Gateway
    from agentloop.testing.turns import Always


class OpenGateway(Protocol):
    """What the fixture `scripted_gateway` is."""

    def __call__(self, *turns: GatewayAnswer | Always[GatewayAnswer], key: str | None = None, pace: float = 0.0) -> Gateway:
        """Open a gateway that plays the turns."""
        ...


@pytest.fixture
def scripted_gateway() -> Iterator[OpenGateway]:
    """Give a function that opens gateways; they close when the test ends.

    `gateway = scripted_gateway(says("Hello"))`, and its address is `gateway.base_url`.
    """
    # pytest imports this file in every project where agentloop is installed, so nothing heavy stands above.
    from agentloop.testing.gateway import Gateway  # noqa: PLC0415 - the reason is above

    with ExitStack() as gateways:

        def open_gateway(*turns: GatewayAnswer | Always[GatewayAnswer], key: str | None = None, pace: float = 0.0) -> Gateway:
            return gateways.enter_context(Gateway(*turns, key=key, pace=pace))

        yield open_gateway


_NAME_LENGTH = 100


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--record-cassettes`."""
    words = "ask the models for real, and write the cassettes of the tests anew"
    parser.getgroup("agentloop").addoption("--record-cassettes", action="store_true", help=words)


class _TestFailed(Exception):
    """The test has an error of its own, and needs no second one."""


@pytest.fixture
def cassette(request: pytest.FixtureRequest) -> Iterator[Cassette]:
    """Replay the cassette of the test, `cassettes/<test file>/<test>.json` beside its file; `pytest --record-cassettes` records it."""
    from agentloop.testing.cassettes import Cassette  # noqa: PLC0415 - pytest imports this file everywhere

    path = _cassette_path(request)
    record = bool(request.config.getoption("--record-cassettes"))
    if not record and not path.exists():
        pytest.fail(f"the test has no cassette {str(path)!r}; record it with `pytest --record-cassettes`", pytrace=False)
    failed_before = request.session.testsfailed
    with suppress(_TestFailed), Cassette(path, record=record) as opened:
        yield opened
        if request.session.testsfailed > failed_before:
            raise _TestFailed


def _cassette_path(request: pytest.FixtureRequest) -> Path:
    test = ".".join(request.node.nodeid.split("::")[1:])
    name = re.sub(r"[^\w.\[\]-]", "-", test)[:_NAME_LENGTH]
    # Parameters may hold anything, and be of any length.
    unique = name if name == test else f"{name}-{crc32(test.encode()):08x}"
    return request.path.parent / "cassettes" / request.path.stem / f"{unique}.json"
