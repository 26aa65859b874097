from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import Result

from agentloop.testing import Gateway

Command = Callable[..., Result]
Module = Callable[[str], None]


@pytest.fixture
def distribution(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install a package that has nothing but its metadata."""
    monkeypatch.syspath_prepend(folder)

    def install(name: str, entry_points: str) -> None:
        about = folder / f"{name.replace('-', '_')}-1.2.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (about / "entry_points.txt").write_text(entry_points)

    return install


def test_tools_are_listed_as_a_model_is_told_of_them(agentloop: Command, module: Module):
    module('''
        @tool(effect="read")
        def rain(city: str, day: int = 0) -> float:
            """Look up the chance of rain. It is between 0 and 1.

            Args:
                city: Where.
            """
            return 0.5

        @tool(needs_approval=True, destructive=True, open_world=True, description="Hostile \\x1b[2J.")
        def forget() -> None:
            pass

        def plain() -> None:
            "Do nothing."
        ''')

    listed = agentloop("tools", "list", "-T", "mytools:rain", "-T", "mytools:forget", "-T", "mytools:plain")

    assert (listed.exit_code, listed.stderr) == (0, "")
    assert [line.split("  ") for line in map(_squeezed, listed.stdout.splitlines())] == [
        ["rain(city, day?)", "read", "Look up the chance of rain."],
        ["forget()", "once", "approval, destructive, open world", r"Hostile \x1b[2J."],
        ["plain()", "once", "Do nothing."],
    ]


def _squeezed(line: str) -> str:
    while "   " in line:
        line = line.replace("   ", "  ")
    return line


def test_to_list_tools_some_must_be_named(agentloop: Command):
    listed = agentloop("tools", "list")

    assert listed.exit_code == 2
    assert "-T" in listed.stderr


def test_plugins_are_listed_without_being_imported(agentloop: Command, distribution: Callable[..., None], folder: Path):
    (folder / "weatherman.py").write_text("raise SystemExit('imported')")
    distribution("agentloop-weather", "[agentloop.tools]\nweather = weatherman:Weather\n")

    listed = agentloop("plugins", "list")

    assert listed.exit_code == 0
    (line,) = (line for line in listed.stdout.splitlines() if line.startswith("weather "))
    assert _squeezed(line).split("  ") == ["weather", "agentloop.tools", "agentloop-weather 1.2", "weatherman:Weather"]


def test_a_broken_plugin_is_shown_as_broken_and_breaks_nothing(agentloop: Command, distribution: Callable[..., None]):
    distribution("agentloop-broken", "[agentloop.tools]\nbroken = not/a/module\x1b[2J\n")

    listed = agentloop("plugins", "list")

    assert listed.exit_code == 0
    (line,) = (line for line in listed.stdout.splitlines() if line.startswith("broken "))
    assert "agentloop-broken 1.2  broken: its entry point is 'not/a/module" in _squeezed(line)
    assert "\x1b" not in listed.stdout


def test_the_version_is_the_installed_one(agentloop: Command):
    assert agentloop("--version").stdout == f"agentloop, version {metadata.version('agentloop-core')}\n"


def test_without_a_command_the_help_is_shown(agentloop: Command):
    shown = agentloop()

    assert shown.exit_code == 2
    assert "demo" in shown.stderr


def test_the_models_of_a_provider_are_listed(agentloop: Command):
    with Gateway(models=("gpt-4.1", "gpt-5")) as gateway:
        listed = agentloop("models", "openai", "--base-url", gateway.base_url)

    assert (listed.exit_code, listed.stderr) == (0, "")
    assert listed.stdout.split() == ["gpt-4.1", "gpt-5"]


def test_the_models_of_an_unknown_provider_are_a_word(agentloop: Command):
    listed = agentloop("models", "opnai")

    assert (listed.exit_code, listed.stdout) == (2, "")
    assert "did you mean 'openai'" in listed.stderr
