"""Ways to run the command line: in this process, as a process of its own, and at a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agentloop.cli.app import app

ROOT = Path(__file__).parents[2]
PATIENCE = 30
"""Seconds for a process to start, on a machine that has other work too."""

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A terminal with the command running at it."""

    def __init__(self, arguments: tuple[str, ...], folder: Path, environment: dict[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        script = "import os, sys; os.login_tty(0); os.execv(sys.executable, [sys.executable, '-m', 'agentloop.cli', *sys.argv[1:]])"
        self._process = subprocess.Popen(  # noqa: S603 - a script of ours
            [sys.executable, "-c", script, *arguments], stdin=theirs, cwd=folder, env=environment
        )
        os.close(theirs)
        self.shown = ""
        """All that was written to it, control sequences included."""

    @property
    def text(self) -> str:
        """What was written to it, without control sequences; a line that was written over comes before what took its place."""
        return CONTROL.sub("", self.shown.replace("\r\n", "\n").replace("\r", "\n"))

    def wait_for(self, words: str) -> None:
        """Read until the words were written."""
        while words not in self.text:
            assert self._read(), f"the command ended before it wrote {words!r}: {self.text}"

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def end(self) -> int:
        """Read until the command has ended, and give its exit code."""
        while self._read():
            pass
        return self._process.wait(PATIENCE)

    def close(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE)
        os.close(self._ours)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._ours], [], [], PATIENCE)
        assert ready, f"nothing was written for {PATIENCE} s after: {self.text}"
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # Linux says so when the other side is closed.
            return False
        self.shown += data.decode("utf-8", "replace")
        return bool(data)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory of the command; what it imports from there is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


@pytest.fixture
def module(folder: Path) -> Iterator[Callable[[str], None]]:
    """Write `mytools.py` into the current directory."""

    def write(source: str) -> None:
        sys.modules.pop("mytools", None)
        (folder / "mytools.py").write_text(f"from agentloop import tool\n{textwrap.dedent(source)}")

    yield write
    sys.modules.pop("mytools", None)


@pytest.fixture
def environment() -> dict[str, str]:
    """The environment of a process: no keys, no colours asked for or forbidden."""
    dropped = ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return kept | {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def agentloop(folder: Path) -> Callable[..., Result]:
    """Run a command in this process."""

    def run(*arguments: str, stdin: str = "") -> Result:
        result = CliRunner().invoke(app, arguments, input=stdin, prog_name="agentloop")
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return result

    return run


@pytest.fixture
def process(folder: Path, environment: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a command as a process of its own."""
    with ExitStack() as started:

        def start(*arguments: str, **changes: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(  # noqa: S603 - a command of ours
                [sys.executable, "-m", "agentloop.cli", *arguments],
                cwd=folder,
                env=environment | changes,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
            )
            started.enter_context(process)
            started.callback(process.kill)
            return process

        yield start


@pytest.fixture
def terminal(folder: Path, environment: dict[str, str]) -> Iterator[Callable[..., Terminal]]:
    """Start a command at a terminal."""
    with ExitStack() as opened:

        def start(*arguments: str, **changes: str) -> Terminal:
            terminal = Terminal(arguments, folder, environment | changes)
            opened.callback(terminal.close)
            return terminal

        yield start
