"""One folder and no way out of it: paths are judged, then walked step by step without following a link."""

from __future__ import annotations

import difflib
import errno
import functools
import itertools
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from agentloop.errors import PluginError

Place = tuple[str, ...]
"""Where something really is: the names to walk down from the root, links resolved."""

Kind = Literal["file", "folder", "link", "special"]

_MOST_COMPARED = 1_000
# Linux takes no longer path, and resolving one takes time that grows with its square.
_LONGEST = 4_096


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a folder."""

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Jail:
    """One folder, and no way out of it."""

    root: Path
    """Absolute and without links."""

    @classmethod
    def at(cls, root: str | Path) -> Jail:
        """Resolve `root`, once and for all; `~` is the user's home here."""
        if os.open not in os.supports_dir_fd:
            raise PluginError("agentloop-files needs openat(2), which this system lacks; use Linux, macOS or a BSD")
        with suppress(OSError, RuntimeError, ValueError):
            resolved = Path(root).expanduser().resolve(strict=True)
            if resolved.is_dir():
                return cls(resolved)
        raise PluginError(f"the root {str(root)!r} is not a folder; create it, or give another root=")

    def place(self, path: str) -> Place:
        """Find where `path` leads; what is not below the root is refused before its existence is looked at."""
        if len(path) > _LONGEST:
            raise ValueError(f"the path has {len(path):,} characters; give one of at most {_LONGEST:,}")
        if not _can_be_a_path(path):
            raise ValueError(f"{shown(path)!r} holds a character that no path has; leave it out")
        if path.startswith("~"):
            raise PermissionError(f"{shown(path)!r} is outside the root folder; give a path relative to the root, without '~'")
        asked = Path(os.path.normpath(self.root / path))
        if asked.is_relative_to(self.root):
            real = Path(os.path.realpath(asked))
            if real.is_relative_to(self.root):
                return real.relative_to(self.root).parts
        raise PermissionError(f"{shown(path)!r} is outside the root folder; give a path relative to the root, without '..'")

    def kind(self, place: Place) -> Kind:
        """Tell a file from a folder."""
        if not place:
            return "folder"
        with self._said(place), self._folder(place[:-1]) as folder:
            return _kind(os.stat(place[-1], dir_fd=folder, follow_symlinks=False).st_mode)

    @contextmanager
    def file(self, place: Place) -> Generator[BinaryIO, None, None]:
        """Open a regular file for reading; pipes, sockets, devices and the kernel's own files are refused."""
        with self._said(place), self._folder(place[:-1]) as folder:
            name = place[-1] if place else "."
            # Opening a device can do harm by itself, so look first.
            _check_regular(os.stat(name, dir_fd=folder, follow_symlinks=False), place)
            file = open(name, "rb", opener=functools.partial(_opened, folder))  # noqa: SIM115 - closed below; no Path has a folder's descriptor
        with file:
            # What was looked at may have been swapped before it was opened.
            _check_regular(os.fstat(file.fileno()), place)
            yield file

    def entries(self, place: Place) -> list[Entry]:
        """List a folder, sorted by name."""
        with self._said(place), self._folder(place) as folder, os.scandir(folder) as found:
            entries = [Entry(entry.name, _entry_kind(entry)) for entry in found]
        return sorted(entries, key=lambda entry: entry.name)

    @contextmanager
    def _folder(self, place: Place) -> Generator[int, None, None]:
        """Open a folder name by name, so that a link put in the way meanwhile cannot lead out."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self.root, flags)
        try:
            for name in place:
                below = os.open(name, flags, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def _said(self, place: Place) -> Generator[None, None, None]:
        """Turn the system's errors into sentences without the machine's paths."""
        try:
            yield
        except OSError as error:
            if error.errno is None:
                raise
            raise type(error)(self._sentence(place, error)) from error

    def _sentence(self, place: Place, error: OSError) -> str:
        name = repr(said(place))
        match error.errno:
            case errno.ENOENT:
                return f"there is no {name}{self._nearest(place)}"
            case errno.ENOTDIR:
                return f"{name} is not a folder, or goes through something that is none; list_files shows what there is"
            case _:
                return f"{name} cannot be read: {os.strerror(error.errno or 0)}; try another"

    def _nearest(self, place: Place) -> str:
        with suppress(OSError), self._folder(place[:-1]) as folder, os.scandir(folder) as found:
            names = [entry.name for entry in itertools.islice(found, _MOST_COMPARED)]
            if nearest := difflib.get_close_matches(place[-1], names, n=1):
                return f"; did you mean {said((*place[:-1], nearest[0]))!r}?"
        return "; list_files shows what there is"


def said(place: Place) -> str:
    """Write a place as a path relative to the root."""
    return shown("/".join(place)) or "."


def shown(path: str) -> str:
    """Write a path so that no name on the disk can break a line, or the JSON that carries it."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in path)


def _can_be_a_path(path: str) -> bool:
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return "\0" not in path


def _kind(mode: int) -> Kind:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "folder"
    return "link" if stat.S_ISLNK(mode) else "special"


def _entry_kind(entry: os.DirEntry[str]) -> Kind:
    if entry.is_symlink():
        return "link"
    if entry.is_dir(follow_symlinks=False):
        return "folder"
    return "file" if entry.is_file(follow_symlinks=False) else "special"


def _opened(folder: int, name: str, _flags: int) -> int:
    return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=folder)


def _check_regular(status: os.stat_result, place: Place) -> None:
    match _kind(status.st_mode):
        case "folder":
            raise IsADirectoryError(f"{said(place)!r} is a folder; list_files shows what is in it")
        case "link":
            raise PermissionError(f"{said(place)!r} is a link that cannot be followed; list_files shows what there is")
        case "file" if status.st_dev not in _kernel_devices():
            return
        case _:
            raise PermissionError(f"{said(place)!r} is a pipe, a socket, a device or the kernel's; only regular files can be read")


@functools.cache
def _kernel_devices() -> frozenset[int]:
    """Find where the kernel shows itself as files: they look regular, and tell of the process and the machine."""
    devices: set[int] = set()
    for mount in ("/proc", "/sys"):
        with suppress(OSError):
            devices.add(Path(mount).stat().st_dev)
    return frozenset(devices - {Path("/").stat().st_dev})
