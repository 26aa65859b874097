"""What every store within the process must do beyond the conformance tests: import these tests beside a fixture `store`."""

from __future__ import annotations

import asyncio
import json

import pytest

from agentloop.errors import JournalError, RunLocked
from agentloop.journal import Journal, Unanswered, note
from agentloop.journal.following import follow
from agentloop.journal.store import Store


async def test_the_second_who_goes_on_with_a_run_is_refused(store: Store):
    async with store.open("a", {}), store.open("b", {}):
        with pytest.raises(RunLocked, match=r"'a' is going on .*; wait"):
            async with store.open("a", {}):
                pass

    async with store.open("a", {}) as journal:
        assert await journal.step("0/reply", note, "1") == "1"


async def test_a_run_that_failed_can_be_gone_on_with_at_once(store: Store):
    with pytest.raises(ZeroDivisionError):
        async with store.open("a", {}):
            raise ZeroDivisionError

    async with store.open("a", {}) as journal:
        assert await journal.step("0/reply", note, "1") == "1"


async def test_a_step_asked_for_twice_in_one_life_is_done_once(store: Store):
    async with store.open("a", {}) as journal:
        assert await journal.step("0/reply", note, "1") == "1"
        assert await journal.step("0/reply", note, "2") == "1"


async def test_a_wait_that_nobody_has_answered_says_so_until_somebody_does(store: Store):
    async with store.open("a", {}) as journal:
        await journal.step("input", note, "1")
        with pytest.raises(Unanswered):
            await journal.wait("0/0/word")

        await store.tell("a", key="0/0/word", value='"yes"')

        assert await journal.wait("0/0/word") == '"yes"'


async def test_a_step_that_somebody_was_told_of_meanwhile_is_not_overwritten(store: Store):
    async def told_meanwhile() -> str:
        await store.tell("a", key="0/0", value='"told"')
        return '"told"'

    async with store.open("a", {}) as journal:
        await journal.step("input", note, "1")

        assert await journal.step("0/0", told_meanwhile) == '"told"'
        assert [record.key for record in await store.records("a")] == ["input", "0/0"]


async def test_the_first_word_holds(store: Store):
    async with store.open("a", {}) as journal:
        await journal.step("input", note, "1")
    await store.tell("a", key="0/0/word", value='"yes"')

    await store.tell("a", key="0/0/word", value='"yes"')
    with pytest.raises(JournalError, match="'a' was told something else under '0/0/word' before; the first word holds"):
        await store.tell("a", key="0/0/word", value='"no"')

    await store.tell("a", key="0/1/word", value='"no"')

    assert [record.value for record in await store.records("a")] == ["1", '"yes"', '"no"']


async def test_a_word_for_a_run_that_there_is_not_names_those_there_are(store: Store):
    async with store.open("known", {}) as journal:
        await journal.step("input", note, "1")

    with pytest.raises(JournalError, match=r"there is no run 'unknown'.*; known: '?known'?$"):
        await store.tell("unknown", key="0/0/word", value='"yes"')

    assert await store.runs() == ["known"]


async def test_runs_are_named_with_the_newest_last_and_the_spawned(store: Store):
    async def child(journal: Journal, given: str) -> str:
        return await journal.step("input", note, given)

    for run_id in ("b", "a"):
        async with store.open(run_id, {"child": child}) as journal:
            await journal.step("input", note, "1")
            await journal.spawn("0/0", "child", input="2")

    assert await store.runs() == ["b", "b/0/0", "a", "a/0/0"]


async def test_records_come_in_their_order_and_after_the_one_that_is_known(store: Store):
    async with store.open("a", {}) as one, store.open("b", {}) as other:
        for number in range(3):
            await asyncio.gather(one.step(f"{number}/reply", note, str(number)), other.step(f"{number}/reply", note, "0"))

    records = await store.records("a")

    assert [(record.run_id, record.key, record.value) for record in records] == [("a", f"{n}/reply", str(n)) for n in range(3)]
    assert sorted(record.seq for record in records) == [record.seq for record in records]
    assert sorted(record.at for record in records) == [record.at for record in records]
    assert list(await store.records("a", after=records[0].seq)) == list(records[1:])
    assert list(await store.records("nobody")) == []


async def test_a_follower_is_given_what_there_is_and_what_comes_until_the_end(store: Store):
    followed: list[str] = []

    async def watch() -> None:
        followed.extend([record.key async for record in follow(store, "a", every=0.001)])

    async with store.open("a", {}) as journal:
        await journal.step("input", note, "1")
        watching = asyncio.create_task(watch())
        for number in range(5):
            await journal.step(f"{number}/reply", note, json.dumps(number))
        await journal.step("end", note, "null")
    await asyncio.wait_for(watching, 5)

    assert followed == ["input", *(f"{number}/reply" for number in range(5)), "end"]


async def test_a_follower_who_knows_the_end_is_given_nothing(store: Store):
    async with store.open("a", {}) as journal:
        await journal.step("input", note, "1")
        await journal.step("end", note, "null")
    first, last = await store.records("a")

    rest = [record.key async for record in follow(store, "a", after=first.seq)]
    nothing = [record.key async for record in follow(store, "a", after=last.seq)]

    assert rest == ["end"]
    assert nothing == []
