"""Threads are few, are used again, and hold nobody up."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from agentloop import Agent, Limits, tool
from agentloop.testing import Scripted, calls
from agentloop.tools.deadline import NoResult
from agentloop.tools.threads import run_in_thread

ROOT = Path(__file__).parents[2]


async def test_work_is_done_in_a_daemon_thread():
    daemon = await run_in_thread(lambda: threading.current_thread().daemon)

    assert daemon


async def test_a_thread_is_used_again():
    threads = {await run_in_thread(threading.get_ident) for _ in range(20)}

    assert len(threads) < 20


async def test_at_most_thirty_two_work_at_once():
    lock, busy, most = threading.Lock(), 0, 0
    full = threading.Barrier(32)

    def work() -> None:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        full.wait(5)
        with lock:
            busy -= 1

    async with asyncio.timeout(10):
        await asyncio.gather(*(run_in_thread(work) for _ in range(96)))

    assert most == 32


async def test_an_abandoned_thread_gives_its_place_to_another():
    release = threading.Event()

    async def stuck() -> None:
        with pytest.raises(NoResult):
            await run_in_thread(lambda: release.wait(5), seconds=0.01)

    async with asyncio.timeout(5):
        await asyncio.gather(*(stuck() for _ in range(40)))
        together = threading.Barrier(32)
        await asyncio.gather(*(run_in_thread(lambda: together.wait(5)) for _ in range(32)))

    release.set()


async def test_work_that_is_cancelled_together_begins_nothing_of_what_waits():
    loop = asyncio.get_running_loop()
    begun: list[int] = []
    full, release = asyncio.Event(), threading.Event()

    def work() -> None:
        begun.append(threading.get_ident())
        if len(begun) == 32:
            loop.call_soon_threadsafe(full.set)
        release.wait(5)

    group = asyncio.gather(*(run_in_thread(work) for _ in range(128)))
    await asyncio.wait_for(full.wait(), 5)

    group.cancel()
    with pytest.raises(asyncio.CancelledError):
        await group

    together = threading.Barrier(32)
    async with asyncio.timeout(5):
        await asyncio.gather(*(run_in_thread(lambda: together.wait(5)) for _ in range(32)))
    release.set()
    assert len(begun) == 32


async def test_a_run_that_is_left_begins_no_calls_of_agents_in_it():
    begun: list[str] = []
    full, release = threading.Barrier(33), threading.Event()

    @tool
    def pay(purse: str) -> None:
        """Pay."""
        begun.append(purse)
        full.wait(5)
        release.wait(5)

    def many(count: int, purse: str) -> Any:
        made = calls("pay", purse=purse)
        for _ in range(count - 1):
            made &= calls("pay", purse=purse)
        return made

    clerk = Agent(Scripted(many(31, "clerk's")), tools=[pay], name="clerk").as_tool("Pays.")
    agent = Agent(Scripted(many(32, "own") & calls("clerk", task="Pay.")), tools=[pay, clerk], limits=Limits(calls_at_once=33))

    async with asyncio.timeout(5):
        async with agent.stream("Pay.") as stream:
            started = 0
            async for event in stream:
                told = event.event if event.kind == "nested" else event
                started += told.kind == "call_started"
                if started == 64:
                    await asyncio.to_thread(full.wait, 5)
                    break
        together = threading.Barrier(32)
        await asyncio.gather(*(run_in_thread(lambda: together.wait(5)) for _ in range(32)))

    release.set()
    assert begun == ["own"] * 32


def _in_a_loop_of_its_own(work: Coroutine[Any, Any, str], loop: asyncio.AbstractEventLoop) -> str:
    assert loop.is_running()
    return asyncio.run(work)


def _in_the_loop_of_the_caller(work: Coroutine[Any, Any, str], loop: asyncio.AbstractEventLoop) -> str:
    return asyncio.run_coroutine_threadsafe(work, loop).result(5)


@pytest.mark.parametrize("there", [_in_a_loop_of_its_own, _in_the_loop_of_the_caller])
async def test_work_that_waits_for_other_work_does_not_keep_it_from_a_thread(there: Callable[..., str]):
    loop = asyncio.get_running_loop()
    lock, busy, most = threading.Lock(), 0, 0
    full = threading.Barrier(32)

    def outer() -> str:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        full.wait(5)
        done = there(run_in_thread(lambda: "done"), loop)
        with lock:
            busy -= 1
        return done

    async with asyncio.timeout(5):
        answers = await asyncio.gather(*(run_in_thread(outer) for _ in range(96)))

    assert answers == ["done"] * 96
    assert most == 32


async def test_the_time_of_waiting_for_a_thread_is_not_counted():
    release = threading.Event()
    busy = [asyncio.create_task(run_in_thread(lambda: release.wait(5))) for _ in range(32)]
    await asyncio.sleep(0)

    waiting = asyncio.create_task(run_in_thread(lambda: "done", seconds=0.01))
    done, _ = await asyncio.wait({waiting}, timeout=0.1)
    release.set()

    assert not done
    assert await asyncio.wait_for(waiting, 5) == "done"
    await asyncio.gather(*busy)


async def test_work_that_starts_late_has_its_full_time():
    release, end = threading.Event(), threading.Event()
    busy = [asyncio.create_task(run_in_thread(lambda: release.wait(5))) for _ in range(32)]
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    loop.call_later(0.35, release.set)
    loop.call_later(0.6, end.set)

    waited = await run_in_thread(lambda: end.wait(5), seconds=0.5)

    assert waited
    await asyncio.gather(*busy)


async def test_work_that_is_given_up_before_it_starts_is_never_done():
    release, done = threading.Event(), threading.Event()
    busy = [asyncio.create_task(run_in_thread(lambda: release.wait(5))) for _ in range(32)]
    await asyncio.sleep(0)
    waiting = asyncio.create_task(run_in_thread(done.set))
    await asyncio.sleep(0)

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    release.set()
    await asyncio.gather(*busy)
    await asyncio.gather(*(run_in_thread(lambda: None) for _ in range(40)))

    assert not done.is_set()


async def test_what_the_work_raises_comes_out():
    with pytest.raises(ZeroDivisionError):
        await run_in_thread(lambda: 1 / 0)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await run_in_thread(lambda: next(iter([])))


def test_a_result_that_comes_after_the_loop_has_closed_hurts_nobody():
    release, left = threading.Event(), threading.Event()

    def work() -> None:
        release.wait(5)
        left.set()

    async def give_up() -> None:
        with pytest.raises(NoResult):
            await run_in_thread(work, seconds=0.01)

    asyncio.run(give_up())
    release.set()

    assert left.wait(5)
    assert asyncio.run(run_in_thread(lambda: "fine")) == "fine"


@pytest.mark.fault(99)
def test_a_stuck_tool_does_not_hold_up_the_end_of_the_process():
    script = """
