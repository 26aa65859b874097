"""Each promise of docs/promises.md is held by tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROMISED = [*range(1, 16), 19, 22]


def test_every_promise_is_held_by_tests_that_exist():
    page = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
    trees = (ast.parse(file.read_text(encoding="utf-8")) for file in (ROOT / "tests").rglob("test_*.py"))
    known = {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}

    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if re.match(r"\| \d+ \|", line)]

    held = {int(row[0]): re.findall(r"`(test_\w+)`", row[-1]) for row in rows}
    assert list(held) == PROMISED
    assert [number for number, tests in held.items() if not tests] == []
    assert {name for tests in held.values() for name in tests} - known == set()
