"""Holds calls back: how many of a tool run at once, and which must run one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from agentloop.errors import InvalidArguments
from agentloop.tools.function import Tool


class _Gates:
    """The gates of one event loop."""

    def __init__(self) -> None:
        self.slots: WeakKeyDictionary[Tool[..., Any], asyncio.Semaphore] = WeakKeyDictionary()
        self.locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()


_of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, _Gates] = WeakKeyDictionary()


def gate(tool: Tool[..., Any], arguments: str) -> AbstractAsyncContextManager[None]:
    """Wait until the tool's `lock` and `max_concurrency` let the call through; both are first come, first served, in one event loop."""
    return _OPEN if tool.options.lock is None and tool.options.max_concurrency is None else _gate(tool, arguments)


_OPEN: AbstractAsyncContextManager[None] = nullcontext()


@asynccontextmanager
async def _gate(tool: Tool[..., Any], arguments: str) -> AsyncGenerator[None]:
    gates = _gates()
    async with AsyncExitStack() as held:
        if (key := _lock_key(tool, arguments)) is not None:
            lock = gates.locks.get(key) or asyncio.Lock()
            gates.locks[key] = lock
            await held.enter_async_context(lock)
        if tool.options.max_concurrency is not None:
            slots = gates.slots.get(tool) or asyncio.Semaphore(tool.options.max_concurrency)
            gates.slots[tool] = slots
            await held.enter_async_context(slots)
        yield


def _gates() -> _Gates:
    loop = asyncio.get_running_loop()
    if loop not in _of_loop:
        # A semaphore holds its loop, so the gates of loops that are over would never go by themselves.
        for over in [each for each in _of_loop if each.is_closed()]:
            del _of_loop[over]
        _of_loop[loop] = _Gates()
    return _of_loop[loop]


def _lock_key(tool: Tool[..., Any], arguments: str) -> str | None:
    lock = tool.options.lock
    if lock is None or isinstance(lock, str):
        return lock
    try:
        key = lock(tool.arguments(arguments))
    except InvalidArguments:
        # The call will not run: its result tells the model what is wrong.
        return None
    if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # the developer's function may give anything
        raise TypeError(f"the lock of {tool.name!r} gave {type(key).__name__}, and a key is a text; let it give one")
    return key
