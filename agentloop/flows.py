"""Several agents in one plain async function, which a journal lets go on where it stopped.

```python
@flow
async def trip(city: str) -> str:
    weather = await scout.run(f"What is the weather in {city}?")
    hotel, flight = await asyncio.gather(hotels.run(city), flights.run(city))
    price = await step(quote, city, effect="read")
    if not await wait(f"Book it for {price}?", answer=bool):
        return "not booked"
    return await step(book, hotel.output, flight.output)


result = await trip.run("Paris", journal="runs.db", run_id="trip-1")
```
"""

from __future__ import annotations

import inspect
import secrets
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import cached_property, partial, update_wrapper
from pathlib import Path
from typing import Any, Generic, Literal, ParamSpec, TypeVar, cast, overload

from pydantic_core import from_json, to_json

from agentloop.errors import AgentLoopError, ConfigurationError, Denied, InDoubt, JournalMismatch, StepFailed
from agentloop.failures import Failure
from agentloop.flow_drawing import drawing
from agentloop.flow_life import FlowLife
from agentloop.flow_steps import sleep, step, wait
from agentloop.flow_work import plain
from agentloop.journal import Journal, Unanswered, Work, note
from agentloop.journal.reading import with_spawned
from agentloop.journal.runs import Runs, Waiting, store_at
from agentloop.journal.store import Record, Store
from agentloop.journal.typed import Form
from agentloop.journal.written import BEGINNING, END, FORMAT
from agentloop.placing import Asked, own_name, place
from agentloop.tools.annotations import local_names, resolve

P = ParamSpec("P")
R = TypeVar("R")
Kept = str | Path | Store

_OURS = ("journal", "run_id")
_STARRED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True, slots=True)
class FlowResult(Generic[R]):
    """What a flow came to: done, or paused."""

    run_id: str
    done: bool
    """Whether it has ended."""
    waiting: tuple[Waiting, ...] = ()
    """What people are asked, by it and by what it runs: `Runs.approve`, `.deny` or `.answer`, then resume."""
    answer: R | None = None

    @property
    def paused(self) -> bool:
        """Whether a person must speak before it can go on."""
        return not self.done

    @property
    def output(self) -> R:
        """What the flow returned.

        Raises:
            AgentLoopError: It has not ended.
        """
        if not self.done:
            asked = ", ".join(f"{each.call.name}({each.call.arguments})" for each in self.waiting)
            raise AgentLoopError(f"the flow {self.run_id!r} has no output yet; it waits for a word on {asked}; give it and resume")
        return cast("R", self.answer)


@dataclass(frozen=True, slots=True)
class _Begun:
    """The first record of a flow."""

    flow: str
    arguments: dict[str, Any]
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class _Ended:
    """The last record of a flow."""

    output: Any = None
    failure: Failure | None = None
    """The error that ended it, where the flow that it is in went on in spite of it."""


_BEGUN: Form[_Begun] = Form(_Begun)
_ENDED: Form[_Ended] = Form(_Ended)


