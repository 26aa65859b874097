"""What a flow may do beside running agents: call a function or a tool as a step, wait for a person, sleep."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar, overload

from pydantic_core import ValidationError, to_json

from agentloop.approvals import Granted, Ruling, Settled
from agentloop.draining import drained
from agentloop.errors import ConfigurationError, Denied, Drained, InDoubt, StepFailed
from agentloop.failures import Failure
from agentloop.flow_life import CALLED, CAME, Call, Called, Came, FlowLife
from agentloop.flow_work import Work, answer_of, leaves_doubt, plain, work_of
from agentloop.journal.runs import Waiting
from agentloop.journal.words import DECISION, POSED, Posed
from agentloop.journal.written import LIFE
from agentloop.messages import ToolCall, ToolResult
from agentloop.placing import Asked, place
from agentloop.tools.options import Effect
from agentloop.transcript import Decision, Question

R = TypeVar("R")


@overload
def step(
    fn: Callable[..., Coroutine[Any, Any, R]], /, *args: Any, effect: Effect | None = None, **named: Any
) -> Coroutine[Any, Any, R]: ...
@overload
def step(fn: Callable[..., R], /, *args: Any, effect: Effect | None = None, **named: Any) -> Coroutine[Any, Any, R]: ...
def step(fn: Callable[..., Any], /, *args: Any, effect: Effect | None = None, **named: Any) -> Coroutine[Any, Any, Any]:
    """Call a function as a step of the flow: what it gives is written down, and another life of the flow takes it from there.

    Args:
        fn: A function, which is called in a thread where it is not async; or a tool, with its own effect, time-out and retries.
        args: What it is given.
        effect: What calling it again would do; "once" unless said otherwise. A step of that effect that was cut off is in doubt, and a
            person is asked.
        named: What it is given by name.

    Raises:
        ConfigurationError: This is no flow's own code, or what the step gives is nothing that JSON can keep.
        Denied: The tool needs an approval, and a person said no.
        InDoubt: It was cut off in an earlier life, and a person did not know what it came to.
        Exception: Whatever it raises. Where the flow does not go on in spite of it, its next life tries again.
    """
    life = _life(f"step({getattr(fn, '__name__', fn)}, ...)")
    work = work_of(fn, args=args, named=named, effect=effect, local=life.local)
    ruling = work.ruled(ToolCall("", work.name, work.arguments), None)
    begins = work.effect == "once" and isinstance(ruling, Granted)
    call = life.call("step", work.name, life=life.journal.life if begins else None)
    made = _Step(work, life=life, call=call, at_once=isinstance(ruling, Granted))
    return life.answered(call, made.done())


def wait(question: str, *, answer: type[R] = str) -> Coroutine[Any, Any, R]:  # type: ignore[assignment]  # mypy takes no default for R
    """Wait until a person has answered; the flow pauses where nothing else of it goes on.

    Args:
        question: What they are asked.
        answer: What their answer is. A `bool` may be given as an approval or a denial.

    Raises:
        ConfigurationError: This is no flow's own code.
        Denied: They said no to what is not a question of yes or no.
    """
    life = _life("wait(...)")
    call = life.call("wait", "wait")
    asking = _Asking(life, call, ToolCall(f"{call.number}-wait", "wait", to_json({"question": question}).decode()))
    noted = life.noted(call)
    asking.reserve(Question("approval" if answer is bool else "result", ""))
    return life.answered(call, _waited(asking, noted, answer=answer))


def sleep(seconds: float) -> Coroutine[Any, Any, None]:
    """Wait for so long; a life that goes on with the flow later waits for what is left of it.

    Raises:
        ConfigurationError: This is no flow's own code.
    """
    life = _life("sleep(...)")
    call = life.call("sleep", "sleep")

    async def noted() -> Called:
        return replace(call.called, came=Came(time.time() + seconds))

    recorded = call.reserve(life.journal.step(str(call.number), lambda: life.tried(call, noted, failed=_raised), form=CALLED))
    return life.answered(call, _slept(life, call, recorded))


def _life(what: str) -> FlowLife:
    life = place.get()
    if not isinstance(life, FlowLife):
        raise ConfigurationError(f"{what} is called outside of the code of a flow; call it in a function that is a @flow")
    return life


def _raised(_: BaseException, __: bool) -> None:  # noqa: FBT001  # as `tried` calls it
    """Write nothing down of an error."""


async def _slept(life: FlowLife, call: Call, recorded: Awaitable[tuple[Called, bool]]) -> None:
    called, _ = await recorded
    life.check(call, called)
    until: float = called.came.value if called.came else 0.0
    with drained(nested=False) as drain:
        if drain:
            drain.check()
        await life.sleep(max(0.0, until - time.time()))


async def _waited(asking: _Asking, noted: Awaitable[tuple[Called, bool]], *, answer: Any) -> Any:
    called, _ = await noted
    asking.life.check(asking.call, called)
    question = Question("approval" if answer is bool else "result", "")
    while True:
        match await asking.decision(question):
            case Decision("answered", result=ToolResult() as result):
                try:
                    return answer_of(result, answer)
                except ValidationError as error:
                    question = replace(question, problem=f"The answer is no {answer}: {error.errors()[0]['msg']}.")
            case Decision("approved") if answer is bool:
                return True
            case Decision("denied") if answer is bool:
                return False
            case Decision("denied", reason):
                raise Denied(f"a person said no to {asking.asked.arguments}{f': {reason}' if reason else ''}")
            case _:
                question = replace(question, problem="It takes an answer, not only a yes.")


class _Asking:
    """Asks people about one call of a flow, as often as it takes."""

    def __init__(self, life: FlowLife, call: Call, asked: ToolCall) -> None:
        self.life = life
        self.call = call
        self.asked = asked
        self._times = 0
        self._first: tuple[Awaitable[tuple[Posed, bool]], Awaitable[str] | None] | None = None

    def reserve(self, question: Question) -> None:
        """Take the place of the first question in the journal now, since an engine may know places by their order."""
        self._first = self._posed(question)

    async def decision(self, question: Question) -> Decision:
        """Give what was said on the question.

        Raises:
            Unanswered: Nothing yet.
        """
        posed, word = self._first or self._posed(question)
        key = self._key
        self._first = None
        known, _ = await posed
        if word is None:
            raise Asked(self.life.run_id, (Waiting(self.life.run_id, known.call, known.question, f"{key}/word"),))
        self._times += 1
        if question.wants == "outcome" and self.life.in_doubt == "tell":
            return await self.life.journal.note(f"{key}/word", Decision("denied"), form=DECISION)
        return DECISION.read(await word, key=f"{key}/word")

    @property
    def _key(self) -> str:
        return f"{self.call.number}/question/{self._times}"

    def _posed(self, question: Question) -> tuple[Awaitable[tuple[Posed, bool]], Awaitable[str] | None]:
        async def posed() -> Posed:
            return Posed(self.asked, question)

        noted = self.call.reserve(self.life.journal.step(self._key, posed, form=POSED))
        return noted, self.life.word(self.call, f"{self._key}/word")


class _Step:
    """A step on its way: allowed, begun, done, or in doubt."""

    def __init__(self, work: Work, *, life: FlowLife, call: Call, at_once: bool) -> None:
        """Take its places in the journal.

        Args:
            work: What it does.
            life: The life of the flow that calls it.
            call: The call.
            at_once: Whether nobody need be asked about it.
        """
        self._work = work
        self._life = life
        self._call = call
        self._asked = ToolCall(f"{call.number}-{work.name}", work.name, work.arguments)
        self._asking = _Asking(life, call, self._asked)
        self._begun: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._second: Awaitable[tuple[Came, bool]] | None = None
        if at_once and work.effect != "once":
            self._first = call.reserve(life.journal.step(str(call.number), self._done_at_once, form=CALLED))
        else:
            self._first = life.noted(call)
            self._second = self._outcome(0, self._begun) if at_once else None

    async def done(self) -> Any:
        """Give what the step comes to, or raise what it fails with."""
        called, _ = await self._first
        self._life.check(self._call, called)
        if called.came is not None:
            return await self._value(called.came)
        if called.life is None:
            ruling = await self._allowed()
            if isinstance(ruling, Settled):
                return self._work.read(plain(answer_of(ruling.result, self._work.kind), kind=self._work.kind, name=self._work.name))
            self._asked = ruling.call
            return await self._made(1)
        self._begun.set_result(called.life)
        came, _ = await (self._second or self._outcome(0, self._begun))
        return await self._after(came, tries=0)

    async def _made(self, tries: int) -> Any:
        """Do the step anew."""
        with drained(nested=True) as drain:
            if drain:
                drain.check()
        begun: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        life = self._life.journal.life
        if self._work.effect == "once":
            life = await self._life.journal.note(f"{self._call.number}/begun/{tries}", life, form=LIFE)
        begun.set_result(life)
        came, _ = await self._outcome(tries, begun)
        return await self._after(came, tries=tries)

    async def _after(self, came: Came, *, tries: int) -> Any:
        if not came.in_doubt:
            return await self._value(came) if came.failure is None or came.caught else await self._again(tries)
        question = Question("outcome", "")
        while True:
            match await self._asking.decision(question):
                case Decision("approved"):
                    return await self._made(tries + 1)
                case Decision("denied", reason):
                    words = f"the step {self._work.name!r} was begun and then cut off; whether it took effect is unknown"
                    raise InDoubt(f"{words}{f', and a person says: {reason}' if reason else ''}")
                case Decision(result=ToolResult() as result):
                    try:
                        return self._work.read(plain(answer_of(result, self._work.kind), kind=self._work.kind, name=self._work.name))
                    except ValidationError as error:
                        question = replace(question, problem=f"The result is no {self._work.kind}: {error.errors()[0]['msg']}.")
                case _:
                    question = replace(question, problem="It takes a result, or a word on whether it is to be done again.")

    async def _again(self, tries: int) -> Any:
        """Try again what failed in an earlier life, and ended that."""
        if self._call.caught.done():
            # It failed in this one, and nobody awaits it any more.
            raise asyncio.CancelledError
        return await self._made(tries + 1)

    async def _value(self, came: Came) -> Any:
        if came.failure is None:
            return self._work.read(came.value)
        if self._call.caught.done():
            raise asyncio.CancelledError
        return await came.failure.raise_again()

    async def _allowed(self) -> Granted | Settled:
        """Ask until the call may be made, or may not."""
        ruling: Ruling = self._work.ruled(self._asked, None)
        while isinstance(ruling, Question):
            decision = await self._asking.decision(ruling)
            if decision.word == "denied":
                raise Denied(f"a person said no to the step {self._work.name!r}{f': {decision.reason}' if decision.reason else ''}")
            ruling = self._work.ruled(self._asked, decision)
        if isinstance(ruling, Settled) and ruling.result.is_error:
            raise StepFailed(f"{self._work.name!r} failed: {ruling.result.text}")
        return ruling

    async def _done_at_once(self) -> Called:
        def failed(error: BaseException, caught: bool) -> Called | None:  # noqa: FBT001  # as `tried` calls it
            return replace(self._call.called, came=Came(failure=Failure.of(error))) if caught else None

        async def done() -> Called:
            return replace(self._call.called, came=await self._came())

        return await self._life.tried(self._call, done, failed=failed)

    def _outcome(self, tries: int, begun: asyncio.Future[str | None]) -> Awaitable[tuple[Came, bool]]:
        def failed(error: BaseException, caught: bool) -> Came | None:  # noqa: FBT001  # as `tried` calls it
            cut_off = isinstance(error, asyncio.CancelledError) or leaves_doubt(error)
            ended = caught or (self._work.effect == "once" and not cut_off)
            return Came(failure=Failure.of(error), caught=caught) if ended else None

        async def came() -> Came:
            cut_off = await begun != self._life.journal.life and self._work.effect == "once"
            if cut_off and (known := await self._reconciled()) is not None:
                return known
            with drained(nested=True) as drain:
                if drain and drain.begun:
                    # It is not begun, whatever the mark says, and the next life may do it without a question.
                    return Came(failure=Failure.of(Drained()), caught=False)
            return await self._life.tried(self._call, self._came, failed=failed)

        return self._call.reserve(self._life.journal.step(f"{self._call.number}/outcome/{tries}", came, form=CAME))

    async def _came(self) -> Came:
        with drained(nested=False) as drain:
            if drain:
                drain.check()
            return Came(await self._work.perform(self._asked, self._life.run_id))

    async def _reconciled(self) -> Came | None:
        """Find out what became of what an earlier life began; None where it was not done."""
        if self._work.reconcile is None:
            return Came(in_doubt=True)
        try:
            return Came(await self._work.reconcile(self._asked, self._life.run_id))
        except LookupError:
            return None
        except Exception:  # noqa: BLE001  # the developer's own function; a person is asked instead
            return Came(in_doubt=True)
