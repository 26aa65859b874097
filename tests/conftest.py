"""What holds for every test."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# No test asserts a time, and so no example has one to keep.
settings.register_profile("agentloop", settings(), deadline=None)
settings.load_profile("agentloop")


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the developer's keys and servers: what a test asks for, it names."""
    for name in list(os.environ):
        if name.endswith(("_API_KEY", "_BASE_URL")):
            monkeypatch.delenv(name)
