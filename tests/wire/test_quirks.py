"""Each quirk of docs/wires.md is held by a test that exists, or says why it does not apply."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "wires.md"
QUIRKS = 105
FEWEST_WORDS = 3


def rows(page: str) -> Iterator[tuple[int, list[str]]]:
    """Give the number and the other cells of each row of the table of quirks."""
    section = page.partition("\n## Quirks\n")[2].partition("\n## ")[0]
    for line in section.splitlines():
        if re.match(r"\| *\d+ *\|", line):
            number, *cells = (cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])
            yield int(number), cells


def names_of_tests(*folders: Path) -> set[str]:
    """Collect the names of the test functions in the folders."""
    trees = (ast.parse(file.read_text(encoding="utf-8")) for folder in folders for file in folder.rglob("test_*.py"))
    functions = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {function.name for function in functions if function.name.startswith("test_")}


def complaints(page: str, known: set[str]) -> list[str]:
    """Say what is wrong with the table."""
    found = list(rows(page))
    numbers = [number for number, _ in found]
    wrong = [] if numbers == list(range(1, QUIRKS + 1)) else [f"the rows are {numbers}"]
    for number, cells in found:
        match cells:
            case [str(quirk), str(done), str(held)] if quirk and done:
                named = re.findall(r"`(test_\w+)`", held)
                wrong += [f"{number}: there is no {name}" for name in named if name not in known]
                if not named and len(held.split()) < FEWEST_WORDS:
                    wrong.append(f"{number}: no test and no reason")
            case _:
                wrong.append(f"{number}: {len(cells) + 1} cells, or an empty one")
    return wrong


def test_every_quirk_is_held_by_a_test_or_says_why_not():
    known = names_of_tests(ROOT / "tests", *ROOT.glob("plugins/*/tests"))

    assert complaints(PAGE.read_text(encoding="utf-8"), known) == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("| 7 |", "| 8 |", "the rows are"),
        ("| 105 |", "105", "the rows are"),
        ("`test_usage_and_done_are_no_end_without_a_finish_reason`", "`test_nowhere`", "3: there is no test_nowhere"),
        ("`test_usage_and_done_are_no_end_without_a_finish_reason`", "open", "3: no test and no reason"),
        ("| Skips them | `test_blank", "| `test_blank", "5: 3 cells"),
    ],
)
def test_a_table_with_a_hole_is_found(old: str, new: str, words: str):
    page = PAGE.read_text(encoding="utf-8")
    known = names_of_tests(ROOT / "tests", *ROOT.glob("plugins/*/tests"))

    assert page.count(old) == 1
    assert any(complaint.startswith(words) for complaint in complaints(page.replace(old, new), known))
