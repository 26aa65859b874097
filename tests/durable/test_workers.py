"""Workers on Postgres: what waits costs nothing, what stops is taken over, what is over is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

pytest.importorskip("dbos")

import pytest_asyncio

from agentloop.durable.dbos import DBOSStore, Worker
from agentloop.errors import ConfigurationError, JournalError
from agentloop.journal import Journal, note
from agentloop.journal.following import follow
from tests.durable.crew import becomes


@pytest_asyncio.fixture
async def store(database: str) -> AsyncIterator[DBOSStore]:
    async with aclosing(DBOSStore(database)) as store:
        yield store


async def asks(journal: Journal, _: str) -> str:
    await journal.step("0/reply", note, '"May I?"')
    return await journal.wait("0/0/word")


async def answers(journal: Journal, given: str) -> str:
    return await journal.step("0/reply", note, given)


async def test_runs_that_wait_for_a_word_leave_their_places_to_others(database: str, store: DBOSStore):
    async with Worker(database, {"asks": asks, "answers": answers}, concurrency=1):
        for number in range(3):
            await store.submit("asks", "null", run_id=f"asking {number}")
        for number in range(3):
            await becomes(store, f"asking {number}", "waiting")
        await store.submit("answers", '"Hello."', run_id="answering")

        assert await asyncio.wait_for(store.result("answering"), 5) == '"Hello."'
        await store.tell("asking 1", key="0/0/word", value='"yes"')
        assert await asyncio.wait_for(store.result("asking 1"), 5) == '"yes"'
        assert [await store.state(f"asking {number}") for number in range(3)] == ["waiting", "done", "waiting"]


async def test_a_run_waits_with_what_it_spawned_and_both_go_on(database: str, store: DBOSStore):
    async def boss(journal: Journal, given: str) -> str:
        return await journal.spawn("0/0", "asks", input=given)

    async with Worker(database, {"asks": asks, "boss": boss, "answers": answers}, concurrency=1):
        await store.submit("boss", "null", run_id="boss")
        await becomes(store, "boss", "waiting")
        assert await store.runs() == ["boss", "boss/0/0"]

        await store.tell("boss/0/0", key="0/0/word", value='"yes"')

        assert await asyncio.wait_for(store.result("boss"), 5) == '"yes"'


async def test_a_spawned_run_is_watched_and_told_under_its_own_name_and_managed_with_the_one_around_it(database: str, store: DBOSStore):
    async def team(journal: Journal, given: str) -> str:
        return await journal.spawn("1/0", "boss", input=given)

    async def boss(journal: Journal, given: str) -> str:
        await journal.step("0/reply", note, given)
        return await journal.spawn("0/2", "asks", input=given)

    async with Worker(database, {"asks": asks, "boss": boss, "team": team}):
        await store.submit("team", "null", run_id="team")
        await becomes(store, "team", "waiting")
        await store.tell("team/1/0/0/2", key="0/0/word", value='"yes"')
        assert await asyncio.wait_for(store.result("team"), 5) == '"yes"'

    assert await store.runs() == ["team", "team/1/0", "team/1/0/0/2"]
    assert [record.key for record in await store.records("team/1/0/0/2")] == ["0/reply", "0/0/word", "end"]
    assert [record.key for record in await store.records("team/1/0")] == ["0/reply", "end"]
    assert [record.key for record in await store.records("team")] == ["end"]
    with pytest.raises(JournalError, match="'team/1/0' is a part of 'team', which spawned it; ask for that one"):
        await store.cancel("team/1/0")


async def test_a_work_that_only_this_life_knows_can_be_spawned(database: str, store: DBOSStore):
    async def boss(journal: Journal, given: str) -> str:
        async def own(inner: Journal, task: str) -> str:
            return await inner.step("0/reply", note, f"[{given}, {task}]")

        journal.works["own"] = own
        return await journal.spawn("0/0", "own", input="2")

    async with Worker(database, {"boss": boss}):
        await store.submit("boss", "1", run_id="boss")

        assert await asyncio.wait_for(store.result("boss"), 5) == "[1, 2]"


async def test_a_word_is_kept_that_comes_before_any_worker_does(database: str, store: DBOSStore):
    await store.submit("asks", "null", run_id="early")
    await store.tell("early", key="0/0/word", value='"yes"')

    async with Worker(database, {"asks": asks}):
        assert await asyncio.wait_for(store.result("early"), 5) == '"yes"'


async def test_the_first_word_on_a_key_holds(store: DBOSStore):
    await store.submit("asks", "null", run_id="told")
    said = await asyncio.gather(*(store.tell("told", key="0/0/word", value=str(number)) for number in range(8)), return_exceptions=True)

    (kept,) = [record.value for record in await store.records("told")]
    assert [type(each) for each in said].count(JournalError) == 7
    assert said[int(kept)] is None
    await store.tell("told", key="0/0/word", value=kept)


async def test_an_unknown_run_is_named_with_those_there_are(store: DBOSStore):
    await store.submit("asks", "null", run_id="known")

    with pytest.raises(JournalError, match="there is no run 'unknown'; the newest are: known"):
        await store.tell("unknown", key="0/0/word", value="1")
    assert list(await store.records("unknown")) == []


async def test_a_run_that_is_submitted_twice_is_done_once(database: str, store: DBOSStore):
    async with Worker(database, {"answers": answers}):
        await store.submit("answers", '"first"', run_id="twice")
        await store.submit("answers", '"second"', run_id="twice")

        assert await asyncio.wait_for(store.result("twice"), 5) == '"first"'
        assert await store.runs() == ["twice"]


async def test_a_cancelled_run_stops_with_what_it_spawned_and_goes_on_when_it_is_resumed(database: str, store: DBOSStore):
    begun, stopped, done = asyncio.Event(), asyncio.Event(), asyncio.Event()
    replies: list[str] = []

    async def reply() -> str:
        replies.append("spoken")
        return "1"

    async def slow() -> str:
        begun.set()
        try:
            await done.wait()
        except asyncio.CancelledError:
            stopped.set()
            raise
        return '"slow but sure"'

    async def sluggish(journal: Journal, _: str) -> str:
        await journal.step("0/reply", reply)
        return await journal.step("0/0", slow)

    async def boss(journal: Journal, given: str) -> str:
        return await journal.spawn("0/0", "sluggish", input=given)

    async with Worker(database, {"boss": boss, "sluggish": sluggish}):
        await store.submit("boss", "null", run_id="boss")
        await asyncio.wait_for(begun.wait(), 5)
        await store.cancel("boss")
        await asyncio.wait_for(stopped.wait(), 2)
        assert await store.state("boss") == "cancelled"
        with pytest.raises(JournalError, match="was cancelled"):
            await store.result("boss")

        done.set()
        await store.resume("boss")

        assert await asyncio.wait_for(store.result("boss"), 5) == '"slow but sure"'
        assert replies == ["spoken"]


async def test_a_run_that_failed_says_why_and_goes_on_when_it_is_resumed(database: str, store: DBOSStore):
    tries: list[str] = []

    async def sometimes(journal: Journal, given: str) -> str:
        await journal.step("0/reply", note, given)
        tries.append("again")
        if len(tries) == 1:
            raise ValueError("not today")
        return '"well"'

    async with Worker(database, {"sometimes": sometimes}):
        await store.submit("sometimes", "null", run_id="failing")
        with pytest.raises(JournalError, match=r"the run 'failing' failed: ValueError: not today; it goes on with resume\('failing'\)"):
            await asyncio.wait_for(store.result("failing"), 5)

        await store.resume("failing")

        assert await asyncio.wait_for(store.result("failing"), 5) == '"well"'
        assert [record.key for record in await store.records("failing")] == ["0/reply", "end"]


async def test_a_work_that_no_worker_has_fails_with_those_that_it_has(database: str, store: DBOSStore):
    async with Worker(database, {"asks": asks, "answers": answers}):
        await store.submit("answer", "null", run_id="misspelt")

        with pytest.raises(JournalError, match="no work 'answer'; known: answers, asks"):
            await asyncio.wait_for(store.result("misspelt"), 5)


async def test_no_more_runs_go_on_at_once_than_a_worker_may_have(database: str, store: DBOSStore):
    two, now, most = asyncio.Barrier(2), 0, 0

    async def meets() -> str:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.wait_for(two.wait(), 5)
        now -= 1
        return "1"

    async def work(journal: Journal, _: str) -> str:
        return await journal.step("0/0", meets)

    async with Worker(database, {"work": work}, concurrency=2):
        run_ids = [await store.submit("work", "null") for _ in range(6)]

        assert [await asyncio.wait_for(store.result(run_id), 5) for run_id in run_ids] == ["1"] * 6
        assert most == 2


async def test_no_more_runs_begin_than_the_rate_allows(database: str, store: DBOSStore):
    async with Worker(database, {"answers": answers}, rate=(2, 600)):
        run_ids = [await store.submit("answers", "1") for _ in range(3)]
        for run_id in run_ids[:2]:
            await asyncio.wait_for(store.result(run_id), 5)

        assert await store.state(run_ids[2]) == "queued"


async def test_runs_of_another_version_are_left_to_its_workers(database: str, store: DBOSStore):
    async with Worker(database, {"answers": answers}, version="2"):
        await store.submit("answers", "1", run_id="old", version="1")
        await store.submit("answers", "1", run_id="new", version="2")

        assert await asyncio.wait_for(store.result("new"), 5) == "1"
        assert await store.state("old") == "queued"


async def test_a_process_has_one_worker(database: str):
    async with Worker(database, {}):
        with pytest.raises(ConfigurationError, match="works in this process already"):
            async with Worker(database, {}):
                pass


async def test_who_follows_a_run_hears_every_record_as_it_comes_words_too(database: str, store: DBOSStore):
    async def work(journal: Journal, given: str) -> str:
        await asyncio.gather(*(journal.step(f"0/{number}", note, given) for number in range(10)))
        word = await journal.wait("0/0/word")
        return await journal.step("1/reply", note, word)

    heard: list[tuple[str, int]] = []
    async with Worker(database, {"work": work}):
        await store.submit("work", "1", run_id="watched")
        async with asyncio.timeout(10):
            async for record in follow(store, "watched"):
                heard.append((record.key, record.seq))
                if len(heard) == 10:
                    await store.tell("watched", key="0/0/word", value='"go on"')

    assert sorted(key for key, _ in heard[:10]) == [f"0/{number}" for number in range(10)]
    assert [key for key, _ in heard[10:]] == ["0/0/word", "1/reply", "end"]
    assert [seq for _, seq in heard] == sorted({seq for _, seq in heard})
    assert [record.key for record in await store.records("watched", after=heard[11][1])] == ["end"]


async def test_a_life_whose_run_went_on_elsewhere_records_nothing_more(database: str, store: DBOSStore):
    lives: list[asyncio.Event] = []
    begun = asyncio.Semaphore(0)

    async def slow() -> str:
        mine = len(lives)
        lives.append(asyncio.Event())
        begun.release()
        await lives[mine].wait()
        return str(mine)

    async def work(journal: Journal, _: str) -> str:
        return await journal.step("0/0", slow)

    async with Worker(database, {"work": work}) as worker:
        await store.submit("work", "null", run_id="stolen")
        await asyncio.wait_for(begun.acquire(), 5)
        # As another worker does that takes this one for dead.
        await store.database.threaded(store.database.give_back, worker.executor_id)
        await asyncio.wait_for(begun.acquire(), 5)
        lives[0].set()
        await becomes(store, "stolen", "running")
        assert list(await store.records("stolen")) == []

        lives[1].set()

        assert await asyncio.wait_for(store.result("stolen"), 5) == "1"
