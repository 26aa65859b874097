"""The front door: a model, its tools, its rules."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, Literal, overload

from pydantic_core import from_json
from typing_extensions import TypeVar

from agentloop.approvals import Bounded, Judge, Policy, PolicyName, policy_of
from agentloop.delegation import agent_tool
from agentloop.errors import AgentLoopError, BadTranscript, ConfigurationError
from agentloop.events import Emit, Nested, RunEnded, RunStarted, unheard
from agentloop.journal import Journal, Unanswered, Work, note
from agentloop.journal.runs import Runs, store_at
from agentloop.journal.store import Store
from agentloop.journal.travel import Replaying
from agentloop.journal.typed import TypedJournal
from agentloop.journal.written import END, ENDING, Ending, Forked
from agentloop.limits import Budget, Limits
from agentloop.lives import begin, take_up
from agentloop.loop import advance
from agentloop.messages import Message, Settings, UserPart, user
from agentloop.models import Model
from agentloop.models.providers import model as model_named
from agentloop.models.retries import ending_at
from agentloop.output import Output
from agentloop.placing import outside_of_flows, own_name, place, read_said, run_in, written
from agentloop.plans import carry_out, plan, taken_up
from agentloop.result import Result, result_of
from agentloop.run import Run
from agentloop.stream import Stream
from agentloop.tools import Toolset
from agentloop.tools.collection import collect
from agentloop.tools.companions import delegating
from agentloop.tools.context import Context
from agentloop.tools.function import Tool
from agentloop.tools.hosted import Hosted
from agentloop.tools.options import Effect
from agentloop.transcript import Transcript
from agentloop.undoing import undo

Out = TypeVar("Out", default=str)

Prompt = str | Message | Sequence[str | UserPart]
Room = Callable[[], Awaitable[None]]
InDoubt = Literal["wait", "tell"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """What one life of a run is given, from its start to its end, pause or crash."""

    deps: Any = None
    emit: Emit = unheard
    room: Room | None = None
    within: Run | None = None
    """The run that this one is in."""
    journal: TypedJournal = field(default_factory=TypedJournal)
    works: dict[str, Work] = field(default_factory=dict[str, Work])
    in_doubt: InDoubt = "wait"
    other_tools: bool = False
    """Whether open calls may be made with tools that have changed."""
    changed: Mapping[str, str] | None = None
    """Those tools, where they may not."""
    forked: Forked | None = None
    """Where the run comes from, if it is a fork."""


class Agent(Generic[Out]):
    """A model with tools and rules, ready to be given work. It holds nothing of a run, so any number may run at once."""

    @overload
    def __init__(
        self: Agent[str],
        model: str | Model,
        *,
        tools: Iterable[Toolset | Hosted | Callable[..., Any]] = (),
        instructions: str = "",
        name: str = "agent",
        output: None = None,
        settings: Settings | None = None,
        limits: Limits | None = None,
        approvals: PolicyName | Policy | Judge | None = None,
        journal: str | Path | Store | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self,
        model: str | Model,
        *,
        tools: Iterable[Toolset | Hosted | Callable[..., Any]] = (),
        instructions: str = "",
        name: str = "agent",
        output: type[Out],
        settings: Settings | None = None,
        limits: Limits | None = None,
        approvals: PolicyName | Policy | Judge | None = None,
        journal: str | Path | Store | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self: Agent[Any],
        model: str | Model,
        *,
        tools: Iterable[Toolset | Hosted | Callable[..., Any]] = (),
        instructions: str = "",
        name: str = "agent",
        # Unions, literals and annotated types are no type[...] to a type checker; what it is told the agent is, it believes.
        output: object,
        settings: Settings | None = None,
        limits: Limits | None = None,
        approvals: PolicyName | Policy | Judge | None = None,
        journal: str | Path | Store | None = None,
    ) -> None: ...

    def __init__(
        self,
        model: str | Model,
        *,
        tools: Iterable[Toolset | Hosted | Callable[..., Any]] = (),
        instructions: str = "",
        name: str = "agent",
        output: Any = None,
        settings: Settings | None = None,
        limits: Limits | None = None,
        approvals: PolicyName | Policy | Judge | None = None,
        journal: str | Path | Store | None = None,
    ) -> None:
        """Put an agent together; nothing is sent yet.

        Args:
            model: A provider and its model, as in "openai:gpt-4o", or anything that answers requests.
            tools: Decorated functions, plain functions and toolsets.
            instructions: What the model is told first.
            name: What the agent is called, for people.
            output: The type that the last reply must take; text by default.
            settings: How the model is asked.
            limits: What a run may spend.
            approvals: Which calls run, wait for a person's word or are denied; "auto" asks where a tool's `needs_approval` says so.
            journal: Where runs are written down, so that they outlive their process: a file, or a store.

        Raises:
            ProviderError: The model's provider is unknown.
            ToolDefinitionError: A function cannot become a tool, or two tools have one name.
            ConfigurationError: `settings` chooses a tool that is not there, or `output` cannot be described.
        """
        self.name = name
        self.model: Model = model_named(model) if isinstance(model, str) else model
        self.instructions = instructions
        self.settings = settings or Settings()
        self.limits = limits or Limits()
        self.approvals = policy_of(approvals)
        self._store = None if journal is None else store_at(journal)
        given = tuple(tools)
        self._hosted = tuple(tool for tool in given if isinstance(tool, Hosted))
        self._tools = collect(tool for tool in given if not isinstance(tool, Hosted))
        self._descriptions = tuple(tool.description for tool in self._tools.values())
        _check_choice(self.settings.tool_choice, (*self._tools, *(tool.kind for tool in self._hosted)))
        self._output: Output[Any] | None = None if output in (None, str) else Output(output)

    def __repr__(self) -> str:
        names = (*self._tools, *(tool.kind for tool in self._hosted))
        return f"<Agent {self.name!r}: {self.model.name}, tools: {', '.join(names) or 'none'}>"

    def run(
        self, prompt: Prompt, *, deps: Any = None, transcript: Transcript | None = None, run_id: str | None = None
    ) -> Coroutine[Any, Any, Result[Out]]:
        """Work on the prompt until the model has finished, or a call needs a person's word.

        In a flow it is a step, which takes its number when it is called, and its run is written down with the flow's.

        Args:
            prompt: What is wanted: text, or text with pictures and files.
            deps: What tools find as `context.deps`.
            transcript: What was said before; it is left as it is.
            run_id: The name of the run. One that the journal knows goes on where it stopped, if it was begun with the same prompt.

        Raises:
            AgentLoopError: The run failed or reached a limit. `.result` holds how far it got, and can be resumed.
        """
        begun = _begin(prompt, transcript, own_name(run_id))
        if (flow := place.get()) is None:
            return self._live(begun, Life(deps=deps))
        perform = partial(self._perform, begun=begun, life=Life(deps=deps, works=flow.works, in_doubt=flow.in_doubt))
        return run_in(flow, perform, agent=self.name, begun=begun, output=self._output, run_id=run_id)

    async def work(self, journal: Journal, given: str) -> str:
        """Do the work over a journal, as a worker does: of a prompt as JSON, a text or a list of parts, it makes an outcome as JSON."""
        # An engine's journal knows the name that the run was submitted under.
        run_id = getattr(journal, "run_id", None) or from_json(await journal.step("run", note, json.dumps(secrets.token_hex(8))))
        return await self._perform(journal, run_id, begun=read_said(given), life=Life(works=getattr(journal, "works", {})))

    async def _perform(self, journal: Journal | None, run_id: str, *, begun: Transcript, life: Life) -> str:
        if journal is None:
            return written(await self._live(begun, life))
        return written(await self._advance(begun.copy(run_id=run_id), replace(life, journal=TypedJournal(journal))))

    def run_sync(self, prompt: Prompt, *, deps: Any = None, transcript: Transcript | None = None, run_id: str | None = None) -> Result[Out]:
        """Do what `run` does, for code without an event loop.

        Raises:
            ConfigurationError: An event loop runs here already.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self.run(prompt, deps=deps, transcript=transcript, run_id=run_id))
        raise ConfigurationError("run_sync was called inside an event loop; write `await agent.run(...)` there")

    def stream(
        self,
        work: Prompt | Transcript | Result[Any],
        *,
        deps: Any = None,
        transcript: Transcript | None = None,
        deltas: bool = True,
        run_id: str | None = None,
    ) -> Stream[Result[Out]]:
        """Tell each event as it comes: `async for event in agent.stream("...")`.

        Args:
            work: A prompt, and it does what `run` does; or a result or transcript, and it does what `resume` does.
            deps: What tools find as `context.deps`.
            transcript: What was said before a prompt.
            deltas: Whether replies are streamed, and told piece by piece.
            run_id: The name of the run.
        """
        if isinstance(work, Transcript | Result) and (transcript is not None or run_id is not None):
            raise ConfigurationError("a run that goes on has its transcript and its name already; leave transcript= and run_id= out")
        goes_on = isinstance(work, Transcript | Result)
        begun = _before(work) if isinstance(work, Transcript | Result) else _begin(work, transcript, own_name(run_id))

        def start(emit: Emit, room: Room) -> Coroutine[Any, Any, Result[Out]]:
            life = Life(deps=deps, emit=emit, room=room if deltas else None)
            return self._go_on(begun, life, taken_up=taken_up) if goes_on else self._live(begun, life)

        def taken_up(transcript: Transcript) -> None:
            stream.transcript = transcript

        stream = Stream(start, begun)
        return stream

    async def resume(
        self,
        before: str | Transcript | Result[Any],
        *,
        deps: Any = None,
        in_doubt: InDoubt = "wait",
        other_tools: bool = False,
    ) -> Result[Out]:
        """Go on with a run that paused, failed or lost its process; only what has no result yet is done.

        Args:
            before: The run's id in the journal; or its result, `error.result`, or its stored transcript, which is left as it is.
            deps: What tools find as `context.deps`.
            in_doubt: What becomes of calls that were begun and cut off, and may not be made twice: "wait" asks a person, as an approval
                does; "tell" tells the model that nobody knows.
            other_tools: Whether the calls that an earlier life left open may be made with tools that have changed since.

        Raises:
            AgentLoopError: The run failed or reached a limit.
        """
        life = Life(deps=deps, in_doubt=in_doubt, other_tools=other_tools)
        with outside_of_flows():
            if not isinstance(before, str):
                return await self._go_on(_before(before), life)
            if self._store is None:
                raise ConfigurationError(f"the agent has no journal to find the run {before!r} in; write Agent(..., journal='runs.db')")
            return await self._live(Transcript(run_id=own_name(before)), life)

    async def replay(self, run_id: str, *, emit: Emit = unheard) -> Result[Out]:
        """Live a run of the journal over again, from what it wrote down alone: no model is asked, no tool is called, nothing is written.

        Args:
            run_id: The run.
            emit: Is told its events.

        Raises:
            JournalMismatch: The agent would do what the run did not, or the run was cut off there.
        """
        if self._store is None:
            raise ConfigurationError(f"the agent has no journal to find the run {run_id!r} in; write Agent(..., journal='runs.db')")
        return await self._live(Transcript(run_id=run_id), Life(emit=emit, other_tools=True), store=Replaying(self._store))

    undo = undo
    plan = plan
    carry_out = carry_out

    @property
    def tools(self) -> Mapping[str, Tool[..., Any]]:
        """What the agent may call, by name."""
        return self._tools

    def with_journal(self, journal: str | Path | Store) -> Agent[Out]:
        """Make the same agent, whose runs are written down there."""
        same = copy(self)
        same._store = store_at(journal)  # noqa: SLF001  # an agent's own
        return same

    async def _go_on(self, before: Transcript, life: Life, *, taken_up: Callable[[Transcript], None] = lambda _: None) -> Result[Out]:
        """Go on with a run that a transcript is the state of; a journal that knows it knows more, but for what people said since."""
        if self._store is None or not await self._store.records(before.run_id):
            return await self._live(before, life)
        runs = Runs(self._store)
        for waiting in await runs.waiting(before.run_id):
            # A word on an earlier question is none on this one.
            same = waiting.run_id == before.run_id and before.questions.get(waiting.call.id) == waiting.question
            if same and waiting.call.id in before.decisions:
                await runs.say(waiting, before.decisions[waiting.call.id])
        known = Transcript(run_id=before.run_id)
        taken_up(known)
        return await self._live(known, life)

    async def _live(self, transcript: Transcript, life: Life, *, store: Store | None = None) -> Result[Out]:
        store = store or self._store
        if store is None:
            return await self._advance(transcript, life)
        agent = await taken_up(self, store, run_id=transcript.run_id, deps=life.deps)
        async with store.open(transcript.run_id, life.works) as journal:
            life = replace(life, journal=TypedJournal(journal))
            result = await agent._advance(transcript, life)  # noqa: SLF001  # an agent's own
            if result.done:
                await life.journal.note(END, Ending(result.steps, result.usage, result.text), form=ENDING)
            return result

    def as_tool(self, description: str, *, name: str | None = None, effect: Effect = "once") -> Tool[..., Any]:
        """Make a tool of the agent, for another agent: it is given a task in words, and answers with its output.

        What it spends counts for the run that calls it too, it may do nothing that the run may not, and its events are told as `Nested`.
        Where the run is written down, the agent's is a run of its own beside it, and its questions reach people. Elsewhere a call in it
        that needs a person's word is not made.

        Args:
            description: What a model is told of it.
            name: How a model calls it; the agent's name by default.
            effect: What giving it the same task again would do: that of the worst of its tools.
        """
        made = agent_tool(self._nested, agent=self.name, description=description, name=name or self.name, effect=effect)
        return delegating(made, self._tools, hosted=self._hosted)

    async def _nested(self, task: str, context: Context[Any], journal: TypedJournal) -> Result[Out]:
        """Work inside another run, on its budget and with no more rights."""
        within: Run | None = context.run
        call = context.call
        if within is None or call is None:
            return await self.run(task, deps=context.deps)
        deepest = min(account.limits.depth for account in within.budget.accounts)
        if within.budget.depth >= deepest:
            raise RecursionError(f"agents may be {deepest} deep in one another, and this one would be deeper; do it without")
        life = Life(
            deps=context.deps,
            emit=lambda event: within.emit(Nested(self.name, call, event)),
            room=within.room if within.stream else None,
            within=within,
            works=within.works,
            journal=journal,
            in_doubt=within.in_doubt,
            other_tools=within.other_tools is None,
        )
        run_id = f"{within.transcript.run_id}/{within.place(call)}" if journal.keeps else None
        result = await self._advance(_begin(task, None, run_id), life)
        if result.paused and journal.keeps:
            raise Unanswered(result.run_id)
        if result.paused:
            raise PermissionError(
                f"it needs a person's word on {', '.join(each.name for each in result.waiting)}, which nobody can give here"
            )
        return result

    async def _advance(self, transcript: Transcript, life: Life) -> Result[Out]:
        if life.journal.keeps:
            known = await (
                begin(life.journal, transcript, agent=self.name, tools=self._tools)
                if transcript
                else take_up(life.journal, transcript, tools=self._tools)
            )
            life = replace(life, changed=None if life.other_tools else known.other_tools, forked=known.forked)
        run = self._run(transcript, life)
        run.emit(RunStarted(transcript.run_id))
        deadline = asyncio.timeout(self.limits.seconds)
        try:
            async with deadline:
                with ending_at(deadline.when()):
                    await advance(run)
        except TimeoutError as error:
            if not deadline.expired():
                run.emit(RunEnded("failed"))
                raise
            late = run.budget.out_of_time()
            _conclude(late, run)
            raise late from error
        except AgentLoopError as error:
            _conclude(error, run)
            raise
        except Exception:
            # A model of the developer's own raised it; watchers still learn that the run is over.
            run.emit(RunEnded("failed"))
            raise
        result: Result[Out] = result_of(run, done=True)
        run.emit(RunEnded("paused" if result.paused else "done"))
        return result

    def _run(self, transcript: Transcript, life: Life) -> Run:
        within = life.within
        run = Run(
            model=self.model,
            tools=self._tools,
            descriptions=self._descriptions,
            hosted=self._hosted,
            transcript=transcript,
            budget=Budget(self.limits, above=within.budget if within else None),
            instructions=self.instructions,
            settings=self.settings,
            output=self._output,
            approvals=Bounded(self.approvals, within.approvals) if within else self.approvals,
            deps=life.deps,
            emit=life.emit,
            stream=life.room is not None,
            journal=life.journal,
            works=life.works,
            in_doubt=life.in_doubt,
            other_tools=life.changed,
            forked=life.forked,
        )
        if life.room is not None:
            run.room = life.room
        return run


def _check_choice(choice: str | None, tools: Sequence[str]) -> None:
    if choice is not None and choice not in {"auto", "none", "required", *tools}:
        raise ConfigurationError(
            f"tool_choice={choice!r} is no tool of the agent; choose auto, none, required or one of: {', '.join(tools)}"
        )


def _begin(prompt: Prompt, before: Transcript | None, run_id: str | None) -> Transcript:
    transcript = Transcript(before.messages if before else (), decisions=before.decisions if before else None, run_id=run_id)
    match prompt:
        case str():
            transcript.add(user(prompt))
        case Message():
            transcript.add(prompt)
        case _ if any(isinstance(item, Message) for item in prompt):
            raise ConfigurationError("a prompt is made of text, pictures and files; give earlier messages as transcript=Transcript([...])")
        case _:
            transcript.add(user(*prompt))
    return transcript


def _before(state: Transcript | Result[Any]) -> Transcript:
    transcript = state.transcript if isinstance(state, Result) else state
    if not transcript:
        raise BadTranscript("the transcript is empty; begin with a prompt")
    return transcript.copy()


def _conclude(error: AgentLoopError, run: Run) -> None:
    error.result = result_of(run, done=False)
    run.emit(RunEnded("failed"))
