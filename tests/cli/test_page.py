"""Every command of docs/command-line.md runs as it is written there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from agentloop.cli.app import app
from agentloop.cli.exits import ExitCode
from agentloop.testing import Gateway, always, says

from .conftest import PATIENCE, ROOT

PAGE = (ROOT / "docs" / "command-line.md").read_text()
TOOLS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines() if "agentloop " in line]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_works(command: str, folder: Path, environment: dict[str, str]):
    (folder / "mytools.py").write_text(TOOLS[0])
    script = folder / "agentloop"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m agentloop.cli "$@"\n')
    script.chmod(0o700)

    with Gateway(always(says("Hello."))) as gateway:
        command = command.replace("http://127.0.0.1:11434/v1", gateway.base_url)
        server = {"OPENAI_API_KEY": "page-key", "OPENAI_BASE_URL": gateway.base_url, "PATH": f"{folder}:{environment['PATH']}"}
        ended = subprocess.run(  # noqa: S602 - a command of our own page
            command, shell=True, cwd=folder, env=environment | server, capture_output=True, text=True, timeout=PATIENCE, check=False
        )

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout or (folder / "answer.txt").read_text() == "Hello.\n"


def test_the_page_has_commands_to_run():
    assert len(TOOLS) == 1
    assert {command.split("agentloop ")[1].split()[0] for command in COMMANDS} == {"demo", "models", "run", "tools", "plugins"}


def test_the_page_lists_each_exit_code_and_each_option():
    rows = re.findall(r"^\| `?([\w-]+)", PAGE, re.MULTILINE)

    options = [option.opts for option in app.commands["run"].params if isinstance(option, click.Option)]

    assert [names for names in options if not set(names) & set(rows)] == []
    assert {int(row) for row in rows if row.isdecimal()} == set(ExitCode)
