"""Many processes on one file of runs: one owner for each run, whatever becomes of it, and nothing lost that was acknowledged."""

# ruff: noqa: ASYNC240  # what a test reads of a file is small

from __future__ import annotations

import asyncio
import os
import random
import signal
from contextlib import aclosing
from pathlib import Path

import pytest

from agentloop.errors import JournalError, RunLocked
from agentloop.journal import note
from agentloop.journal.following import follow
from agentloop.journal.sqlite import SQLiteStore
from tests.journal.processes import HOLD, SECONDS, another_process, heard, said


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


async def test_a_run_that_another_process_goes_on_with_is_refused_and_names_it(path: Path):
    async with another_process(HOLD, path) as owner, aclosing(SQLiteStore(path)) as store:
        assert await heard(owner) == "held"

        with pytest.raises(RunLocked, match=f"the run 'held' is going on in process {owner.pid}; wait"):
            async with store.open("held", {}):
                pass
        async with store.open("another", {}) as journal:
            assert await journal.step("input", note, "1") == "1"


@pytest.mark.fault(138)
async def test_a_stopped_owner_keeps_its_run(path: Path):
    async with another_process(HOLD, path) as owner, aclosing(SQLiteStore(path)) as store:
        assert await heard(owner) == "held"
        owner.send_signal(signal.SIGSTOP)

        with pytest.raises(RunLocked):
            async with store.open("held", {}):
                pass


@pytest.mark.fault(139)
async def test_the_run_of_a_killed_owner_is_free_at_once(path: Path):
    async with another_process(HOLD, path) as owner, aclosing(SQLiteStore(path)) as store:
        assert await heard(owner) == "held"
        owner.kill()
        await owner.wait()

        async with store.open("held", {}) as journal:
            replayed = await journal.step("input", note, "2")

        assert replayed == "1"


async def test_a_word_from_another_process_reaches_a_run_that_is_open(path: Path):
    tell = 'asyncio.run(SQLiteStore(path).tell("a", key="0/0/word", value="7"))'
    async with aclosing(SQLiteStore(path)) as store, store.open("a", {}) as journal:
        await journal.step("input", note, "1")

        await said(tell, path)

        assert await journal.wait("0/0/word") == "7"
        assert await journal.step("0/0", note, "2") == "2"
        assert [record.key for record in await store.records("a")] == ["input", "0/0/word", "0/0"]


async def test_a_run_is_followed_from_another_process(path: Path):
    write = """
async def main():
    async with SQLiteStore(path).open("a", {}) as journal:
        for number in range(20):
            await journal.step(f"{number}/reply", note, str(number))
        await journal.step("end", note, "null")
asyncio.run(main())
"""

    async def watch(store: SQLiteStore) -> list[str]:
        return [record.key async for record in follow(store, "a", every=0.01)]

    async with aclosing(SQLiteStore(path)) as store:
        watching = asyncio.create_task(watch(store))
        await said(write, path)

        assert await asyncio.wait_for(watching, SECONDS) == [*(f"{number}/reply" for number in range(20)), "end"]


async def test_processes_that_begin_a_file_together_all_get_on(path: Path):
    write = """
async def run(store, number):
    async with store.open(f"{sys.argv[2]}-{number}", {}) as journal:
        for step in range(20):
            await journal.step(f"{step}/reply", note, str(step))
async def main():
    store = SQLiteStore(path)
    await asyncio.gather(*(run(store, number) for number in range(5)))
sys.stdin.readline()
asyncio.run(main())
say("done")
"""
    async with (
        another_process(write, path, "a") as a,
        another_process(write, path, "b") as b,
        another_process(write, path, "c") as c,
        another_process(write, path, "d") as d,
        aclosing(SQLiteStore(path)) as store,
    ):
        for process in (a, b, c, d):
            process.stdin.write(b"go\n")

        assert [await heard(process) for process in (a, b, c, d)] == ["done"] * 4
        runs = await store.runs()
        assert sorted(runs) == [f"{name}-{number}" for name in "abcd" for number in range(5)]
        for run_id in runs:
            assert [record.key for record in await store.records(run_id)] == [f"{step}/reply" for step in range(20)]


