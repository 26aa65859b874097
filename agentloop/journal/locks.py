"""Who goes on with which run: locks that the kernel drops when their owner dies, and keeps while it is stopped.

A run's lock is one byte of a file, far behind its end, at a place that the run's name is hashed to.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
import threading
from hashlib import blake2b
from pathlib import Path
from typing import Final

from agentloop.errors import JournalError, RunLocked

if sys.platform != "win32":
    import fcntl

PLACES: Final = 1 << 62
"""How many bytes of the file may be locked: what fits into the signed 64 bits of a file's offset, with room."""

_HELD: Final = {errno.EACCES, errno.EAGAIN}
# The kernel's struct flock: type, whence, start, length, pid.
_FLOCK: Final = struct.Struct("hhqqi")


class RunLocks:
    """The locks of one file, as this process holds them: `locks_beside(path)` gives the one object that may touch it.

    POSIX locks belong to a process: they do not shut out others within it, and all are dropped when it closes any descriptor of the file.
    So there is one descriptor, which is never closed, and a table of who is in.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._held: set[int] = set()
        self._guard = threading.Lock()

    def take(self, run_id: str) -> None:
        """Become the one who goes on with the run.

        Raises:
            RunLocked: Somebody else is.
            JournalError: There are no locks where the file is.
        """
        place = _place(run_id)
        with self._guard:
            if place in self._held:
                raise RunLocked(f"the run {run_id!r} is going on in this process already; wait until it has stopped")
            try:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except OSError as error:
                if error.errno not in _HELD:
                    raise JournalError(f"{self._path}: no locks here ({error}); keep runs on a local disk") from error
                holder = _holder(self._descriptor, place)
                raise RunLocked(f"the run {run_id!r} is going on in {holder}; wait until it has stopped, or stop it") from error
            self._held.add(place)

    def drop(self, run_id: str) -> None:
        """Let others go on with the run."""
        place = _place(run_id)
        with self._guard:
            if place in self._held:
                self._held.discard(place)
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, place)


def locks_beside(path: Path) -> RunLocks:
    """Give the locks in the file `<path>-locks`, which is made where it is missing.

    Raises:
        JournalError: It can be neither made nor written, or the system has no such locks.
    """
    if sys.platform == "win32":
        raise JournalError("runs in a file need POSIX record locks, which Windows has not; keep them in memory, or in another store")
    beside = path.with_name(f"{path.name}-locks")
    with _opening:
        try:
            return _opened_locks(beside)
        except OSError as error:
            raise JournalError(f"{beside} cannot be written ({error.strerror}); make its folder, or keep runs elsewhere") from error


def _opened_locks(path: Path) -> RunLocks:
    # Looked for before it is opened, for what is opened a second time may never be closed again.
    if path.exists() and (known := _files.get(_identity(path.stat()))):
        return known
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    return _files.setdefault(_identity(os.fstat(descriptor)), RunLocks(path, descriptor))


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _place(run_id: str) -> int:
    return int.from_bytes(blake2b(run_id.encode(), digest_size=8).digest(), "big") % PLACES


def _holder(descriptor: int, place: int) -> str:
    """Name the process that holds the lock, where the layout of what the kernel says is known."""
    if sys.platform != "linux" or sys.maxsize < PLACES:
        return "another process"
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0)
    kind, _, _, _, process = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, asked)[: _FLOCK.size])
    # A holder in another container has no number here.
    return f"process {process}" if kind != fcntl.F_UNLCK and process > 0 else "another process"


_files: dict[tuple[int, int], RunLocks] = {}
_opening = threading.Lock()


def _forget() -> None:
    """In a forked child: a fork inherits no POSIX lock, and nothing that a thread held stays valid."""
    global _opening  # noqa: PLW0603  # the thread that held it is not in the child
    _files.clear()
    _opening = threading.Lock()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forget)
