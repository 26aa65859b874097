"""What a run may spend."""

from __future__ import annotations

import pytest

from agentloop import Limits
from agentloop.errors import LimitReached
from agentloop.limits import Budget
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
