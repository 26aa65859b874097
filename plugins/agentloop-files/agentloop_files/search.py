"""Patterns that take linear time: regular expressions for lines, globs for paths."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable

from pydantic_core import SchemaError, SchemaValidator, core_schema

from agentloop_files.jail import Place

MOST_SEARCHED = 2_000
"""Characters of a line that a regular expression looks at."""

_HEAVIEST = 1_000
_COUNT = re.compile(r"\{\s*(\d*)\s*(?:,\s*(\d*)\s*)?\}")

Find = Callable[[str], int]
"""Tell where in a line the match is, -1 where there is none; a regular expression knows only that it is there, and says 0."""


def text_finder(text: str, *, ignore_case: bool) -> Find:
    """Find `text` as it stands."""
    if not ignore_case:
        return lambda line: line.find(text)
    folded = text.casefold()
    return lambda line: line.casefold().find(folded)


def regex_finder(pattern: str, *, ignore_case: bool) -> Find:
    """Find a regular expression by the Rust engine inside pydantic, whose time is linear in the line."""
    if _weight(pattern) > _HEAVIEST:
        raise ValueError(f"the pattern {pattern!r} counts too far; use smaller numbers in {{...}}, or '*' and '+'")
    flagged = f"(?i){pattern}" if ignore_case else pattern
    try:
        validator = SchemaValidator(core_schema.str_schema(pattern=flagged, regex_engine="rust-regex"))
    except SchemaError as error:
        reason = str(error).rstrip().splitlines()[-1].removeprefix("error: ").strip()
        raise ValueError(f"{pattern!r} is no regular expression here: {reason}; set literal to search for it as plain text") from error
    return lambda line: 0 if validator.isinstance_python(line[:MOST_SEARCHED]) else -1


def _weight(pattern: str) -> int:
    """Estimate the size of the compiled pattern, by which each character of a line costs time."""
    width, repeats = len(pattern), 1
    for count in _COUNT.finditer(pattern):
        most = max(int(count[1] or 1), int(count[2] or 1), 1)
        # Behind a group, a count multiplies what the group counts.
        if pattern[: count.start()].rstrip().endswith((")", "}")):
            repeats *= most
        else:
            width += most
    return width * repeats


def fits(place: Place, glob: str) -> bool:
    """Judge a path by a glob: one without '/' is for the last name alone; '**' stands for any number of folders."""
    if "/" not in glob:
        return fnmatch.fnmatchcase(place[-1], glob)
    steps = [step for step in glob.split("/") if step not in {"", "."}]
    # As in an automaton: which steps of the glob can come next, after each name of the path.
    reached = _over_stars({0}, steps)
    for name in place:
        stay = {at for at in reached if steps[at : at + 1] == ["**"]}
        move = {at + 1 for at in reached - stay if at < len(steps) and fnmatch.fnmatchcase(name, steps[at])}
        reached = _over_stars(stay | move, steps)
    return len(steps) in reached


def _over_stars(reached: set[int], steps: list[str]) -> set[int]:
    """Add the steps that can come next because '**' may stand for nothing."""
    for at, step in enumerate(steps):
        if at in reached and step == "**":
            reached.add(at + 1)
    return reached
