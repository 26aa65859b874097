"""Every row of the fault catalogue has a test that holds it, or stands here as open."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
SECTIONS = {
    "A transport": range(1, 42),
    "B streams": range(42, 62),
    "C protocol": range(62, 95),
    "D tools": range(95, 120),
    "E the run": range(120, 148),
}
OPEN: dict[int, str] = {}
"""Rows that nothing holds yet, and what is missing."""


def marked() -> dict[int, set[str]]:
    """Find the tests by the rows that they are marked with."""
    found: dict[int, set[str]] = defaultdict(set)
    for path in TESTS.rglob("test_*.py"):
        for test in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(test, ast.FunctionDef | ast.AsyncFunctionDef):
                for row in _rows(test):
                    found[row].add(f"{path.relative_to(TESTS)}::{test.name}")
    return found


def _rows(test: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[int]:
    for decorator in test.decorator_list:
        for call in ast.walk(decorator):
            # A mark on the test, or on one case of its parameters.
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.fault":
                yield from (ast.literal_eval(row) for row in call.args)


def test_every_row_of_the_catalogue_is_held_by_a_test(record_property: Callable[[str, object], None]):
    tests = marked()
    rows = {row for section in SECTIONS.values() for row in section}

    counts = [f"{name}: {sum(row in tests for row in section)} of {len(section)} rows" for name, section in SECTIONS.items()]
    record_property("table", "fault catalogue: " + ", ".join(counts) + f"; open: {OPEN}")
    assert rows - tests.keys() == OPEN.keys()
    assert tests.keys() <= rows | set(range(148, 193))
