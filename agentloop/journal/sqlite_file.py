"""One file of runs, as one thread reads and writes it: each record is proved to be what was written before it is given."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from agentloop.errors import JournalDamaged, JournalError
from agentloop.journal.sqlite_schema import connect, in_our_words
from agentloop.journal.store import Record

_REMEMBERED: Final = 10_000
_NAMED: Final = 5
_COLUMNS: Final = "seq, run_id, number, key, value, at, checksum"
# Whenever Python's sqlite3 runs a statement, a busy loop takes the GIL from it for 5 ms: many rows are one statement.
_ROWS_AT_ONCE: Final = 64
# What is bound as bytes and kept as text may hold a lone surrogate, which SQLite's own encoding of a str refuses.
_ROW: Final = "(CAST(? AS TEXT), ?, CAST(? AS TEXT), CAST(? AS TEXT), ?, ?)"


@dataclass(frozen=True, slots=True)
class Entry:
    """What is to be written down; its number within the run is given when it is."""

    run_id: str
    key: str
    value: str
    told: bool = False
    """Whether it comes from outside: the run must be there then."""


class RunsFile:
    """A file that holds the records of many runs."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db = connect(path)
        self._numbers: dict[str, int] = {}
        self._version = 0

    def write(self, entries: Sequence[Entry]) -> Sequence[JournalError | None]:
        """Put all entries on the disk, and say which of them cannot stand there.

        Raises:
            JournalError: None is there.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._forget_what_others_changed()
            refusals = [refusal for part in _parts(entries) for refusal in self._add(part)]
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._undo()
            raise in_our_words(error, self._path) from error
        except BaseException:
            self._undo()
            raise
        return refusals

    def load(self, run_id: str, *, after: int = 0) -> Sequence[Record]:
        """Read a run's records from the one that follows `after`.

        Raises:
            JournalDamaged: One is not what was written, or is missing.
        """
        rows = self._rows(f"SELECT {_COLUMNS} FROM records WHERE run_id = ? AND seq > ? ORDER BY seq", run_id, after)  # noqa: S608
        return list(self._proved(rows, first=0 if after == 0 else None))

    def find(self, run_id: str, key: str) -> Record | None:
        """Read what stands under the key.

        Raises:
            JournalDamaged: It is not what was written.
        """
        rows = self._rows(f"SELECT {_COLUMNS} FROM records WHERE run_id = ? AND key = ?", run_id, key)  # noqa: S608
        return next(self._proved(rows, first=None), None)

    def runs(self) -> Sequence[str]:
        """Name all runs, the newest last."""
        return [_shown(run_id) for (run_id,) in self._rows("SELECT run_id FROM records WHERE number = 0 ORDER BY seq")]

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _forget_what_others_changed(self) -> None:
        (version,) = self._db.execute("PRAGMA data_version").fetchone()
        if version != self._version or len(self._numbers) > _REMEMBERED:
            self._numbers.clear()
            self._version = version

    def _add(self, entries: Sequence[Entry]) -> Sequence[JournalError | None]:
        if any(entry.told and self._next_number(entry.run_id) == 0 for entry in entries):
            return [self._unknown_run(entries[0])] if len(entries) == 1 else self._add_each(entries)
        try:
            fields = [field for entry in entries for field in self._fields(entry)]
            self._db.execute(_insert(len(entries)), fields)
        except sqlite3.IntegrityError:
            self._numbers.clear()
            return [self._second_word(entries[0])] if len(entries) == 1 else self._add_each(entries)
        return [None] * len(entries)

    def _add_each(self, entries: Sequence[Entry]) -> Sequence[JournalError | None]:
        return [refusal for entry in entries for refusal in self._add([entry])]

    def _fields(self, entry: Entry) -> tuple[object, ...]:
        number = self._next_number(entry.run_id)
        self._numbers[entry.run_id] = number + 1
        run_id, key, value, at = entry.run_id.encode(), entry.key.encode(), entry.value.encode("utf-8", "surrogatepass"), time.time()
        return run_id, number, key, value, at, _checksum(run_id, number, key, value, at)

    def _next_number(self, run_id: str) -> int:
        if run_id not in self._numbers:
            (self._numbers[run_id],) = self._db.execute("SELECT count(*) FROM records WHERE run_id = ?", (run_id,)).fetchone()
        return self._numbers[run_id]

    def _unknown_run(self, entry: Entry) -> JournalError:
        known = self.runs()[-_NAMED:]
        return JournalError(f"there is no run {entry.run_id!r} in {self._path}; known: {', '.join(map(repr, known)) or 'none'}")

    def _second_word(self, entry: Entry) -> JournalError | None:
        """The first word holds; the same word again changes nothing."""
        known = self.find(entry.run_id, entry.key)
        if known is None or known.value == entry.value:
            return None
        return JournalError(f"the run {entry.run_id!r} was told something else under {entry.key!r} before; the first word holds")

    def _undo(self) -> None:
        self._numbers.clear()
        with suppress(sqlite3.Error):
            self._db.rollback()

    def _rows(self, question: str, *values: object) -> Sequence[tuple[Any, ...]]:
        try:
            return self._db.execute(question, values).fetchall()
        except sqlite3.Error as error:
            raise in_our_words(error, self._path) from error

    def _proved(self, rows: Iterable[tuple[Any, ...]], *, first: int | None) -> Iterator[Record]:
        expected = first
        for seq, run_id, number, key, value, at, checksum in rows:
            if checksum != _checksum(run_id, number, key, value, at):
                fault = "is not what was written"
            elif number != (number if expected is None else expected):
                fault = f"should be record {expected}"
            else:
                expected = number + 1
                yield Record(seq, run_id.decode(), key.decode(), value.decode("utf-8", "surrogatepass"), at)
                continue
            where = f"record {number} (row {seq}, key {_shown(key)!r}) of the run {_shown(run_id)!r}"
            raise JournalDamaged(f"{self._path} is damaged: {where} {fault}; restore the file from a copy, or begin the run anew")


def _parts(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """Cut into parts of 1, 2, 4, ... entries, so that SQLite knows each part's statement from before."""
    start = 0
    while rest := len(entries) - start:
        size = min(_ROWS_AT_ONCE, 1 << rest.bit_length() - 1)
        yield entries[start : start + size]
        start += size


@cache
def _insert(rows: int) -> str:
    return f"INSERT INTO records (run_id, number, key, value, at, checksum) VALUES {', '.join([_ROW] * rows)}"  # noqa: S608


def _checksum(*fields: object) -> int:
    """Sum up a record's run, number, key, value and time."""
    whole = b"\0".join(field if isinstance(field, bytes) else repr(field).encode() for field in fields)
    return int.from_bytes(blake2b(whole, digest_size=8).digest(), "big", signed=True)


def _shown(field: object) -> str:
    return field.decode("utf-8", "replace") if isinstance(field, bytes) else repr(field)
