"""What every journal must do, whatever it is kept in: import these tests beside a fixture `backend`.

Each call of `backend.live` is a life of its own, so that the second one goes on over what the first wrote down.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Awaitable, Callable

import pytest

from agentloop.journal import Journal, note
from tests.journal.backends import Backend

HARD_TEXTS = [
    "ünïcödé 日本語 🙂 e\u0301",
    "line\u2028and\u2029paragraph\r\n\ttab",
    "a\u0000z",
    '"quoted" and \\back\\',
    "x" * 1_000_000,
]


def counting(done: list[str]) -> Callable[[str], Awaitable[str]]:
    """Make an `fn` that writes down that it was called."""

    async def fn(value: str) -> str:
        done.append(value)
        return value

    return fn


async def test_a_recorded_step_is_given_and_not_done_again(backend: Backend):
    done: list[str] = []

    async def work(journal: Journal, given: str) -> str:
        first = await journal.step("0/reply", counting(done), json.dumps(f"{given} heard {len(done)}"))
        return await journal.step("1/reply", counting(done), json.dumps([first]))

    before = await backend.live("replayed", work, '"Go."')
    after = await backend.live("replayed", work, '"Go."')

    assert before == after
    assert len(done) == 2


async def test_a_run_that_died_goes_on_behind_its_last_record(backend: Backend):
    done: list[str] = []

    async def work(journal: Journal, _: str) -> str:
        for number in range(4):
            await journal.step(f"{number}/reply", counting(done), str(number))
        return "true"

    await backend.crash("died", work, "null", at="2/reply")
    outcome = await backend.live("died", work, "null")

    assert outcome == "true"
    assert done == ["0", "1", "2", "2", "3"]


async def test_an_error_of_a_step_is_raised_and_not_recorded(backend: Backend):
    done: list[str] = []

    async def sometimes() -> str:
        done.append("tried")
        if len(done) == 1:
            raise ValueError("not today")
        return '"well"'

    async def work(journal: Journal, _: str) -> str:
        try:
            return await journal.step("0/0", sometimes)
        except ValueError as error:
            return json.dumps(f"failed: {error}")

    async def dying(journal: Journal, given: str) -> str:
        raise LookupError(await work(journal, given))

    with pytest.raises(LookupError, match="failed: not today"):
        await backend.live("failing", dying, "null")
    assert "0/0" not in await backend.records("failing")

    assert await backend.live("failing", work, "null") == '"well"'


@pytest.mark.parametrize("seed", range(3))
async def test_steps_side_by_side_keep_their_results_however_they_end(backend: Backend, seed: int):
    order = random.Random(seed)  # noqa: S311  # a shuffle
    finished: list[str] = []

    def ending_at_random() -> Callable[[str], Awaitable[str]]:
        turns = order.sample(range(10), 10)

        async def fn(value: str) -> str:
            for _ in range(turns[int(value)]):
                await asyncio.sleep(0)
            finished.append(value)
            return value

        return fn

    async def work(journal: Journal, _: str) -> str:
        fn = ending_at_random()
        steps = [journal.step(f"0/{number}", fn, str(number)) for number in range(10)]
        return json.dumps(await asyncio.gather(*steps))

    before = await backend.live(f"shuffled-{seed}", work, "null")
    after = await backend.live(f"shuffled-{seed}", work, "null")

    assert before == after == json.dumps([str(number) for number in range(10)])
    assert sorted(finished) == [str(number) for number in range(10)]
    assert finished != sorted(finished)


async def test_only_what_is_not_recorded_of_steps_side_by_side_is_done_again(backend: Backend):
    done: list[str] = []

    async def work(journal: Journal, _: str) -> str:
        first = await asyncio.gather(*(journal.step(f"0/{number}", counting(done), str(number)) for number in range(3)))
        last = await journal.step("1/reply", counting(done), '"last"')
        second = await asyncio.gather(*(journal.step(f"1/{number}", counting(done), str(number + 3)) for number in range(3)))
        return json.dumps([*first, last, *second])

    await backend.crash("half", work, "null", at="1/reply")
    await backend.live("half", work, "null")

    assert done == ["0", "1", "2", '"last"', '"last"', "3", "4", "5"]


async def asks(journal: Journal, _: str) -> str:
    """Ask two people, one after the other."""
    await journal.step("input", note, "null")
    return json.dumps([await journal.wait(f"0/{number}/word") for number in range(2)])


async def test_a_word_sent_while_nobody_lives_is_there_in_the_next_life(backend: Backend):
    await backend.pause("asking", asks, "null")

    await backend.tell("asking", key="0/0/word", value='"yes"')
    await backend.tell("asking", key="0/1/word", value='"no"')

    assert await backend.live("asking", asks, "null") == json.dumps(['"yes"', '"no"'])
    assert await backend.live("asking", asks, "null") == json.dumps(['"yes"', '"no"'])


async def test_words_may_come_out_of_order(backend: Backend):
    await backend.pause("disorderly", asks, "null")

    await backend.tell("disorderly", key="0/1/word", value='"no"')
    await backend.pause("disorderly", asks, "null")
    await backend.tell("disorderly", key="0/0/word", value='"yes"')

    assert await backend.live("disorderly", asks, "null") == json.dumps(['"yes"', '"no"'])


async def test_a_word_sent_before_it_is_waited_for_is_kept(backend: Backend):
    async def asks_late(journal: Journal, _: str) -> str:
        await journal.step("input", note, "null")
        await backend.tell("early", key="0/0/word", value='"yes"')
        return await journal.wait("0/0/word")

    assert await backend.live("early", asks_late, "null") == '"yes"'


async def test_a_spawned_run_is_a_run_of_its_own_and_replayed(backend: Backend):
    done: list[str] = []

    async def clerk(journal: Journal, given: str) -> str:
        return await journal.step("0/reply", counting(done), json.dumps(f"did {json.loads(given)}"))

    async def boss(journal: Journal, _: str) -> str:
        await journal.step("0/reply", counting(done), '"asked"')
        orders = (journal.spawn(f"0/{number}", "clerk", input=json.dumps(f"task {number}")) for number in range(2))
        said = await asyncio.gather(*orders)
        return json.dumps([json.loads(word) for word in said])

    before = await backend.live("boss", boss, "null", works={"clerk": clerk})
    after = await backend.live("boss", boss, "null", works={"clerk": clerk})

    assert before == after == '["did task 0", "did task 1"]'
    assert sorted(done) == ['"asked"', '"did task 0"', '"did task 1"']
    assert (await backend.records("boss/0/1"))["0/reply"] == '"did task 1"'
    assert "0/reply" in await backend.records("boss")


async def test_a_spawned_run_may_wait_for_a_word_of_its_own(backend: Backend):
    async def boss(journal: Journal, _: str) -> str:
        await journal.step("input", note, "null")
        return await journal.spawn("0/0", "asks", input="null")

    await backend.pause("asking boss", boss, "null", works={"asks": asks})
    await backend.tell("asking boss/0/0", key="0/0/word", value='"yes"')
    await backend.tell("asking boss/0/0", key="0/1/word", value='"no"')

    assert await backend.live("asking boss", boss, "null", works={"asks": asks}) == json.dumps(['"yes"', '"no"'])


@pytest.mark.parametrize(("at", "in_doubt"), [("0/reply", False), ("0/begun", False), ("0/0", True), ("1/reply", False)])
async def test_a_call_is_in_doubt_when_an_earlier_life_began_it_and_recorded_nothing(backend: Backend, at: str, *, in_doubt: bool):
    effects: list[str] = []
    lives: list[str] = []

    async def work(journal: Journal, _: str) -> str:
        life = f'"life {len(lives)}"'
        lives.append(life)
        await journal.step("0/reply", note, '"call it"')
        begun = await journal.step("0/begun", note, life)

        async def once() -> str:
            if begun != life:
                return '"in doubt"'
            effects.append(life)
            return '"done"'

        result = await journal.step("0/0", once)
        await journal.step("1/reply", note, '"so be it"')
        return result

    await backend.crash(f"doubtful at {at}", work, "null", at=at)
    outcome = await backend.live(f"doubtful at {at}", work, "null")

    assert outcome == ('"in doubt"' if in_doubt else '"done"')
    assert len(effects) == 1


@pytest.mark.parametrize("text", HARD_TEXTS, ids=["unicode", "separators", "nul", "quotes", "1 MB"])
@pytest.mark.parametrize("ascii_only", [True, False])
async def test_json_text_is_kept_to_the_letter(backend: Backend, text: str, *, ascii_only: bool):
    value = json.dumps({"text": text}, ensure_ascii=ascii_only)
    run_id = f"text {HARD_TEXTS.index(text)} {ascii_only}"

    async def work(journal: Journal, given: str) -> str:
        assert given == value
        return await journal.step("0/0", note, value)

    assert await backend.live(run_id, work, value) == value
    assert await backend.live(run_id, work, value) == value
    assert (await backend.records(run_id))["0/0"] == value


async def test_two_runs_may_use_the_same_keys(backend: Backend):
    async def work(journal: Journal, given: str) -> str:
        return await journal.step("0/reply", note, given)

    said = await asyncio.gather(*(backend.live(f"one of {number}", work, str(number)) for number in range(5)))
    again = [await backend.live(f"one of {number}", work, "-1") for number in range(5)]

    assert said == again == ["0", "1", "2", "3", "4"]


async def test_records_are_read_while_the_run_goes_on(backend: Backend):
    async def work(journal: Journal, _: str) -> str:
        await journal.step("0/reply", note, '"one"')
        seen = await backend.records("watched")
        await journal.step("1/reply", note, '"two"')
        return json.dumps(sorted(key for key in seen if re.fullmatch(r"\d/reply", key)))

    assert await backend.live("watched", work, "null") == '["0/reply"]'