async def test_a_forked_child_is_told_to_make_a_store_of_its_own_and_can(path: Path):
    fork = """
async def use(store, run_id):
    async with store.open(run_id, {}) as journal:
        await journal.step("input", note, "1")
async def hold(store):
    async with store.open("held", {}) as journal:
        await journal.step("input", note, "1")
        if (child := os.fork()) == 0:
            try:
                asyncio.run(store.runs())
            except JournalError as error:
                say(error)
            try:
                asyncio.run(use(SQLiteStore(path), "held"))
            except RunLocked as error:
                say(error)
            asyncio.run(use(SQLiteStore(path), "of the child"))
            os._exit(0)
        await asyncio.to_thread(os.waitpid, child, 0)
        await journal.step("0/reply", note, "2")
store = SQLiteStore(path)
asyncio.run(hold(store))
say(asyncio.run(store.runs()))
"""

    error, locked, runs = (await said(fork, path)).splitlines()

    assert "is of the process that forked this one; make one here" in error
    # Not "in this process": the child has none of its parent's locks.
    assert "the run 'held' is going on in process" in locked
    assert runs == "['held', 'of the child']"


async def test_what_nobody_waits_for_is_written_before_the_process_ends(path: Path):
    leave = """
store = SQLiteStore(path)
async def main():
    block = store.open("a", {})
    journal = await block.__aenter__()
    for number in range(100):
        asyncio.ensure_future(journal.step(f"{number}/reply", note, "1"))
    await asyncio.sleep(0)
    asyncio.get_running_loop().stop()
loop = asyncio.new_event_loop()
task = loop.create_task(main())
loop.run_forever()
"""

    async with another_process(leave, path) as process:
        await asyncio.wait_for(process.wait(), SECONDS)

    async with aclosing(SQLiteStore(path)) as store:
        assert len(await store.records("a")) == 100


async def test_no_descriptor_is_left_to_a_program_that_is_started(path: Path):
    async with aclosing(SQLiteStore(path)) as store, store.open("a", {}) as journal:
        await journal.step("input", note, "1")
        folder = Path("/proc/self/fd")
        if not folder.exists():
            pytest.skip("only Linux lists the descriptors")
        ours = [int(link.name) for link in folder.iterdir() if link.is_symlink() and str(path) in str(link.readlink())]

        assert len(ours) >= 3
        assert not any(os.get_inheritable(descriptor) for descriptor in ours)


WRITE_UNTIL_KILLED = """
async def run(store, run_id):
    async with store.open(run_id, {}) as journal:
        for step in range(1_000_000):
            await journal.step(f"{step}/reply", note, '"' + "x" * 500 + '"')
            os.write(1, f"{run_id} {step}/reply\\n".encode())
async def live(life):
    store = SQLiteStore(path)
    await asyncio.gather(*(run(store, f"{life}-{number}") for number in range(20)))
for life in sys.stdin:
    if (child := os.fork()) == 0:
        say(os.getpid())
        try:
            asyncio.run(live(life.strip()))
        finally:
            os._exit(1)
    os.waitpid(child, 0)
    say("dead")
"""


@pytest.mark.fault(132)
@pytest.mark.parametrize("kills", [20])
async def test_what_was_acknowledged_before_a_kill_is_there_after_it(path: Path, kills: int):
    chance = random.Random()  # noqa: S311  # a kill at random
    acknowledged: set[str] = set()

    async with another_process(WRITE_UNTIL_KILLED, path) as process:
        for life in range(kills):
            process.stdin.write(f"{life}\n".encode())
            child = int(await heard(process))
            for _ in range(chance.randrange(1, 400)):
                acknowledged.add(await heard(process))
            os.kill(child, signal.SIGKILL)
            while (line := await heard(process)) != "dead":
                acknowledged.add(line)

    async with aclosing(SQLiteStore(path)) as store:
        kept = {f"{run_id} {record.key}" for run_id in await store.runs() for record in await store.records(run_id)}
    assert len(acknowledged) >= kills
    assert acknowledged <= kept


async def test_a_store_that_was_closed_says_so_to_a_run_that_goes_on(path: Path):
    store = SQLiteStore(path)
    async with store.open("a", {}) as journal:
        await journal.step("input", note, "1")
        await store.aclose()

        with pytest.raises(JournalError, match="was closed; close the store when its runs have stopped"):
            await journal.step("0/reply", note, "2")
