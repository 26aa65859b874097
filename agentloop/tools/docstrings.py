"""What a docstring says of a tool and of its parameters: Google, NumPy, reST and epydoc."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from docstring_parser import Docstring

_ABOUT_PARAMETERS = {
    *("args", "arguments", "params", "parameters"),
    *("keyword args", "keyword arguments", "keyword parameters"),
    *("other args", "other arguments", "other params", "other parameters"),
}
# What a caller in Python wants to know, and a model does not.
_FOR_PROGRAMMERS = {
    *("return", "returns", "yield", "yields", "receive", "receives", "raise", "raises", "except", "exceptions", "warns"),
    *("attribute", "attributes", "example", "examples", "see also", "related", "reference", "references"),
}
_BLANKS = re.compile(r"\n{3,}")
_GOOGLE_TITLE = re.compile(r"([A-Za-z][A-Za-z ]*):\s*")
_FIELD = re.compile(
    r"[:@](?:(?P<parameter>param|parameter|arg|argument|key|keyword|kwarg)\s"
    r"|type\s|returns?\b|rtype\b|raises?\b|except\b|exception\b|yields?\b|ytype\b|[ic]?var\s|attribute\s)[^:]*:"
)


@dataclass(slots=True)
class Described:
    """What a docstring says."""

    description: str = ""
    """All of it but the sections on parameters, results and errors."""
    parameters: dict[str, str] = field(default_factory=dict[str, str])
    """Of the parameters it speaks of."""


def read_docstring(text: str | None) -> Described:
    """Read a docstring in whichever style it is written."""
    if not text:
        return Described()
    text = inspect.cleandoc(text)
    # A style that leaves no mark is not looked for, which would take as long as reading the one that is there.
    styles = [(split, read) for mark, split, read in _STYLES if mark.search(f"\n{text}\n")]
    if not styles:
        return Described(text.strip())
    described = Described()
    lines = text.split("\n")
    for split, read in styles:
        lines, sections = split(lines)
        for section in sections:
            described.parameters |= read(section)
    described.description = _BLANKS.sub("\n\n", "\n".join(lines)).strip()
    return described


def _numpy(lines: list[str]) -> tuple[list[str], list[str]]:
    starts = [n for n in range(len(lines) - 1) if lines[n].strip() and lines[n][0] != " " and re.fullmatch(r"-{3,}\s*", lines[n + 1])]
    kept = lines[: starts[0]] if starts else lines
    sections: list[str] = []
    for start, end in pairwise([*starts, len(lines)]):
        title = lines[start].strip().lower()
        if title in _ABOUT_PARAMETERS:
            sections.append("\n".join(lines[start + 2 : end]))
        elif title not in _FOR_PROGRAMMERS:
            kept = [*kept, *lines[start:end]]
    return kept, sections


def _google(lines: list[str]) -> tuple[list[str], list[str]]:
    kept: list[str] = []
    sections: list[list[str]] = []
    section: list[str] | None = None
    flush = False
    for line, before in zip(lines, ["", *lines], strict=False):
        title = _google_title(line) if line[:1].isalpha() else None
        if title is not None:
            section = [] if title in _ABOUT_PARAMETERS or title in _FOR_PROGRAMMERS else None
            flush = False
            if section is not None:
                if title in _ABOUT_PARAMETERS:
                    sections.append(section)
                continue
        elif section is not None and line.strip() and not line[0].isspace():
            # Where the title is the first line of the docstring, its section has lost its indent.
            flush = flush or _google_title(before) is not None
            if not flush or not before.strip():
                section = None
        (kept if section is None else section).append(f"    {line}" if section is not None and flush else line)
    return kept, ["\n".join(section) for section in sections]


def _google_title(line: str) -> str | None:
    title = _GOOGLE_TITLE.fullmatch(line)
    return title[1].strip().lower() if title else None


def _fields(lines: list[str]) -> tuple[list[str], list[str]]:
    kept: list[str] = []
    sections: list[list[str]] = []
    section: list[str] | None = None
    for line, before in zip(lines, ["", *lines], strict=False):
        if match := _FIELD.match(line):
            section = [line]
            if match["parameter"]:
                sections.append(section)
            continue
        # A line that is not indented goes on with the field above it, unless a blank line parts them.
        if section is not None and line.strip() and not line[0].isspace() and not before.strip():
            section = None
        (kept if section is None else section).append(line)
    return kept, ["\n".join(section) for section in sections]


def _read_google(section: str) -> dict[str, str]:
    """Read entries, each of which begins at the indent of the first; a section in which one has no colon says nothing."""
    section = section.strip("\n")
    indent = section[: len(section) - len(section.lstrip())]
    found: dict[str, str] = {}
    for entry in re.split(rf"^{indent}(?=\S)", section, flags=re.MULTILINE)[1:]:
        before, colon, description = entry.strip("\n").partition(":")
        if not colon:
            return {}
        name = before.partition("(")[0] if ")" in before else before
        first, more, rest = description.partition("\n")
        found |= _said_of(name, f"{first}\n{inspect.cleandoc(rest)}" if more else first)
    return found


def _read_numpy(section: str) -> dict[str, str]:
    from docstring_parser import numpydoc  # noqa: PLC0415 - most tools' docstrings have no such section, and need none of it

    return _parsed(numpydoc.parse, f"-\n\nParameters\n----------\n{section}")


def _read_fields(section: str) -> dict[str, str]:
    from docstring_parser import epydoc, rest  # noqa: PLC0415 - the same

    return _parsed(epydoc.parse if section.startswith("@") else rest.parse, section)


def _parsed(parse: Callable[[str], Docstring], text: str) -> dict[str, str]:
    from docstring_parser import ParseError  # noqa: PLC0415 - the same

    try:
        parameters = parse(text).params
    except ParseError:
        return {}
    found: dict[str, str] = {}
    for parameter in parameters:
        found |= _said_of(parameter.arg_name, parameter.description or "")
    return found


def _said_of(names: str, description: str) -> dict[str, str]:
    description = description.strip()
    return {name.strip().lstrip("\\*"): description for name in names.split(",")} if description else {}


_STYLES = (
    (re.compile(r"\n-{3,}[ \t]*\n"), _numpy, _read_numpy),
    (re.compile(r"\n[A-Za-z ]+:[ \t]*\n"), _google, _read_google),
    (re.compile(r"\n[:@][a-z]"), _fields, _read_fields),
)
