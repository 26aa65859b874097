"""What a run may spend."""

from __future__ import annotations

import asyncio

import pytest

from agentloop import Limits
from agentloop.errors import LimitReached
from agentloop.limits import Budget, Price
from agentloop.messages import Usage


@pytest.mark.parametrize("name", ["steps", "calls", "calls_per_reply", "tokens", "seconds"])
def test_a_limit_that_allows_nothing_is_refused(name: str):
    with pytest.raises(ValueError, match=rf"Limits\({name}=0\) allows nothing"):
        Limits(**{name: 0})


def test_calls_are_granted_all_or_none():
    budget = Budget(Limits(calls=3))
    budget.take_calls(2)

    with pytest.raises(LimitReached):
        budget.take_calls(2)
    budget.take_calls(1)

    assert budget.calls == 3


def test_no_limit_is_no_limit():
    budget = Budget(Limits(steps=None))
    budget.spend(Usage(10**9, 10**9))

    for _ in range(1000):
        budget.take_step()

    assert budget.steps == 1000


async def test_a_reply_may_have_what_it_usually_has_and_never_more_than_is_left():
    budget = Budget(Limits(tokens=10_000))

    async with (
        budget.reserve(input_tokens=1_000, output_tokens=None) as usual,
        budget.reserve(input_tokens=1_000, output_tokens=500) as wanted,
    ):
        pass
    budget.spend(Usage(7_000, 1_000))
    async with budget.reserve(input_tokens=1_000, output_tokens=None) as rest:
        pass

    assert (usual, wanted, rest) == (4_096, 500, 1_000)


async def test_agents_that_share_a_limit_work_side_by_side():
    above = Budget(Limits(tokens=100_000))
    inside = 0
    most = 0
    gate = asyncio.Event()

    async def work() -> None:
        nonlocal inside, most
        async with Budget(Limits(), above=above).reserve(input_tokens=10, output_tokens=None):
            inside += 1
            most = max(most, inside)
            if inside == 8:
                gate.set()
            await asyncio.wait_for(gate.wait(), 5)

    await asyncio.gather(*(work() for _ in range(8)))

    assert most == 8


async def test_who_waits_for_tokens_is_told_when_they_are_free():
    budget = Budget(Limits(tokens=5_000))
    begun = asyncio.Event()

    async def second() -> int | None:
        begun.set()
        async with budget.reserve(input_tokens=0, output_tokens=4_000) as most:
            return most

    async with budget.reserve(input_tokens=0, output_tokens=4_000):
        waiting = asyncio.create_task(second())
        await begun.wait()
        assert not waiting.done()

    assert await asyncio.wait_for(waiting, 5) == 4_000


@pytest.mark.parametrize(
    ("limits", "limit"),
    [
        (Limits(tokens=1_000, money=10, price=Price(input=1, output=1)), "tokens"),
        (Limits(tokens=10**9, money=0.001, price=Price(input=1, output=1)), "money"),
        (Limits(money=0.001, price=Price(input=1, output=0)), "money"),
    ],
)
async def test_the_limit_that_is_used_up_is_the_one_that_is_named(limits: Limits, limit: str):
    budget = Budget(limits)
    budget.spend(Usage(1_000, 0))

    with pytest.raises(LimitReached) as reached:
        async with budget.reserve(input_tokens=0, output_tokens=None):
            pass

    assert reached.value.limit == limit


def test_a_price_counts_what_a_cache_gave_apart():
    price = Price(input=2, output=10, cached=0.5)

    assert price.of(Usage(1_000_000, 100_000, cached_tokens=500_000)) == pytest.approx(1 + 0.25 + 1)


async def test_money_needs_a_price():
    with pytest.raises(ValueError, match="give price=Price"):
        Limits(money=1)