class Flow(Generic[P, R]):
    """A function that is a flow, made by `flow`."""

    def __init__(self, function: Callable[P, Coroutine[Any, Any, R]], *, name: str | None = None, journal: Kept | None = None) -> None:
        if not inspect.iscoroutinefunction(function):
            raise ConfigurationError(f"{function!r} is no async function; make flows of functions that are")
        update_wrapper(self, function)
        self.function = function
        self.name = name or function.__name__
        self._journal = journal
        self._signature = inspect.signature(function)
        self._local = local_names(function)
        for each in self._signature.parameters.values():
            if each.kind in _STARRED:
                raise ConfigurationError(f"the flow {self.name!r} takes {each}, and each argument is written down by its name; name them")
            if each.name in _OURS:
                raise ConfigurationError(f"the flow {self.name!r} takes {each.name!r}, which `run` takes itself; call it something else")

    def __repr__(self) -> str:
        return f"<Flow {self.name!r}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Do the work and give what it returns; in a flow, as a run of its own, which takes its number there now."""
        return self._output(self.run(*args, **cast("dict[str, Any]", kwargs)))

    def run(self, *args: Any, journal: Kept | None = None, run_id: str | None = None, **named: Any) -> Coroutine[Any, Any, FlowResult[R]]:
        """Do the work until the function has returned, or a person must speak.

        Without a journal nothing is written down: a flow that waits for a person has paused for good. Called in a flow, it takes its number
        there now, and is written down with it.

        Args:
            args: What the function takes.
            journal: Where it is written down: a file, or a store.
            run_id: The name of the run. One that the journal knows goes on where it stopped, if it was begun with the same arguments.
            named: What the function takes by name.

        Raises:
            Exception: Whatever the function raises; resumed, it goes on from what is written down.
            JournalMismatch: The run was begun with other arguments, or the function now takes other steps.
            ConfigurationError: JSON cannot say the arguments, or the run is inside another.
        """
        bound = self._signature.bind(*args, **named)
        bound.apply_defaults()
        given = self._written(bound.arguments)
        around = place.get()
        if around is None:
            return self._kept(given, journal or self._journal, run_id=own_name(run_id), in_doubt="wait")
        if journal is not None or run_id is not None:
            raise ConfigurationError(
                f"the flow {self.name!r} runs in another, which names its run and keeps it; leave journal and run_id out"
            )
        perform = partial(self._perform, given=given, works=around.works, in_doubt=around.in_doubt)
        failed: Callable[[BaseException], str] = lambda error: _ENDED.written(_Ended(failure=Failure.of(error)))  # noqa: E731
        return self._came(around.spawn(self.name, perform, given=given, failed=failed, kind="flow"))

    async def resume(self, run_id: str, *, journal: Kept | None = None, in_doubt: Literal["wait", "tell"] = "wait") -> FlowResult[R]:
        """Go on with a run that paused, failed or lost its process; only what is not written down is done.

        Args:
            run_id: The run.
            journal: Where it is written down, if not where `@flow(journal=...)` says.
            in_doubt: What becomes of calls that were begun and cut off, and may not be made twice: "wait" asks a person; "tell" raises
                `InDoubt` in the flow, and tells the models of its agents that nobody knows.

        Raises:
            ConfigurationError: There is no such run, or it is inside another.
        """
        store = self._store(journal)
        beginning = next((record for record in await store.records(own_name(run_id) or "") if record.key == BEGINNING), None)
        if beginning is None:
            raise ConfigurationError(f"there is no run {run_id!r} in the journal; begin it with {self.name}.run(..., run_id={run_id!r})")
        begun = self._check(_BEGUN.read(beginning.value, key=BEGINNING))
        return await self._kept(_text(begun.arguments), store, run_id=run_id, in_doubt=in_doubt)

    async def work(self, journal: Journal, given: str) -> str:
        """Do the work over a journal, as a worker does: of the arguments as a JSON object it makes an outcome as JSON."""
        # An engine's journal knows the name that the run was submitted under.
        run_id = getattr(journal, "run_id", None) or from_json(await journal.step("run", note, Form[str](str).written(_new_id())))
        return await self._perform(journal, run_id, given=given, works=getattr(journal, "works", None), in_doubt="wait")

    async def drawing(self, run_id: str, *, journal: Kept | None = None) -> str:
        """Draw what a run has done, from its journal: a flowchart in Mermaid's words."""
        return drawing(await _family(self._store(journal), run_id))

    async def _kept(self, given: str, journal: Kept | None, *, run_id: str | None, in_doubt: Literal["wait", "tell"]) -> FlowResult[R]:
        works: dict[str, Work] = {}
        perform = partial(self._perform, given=given, works=works, in_doubt=in_doubt)
        named = run_id or _new_id()
        if journal is None:
            return await self._came(perform(None, named), run_id=named)
        store = store_at(journal)
        async with store.open(named, works) as opened:
            await self._begin(opened, named, given)
            return await self._came(opened.step(END, partial(perform, opened, named)), run_id=named, store=store)

    async def _came(self, outcome: Any, *, run_id: str = "", store: Store | None = None) -> FlowResult[R]:
        try:
            ended = _ENDED.read(await outcome, key=END)
        except Asked as asked:
            return FlowResult(run_id, done=False, waiting=asked.waiting)
        except Unanswered:
            if store is None:
                raise
            return FlowResult(run_id, done=False, waiting=await Runs(store).waiting(run_id))
        if ended.failure is not None:
            await ended.failure.raise_again()
        return FlowResult(run_id, done=True, answer=self._returned.read(_text(ended.output), key=END))

    async def _output(self, running: Coroutine[Any, Any, FlowResult[R]]) -> R:
        return (await running).output

    async def _perform(
        self, journal: Journal | None, run_id: str, *, given: str, works: dict[str, Work] | None, in_doubt: Literal["wait", "tell"]
    ) -> str:
        arguments = await self._begin(journal, run_id, given)
        life = FlowLife(run_id, journal, works=works, in_doubt=in_doubt, local=self._local)
        try:
            output = await life.live(self.function(*arguments.args, **arguments.kwargs))
        except Unanswered as unanswered:
            raise (Asked(run_id, tuple(life.asked)) if journal is None else unanswered) from None
        return _ENDED.written(_Ended(plain(output, kind=self._kind, name=self.name)))

    async def _begin(self, journal: Journal | None, run_id: str, given: str) -> inspect.BoundArguments:
        """Write down what the flow begins with, or find that it has begun with it already; give its arguments."""
        wanted = _Begun(self.name, from_json(given))
        begun = wanted if journal is None else _BEGUN.read(await journal.step(BEGINNING, note, _BEGUN.written(wanted)), key=BEGINNING)
        if self._check(begun).arguments != wanted.arguments:
            raise JournalMismatch(f"the flow {run_id!r} was begun with other arguments; resume it, or choose another run_id")
        bound = self._signature.bind_partial()
        for name, kind in self._kinds.items():
            if name not in begun.arguments:
                raise JournalMismatch(f"the flow {run_id!r} was begun without {name!r}, which it takes now; begin another run")
            bound.arguments[name] = Form[Any](kind).read(_text(begun.arguments[name]), key=name)
        return bound

    def _check(self, begun: _Begun) -> _Begun:
        if begun.format != FORMAT:
            raise JournalMismatch(
                f"the run is written in format {begun.format}, and this version reads {FORMAT}; use the one that wrote it"
            )
        if begun.flow != self.name:
            raise JournalMismatch(f"the run is one of the flow {begun.flow!r}, and this is {self.name!r}; resume it with that")
        return begun

    def _written(self, arguments: Mapping[str, Any]) -> str:
        plainly = {name: plain(value, kind=self._kinds[name], name=f"{self.name}({name}=...)") for name, value in arguments.items()}
        return _text(plainly)

    def _store(self, journal: Kept | None) -> Store:
        found = journal or self._journal
        if found is None:
            raise ConfigurationError(f"the flow {self.name!r} has no journal; give journal='runs.db', here or to @flow")
        return store_at(found)

    @cached_property
    def _kinds(self) -> dict[str, Any]:
        return {name: self._resolved(each.annotation, name) for name, each in self._signature.parameters.items()}

    @cached_property
    def _kind(self) -> Any:
        return self._resolved(self._signature.return_annotation, "return")

    @cached_property
    def _returned(self) -> Form[R]:
        return Form(self._kind)

    def _resolved(self, annotation: Any, name: str) -> Any:
        if annotation is inspect.Parameter.empty:
            return Any
        names = self.function.__globals__
        return resolve(annotation, module_names=names, local=self._local, owner=f"flow {self.name!r}: {name!r}")


