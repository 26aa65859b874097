"""What a run may spend: steps, calls, depth, tokens, money, seconds; shared with the agents in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic

from agentloop.errors import LimitReached
from agentloop.messages import Usage

_LEAST_REPLY = 16
_USUAL_REPLY = 4_096
_ENDLESS = 2**53
_NOTHING: AbstractAsyncContextManager[None] = nullcontext()


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a model costs, in US dollars for a million tokens."""

    input: float
    output: float
    cached: float | None = None
    """What is read from a cache; the price of input where it is not given."""

    def of(self, usage: Usage) -> float:
        """Say what the tokens cost, in US dollars."""
        cached = self.input if self.cached is None else self.cached
        fresh = usage.input_tokens - usage.cached_tokens
        return (fresh * self.input + usage.cached_tokens * cached + usage.output_tokens * self.output) / 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a run may spend; None is no limit. A run that is resumed may spend as much again."""

    steps: int | None = 25
    """Replies of the model, those of agents in this one included."""
    calls: int | None = None
    """Tool calls, over all steps."""
    calls_per_reply: int = 256
    """Tool calls in one reply; the model is told that those above it were not run."""
    calls_at_once: int = 32
    """Tool calls that run side by side."""
    depth: int = 8
    """Agents in agents; the model is told that those below were not asked."""
    repeats: int | None = 5
    """The same call with the same result: from the third on the model reads the first one again, at this many the run ends."""
    tokens: int | None = None
    """Input and output together, over all steps. A reply may have `Settings.max_tokens`, or 4,096 where that is not said, and never more
    than what is left."""
    money: float | None = None
    """US dollars; needs `price`."""
    price: Price | None = None
    """What the model costs."""
    seconds: float | None = None
    final_answer: bool = False
    """Whether a model that has reached a limit of steps, calls or repeats is asked for one last answer, without tools."""

    def __post_init__(self) -> None:
        for name in ("steps", "calls", "calls_per_reply", "calls_at_once", "depth", "repeats", "tokens", "money", "seconds"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"Limits({name}={value!r}) allows nothing; give a positive number, or None for no limit")
        if self.money is not None and self.price is None:
            raise ValueError("Limits(money=...) needs to know what the model costs; give price=Price(input=..., output=...)")
        if self.repeats is not None and self.repeats < 3:  # noqa: PLR2004  # the third is the first that is answered without being made
            raise ValueError(f"Limits(repeats={self.repeats}) ends runs that only look twice; give 3 or more, or None for no limit")


class Budget:
    """What a run may still spend, of its own limits and of those of the agents it is in."""

    def __init__(self, limits: Limits, *, above: Budget | None = None) -> None:
        """Begin to count; whatever is spent here is spent above as well."""
        self.limits = limits
        self.accounts: tuple[Account, ...] = (Account(limits), *(above.accounts if above else ()))
        """What was spent here, and above."""
        self.shared: Shared = above.shared if above else Shared()
        self._counted = tuple(each for each in self.accounts if each.counts_tokens)
        self._started = monotonic()

    @property
    def steps(self) -> int:
        """How often a model was asked."""
        return self.accounts[0].steps

    @property
    def calls(self) -> int:
        """How many tools were called."""
        return self.accounts[0].calls

    @property
    def usage(self) -> Usage:
        """The tokens spent."""
        return self.accounts[0].usage

    @property
    def counts_tokens(self) -> bool:
        """Whether tokens are limited, or the money that they cost, here or above."""
        return bool(self._counted)

    @property
    def is_spent(self) -> bool:
        """Whether no reply fits into what is left of tokens and money."""
        return bool(self._counted) and min(each.most_output(0) for each in self._counted) < _LEAST_REPLY

    @property
    def depth(self) -> int:
        """How many agents this one is in."""
        return len(self.accounts) - 1

    def take_step(self) -> None:
        """Spend a step.

        Raises:
            LimitReached: There is none left, here or above; none is spent.
        """
        with self.shared.lock:
            for each in self.accounts:
                most = each.limits.steps
                if most is not None and each.steps >= most:
                    raise _reached("steps", f"took all {most} steps")
            for each in self.accounts:
                each.steps += 1

    def take_calls(self, count: int) -> None:
        """Spend `count` tool calls.

        Raises:
            LimitReached: There are not that many left, here or above; none is spent.
        """
        with self.shared.lock:
            for each in self.accounts:
                most = each.limits.calls
                if most is not None and each.calls + count > most:
                    if count > most:
                        words = f"one reply wants {count} tool calls, and the run may make {most}; raise Limits(calls=...)"
                        raise LimitReached(words, limit="calls")
                    raise _reached("calls", f"wants {count} more tool calls after {each.calls} of the {most}")
            for each in self.accounts:
                each.calls += count

    def give_back_calls(self, count: int) -> None:
        """Take back the word on calls that came to nothing."""
        with self.shared.lock:
            for each in self.accounts:
                each.calls -= count

    def take_last_step(self) -> bool:
        """Spend one step more than the run's own limit allows, where those above it allow it."""
        with self.shared.lock:
            if any(each.limits.steps is not None and each.steps >= each.limits.steps for each in self.accounts[1:]):
                return False
            for each in self.accounts:
                each.steps += 1
            return True

    def reserve(self, *, input_tokens: int, output_tokens: int | None) -> AbstractAsyncContextManager[int | None]:
        """Set aside what a request will spend, and give the most that its reply may write; None where nothing counts tokens.

        What is set aside is free again when the block is left. While others have set aside what is needed, wait.

        Args:
            input_tokens: About what it will read.
            output_tokens: The most that it is to write, where somebody said so.

        Raises:
            LimitReached: There is too little left, here or above.
        """
        return self._reserved(input_tokens, output_tokens) if self._counted else _NOTHING

    @asynccontextmanager
    async def _reserved(self, input_tokens: int, output_tokens: int | None) -> AsyncGenerator[int]:
        while not isinstance(held := self._held(input_tokens, output_tokens), Usage):
            await held
        try:
            yield held.output_tokens
        finally:
            with self.shared.lock:
                for each in self._counted:
                    each.reserved = _less(each.reserved, held)
                self.shared.wake()

    def spend(self, usage: Usage) -> None:
        """Count what a reply took."""
        with self.shared.lock:
            for each in self.accounts:
                each.usage += usage
                each.money += each.limits.price.of(usage) if each.limits.price else 0

    def recount(self, *, steps: int, calls: int, usage: Usage) -> None:
        """Count what a run inside this one took in an earlier life; it is spent, so no limit refuses it."""
        with self.shared.lock:
            for each in self.accounts:
                each.steps += steps
                each.calls += calls
        self.spend(usage)

    def spent(self) -> LimitReached:
        """Make the error of a run that has no tokens or no money left."""
        least = min(self._counted, key=lambda each: each.most_output(0))
        if least.by_money(0) < least.by_tokens(0):
            return _reached("money", f"spent {least.money:.4f} of the {least.limits.money} dollars")
        return _reached("tokens", f"spent {least.usage.total_tokens} of the {least.limits.tokens} tokens")

    def out_of_time(self) -> LimitReached:
        """Make the error of a run that took too long."""
        return _reached("seconds", f"ran for {monotonic() - self._started:.1f} of the {self.limits.seconds} seconds")

    def _held(self, read: int, wanted: int | None) -> Usage | asyncio.Future[None]:
        """Set aside what may be had; or give what tells when others have given something back."""
        with self.shared.lock:
            most = min(each.most_output(read) for each in self._counted)
            written = wanted or _USUAL_REPLY
            if most < written and any(each.reserved.total_tokens for each in self._counted):
                return self.shared.ticket()
            if most < _LEAST_REPLY:
                raise self.spent()
            held = Usage(read, min(written, most))
            for each in self._counted:
                each.reserved += held
            return held