import asyncio, threading
from agentloop.tools.deadline import NoResult
from agentloop.tools.threads import run_in_thread

async def main():
    try:
        await run_in_thread(threading.Event().wait, seconds=0.01)
    except NoResult:
        print("gave up")

asyncio.run(main())
"""
    ended = subprocess.run(  # noqa: S603
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=5,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "gave up\n", "'work' runs on in a thread that was abandoned\n")


STUCK = """
import time
from agentloop import Agent, Limits, tool
from agentloop.testing import Scripted, calls, says

@tool(timeout=TIMEOUT)
def stick() -> None:
    "Stick."
    print("stuck", flush=True)
    time.sleep(600)

print(Agent(Scripted(calls("stick"), says("It hangs.")), tools=[stick]).run_sync("go").text, flush=True)
"""


@pytest.mark.parametrize(("timeout", "interrupted", "printed"), [("0.1", False, "It hangs.\n"), ("None", True, "")])
def test_an_agent_with_a_stuck_tool_lets_the_process_end(
    timeout: str, interrupted: bool, printed: str, record_property: Callable[[str, object], None]
):
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", STUCK.replace("TIMEOUT", timeout)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as app:
        assert app.stdout is not None
        app.stdout.readline()
        stuck = time.monotonic()

        if interrupted:
            app.send_signal(signal.SIGINT)
        try:
            rest = app.communicate(timeout=5)[0]
        finally:
            app.kill()

        seconds = time.monotonic() - stuck - (0 if interrupted else 0.1)
        record_property("table", f"A tool stuck in a thread held up the exit for {seconds:.2f} s.")
    assert rest == printed
    assert (app.returncode == 0) is not interrupted


@pytest.mark.fault(113, 145)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_threads_of_its_own():
    script = """
import asyncio, os
from agentloop.tools.threads import run_in_thread

print(asyncio.run(run_in_thread(lambda: "parent")), flush=True)
child = os.fork()
if not child:
    print(asyncio.run(run_in_thread(lambda: "child")), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""
    ended = subprocess.run(  # noqa: S603
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script],
        capture_output=True,
        text=True,
        timeout=5,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )

    assert (ended.stdout, ended.stderr) == ("parent\nchild\n", "")
