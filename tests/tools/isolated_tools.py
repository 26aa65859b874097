"""Tools for the tests of isolation, which another process must be able to import."""

from __future__ import annotations

import asyncio
import ctypes
import datetime as dt
import os
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

from agentloop.messages import Image, Text
from agentloop.tools.context import Context
from agentloop.tools.function import tool


@tool(isolated=True)
def where() -> int:
    """Say where it runs."""
    return os.getpid()


@tool(isolated=True)
async def where_async() -> int:
    """Say where it runs."""
    await asyncio.sleep(0)
    return os.getpid()


@tool(isolated=True)
def where_generated() -> Iterator[int]:
    """Say where it runs."""
    yield os.getpid()


@tool(isolated=True)
async def where_generated_async() -> AsyncIterator[int]:
    """Say where it runs."""
    yield os.getpid()


class Calendar:
    """A class with tools that need no instance."""

    @tool(isolated=True)
    @staticmethod
    def where_static() -> int:
        """Say where it runs."""
        return os.getpid()

    @tool(isolated=True)
    @classmethod
    def where_in_class(cls) -> int:
        """Say where it runs."""
        return os.getpid()


@tool(isolated=True)
def day_after(day: dt.date, days: int = 1) -> str:
    """Count days."""
    return str(day + dt.timedelta(days))


@tool(isolated=True)
def picture(size: int) -> list[Any]:
    """Draw."""
    return [Text("drawn"), Image(data=bytes(range(256)) * size)]


@tool(isolated=True)
def known(context: Context) -> list[Any]:
    """Say what it knows of the run."""
    context.progress({"half": 0.5, "at": dt.date(2026, 1, 2)})
    context.progress("\ud800")
    return [context.deps, context.run_id, context.step, context.call and context.call.id, context.idempotency_key]


@tool(isolated=True, effect="read", retries=1)
def divide(context: Context, a: int) -> float:
    """Divide."""
    context.progress("divided")
    return a / 0


@tool(isolated=True)
def leave() -> None:
    """Leave."""
    sys.exit("goodbye")


@tool(isolated=True)
def leave_hard() -> None:
    """Leave at once."""
    os._exit(3)


@tool(isolated=True)
def crash() -> None:
    """Read what is not there."""
    ctypes.string_at(0)


@tool(isolated=True, memory=300 * 2**20)
def fill(mebibytes: int) -> int:
    """Fill memory."""
    return len(bytearray(mebibytes * 2**20))


@tool(isolated=True, cpu=0.1)
def burn() -> None:
    """Compute for ever."""
    while True:
        pass


@tool(isolated=True, effect="read", timeout=0.2)
def backtrack() -> bool:
    """Match for ever, and let no other thread run."""
    return bool(re.match(r"(a+)+$", "a" * 64 + "b"))


def _family() -> list[int]:
    grandchild = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    return [os.getppid(), os.getpid(), grandchild.pid]


@tool(isolated=True, timeout=1)
def hang(context: Context) -> None:
    """Hang, with a process of its own beside it."""
    context.progress(_family())
    threading.Event().wait()


@tool(isolated=True, timeout=None)
def hang_for_ever(context: Context) -> None:
    """Hang, with a process of its own beside it."""
    context.progress(_family())
    threading.Event().wait()


@tool(isolated=True)
def leave_things_behind(context: Context) -> str:
    """Answer, and leave a process and a thread running."""
    context.progress(_family())
    threading.Thread(target=threading.Event().wait).start()
    return "done"


@tool(isolated=True, timeout=1)
def count() -> Iterator[int]:
    """Count, and hang."""
    yield from range(3)
    threading.Event().wait()


@tool(isolated=True)
def environment() -> dict[str, str]:
    """Tell the environment."""
    return dict(os.environ)


@tool(isolated=True)
def chat() -> str:
    """Print, and read what nobody types."""
    print("to nobody")
    print("wrong", file=sys.stderr)
    os.write(1, b'{"say": "result"}\n')
    return repr(sys.stdin.read())


def plain(x: int) -> int:
    """Take."""
    return x


by_hand = tool(
    plain,
    name="take_two",
    isolated=True,
    parameters={"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]},
)


@tool(isolated=True)
def hidden() -> int:
    """Say where it runs."""
    return os.getpid()


found_elsewhere = hidden


def hidden() -> None:  # type: ignore[no-redef]
    """Take the name of the tool."""