@dataclass(slots=True)
class Account:
    """What was spent and set aside of one run's limits."""

    limits: Limits
    steps: int = 0
    calls: int = 0
    usage: Usage = field(default_factory=Usage)
    money: float = 0.0
    reserved: Usage = field(default_factory=Usage)

    @property
    def counts_tokens(self) -> bool:
        """Whether tokens are limited, or the money that they cost."""
        return self.limits.tokens is not None or self.limits.money is not None

    def most_output(self, read: int) -> int:
        """Count the tokens that a reply may have which reads so many."""
        return min(self.by_tokens(read), self.by_money(read))

    def by_tokens(self, read: int) -> int:
        """Count those that the limit of tokens leaves."""
        if self.limits.tokens is None:
            return _ENDLESS
        return self.limits.tokens - self.usage.total_tokens - self.reserved.total_tokens - read

    def by_money(self, read: int) -> int:
        """Count those that the limit of money leaves."""
        price = self.limits.price
        if self.limits.money is None or price is None:
            return _ENDLESS
        left = self.limits.money - self.money - price.of(self.reserved) - price.of(Usage(read))
        if price.output > 0:
            return int(left * 1_000_000 / price.output)
        return _ENDLESS if left > 0 else 0


class Shared:
    """What all budgets of a tree share."""

    def __init__(self) -> None:
        # Agents in tools that are not async run in threads of their own.
        self.lock = Lock()
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    def ticket(self) -> asyncio.Future[None]:
        """Give what is done once something was given back; the lock is held."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting.append((loop, future))
        return future

    def wake(self) -> None:
        """Tell all who wait that something was given back; the lock is held."""
        waiting, self._waiting = self._waiting, []
        for loop, future in waiting:
            # Their loop may be closed when nobody waits any more.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_tell, future)


def _tell(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _less(whole: Usage, part: Usage) -> Usage:
    return Usage(whole.input_tokens - part.input_tokens, whole.output_tokens - part.output_tokens)


def _reached(limit: str, what: str) -> LimitReached:
    return LimitReached(f"the run {what} it was allowed; raise Limits({limit}=...) or resume it", limit=limit)
