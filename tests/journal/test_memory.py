"""The store in memory keeps what every store keeps."""

from __future__ import annotations

import pytest

from agentloop.journal.memory import MemoryStore
from tests.journal.backends import Backend, in_memory
from tests.journal.conformance import *  # noqa: F403  # they are the tests
from tests.journal.stores import *  # noqa: F403  # the same


@pytest.fixture
def backend() -> Backend:
    return in_memory()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()
