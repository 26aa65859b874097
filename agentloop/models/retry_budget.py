"""What all requests over one client to one server may spend on retries, so that no storm of them builds up."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any
from weakref import WeakKeyDictionary

_FLOOR = 10.0
_HALF_LIFE = 60.0


class RetryBudget:
    """Counts requests and retries; what is longer ago counts less, half after a minute."""

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self._requests = 0.0
        self._retries = 0.0

    def count_request(self) -> None:
        """Count a request that is sent for the first time."""
        self._age()
        self._requests += 1

    def take(self, share: float) -> bool:
        """Take a retry, if there is one left: ten are always allowed, and more where they are at most this share of the requests."""
        self._age()
        if self._retries + 1 > max(_FLOOR, share * self._requests):
            return False
        self._retries += 1
        return True

    def _age(self) -> None:
        now = self._clock()
        kept = 0.5 ** ((now - self._since) / _HALF_LIFE)
        self._since = now
        self._requests *= kept
        self._retries *= kept


_budgets: WeakKeyDictionary[Any, dict[str, RetryBudget]] = WeakKeyDictionary()


def budget_of(client: Any, server: str) -> RetryBudget:
    """Give the budget that all share who ask this server over this client."""
    try:
        budgets = _budgets.setdefault(client, {})
    except TypeError:
        # A client of a stranger's own may be one that cannot be kept weakly; it shares nothing.
        return RetryBudget()
    return budgets.get(server) or budgets.setdefault(server, RetryBudget())
