"""Asks again where that may help: the only place where a request is sent twice."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState

from agentloop.errors import BadReply, EmptyReply, ModelConnectError, ModelError
from agentloop.events import Retrying

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


_UNREADABLE_ATTEMPTS = 3
_EMPTY_ATTEMPTS = 2


async def with_retries(
    attempt: Callable[[], Awaitable[Answer]],
    policy: Retries,
    *,
    may_repeat: Callable[[], bool],
    say: Callable[[Retrying], Awaitable[None]],
) -> Answer:
    """Run `attempt` until it gives an answer or asking again cannot help.

    Args:
        attempt: Sends the request once.
        policy: How often, how patiently.
        may_repeat: Whether nothing of a failed attempt was shown to anyone.
        say: Is told before each wait.

    Raises:
        ModelError: The last failure, with `.attempts` filled in.
    """

    def again(state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        if not isinstance(error, ModelError):
            return False
        error.attempts = state.attempt_number
        return may_repeat() and error.retryable and state.attempt_number < _attempts(error, policy)

    async def before_wait(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, ModelError):
            await say(Retrying(error, state.attempt_number, state.upcoming_sleep))

    retrying = AsyncRetrying(retry=again, wait=lambda state: _wait(state, policy), before_sleep=before_wait, reraise=True)
    return await retrying(attempt)


def _attempts(error: ModelError, policy: Retries) -> int:
    if error.retry_after is not None and error.retry_after > policy.patience:
        return 1
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
    if isinstance(error, ModelConnectError) and error.at_once and state.attempt_number == 1:
        return 0
    longest = min(policy.longest_wait, policy.first_wait * 2 ** (state.attempt_number - 1))
    return random.uniform(0, longest)  # noqa: S311  # spreads waits, guards no secret
