"""A limit of time holds whatever the coroutine does about it."""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import Any

import pytest

from agentloop.tools.deadline import NoResult
from agentloop.tools.deadline import within as within_named

within = functools.partial(within_named, name="work", grace=0.02)


async def forever() -> None:
    await asyncio.Event().wait()


async def swallow_for_ever(swallowed: list[str]) -> None:
    while True:
        try:
            await forever()
        except asyncio.CancelledError:
            swallowed.append("again")


async def bounded(awaitable: Any) -> Any:
    async with asyncio.timeout(5):
        return await awaitable


async def test_what_ends_in_time_gives_its_value():
    async def quick() -> int:
        return 1

    async def slower() -> int:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return 2

    assert [await within(5, quick()), await within(None, quick()), await within(5, slower()), await within(None, slower())] == [1, 1, 2, 2]


async def test_what_fails_fails():
    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await within(5, fail())


async def test_what_takes_too_long_is_cancelled():
    with pytest.raises(NoResult):
        await bounded(within(0.01, forever()))

    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]
    await asyncio.sleep(0)


async def test_what_takes_too_long_may_clean_up():
    done: list[str] = []

    async def tidy() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0)
            done.append("tidied")

    with pytest.raises(NoResult):
        await bounded(within(0.01, tidy()))

    assert done == ["tidied"]


async def test_a_value_given_in_answer_to_the_cancellation_counts():
    async def partial() -> str:
        try:
            await forever()
        except asyncio.CancelledError:
            return "half"
        return "whole"

    assert await bounded(within(0.01, partial())) == "half"
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


async def test_what_swallows_its_cancellation_is_left(caplog: pytest.LogCaptureFixture):
    swallowed: list[str] = []

    with pytest.raises(NoResult):
        await bounded(within(0.01, swallow_for_ever(swallowed)))

    assert swallowed == ["again"]
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "tool 'work' swallowed its cancellation, and is left where it stands"
    ]
    assert len(asyncio.all_tasks()) == 1


async def test_cancelling_the_task_comes_out_where_the_coroutine_swallows_it():
    swallowed: list[str] = []
    task = asyncio.create_task(bounded(within(None, swallow_for_ever(swallowed))))
    await asyncio.sleep(0)

    task.cancel()

    done, _ = await asyncio.wait({task}, timeout=5)
    assert task in done
    assert task.cancelled()


async def test_cancelling_the_task_is_heard_before_the_deadline():
    task = asyncio.create_task(within_task())
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancelling_the_task_is_heard_after_the_deadline_too():
    late = asyncio.Event()

    async def tidy() -> None:
        try:
            await forever()
        finally:
            late.set()
            await asyncio.sleep(0)
            await forever()

    async def outer() -> None:
        await within_named(0.01, tidy(), name="work", grace=0.05)

    task = asyncio.create_task(outer())
    await asyncio.wait_for(late.wait(), 5)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def within_task() -> None:
    await within(5, forever())


async def test_a_coroutine_that_cancels_itself_may_go_on_after_it():
    async def careful() -> str:
        try:
            async with asyncio.timeout(0.001):
                await forever()
        except TimeoutError:
            await asyncio.sleep(0.06)
        return "went on"

    assert await bounded(within(5, careful())) == "went on"


async def test_the_deadline_holds_for_a_coroutine_that_has_cancelled_itself():
    async def careful() -> None:
        try:
            async with asyncio.timeout(0.001):
                await forever()
        except TimeoutError:
            await forever()

    with pytest.raises(NoResult):
        await bounded(within(0.05, careful()))


async def test_deadlines_nest():
    async def outer() -> str:
        try:
            await within(0.01, forever())
        except NoResult:
            return "inner was late"
        return ""

    assert await bounded(within(5, outer())) == "inner was late"
    with pytest.raises(NoResult):
        await bounded(within(0.01, within_task()))


@pytest.mark.fault(114)
async def test_tasks_of_the_coroutine_are_its_own():
    async def group() -> list[int]:
        async def one(n: int) -> int:
            await asyncio.sleep(0)
            return n

        async with asyncio.TaskGroup() as tasks:
            made = [tasks.create_task(one(n)) for n in range(3)]
        return [task.result() for task in made]

    assert await within(5, group()) == [0, 1, 2]


async def test_a_failing_task_of_the_coroutine_is_its_own():
    async def group() -> None:
        async def fail() -> None:
            raise ValueError("no")

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fail())
            tasks.create_task(forever())

    with pytest.raises(ExceptionGroup):
        await bounded(within(5, group()))


async def test_a_coroutine_that_is_closed_early_is_closed_inside():
    closed: list[str] = []

    async def work() -> None:
        try:
            await forever()
        finally:
            closed.append("closed")

    async def around() -> None:
        await within(5, work())

    coroutine = around()
    coroutine.send(None)
    coroutine.close()

    assert closed == ["closed"]
