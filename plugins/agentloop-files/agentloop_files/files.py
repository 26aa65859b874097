"""The tools: read a file, list files, search in files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from agentloop import Tool, tool
from agentloop_files.jail import Jail, Kind, Place, said
from agentloop_files.lines import Deadline, Line, is_binary, lines
from agentloop_files.search import Find, fits, regex_finder, text_finder

_ROOM_FOR_REMARKS = 200
_MOST_OF_A_LINE = 65_536
_MOST_OF_A_MATCH = 300

LineNumber = Annotated[int, Field(ge=1)]
Pattern = Annotated[str, Field(min_length=1, max_length=500)]


class Files:
    """Tools that read the files of one folder: `read_file`, `list_files` and `grep`.

    Args:
        root: The folder; nothing outside of it can be reached.
        max_bytes: Most bytes of one result.
        max_results: Most lines of a listing or of a search.
        max_seconds: Most seconds of one call.
        skip: Names of folders that a search, and a listing by pattern, do not go into.
    """

    def __init__(
        self,
        root: str | Path = ".",
        *,
        max_bytes: Annotated[int, Field(ge=1_000, le=100_000)] = 50_000,
        max_results: Annotated[int, Field(ge=1)] = 200,
        max_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 10.0,
        skip: Sequence[str] = (".git", ".venv", "node_modules", "__pycache__"),
    ) -> None:
        self._jail = Jail.at(root)
        self._max_bytes = max_bytes
        self._max_results = max_results
        self._max_seconds = max_seconds
        self._skip = frozenset(skip)

    def __repr__(self) -> str:
        return f"Files({str(self._jail.root)!r})"

    def tools(self) -> Sequence[Tool[..., Any]]:
        """List the three tools."""
        return (self.read_file, self.list_files, self.grep)

    @tool(effect="read")
    def read_file(self, path: str, *, start: LineNumber = 1, end: LineNumber | None = None) -> str:
        """Read a text file; each line comes as its number, a tab and its text.

        Args:
            path: The file, relative to the root folder, such as 'src/app.py'.
            start: The first line to read, counted from 1.
            end: The last line to read; without it, as many as one result can hold.
        """
        if end is not None and end < start:
            raise ValueError(f"end={end} comes before start={start}; give an end that is not smaller")
        place = self._jail.place(path)
        with self._jail.file(place) as file:
            if is_binary(file):
                raise ValueError(f"{said(place)!r} is a binary file; only text can be read")
            room = self._max_bytes - _ROOM_FOR_REMARKS
            numbered = _numbered(lines(file, keep=room, deadline=self._deadline()), start=start, end=end, room=room)
        if not numbered:
            raise ValueError(f"{said(place)!r} ends before line {start}; give a smaller start")
        return "\n".join(numbered)

    @tool(effect="read")
    def list_files(self, path: str = ".", *, pattern: Pattern | None = None) -> str:
        """List what is in a folder; with a pattern, what fits it in the folder and in all folders below. Folders end in '/'.

        Args:
            path: The folder, relative to the root folder; '.' is the root folder itself.
            pattern: A glob of '*', '?', '[ab]' and '**': '*.py' fits names at any depth, 'web/**/*.py' fits paths from the folder on.
        """
        place = self._jail.place(path)
        if pattern is None:
            found: Iterable[tuple[Place, Kind]] = [((*place, entry.name), entry.kind) for entry in self._jail.entries(place)]
        else:
            found = ((below, kind) for below, kind in self._walk(place, self._deadline()) if fits(below[len(place) :], pattern))
        listed = self._kept(said(below) + _MARKS[kind] for below, kind in found)
        return "\n".join(listed) or (f"[nothing in {said(place)!r} fits {pattern!r}]" if pattern else "[the folder is empty]")

    @tool(effect="read")
    def grep(
        self, pattern: Pattern, path: str = ".", *, glob: Pattern | None = None, literal: bool = False, ignore_case: bool = False
    ) -> str:
        r"""Search the lines of text files; each match comes as path:line number:line. A regular expression sees 2,000 characters of a line.

        Args:
            pattern: A regular expression without look-around and back-references, such as 'def \w+_file'.
            path: The file or folder to search, relative to the root folder. Folders such as '.git' are searched only when named here.
            glob: Search only files that fit, such as '*.py' or 'web/**/*.py'.
            literal: Search for the pattern as plain text.
            ignore_case: Treat small and capital letters alike.
        """
        if "\n" in pattern:
            raise ValueError(f"{pattern!r} holds a line break, and lines are searched one by one; search for one line of it")
        find = (text_finder if literal else regex_finder)(pattern, ignore_case=ignore_case)
        place = self._jail.place(path)
        searched = Searched()
        found = self._kept(self._matches(place, glob, find=find, searched=searched))
        return "\n".join([*found, *searched.remarks(found=bool(found))])

    def _matches(self, place: Place, glob: str | None, *, find: Find, searched: Searched) -> Iterator[str]:
        deadline = self._deadline()
        if self._jail.kind(place) != "folder":
            yield from self._matches_in(place, find=find, searched=searched, deadline=deadline)
            return
        for below, kind in self._walk(place, deadline):
            if kind == "file" and (glob is None or fits(below[len(place) :], glob)):
                try:
                    yield from self._matches_in(below, find=find, searched=searched, deadline=deadline)
                except TimeoutError:
                    raise
                except OSError:
                    searched.unreadable += 1

    def _matches_in(self, place: Place, *, find: Find, searched: Searched, deadline: Deadline) -> Iterator[str]:
        with self._jail.file(place) as file:
            if is_binary(file):
                searched.binary += 1
                return
            searched.files += 1
            for line in lines(file, keep=_MOST_OF_A_LINE, deadline=deadline):
                if (at := find(line.text)) >= 0:
                    yield f"{said(place)}:{line.number}:{_around(at, line)}"

    def _walk(self, place: Place, deadline: Deadline) -> Iterator[tuple[Place, Kind]]:
        """Go through all that is below a folder, following no link; folders that may not be listed stay closed."""
        waiting = [place]
        while waiting:
            folder = waiting.pop()
            try:
                entries = self._jail.entries(folder)
            except OSError:
                if folder == place:
                    raise
                continue
            for entry in entries:
                deadline.check()
                yield (*folder, entry.name), entry.kind
            waiting += [(*folder, entry.name) for entry in reversed(entries) if entry.kind == "folder" and entry.name not in self._skip]

    def _kept(self, results: Iterable[str]) -> list[str]:
        """Take as many results as the model shall read, and say so where there are more."""
        kept: list[str] = []
        room = self._max_bytes - _ROOM_FOR_REMARKS
        try:
            for result in results:
                room -= len(result.encode()) + 1
                if len(kept) == self._max_results or room < 0:
                    kept.append("[there is more; narrow the pattern or the path]")
                    break
                kept.append(result)
        except TimeoutError as error:
            kept.append(f"[incomplete: {error}]")
        return kept

    def _deadline(self) -> Deadline:
        return Deadline.after(self._max_seconds)


@dataclass(slots=True)
class Searched:
    """What a search has gone through so far."""

    files: int = 0
    binary: int = 0
    unreadable: int = 0

    def remarks(self, *, found: bool) -> list[str]:
        """Say what the matches alone do not show."""
        remarks = [] if found else [f"[no match; text files searched: {self.files}, binary files left out: {self.binary}]"]
        return remarks + ([f"[files that could not be read: {self.unreadable}]"] if self.unreadable else [])


_MARKS: Mapping[Kind, str] = {"file": "", "folder": "/", "link": " (a link)", "special": " (not a regular file)"}


def _numbered(found: Iterator[Line], *, start: int, end: int | None, room: int) -> list[str]:
    numbered: list[str] = []
    last = 0
    for line in found:
        last = line.number
        if last < start:
            continue
        if end is not None and last > end:
            break
        text = f"{last}\t{line.text}"
        room -= len(text.encode()) + 1
        if numbered and room < 0:
            numbered.append(f"[there is more; read on with start={last}]")
            break
        numbered.append(text)
        if line.cut:
            numbered.append(f"[line {last} goes on, longer than one result can hold]")
    return numbered if last else ["[the file is empty]"]


def _around(at: int, line: Line) -> str:
    """Show a line, or of a long one the surroundings of the match."""
    text = line.text.rstrip()
    if len(text) <= _MOST_OF_A_MATCH and not line.cut:
        return text
    first = max(0, at - _MOST_OF_A_MATCH // 3)
    last = first + _MOST_OF_A_MATCH
    return f"{'…' if first else ''}{text[first:last]}{'…' if last < len(text) or line.cut else ''}"
