"""Every command of docs/command-line.md runs as it is written there."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from agentloop import Agent, tool
from agentloop.cli.app import app
from agentloop.cli.exits import ExitCode
from agentloop.testing import Gateway, Scripted, always, calls, says

from .conftest import PATIENCE, ROOT

PAGE = (ROOT / "docs" / "command-line.md").read_text()
TOOLS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines() if "agentloop " in line]


@tool(needs_approval=True)
def year_opened(place: str) -> int:
    "Look up when a place opened."
    return 1793


def write_down(folder: Path, *, waits: bool) -> None:
    """Keep the runs that the page speaks of: one that is done, or waits for a word on its second call, and a fork of it."""
    for run_id in ("places", "places-fork"):
        turns = (calls("year_opened", place="Louvre"), calls("year_opened", place="Prado"), says("The Louvre."))
        agent = Agent(Scripted(*turns), tools=[year_opened], journal=folder / "runs.db")
        result = agent.run_sync("Which places opened before 1800?", run_id=run_id)
        for _ in range(1 if waits else 2):
            result.transcript.approve(result.waiting[0].id)
            result = asyncio.run(agent.resume(result))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_works(command: str, folder: Path, environment: dict[str, str]):
    (folder / "mytools.py").write_text(TOOLS[0])
    if " runs " in command:
        write_down(folder, waits=said_to_a_run(command))
    script = folder / "agentloop"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m agentloop.cli "$@"\n')
    script.chmod(0o700)

    with Gateway(always(says("Hello."))) as gateway:
        command = command.replace("http://127.0.0.1:11434/v1", gateway.base_url)
        server = {"OPENAI_API_KEY": "page-key", "OPENAI_BASE_URL": gateway.base_url, "PATH": f"{folder}:{environment['PATH']}"}
        ended = subprocess.run(  # noqa: S602 - a command of our own page
            command, shell=True, cwd=folder, env=environment | server, capture_output=True, text=True, timeout=PATIENCE, check=False
        )

    assert ended.returncode == 0, ended.stderr
    if " runs " in command:
        # What one reads of a run is the answer; what happens beside that goes to stderr.
        assert ended.stdout or ended.stderr or "1793" in (folder / "places.json").read_text()
        return
    assert ended.stderr == ""
    assert ended.stdout or (folder / "answer.txt").read_text() == "Hello.\n"


def said_to_a_run(command: str) -> bool:
    return any(word in command for word in ("approve", "deny", "answer"))


def test_the_page_has_commands_to_run():
    assert len(TOOLS) == 1
    assert {command.split("agentloop ")[1].split()[0] for command in COMMANDS} == {"demo", "models", "run", "runs", "tools", "plugins"}


def test_the_page_lists_each_exit_code_and_each_option():
    rows = re.findall(r"^\| `?([\w-]+)", PAGE, re.MULTILINE)

    options = [option.opts for option in app.commands["run"].params if isinstance(option, click.Option)]

    assert [names for names in options if not set(names) & set(rows)] == []
    assert {int(row) for row in rows if row.isdecimal()} == set(ExitCode)