@overload
def flow(function: Callable[P, Coroutine[Any, Any, R]], /) -> Flow[P, R]: ...
@overload
def flow(*, name: str | None = None, journal: Kept | None = None) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Flow[P, R]]: ...
def flow(function: Any = None, /, *, name: str | None = None, journal: Kept | None = None) -> Any:
    """Make a flow of an async function, whose arguments and output JSON can say.

    What the function does must follow from its arguments and from what its calls give: each life of a run takes the same calls in the same
    order. Clocks, chance, files and the network belong into a `step`.

    Args:
        function: Does the work; left out, a decorator is returned.
        name: What the flow is called, if not as the function.
        journal: Where its runs are written down, where `run` does not say.

    Raises:
        ConfigurationError: The function cannot be a flow.
    """
    if function is not None:
        return Flow(function, name=name, journal=journal)
    return partial(Flow, name=name, journal=journal)


def _new_id() -> str:
    return secrets.token_hex(8)


def _text(value: Any) -> str:
    return to_json(value).decode()


async def _family(store: Store, run_id: str) -> list[Record]:
    return [record for each in with_spawned(await store.runs(), run_id) for record in await store.records(each)]


__all__ = ["Denied", "Flow", "FlowResult", "InDoubt", "StepFailed", "drawing", "flow", "sleep", "step", "wait"]
