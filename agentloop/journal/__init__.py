"""What is remembered: the socket for journals."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol


class Unanswered(Exception):
    """Nobody has sent the value yet, and this journal does not wait for it: the run pauses."""


class Journal(Protocol):
    """The memory of one run. It holds JSON text by keys, and whoever has it open is the only one to go on with the run.

    Each method takes the key when it is called, not when its result is awaited: an engine that knows steps by their order sees them in
    the order of the calls.
    """

    def step(self, key: str, fn: Callable[..., Awaitable[str]], *args: str) -> Awaitable[str]:
        """Give what is recorded under the key; where nothing is, await `fn(*args)` and record what it gives.

        An error of `fn` is raised and not recorded, so that the next life of the run tries again.

        Raises:
            JournalError: It could not be written down; nothing more may be done.
        """
        ...

    def wait(self, key: str) -> Awaitable[str]:
        """Give the value that was sent from outside under the key.

        Raises:
            Unanswered: There is none yet, and this journal does not wait for it.
        """
        ...

    def spawn(self, key: str, name: str, *, input: str) -> Awaitable[str]:  # noqa: A002  # what work is given, as in `Work`
        """Do the work of this name as a run of its own, `<run>/<key>`, and give what it comes to, which that run keeps under "end".

        Raises:
            Unanswered: That run waits for a word from outside.
        """
        ...


Work = Callable[[Journal, str], Awaitable[str]]
"""What a run does: of its journal and its input it makes its outcome. Run again over the same journal, it takes the same steps."""
Works = Mapping[str, Work]
"""The works that a run may spawn, by their names."""


async def note(value: str) -> str:
    """Give the value: for steps that only write something down."""
    return value
