"""Every code block of the pages runs.

The python blocks of a page run in order, as one session, in an empty folder. In a page's source,

- `<!-- model: calls("add", a=1, b=2), says("3") -->` above a block says what the server answers that `Agent("openai:...")` then asks;
- a `text` block right under a `python` block is what that one prints.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

from agentloop import testing
from agentloop.cli.app import app
from agentloop.models import providers

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/*/README.md")])
SHELLS = {"bash", "console", "sh"}

SCRIPT = r"(?:^<!-- model: (?P<script>.*?) -->\n+)?"
CODE = r"^```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^```$"
PRINTS = r"(?:\n+^```text\n(?P<prints>.*?)^```$)?"
FENCED = re.compile(SCRIPT + CODE + PRINTS, re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced piece of a page."""

    language: str
    code: str
    line: int
    """How many lines of the page are above its code."""
    turns: tuple[Any, ...] = ()
    """What the server answers while it runs."""
    prints: str | None = None


def blocks(page: str) -> Iterator[Block]:
    for match in FENCED.finditer(page):
        line = page.count("\n", 0, match.start("code"))
        turns = eval(f"({match['script']},)", vars(testing)) if match["script"] else ()  # noqa: S307 - the script is ours
        yield Block(match["language"], match["code"], line, turns, match["prints"])


def fences(page: str) -> int:
    """Count the fences that some block has; one that is indented or left open is not among them."""
    return sum(match.group().count("```") for match in FENCED.finditer(page))


def run(block: Block, page: Path, session: ModuleType) -> None:
    """Run the block in the session; an error in it points into the page."""
    code = compile("\n" * block.line + block.code, str(page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(asyncio.wait_for(eval(code, vars(session)), 5))  # noqa: S307 - the code is ours
    else:
        exec(code, vars(session))  # noqa: S102 - the code is ours


def commands(block: Block) -> Iterator[list[str]]:
    """Take the block apart into commands and their words, without the prompt and what is set before."""
    for line in block.code.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars=True)
        words.whitespace_split = True
        for operator, command in groupby(words, lambda word: set(word) <= set("();<>|&")):
            spoken = [word for word in command if not re.match(r"[A-Z_]+=", word)]
            if spoken and not operator:
                yield spoken


def complaint(words: list[str]) -> str:
    """Say what is wrong with a command, or nothing."""
    name, *rest = words
    if name == "agentloop":
        return cli_complaint(app, rest)
    files = [word for word in words if re.fullmatch(r"[.\w-]+/[\w./-]+", word) and not word.startswith(".venv/")]
    missing = [file for file in files if not (ROOT / file).exists()]
    return f"there is no {missing[0]}" if missing else ""


def cli_complaint(command: click.Command, words: list[str]) -> str:
    context = click.Context(command)
    if isinstance(command, click.Group) and words and not words[0].startswith("-"):
        inner = command.get_command(context, words[0])
        return cli_complaint(inner, words[1:]) if inner else f"there is no command {words[0]!r}"
    try:
        command.make_context(command.name, words)
    except click.UsageError as error:
        return error.format_message()
    except click.exceptions.Exit:
        # --help and --version end here.
        return ""
    return ""


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    # A dataclass and a type adapter look the module up in which they were defined.
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    # A page may add a provider, which no other test must see.
    monkeypatch.setattr(providers, "PROVIDERS", dict(providers.PROVIDERS))
    monkeypatch.chdir(tmp_path)
    return module


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_python_of_a_page_runs(
    path: Path,
    session: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    python = [block for block in blocks(path.read_text()) if block.language == "python"]
    with testing.Gateway(*(turn for block in python for turn in block.turns)) as gateway:
        monkeypatch.setenv("OPENAI_API_KEY", "page-key")
        monkeypatch.setenv("OPENAI_BASE_URL", gateway.base_url)

        for block in python:
            turns_left = gateway.turns_left - len(block.turns)
            run(block, path, session)

            assert [request.refused for request in gateway.requests if request.refused] == []
            assert gateway.turns_left == turns_left
            printed = capsys.readouterr().out
            assert block.prints is None or printed == block.prints


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_commands_of_a_page_exist(path: Path):
    shell = [block for block in blocks(path.read_text()) if block.language in SHELLS]

    complaints = {" ".join(words): problem for block in shell for words in commands(block) if (problem := complaint(words))}

    assert complaints == {}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_fence_of_a_page_belongs_to_a_block(path: Path):
    page = path.read_text()

    assert fences(page) == page.count("```")


PAGE = """
<!-- model: says("Hello."), says("Bye.") -->
```python
first = await answer()
print(first)
```

```text
Hello.
```

```bash
$ agentloop nonsense --deep && OPENAI_API_KEY=x scripts/nowhere \\
    | agentloop demo --no-such-option  # a remark
scripts/test
```

  ```python
  never_run()
  ```
"""


def test_a_page_is_taken_apart_as_it_says(session: ModuleType, capsys: pytest.CaptureFixture[str]):
    python, shell = blocks(PAGE)

    async def answer() -> str:
        return python.turns[0].text[0]

    session.answer = answer
    run(python, Path("page.md"), session)

    assert capsys.readouterr().out == python.prints == "Hello.\n"
    assert (session.first, len(python.turns), python.line) == ("Hello.", 2, 3)
    nonsense, nowhere, option, fine = (complaint(words) for words in commands(shell))
    assert (nonsense, nowhere, fine) == ("there is no command 'nonsense'", "there is no scripts/nowhere", "")
    assert "--no-such-option" in option
    assert fences(PAGE) == PAGE.count("```") - 2


def test_an_error_in_a_page_points_to_its_line(session: ModuleType):
    broken = Block("python", "1 / 0\n", line=41)

    with pytest.raises(ZeroDivisionError) as caught:
        run(broken, Path("page.md"), session)

    assert (str(caught.traceback[-1].path).endswith("page.md"), caught.traceback[-1].lineno + 1) == (True, 42)
