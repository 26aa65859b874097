"""A call is answered whatever the tool does."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from agentloop.messages import Image, Text, ToolCall, ToolResult
from agentloop.tools.context import Context
from agentloop.tools.function import Tool, tool


async def answer(made: Tool[..., Any], arguments: str = "{}") -> ToolResult:
    async with asyncio.timeout(5):
        return await made.call(ToolCall("1", made.name, arguments), Context())


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even that")


class Strange(BaseException):
    pass


RAISED: list[tuple[BaseException, str]] = [
    (ValueError("no such city"), "ValueError: no such city"),
    (KeyError("x"), "KeyError: 'x'"),
    (ValueError(), "ValueError"),
    (Unprintable(), "Unprintable"),
    (SystemExit(3), "SystemExit: 3"),
    (SystemExit(), "SystemExit"),
    (Strange("odd"), "Strange: odd"),
    (StopAsyncIteration("early"), "StopAsyncIteration: early"),
    (asyncio.CancelledError("own"), "CancelledError: own"),
    (TimeoutError("server is slow"), "TimeoutError: server is slow"),
    (ValueError("half \ud800"), "ValueError: half \ufffd"),
    (
        ExceptionGroup("many", [ValueError("a"), ExceptionGroup("more", [KeyError("b")])]),
        "ExceptionGroup: many: ValueError: a; ExceptionGroup: more: KeyError: 'b'",
    ),
    (BaseExceptionGroup("many", [SystemExit(1)]), "BaseExceptionGroup: many: SystemExit: 1"),
    (ValueError("x" * 10_000_000), "ValueError: " + "x" * 1_988),
]


@pytest.mark.fault(95, 96, 118)
@pytest.mark.parametrize("asynchronous", [True, False])
@pytest.mark.parametrize(("error", "words"), RAISED, ids=[f"{n} {case[1][:20]}" for n, case in enumerate(RAISED)])
async def test_what_a_tool_raises_answers_the_model(error: BaseException, words: str, asynchronous: bool):
    def fail() -> None:
        """Fail."""
        raise error

    async def fail_later() -> None:
        """Fail."""
        raise error

    result = await answer(tool(fail_later if asynchronous else fail))

    assert (result.is_error, result.text) == (True, words)
    assert result.name in {"fail", "fail_later"}


async def test_a_stop_iteration_is_what_python_makes_of_it():
    def stop() -> None:
        """Stop."""
        raise StopIteration

    async def stop_later() -> None:
        """Stop."""
        raise StopIteration

    results = [await answer(tool(each)) for each in (stop, stop_later)]

    assert [result.text for result in results] == [
        "RuntimeError: function raised StopIteration",
        "RuntimeError: coroutine raised StopIteration",
    ]


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_a_generator_that_fails_answers_the_model(asynchronous: bool):
    def fail() -> Iterator[int]:
        """Fail."""
        yield 1
        raise ValueError("after one")

    async def fail_later() -> AsyncIterator[int]:
        """Fail."""
        yield 1
        raise ValueError("after one")

    result = await answer(tool(fail_later if asynchronous else fail))

    assert (result.is_error, result.text) == (True, "ValueError: after one")


@pytest.mark.fault(95)
async def test_the_traceback_goes_to_the_log_and_not_to_the_model(caplog: pytest.LogCaptureFixture):
    @tool
    def divide(a: int) -> float:
        """Divide."""
        return a / 0

    with caplog.at_level(logging.DEBUG, logger="agentloop.tools"):
        result = await answer(divide, '{"a": 1}')

    assert result.text == "ZeroDivisionError: division by zero"
    assert [record.getMessage() for record in caplog.records] == ["tool 'divide' failed"]
    assert "return a / 0" in caplog.text


@pytest.mark.fault(97, 126)
@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_keyboard_interrupt_comes_out(asynchronous: bool):
    def interrupted() -> None:
        """Be interrupted."""
        raise KeyboardInterrupt

    async def interrupted_later() -> None:
        """Be interrupted."""
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(answer(tool(interrupted_later if asynchronous else interrupted)))


@pytest.mark.fault(98)
async def test_an_async_tool_that_hangs_is_cancelled_and_the_model_told():
    ended: list[str] = []

    @tool(timeout=0.02)
    async def hang() -> None:
        """Hang."""
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    result = await answer(hang)

    assert (result.is_error, result.text) == (True, "TimeoutError: 'hang' gave no result in 0.02 s; whether it took effect is unknown")
    assert ended == ["cancelled"]
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


@pytest.mark.parametrize("effect", ["read", "idempotent"])
async def test_a_call_that_can_be_made_again_leaves_nothing_unknown(effect: Any):
    @tool(effect=effect, timeout=0.02)
    async def hang() -> None:
        """Hang."""
        await asyncio.Event().wait()

    result = await answer(hang)

    assert result.text == "TimeoutError: 'hang' gave no result in 0.02 s"


@pytest.mark.fault(98, 100)
async def test_an_async_tool_that_swallows_its_cancellation_is_left_after_a_second():
    @tool(timeout=0.01)
    async def stubborn() -> None:
        """Stay."""
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    result = await answer(stubborn)

    assert (result.is_error, result.text) == (True, "TimeoutError: 'stubborn' gave no result in 0.01 s; whether it took effect is unknown")


@pytest.mark.fault(99)
async def test_a_tool_that_hangs_in_a_thread_is_abandoned_and_the_model_told(caplog: pytest.LogCaptureFixture):
    release = threading.Event()

    @tool(timeout=0.02)
    def hang() -> bool:
        """Hang."""
        return release.wait(5)

    result = await answer(hang)
    release.set()

    assert (result.is_error, result.text) == (True, "TimeoutError: 'hang' gave no result in 0.02 s; whether it took effect is unknown")
    assert [record.getMessage() for record in caplog.records] == ["'hang' runs on in a thread that was abandoned"]


async def test_an_async_generator_that_hangs_is_closed():
    ended: list[str] = []

    @tool(effect="read", timeout=0.02)
    async def hang() -> AsyncIterator[int]:
        """Hang."""
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            ended.append("closed")

    result = await answer(hang)

    assert result.text == "TimeoutError: 'hang' gave no result in 0.02 s. Until then it yielded:\n[1]"
    assert ended == ["closed"]


async def test_what_a_generator_yielded_in_time_is_not_lost():
    release = threading.Event()
    said: list[object] = []

    @tool(effect="read", timeout=0.2)
    def search() -> Iterator[str]:
        """Search."""
        yield "first"
        yield "second"
        release.wait(5)

    result = await search.call(ToolCall("1", "search", "{}"), Context(progress=said.append))
    release.set()

    words = "TimeoutError: 'search' gave no result in 0.2 s. Until then it yielded:\n"
    assert (result.is_error, result.text) == (True, words + '["first","second"]')
    assert said == ["first", "second"]


async def test_pictures_yielded_in_time_are_kept_as_pictures():
    @tool(effect="read", timeout=0.02)
    async def draw() -> AsyncIterator[Image]:
        """Draw."""
        yield Image(data=b"1")
        await asyncio.Event().wait()

    result = await answer(draw)

    words = "TimeoutError: 'draw' gave no result in 0.02 s. Until then it yielded:\n"
    assert (result.is_error, result.content) == (True, (Text(words), Image(data=b"1")))


async def test_many_yields_are_cut_like_any_result():
    @tool(timeout=0.5)
    async def flood() -> AsyncIterator[str]:
        """Flood."""
        for _ in range(20):
            yield "x" * 10_000
        await asyncio.Event().wait()

    result = await answer(flood)

    assert result.is_error
    assert 100_000 < len(result.text) < 100_400
    assert "[cut here" in result.text


async def test_yields_without_a_json_form_leave_the_timeout_as_it_is():
    @tool(effect="idempotent", timeout=0.02)
    async def odd() -> AsyncIterator[object]:
        """Give something odd."""
        yield object()
        await asyncio.Event().wait()

    result = await answer(odd)

    assert (result.is_error, result.text) == (True, "TimeoutError: 'odd' gave no result in 0.02 s")


async def test_a_timeout_is_tried_again_and_tells_of_the_last_try():
    tries: list[int] = []

    @tool(effect="read", retries=1, timeout=0.02)
    async def slow() -> AsyncIterator[int]:
        """Be slow."""
        tries.append(1)
        yield len(tries)
        await asyncio.Event().wait()

    result = await answer(slow)

    assert result.text == "TimeoutError: 'slow' gave no result in 0.02 s. Until then it yielded:\n[2]"


async def test_a_generator_in_an_abandoned_thread_stops_at_its_next_yield():
    closed = threading.Event()

    @tool(timeout=0.02)
    def count() -> Iterator[int]:
        """Count."""
        tick = threading.Event()
        try:
            while True:
                yield 1
                tick.wait(0.005)
        finally:
            closed.set()

    result = await answer(count)

    assert result.is_error
    assert await asyncio.to_thread(closed.wait, 5)


async def test_without_a_timeout_a_tool_may_take_its_time():
    @tool(timeout=None)
    async def rest() -> str:
        """Rest."""
        await asyncio.sleep(0)
        return "rested"

    @tool(timeout=None)
    def rest_in_a_thread() -> str:
        """Rest."""
        return "rested"

    assert [(await answer(each)).text for each in (rest, rest_in_a_thread)] == ["rested", "rested"]


@pytest.mark.fault(121, 122)
@pytest.mark.parametrize("asynchronous", [True, False])
async def test_cancelling_the_caller_comes_out_at_once(asynchronous: bool):
    loop = asyncio.get_running_loop()
    started, release = asyncio.Event(), threading.Event()

    def hang() -> None:
        """Hang."""
        loop.call_soon_threadsafe(started.set)
        release.wait(5)

    async def hang_later() -> None:
        """Hang."""
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(answer(tool(hang_later if asynchronous else hang)))
    await asyncio.wait_for(started.wait(), 5)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    release.set()


@pytest.mark.parametrize(("effect", "attempts"), [("read", 3), ("idempotent", 3)])
async def test_a_call_that_fails_is_tried_again_where_that_is_harmless(effect: Any, attempts: int):
    tries: list[list[int]] = []

    @tool(effect=effect, retries=2)
    def flaky(items: list[int]) -> str:
        """Fail twice."""
        items.append(0)
        tries.append(items)
        if len(tries) < attempts:
            raise ConnectionError("not yet")
        return "there"

    result = await answer(flaky, '{"items": [1]}')

    assert (result.is_error, result.text) == (False, "there")
    assert tries == [[1, 0]] * attempts


async def test_retries_come_to_an_end():
    tries: list[int] = []

    @tool(effect="read", retries=2)
    async def never() -> None:
        """Fail."""
        tries.append(1)
        raise ConnectionError("never")

    result = await answer(never)

    assert (result.is_error, result.text, len(tries)) == (True, "ConnectionError: never", 3)


async def test_wrong_arguments_are_not_tried_again_and_call_nothing():
    tries: list[int] = []

    @tool(effect="read", retries=2)
    def take(x: int) -> None:
        """Take."""
        tries.append(x)

    assert (await answer(take, "{}")).text == "The arguments do not fit: x: is missing."
    assert tries == []


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_a_tool_sees_the_context_variables_of_its_caller(asynchronous: bool):
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user")
    user.set("ada")

    def whoami() -> str:
        """Say."""
        return user.get()

    async def whoami_later() -> str:
        """Say."""
        return user.get()

    assert (await answer(tool(whoami_later if asynchronous else whoami))).text == "ada"


@pytest.mark.fault(101)
async def test_a_tool_that_is_not_async_leaves_the_loop_alone():
    home = threading.get_ident()

    def here() -> bool:
        """Say."""
        return threading.get_ident() == home

    async def here_later() -> bool:
        """Say."""
        return threading.get_ident() == home

    assert [(await answer(tool(each))).text for each in (here, here_later)] == ["false", "true"]


async def test_calls_overlap():
    together = threading.Barrier(3)

    @tool
    def meet() -> int:
        """Meet."""
        return together.wait(5)

    results = await asyncio.gather(*(answer(meet) for _ in range(3)))

    assert sorted(result.text for result in results) == ["0", "1", "2"]


def test_tools_work_under_one_event_loop_after_another():
    @tool
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    assert [asyncio.run(answer(add, '{"a": 1, "b": 2}')).text for _ in range(2)] == ["3", "3"]


@pytest.mark.fault(96)
async def test_a_tool_may_exit_only_itself():
    @tool
    def leave() -> None:
        """Leave."""
        sys.exit("goodbye")

    result = await answer(leave)

    assert (result.is_error, result.text) == (True, "SystemExit: goodbye")


async def test_progress_can_be_told_from_any_thread():
    said: list[tuple[object, bool]] = []
    home = threading.get_ident()

    def hear(value: object) -> None:
        said.append((value, threading.get_ident() == home))

    @tool
    def work(context: Context) -> str:
        """Work."""
        context.progress("half")
        return "done"

    await work.call(ToolCall("1", "work", "{}"), Context(progress=hear))

    assert said == [("half", False)]
