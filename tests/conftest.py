"""What holds for every test."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from agentloop.models.framing import ByH11

# No test asserts a time, and so no example has one to keep.
settings.register_profile("agentloop", settings(), deadline=None)
settings.load_profile("agentloop")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have recorded as `record_property("table", ...)`, wherever they ran."""
    for report in (report for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome)):
        for name, text in report.user_properties:
            if name == "table":
                terminalreporter.write_line(str(text))


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the developer's keys and servers: what a test asks for, it names."""
    for name in list(os.environ):
        if name.endswith(("_API_KEY", "_BASE_URL")):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def no_extra_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read answers as an installation without extras does; tests/models/test_transport.py asks for the other reader by its name."""
    monkeypatch.setattr("agentloop.models.transport.fastest", lambda: ByH11)
