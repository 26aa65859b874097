"""What every journal must do, done by DBOS on a file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

pytest.importorskip("dbos")

from tests.journal.conformance import *  # noqa: F403  # as that file says
from tests.journal.dbos_backend import OnDBOS, on_dbos  # it needs DBOS

# One worker does for all: there is one in a process, and it belongs to its loop.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def backend(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OnDBOS]:
    path: Path = tmp_path_factory.mktemp("dbos") / "runs.db"
    async with on_dbos(f"sqlite:///{path}") as backend:
        yield backend
