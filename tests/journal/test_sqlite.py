"""The store in a file keeps what every store keeps."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from agentloop.journal.sqlite import SQLiteStore
from tests.journal.backends import Backend, in_sqlite
from tests.journal.conformance import *  # noqa: F403  # they are the tests
from tests.journal.stores import *  # noqa: F403  # the same


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    return in_sqlite(tmp_path)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[SQLiteStore]:
    store = SQLiteStore(tmp_path / "runs.db")
    yield store
    await store.aclose()
