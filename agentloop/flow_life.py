"""One life of a flow: it numbers what is called, writes it down, and ends where nothing can go on."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from agentloop.errors import ConfigurationError, Drained, JournalError, JournalMismatch
from agentloop.failures import Failure
from agentloop.journal import Journal, Unanswered, Work
from agentloop.journal.runs import Waiting
from agentloop.journal.typed import Form, TypedJournal
from agentloop.placing import Asked, Perform, place

T = TypeVar("T")
Kind = Literal["agent", "flow", "step", "wait", "sleep"]

# How many turns of the loop what awaits a call may need until it makes the next; gather and TaskGroup in one another need a few each.
_TURNS = 50


@dataclass(frozen=True, slots=True)
class Came:
    """What a step came to."""

    value: Any = None
    """As JSON says it."""
    failure: Failure | None = None
    caught: bool = True
    """Whether the flow went on in spite of the failure; where it did not, its next life tries again."""
    in_doubt: bool = False
    """Whether an earlier life began it, and nobody knows what it came to."""


@dataclass(frozen=True, slots=True)
class Called:
    """What a flow writes down of each of its calls, under the number of the call."""

    kind: Kind
    name: str
    beside: tuple[int, ...] = ()
    """The calls before it that were going on when it was made."""
    life: str | None = None
    """The life that began it, where it must not be done twice."""
    came: Came | None = None
    """What it came to, where that is known at once."""


CALLED: Form[Called] = Form(Called)
CAME: Form[Came] = Form(Came)


@dataclass(eq=False, slots=True, kw_only=True)
class Call:
    """A call on its way."""

    number: int
    called: Called
    told: asyncio.Future[Exception]
    """The error that the flow is told."""
    caught: asyncio.Future[bool]
    """Whether the flow went on then."""
    known: asyncio.Future[None]
    """Done once it is what it was in earlier lives, or new."""
    reserved: list[Any] = field(default_factory=list[Any])
    """What was asked of the journal when the call was made."""
    task: asyncio.Task[Any] | None = None

    def reserve(self, recorded: Awaitable[T]) -> Awaitable[T]:
        """Keep what the journal was asked for, to await it later or never."""
        self.reserved.append(recorded)
        return recorded


class FlowLife:
    """What the calls of a flow share while it runs; `agentloop.placing.place` holds it for the flow's own code."""

    def __init__(
        self,
        run_id: str,
        journal: Journal | None = None,
        *,
        works: dict[str, Work] | None,
        in_doubt: Literal["wait", "tell"] = "wait",
        local: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin to live.

        Args:
            run_id: The name of the run.
            journal: Where it is written down.
            works: What the journal may spawn; what the flow calls is added. None where it knows all by their names.
            in_doubt: What becomes of calls that were begun and cut off.
            local: The names that annotations of what it calls may use, beside those of modules.
        """
        self.local = local or {}
        self.run_id = run_id
        self.journal = TypedJournal(journal)
        self.works: dict[str, Work] = {} if works is None else works
        self._by_name = works is None
        self.in_doubt: Literal["wait", "tell"] = in_doubt
        self.asked: list[Waiting] = []
        """What it waits for, as far as it is known here."""
        self._raw = journal
        self._calls: list[Call] = []
        self._open: dict[int, Call] = {}
        self._going: set[Call] = set()
        self._held: list[Call] = []
        self._stuck: list[Exception] = []
        self._ending: BaseException | None = None
        self._turn = 0
        self._keeping: list[asyncio.Task[None]] = []

    async def live(self, flow: Coroutine[Any, Any, T]) -> T:
        """Run the flow until it has ended, or can go on no more.

        Raises:
            Unanswered: It waits for a word.
            Drained: The process was told to stop.
            JournalError: It cannot go on over what is written down.
        """
        inside = copy_context()
        inside.run(place.set, self)
        self._task = asyncio.get_running_loop().create_task(flow, context=inside)
        try:
            await asyncio.wait({self._task})
            if self._ending is None:
                await self._settled(failed=self._task.cancelled() or self._task.exception() is not None)
            if self._ending is not None:
                raise self._ending
            return self._task.result()
        finally:
            await self._over()

    def call(self, kind: Kind, name: str, *, life: str | None = None) -> Call:
        """Take the next number; whatever failed before has not kept the flow from going on.

        Raises:
            ConfigurationError: This is not the flow's own code, which alone runs in the same order in each life.
        """
        if self._ending is not None:
            raise asyncio.CancelledError
        if asyncio.current_task() is not self._task:
            raise ConfigurationError(
                f"{name!r} is called in a branch of the flow {self.run_id!r}, where its turn may be another each time; "
                "make a @flow of the branch and await that"
            )
        self._decide(caught=True)
        loop = asyncio.get_running_loop()
        called = Called(kind, name, tuple(self._open), life)
        told, caught, known = loop.create_future(), loop.create_future(), loop.create_future()
        call = Call(number=len(self._calls), called=called, told=told, caught=caught, known=known)
        self._calls.append(call)
        self._open[call.number] = call
        return call

    def noted(self, call: Call) -> Awaitable[tuple[Called, bool]]:
        """Write down that the call is made, and nothing else of it."""

        async def noted() -> Called:
            await self._new(call)
            return call.called

        return call.reserve(self.journal.step(str(call.number), noted, form=CALLED))

    def word(self, call: Call, key: str) -> Awaitable[str] | None:
        """Ask for a word from outside now, and await it later; None where nobody can give any."""
        return None if self._raw is None else call.reserve(self._raw.wait(key))

    async def sleep(self, seconds: float) -> None:
        """Let the time go by; an engine that puts waiting runs aside is told that this one sleeps."""
        await getattr(self._raw, "sleep", asyncio.sleep)(seconds)

    def spawn(
        self, name: str, perform: Perform, *, given: str, failed: Callable[[BaseException], str], kind: Literal["agent", "flow"] = "agent"
    ) -> Coroutine[Any, Any, str]:
        """Take the next number now, and do the work under it, as a run of its own, once this is awaited."""
        call = self.call(kind, name)
        key = f"{call.number}-{name.replace('/', '_')}"
        run_id = f"{self.run_id}/{key}"

        async def work(journal: Journal | None, _: str) -> str:
            return await self.tried(call, lambda: perform(journal, run_id), failed=lambda error, caught: failed(error) if caught else None)

        if self._raw is None:
            return self.answered(call, work(None, given))
        noted = self.noted(call)
        # The same agent may be called twice at once, each time with other work.
        self.works[run_id] = work
        spawned = call.reserve(self.journal.spawn(key, name if self._by_name else run_id, given=given))
        return self.answered(call, self._spawned(call, noted, spawned, run_id=run_id))

    async def _spawned(self, call: Call, noted: Awaitable[tuple[Called, bool]], spawned: Awaitable[str], *, run_id: str) -> str:
        try:
            self.check(call, (await noted)[0])
            return await spawned
        finally:
            self.works.pop(run_id, None)

    def check(self, call: Call, called: Called) -> None:
        """Make sure that the flow calls what it called under this number in its earlier lives.

        Raises:
            JournalMismatch: It calls something else.
        """
        now = call.called
        if (called.kind, called.name) != (now.kind, now.name):
            raise JournalMismatch(
                f"the flow {self.run_id!r} called the {called.kind} {called.name!r} as its number {call.number} in an earlier life, and "
                f"calls the {now.kind} {now.name!r} now; resume it with the code that it was begun with"
            )
        if not call.known.done():
            call.known.set_result(None)

    async def answered(self, call: Call, work: Coroutine[Any, Any, T]) -> T:
        """Do the work of a call, and give what it comes to, or raise what it failed with; where it cannot go on, neither."""
        outside = copy_context()
        outside.run(place.set, None)
        call.task = task = asyncio.get_running_loop().create_task(work, context=outside)
        ends: set[asyncio.Future[Any]] = {task, call.told}
        self._going.add(call)
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            self._held.append(call)
            raise
        finally:
            self._going.discard(call)
            self._open.pop(call.number, None)
            self._look()
        if call.told.done():
            self._held.append(call)
            self._look()
            raise call.told.result()
        try:
            return task.result()
        except (Unanswered, Drained) as stuck:
            self._stuck.append(stuck)
            self._look()
        except JournalError as error:
            self._end(error)
        # The flow ends as soon as nothing of it goes on, and takes this with it.
        never: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        return await never

    async def tried(self, call: Call, fn: Callable[[], Awaitable[T]], *, failed: Callable[[BaseException, bool], T | None]) -> T:
        """Do what is written down of a call; where it fails, wait until it is known whether the flow goes on in spite of it.

        Args:
            call: The call.
            fn: Does it.
            failed: Says what is to be written down of an error, and whether the flow went on; nothing for None, and the error is raised.
        """
        await self._new(call)
        try:
            return await fn()
        except (JournalError, Unanswered, Drained):
            raise
        except asyncio.CancelledError as error:
            if self._ending is not None:
                raise
            # The flow's own code gave it up, and goes on.
            _uncancel()
            failure: BaseException = error
        except Exception as error:  # noqa: BLE001  # what a flow calls may raise anything, which its code may catch
            failure = error
            if not call.told.done():
                call.told.set_result(error)
        value = failed(failure, await call.caught)
        if value is None:
            raise failure
        return value

    async def _new(self, call: Call) -> None:
        """Wait until the call may be done: what the flow met before is written down, and what it called before is what it was."""
        await self._written()
        while before := next(self._unknown_before(call), None):
            known, task = before
            await asyncio.wait({known, task}, return_when=asyncio.FIRST_COMPLETED)
            if task.done() and not task.cancelled() and isinstance(error := task.exception(), JournalError):
                raise error
            if task.done():
                # Whoever awaits it learns of it in the next turn.
                await asyncio.sleep(0)
        if self._ending is not None:
            raise asyncio.CancelledError
        if not call.known.done():
            call.known.set_result(None)

    def _unknown_before(self, call: Call) -> Iterator[tuple[asyncio.Future[None], asyncio.Task[Any]]]:
        for each in self._open.values():
            # What nobody awaits yet may not be waited for: it may be awaited after this.
            if each.number < call.number and each.task is not None and not each.known.done():
                yield each.known, each.task

    def _decide(self, *, caught: bool) -> None:
        for call in self._held:
            if not call.caught.done():
                call.caught.set_result(caught)

    async def _written(self) -> None:
        """Wait until the failures that the flow has met before are written down."""
        tasks = {call.task for call in self._held if call.task is not None and call.caught.done()}
        if tasks:
            await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled() and isinstance(error := task.exception(), JournalError):
                raise error

    async def _settled(self, *, failed: bool) -> None:
        """Write down which failures the flow has survived; where it has not, let what goes on beside them end first."""
        while failed and (going := [call for call in self._going if call.called.kind in {"agent", "flow", "step"}]):
            await asyncio.wait({going[0].told, *({going[0].task} if going[0].task else ())}, return_when=asyncio.FIRST_COMPLETED)
            # Whoever awaits it learns of it in the next turn.
            await asyncio.sleep(0)
        self._decide(caught=not failed)
        await self._written()

    def _look(self) -> None:
        """End the flow where nothing of it goes on any more, if what it awaits has not called anything new in a while."""
        self._turn += 1
        if (self._stuck or self._undecided) and self._waits:
            asyncio.get_running_loop().call_soon(self._look_again, self._turn, _TURNS)

    @property
    def _waits(self) -> bool:
        """Whether nothing of it goes on but what takes as long as people or clocks do."""
        return all(call.called.kind in {"wait", "sleep"} for call in self._going)

    @property
    def _undecided(self) -> bool:
        return any(not call.caught.done() for call in self._held)

    def _look_again(self, turn: int, left: int) -> None:
        if turn != self._turn or not self._waits or self._ending is not None or self._task.done():
            return
        if left:
            asyncio.get_running_loop().call_soon(self._look_again, turn, left - 1)
        elif self._undecided:
            # The flow has gone on beside them, and may now rest for as long as it likes.
            self._decide(caught=True)
            self._keeping.append(asyncio.get_running_loop().create_task(self._kept(turn)))
        elif self._stuck and not self._going:
            self._pause()

    async def _kept(self, turn: int) -> None:
        try:
            await self._written()
        except JournalError as error:
            self._end(error)
        else:
            self._look_again(turn, _TURNS)

    def _pause(self) -> None:
        for each in self._stuck:
            if isinstance(each, Asked):
                self.asked.extend(each.waiting)
        self._end(next((each for each in self._stuck if isinstance(each, Drained)), Unanswered(self.run_id)))

    def _end(self, ending: BaseException) -> None:
        if self._ending is None:
            self._ending = ending
            self._task.cancel()

    async def _over(self) -> None:
        self._end(asyncio.CancelledError())
        tasks = {self._task, *self._keeping, *(call.task for call in self._calls if call.task is not None)}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                # Asked for, so that it is not logged as one that nobody looked at.
                task.exception()
        for reserved in (each for call in self._calls for each in call.reserved):
            _close(reserved)


def _close(reserved: Any) -> None:
    """Close what was never awaited, and what that would have awaited in turn."""
    if inspect.iscoroutine(reserved):
        inside = inspect.getcoroutinelocals(reserved).get("recorded")
        reserved.close()
        _close(inside)


def _uncancel() -> None:
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
