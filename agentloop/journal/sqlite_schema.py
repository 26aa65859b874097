"""What a file of runs looks like: its one table, its rights, and what is said when SQLite cannot use it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from agentloop.errors import JournalDamaged, JournalError, JournalMismatch

FORMAT: Final = 1
"""The version of the table; a file of another is refused."""
BUSY_SECONDS: Final = 30
"""How long another process may take to write."""

# "aglp", by which `file` and SQLite tell whose database it is: https://sqlite.org/pragma.html#pragma_application_id
_APPLICATION: Final = 0x61676C70
# A page of 4 kB holds one value of 2 kB, and is half empty; one of 8 kB holds three.
_PAGE: Final = 8192
_TABLES: Final = (
    """
    CREATE TABLE records (
        seq INTEGER PRIMARY KEY,
        run_id TEXT NOT NULL,
        number INTEGER NOT NULL,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        at REAL NOT NULL,
        checksum INTEGER NOT NULL,
        UNIQUE (run_id, key)
    )
    """,
    "CREATE INDEX beginnings ON records (run_id) WHERE number = 0",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {FORMAT}",
)


def make_private(path: Path) -> None:
    """Make the file, for its owner alone, unless there is one; what SQLite puts beside it gets the same rights.

    Raises:
        JournalError: It cannot be made.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise JournalError(f"{path} cannot be made ({error.strerror}); make its folder, or keep runs elsewhere") from error


def connect(path: Path) -> sqlite3.Connection:
    """Open a file that is there, and make its table in an empty one; text is given as bytes.

    Raises:
        JournalMismatch: It holds something else.
        JournalError: It cannot be read, or not be written.
    """
    try:
        db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    except sqlite3.Error as error:
        raise in_our_words(error, path) from error
    try:
        _prepare(db, path)
    except JournalError:
        db.close()
        raise
    except sqlite3.Error as error:
        db.close()
        raise in_our_words(error, path) from error
    return db


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    db.text_factory = bytes
    db.execute("PRAGMA synchronous = FULL")
    db.execute(f"PRAGMA page_size = {_PAGE}")
    db.execute("BEGIN IMMEDIATE")
    with closing(db.execute("SELECT count(*) FROM sqlite_master")) as tables:
        empty = tables.fetchone() == (0,)
    application, version = (_number(db, name) for name in ("application_id", "user_version"))
    if empty and (application, version) == (0, 0):
        for statement in _TABLES:
            db.execute(statement)
    elif application != _APPLICATION:
        raise JournalMismatch(f"{path} is a database of another program; keep runs in a file of their own")
    elif version != FORMAT:
        raise JournalMismatch(
            f"{path} holds runs in format {version}, and this program reads {FORMAT}; read it with the program that wrote it"
        )
    db.execute("COMMIT")
    # Only now, for it changes the file, which might have been somebody else's.
    if db.execute("PRAGMA journal_mode = WAL").fetchone() != (b"wal",):
        raise JournalError(f"{path}: SQLite cannot keep a write-ahead log here; keep runs on a local disk")


def _number(db: sqlite3.Connection, name: str) -> int:
    number: int = db.execute(f"PRAGMA {name}").fetchone()[0]
    return number


def in_our_words(error: sqlite3.Error, path: Path) -> JournalError:
    """Say in our words what SQLite reports."""
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_CORRUPT:
            return JournalDamaged(f"{path} is damaged ({error}); restore it, or read what is left with `sqlite3 {path} .recover`")
        case sqlite3.SQLITE_NOTADB:
            return JournalMismatch(f"{path} is no database; keep runs in a file of their own")
        case sqlite3.SQLITE_FULL:
            return JournalError(f"{path} cannot be written: the disk is full; make room and resume the run")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN:
            return JournalError(f"{path} cannot be written ({error}); it, and its folder, must be writable")
        case sqlite3.SQLITE_BUSY:
            return JournalError(f"{path} was locked for {BUSY_SECONDS} s by another process; see which one holds it, and resume the run")
        case _:
            return JournalError(f"{path} cannot be used ({error}); see to its disk and resume the run")
