"""What every journal must do, done by DBOS on Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

pytest.importorskip("dbos")

from tests.durable.postgres import fresh  # beside the others
from tests.journal.conformance import *  # noqa: F403  # as that file says
from tests.journal.dbos_backend import OnDBOS, on_dbos  # it needs DBOS

# One worker does for all: there is one in a process, and it belongs to its loop.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def backend(postgres_server: str) -> AsyncIterator[OnDBOS]:
    async with on_dbos(fresh(postgres_server, "conformance")) as backend:
        yield backend
