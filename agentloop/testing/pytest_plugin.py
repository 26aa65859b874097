"""The fixtures that pytest finds by itself where agentloop is installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
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
