"""Where the journals of many runs are kept: a file, a database, the memory."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from agentloop.journal import Journal, Works


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that a run wrote down, or was told."""

    seq: int
    """Its place among all records of the store; it grows, with gaps."""
    run_id: str
    key: str
    value: str
    """JSON text."""
    at: float
    """When it was written, in seconds since 1970."""


class Store(Protocol):
    """Keeps the journals of many runs."""

    def open(self, run_id: str, works: Works) -> AbstractAsyncContextManager[Journal]:
        """Go on with a run, or begin it: the block owns it.

        Args:
            run_id: The run.
            works: What it may spawn; asked for a name when that is spawned.

        Raises:
            RunLocked: Somebody else goes on with it right now.
            JournalError: What is kept cannot be read.
        """
        ...

    async def tell(self, run_id: str, *, key: str, value: str) -> None:
        """Send a run the value that it waits for, from whichever process; it need not be open. The first word on a key holds.

        Raises:
            JournalError: There is no such run, or another value was sent before.
        """
        ...

    async def records(self, run_id: str, *, after: int = 0) -> Sequence[Record]:
        """Read what a run wrote down and was told, in its order, from the record that follows `after`; nothing for an unknown run."""
        ...

    async def runs(self) -> Sequence[str]:
        """Name all runs, those that runs have spawned included, the newest last."""
        ...
