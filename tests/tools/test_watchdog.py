"""An async tool that holds up the event loop is named in the log."""

from __future__ import annotations

import asyncio
import ctypes
import inspect
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from agentloop.messages import ToolCall, ToolResult
from agentloop.tools.context import Context
from agentloop.tools.function import Tool, tool

REMEDY = "; await what it waits for, or make it a plain function, which runs in a thread"


class Warned(logging.Handler):
    """The warnings, and a wait for the first of them that any thread can do."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []
        self.first = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.first.set()

    @property
    def tools(self) -> list[str]:
        return [record.tool for record in self.records]


def linger() -> None:
    """Block for a few more looks of the watchdog."""
    threading.Event().wait(0.6)


@pytest.fixture
def warned() -> Iterator[Warned]:
    log, heard = logging.getLogger("agentloop.tools"), Warned()
    log.addHandler(heard)
    yield heard
    log.removeHandler(heard)


async def answer(made: Tool[..., Any]) -> ToolResult:
    async with asyncio.timeout(5):
        return await made.call(ToolCall("1", made.name, "{}"), Context())


def line_of(function: Any) -> str:
    """Name the last line of a function."""
    lines, first = inspect.getsourcelines(function)
    return f"line {first + len(lines) - 1} of {__file__}"


@pytest.mark.fault(102)
async def test_a_tool_that_blocks_the_loop_is_named_with_its_line_and_answers_all_the_same(warned: Warned):
    @tool
    async def block() -> bool:
        """Block."""
        await asyncio.sleep(0)
        return warned.first.wait(5)

    result = await answer(block)

    assert (result.is_error, result.text) == (False, "true")
    assert warned.tools == ["block"]
    assert warned.records[0].place == line_of(block.function)
    words = warned.records[0].getMessage()
    assert words.startswith("tool 'block' has held up the event loop for 1.")
    assert words.endswith(f" s at {line_of(block.function)}{REMEDY}")


async def test_of_many_tools_only_the_one_on_the_loop_is_named(warned: Warned):
    @tool
    async def wait() -> bool:
        """Wait, and block nothing."""
        await release.wait()
        return True

    @tool
    async def block() -> bool:
        """Block."""
        return warned.first.wait(5)

    release = asyncio.Event()
    waiting = [asyncio.create_task(answer(wait)) for _ in range(20)]
    await asyncio.sleep(0)

    await answer(block)
    release.set()
    await asyncio.gather(*waiting)

    assert warned.tools == ["block"]


async def test_each_blockage_is_named_once_and_the_next_one_again(warned: Warned):
    @tool
    async def block() -> None:
        """Block."""
        warned.first.wait(5)
        linger()

    await answer(block)
    warned.first.clear()
    await answer(block)

    assert warned.tools == ["block", "block"]


async def test_of_a_tool_that_calls_another_the_one_that_blocks_is_named(warned: Warned):
    @tool
    async def inner() -> bool:
        """Block."""
        return warned.first.wait(5)

    @tool
    async def outer() -> str:
        """Call the other."""
        text = (await answer(inner)).text
        linger()
        return text

    result = await answer(outer)

    assert result.text == "true"
    assert warned.tools == ["inner"]


async def test_a_blockage_that_lets_no_other_thread_run_is_told_when_it_is_over(warned: Warned):
    @tool
    async def seize() -> None:
        """Sleep without letting go of the interpreter's lock."""
        ctypes.PyDLL(None).usleep(1_050_000)

    await answer(seize)

    assert warned.tools == ["seize"]


def test_every_loop_is_watched(warned: Warned):
    @tool
    async def block() -> bool:
        """Block."""
        return warned.first.wait(5)

    thread = threading.Thread(target=lambda: asyncio.run(answer(block)))
    thread.start()
    thread.join(5)

    assert warned.tools == ["block"]


async def test_the_watchdog_goes_when_no_async_tool_runs_and_comes_back(warned: Warned):
    @tool
    async def quick() -> str:
        """Be quick."""
        return "quick"

    @tool
    async def block() -> bool:
        """Block."""
        return warned.first.wait(5)

    await answer(quick)
    dogs = [thread for thread in threading.enumerate() if thread.name == "agentloop-watchdog"]
    for dog in dogs:
        await asyncio.to_thread(dog.join, 5)

    assert [dog.is_alive() for dog in dogs] == [False]
    await answer(block)
    assert warned.tools == ["block"]


async def test_a_tool_that_lets_the_loop_turn_may_take_its_time(warned: Warned):
    @tool
    def wait() -> bool:
        """Wait in a thread, for longer than an async tool might block."""
        return warned.first.wait(1.6)

    @tool
    async def wait_async() -> bool:
        """Wait for as long without blocking."""
        await asyncio.sleep(0)
        return await asyncio.to_thread(warned.first.wait, 1.6)

    results = await asyncio.gather(answer(wait), answer(wait_async))

    assert [result.text for result in results] == ["false", "false"]
    assert warned.records == []
