"""A Postgres for the tests of this folder, where the machine has one."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.durable.postgres import MISSING, binaries, fresh, postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    if binaries() is None:
        pytest.skip(MISSING)
    with postgres() as url:
        yield url


@pytest.fixture
def database(postgres_server: str) -> str:
    """Give the URL of an empty database."""
    return fresh(postgres_server, f"test_{uuid4().hex}")
