"""Asks again where that may help: the only place where a request is sent twice."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from agentloop.errors import BadReply, EmptyReply, ModelConnectError, ModelError
from agentloop.events import Retrying
from agentloop.models.retry_budget import RetryBudget

if TYPE_CHECKING:
    from tenacity import RetryCallState

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How often and how patiently a model is asked again."""

    attempts: int = 4
    """Requests in all, the first included; 1 never asks again."""
    first_wait: float = 0.5
    """The longest wait before the second attempt, in seconds; it doubles each time, and each wait is drawn between 0 and it."""
    longest_wait: float = 8.0
    patience: float = 60.0
    """The longest wait a server may ask for; it fails at once where it asks for more."""
    share: float = 0.1
    """How many retries all who ask a server over one client may make, as a share of their requests in about a minute; ten are always
    allowed. A connection that the server has closed is replaced once without being counted."""


_UNREADABLE_ATTEMPTS = 3
_EMPTY_ATTEMPTS = 2

_end: ContextVar[float] = ContextVar("_end", default=math.inf)


@contextmanager
def ending_at(when: float | None) -> Generator[None]:
    """Fail at once, in the block and in the tasks begun there, where a server asks to wait beyond this time of the event loop's clock."""
    token = _end.set(min(_end.get(), math.inf if when is None else when))
    try:
        yield
    finally:
        _end.reset(token)


async def with_retries(
    attempt: Callable[[], Awaitable[Answer]],
    policy: Retries,
    *,
    may_repeat: Callable[[], bool],
    say: Callable[[Retrying], Awaitable[None]],
    budget: RetryBudget,
) -> Answer:
    """Run `attempt` until it gives an answer or asking again cannot help.

    Args:
        attempt: Sends the request once.
        policy: How often, how patiently.
        may_repeat: Whether nothing of a failed attempt was shown to anyone.
        say: Is told before each wait.
        budget: What all who ask this server may spend on retries.

    Raises:
        ModelError: The last failure, with `.attempts` filled in.
    """

    def again(state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        if not isinstance(error, ModelError):
            return False
        error.attempts = state.attempt_number
        if not (may_repeat() and error.retryable and state.attempt_number < _attempts(error, policy)):
            return False
        why_not = _waits_too_long(error, policy) or ("" if _is_free(error) or budget.take(policy.share) else _SPENT)
        if why_not:
            error.args = (f"{error}; {why_not}",)
        return not why_not

    async def before_wait(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, ModelError):
            await say(Retrying(error, state.attempt_number, state.upcoming_sleep))

    budget.count_request()
    # Asking through tenacity costs 59 us, and most requests do well; it gets to know of the first one if that failed.
    try:
        return await attempt()
    except ModelError as error:
        first: list[ModelError] = [error]
    # A fifteenth of what `import agentloop` would cost, for what most processes never need.
    from tenacity import AsyncRetrying  # noqa: PLC0415

    retrying = AsyncRetrying(retry=again, wait=lambda state: _wait(state, policy), before_sleep=before_wait, reraise=True)
    return await retrying(_after(first, attempt))


def _after(failures: list[ModelError], attempt: Callable[[], Awaitable[Answer]]) -> Callable[[], Awaitable[Answer]]:
    """Fail as before, once, and attempt it then."""

    async def next_attempt() -> Answer:
        if failures:
            raise failures.pop()
        return await attempt()

    return next_attempt


_SPENT = "too many requests fail, so it is not asked again; ask less at once, or raise Retries(share=...)"


def _waits_too_long(error: ModelError, policy: Retries) -> str:
    """Say why what the server asks for is not waited for, if so."""
    if error.retry_after is None:
        return ""
    asked = f"it asks to wait {error.retry_after:g} s"
    if error.retry_after > policy.patience:
        return f"{asked}, and Retries(patience=...) allows {policy.patience:g} s"
    left = _end.get() - asyncio.get_running_loop().time()
    return f"{asked}, and the run has {left:.1f} s left" if error.retry_after > left else ""


def _is_free(error: ModelError) -> bool:
    """Whether the request was most likely never heard, because the connection was an old one."""
    return isinstance(error, ModelConnectError) and error.at_once and error.attempts == 1


def _attempts(error: ModelError, policy: Retries) -> int:
    match error:
        case EmptyReply():
            return min(policy.attempts, _EMPTY_ATTEMPTS)
        case BadReply():
            return min(policy.attempts, _UNREADABLE_ATTEMPTS)
        case _:
            return policy.attempts


def _wait(state: RetryCallState, policy: Retries) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, ModelError) and error.retry_after is not None:
        return error.retry_after
    if isinstance(error, ModelError) and _is_free(error):
        return 0
    longest = min(policy.longest_wait, policy.first_wait * 2 ** (state.attempt_number - 1))
    return random.uniform(0, longest)  # noqa: S311  # spreads waits, guards no secret
