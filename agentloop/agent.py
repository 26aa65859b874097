"""The front door: a model, its tools, its rules."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, cast, overload

from typing_extensions import TypeVar

from agentloop.approvals import Bounded, Judge, Policy, PolicyName, policy_of
from agentloop.errors import AgentLoopError, BadTranscript, ConfigurationError
from agentloop.events import Emit, Nested, RunEnded, RunStarted, unheard
from agentloop.limits import Budget, Limits
from agentloop.loop import advance
from agentloop.messages import Citation, Message, Settings, ToolCall, Usage, UserPart, user
from agentloop.models import Model
from agentloop.models.providers import model as model_named
from agentloop.models.retries import ending_at
from agentloop.output import Output
from agentloop.run import Run
from agentloop.stream import Stream
from agentloop.tools import Toolset
from agentloop.tools.collection import collect
from agentloop.tools.context import Context
from agentloop.tools.function import Tool, tool
from agentloop.tools.hosted import Hosted
from agentloop.tools.options import Effect
from agentloop.transcript import Transcript, Wait

Out = TypeVar("Out", default=str)

Prompt = str | Message | Sequence[str | UserPart]
Room = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Result(Generic[Out]):
    """What a run came to: done, paused, or, on an error, how far it got."""

    transcript: Transcript
    usage: Usage
    """The tokens of this run, or since it was resumed."""
    steps: int
    """How often the model was asked in it."""
    waiting: tuple[ToolCall, ...] = ()
    """The calls that need a person's word or a result from outside: `transcript.approve(call.id)`, `.deny` or `.answer`, then resume."""
    answer: Out | None = None
    done: bool = False
    """Whether the model has finished."""
    limited: str | None = None
    """The limit that ended the work, where the model was asked for its last answer then."""

    @property
    def output(self) -> Out:
        """The answer as the type that was asked for; the text itself where none was.

        Raises:
            AgentLoopError: The run is not done.
        """
        if not self.done:
            waits = f"it waits for a word on {', '.join(call.name for call in self.waiting)}; give it and " if self.waiting else ""
            raise AgentLoopError(f"the run has no answer yet; {waits}resume it")
        return cast("Out", self.answer)

    @property
    def text(self) -> str:
        """The words of the last message."""
        return self.transcript.text

    @property
    def citations(self) -> tuple[Citation, ...]:
        """Where the text comes from; `start` and `end` of each are a slice of it."""
        return self.transcript.messages[-1].citations if len(self.transcript) else ()

    @property
    def paused(self) -> bool:
        """Whether a person must speak before the run can go on."""
        return bool(self.waiting)


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
        given = tuple(tools)
        self._hosted = tuple(tool for tool in given if isinstance(tool, Hosted))
        self._tools = collect(tool for tool in given if not isinstance(tool, Hosted))
        self._descriptions = tuple(tool.description for tool in self._tools.values())
        _check_choice(self.settings.tool_choice, (*self._tools, *(tool.kind for tool in self._hosted)))
        self._output: Output[Any] | None = None if output in (None, str) else Output(output)

    def __repr__(self) -> str:
        names = (*self._tools, *(tool.kind for tool in self._hosted))
        return f"<Agent {self.name!r}: {self.model.name}, tools: {', '.join(names) or 'none'}>"

    async def run(self, prompt: Prompt, *, deps: Any = None, transcript: Transcript | None = None) -> Result[Out]:
        """Work on the prompt until the model has finished, or a call needs a person's word.

        Args:
            prompt: What is wanted: text, or text with pictures and files.
            deps: What tools find as `context.deps`.
            transcript: What was said before; it is left as it is.

        Raises:
            AgentLoopError: The run failed or reached a limit. `.result` holds how far it got, and can be resumed.
        """
        return await self._advance(_begin(prompt, transcript), deps=deps)

    def run_sync(self, prompt: Prompt, *, deps: Any = None, transcript: Transcript | None = None) -> Result[Out]:
        """Do what `run` does, for code without an event loop.

        Raises:
            ConfigurationError: An event loop runs here already.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self.run(prompt, deps=deps, transcript=transcript))
        raise ConfigurationError("run_sync was called inside an event loop; write `await agent.run(...)` there")

    def stream(
        self, work: Prompt | Transcript | Result[Any], *, deps: Any = None, transcript: Transcript | None = None, deltas: bool = True
    ) -> Stream[Result[Out]]:
        """Tell each event as it comes: `async for event in agent.stream("...")`.

        Args:
            work: A prompt, and it does what `run` does; or a result or transcript, and it does what `resume` does.
            deps: What tools find as `context.deps`.
            transcript: What was said before a prompt.
            deltas: Whether replies are streamed, and told piece by piece.
        """
        if isinstance(work, Transcript | Result) and transcript is not None:
            raise ConfigurationError("a run that goes on has its transcript already; leave transcript= out")
        begun = _before(work) if isinstance(work, Transcript | Result) else _begin(work, transcript)

        def start(emit: Emit, room: Room) -> Coroutine[Any, Any, Result[Out]]:
            return self._advance(begun, deps=deps, emit=emit, room=room if deltas else None)

        return Stream(start, begun)

    async def resume(self, before: Transcript | Result[Any], *, deps: Any = None) -> Result[Out]:
        """Go on with a run that paused, failed or lost its process; only what has no result yet is done.

        Args:
            before: Its result, `error.result`, or its stored transcript. It is left as it is.
            deps: What tools find as `context.deps`.

        Raises:
            AgentLoopError: The run failed or reached a limit.
        """
        return await self._advance(_before(before), deps=deps)

    def as_tool(self, description: str, *, name: str | None = None, effect: Effect = "once") -> Tool[..., Any]:
        """Make a tool of the agent, for another agent: it is given a task in words, and answers with its output.

        What it spends counts for the run that calls it too, it may do nothing that the run may not, and its events are told as `Nested`.
        A call in it that needs a person's word is not made.

        Args:
            description: What a model is told of it.
            name: How a model calls it; the agent's name by default.
            effect: What giving it the same task again would do: that of the worst of its tools.
        """

        async def work(task: str, context: Context[Any]) -> Any:  # noqa: D417  # no model is told of the context
            """Give the agent a task.

            Args:
                task: What is to be done, and all that must be known for it.
            """
            return await self._work(task, context)

        # Its own limits end it; a tool's time-out would only hide which.
        return tool(work, name=name or self.name, description=description, effect=effect, timeout=None)

    async def _work(self, task: str, context: Context[Any]) -> Out:
        within: Run | None = context.run
        if within is None or context.call is None:
            return (await self.run(task, deps=context.deps)).output
        call = context.call
        deepest = min(account.limits.depth for account in within.budget.accounts)
        if within.budget.depth >= deepest:
            raise RecursionError(f"agents may be {deepest} deep in one another, and this one would be deeper; do it without")
        room = within.room if within.stream else None
        result = await self._advance(
            _begin(task, None), deps=context.deps, emit=lambda event: within.emit(Nested(self.name, call, event)), room=room, within=within
        )
        if result.paused:
            raise PermissionError(
                f"it needs a person's word on {', '.join(each.name for each in result.waiting)}, which nobody can give here"
            )
        return result.output

    async def _advance(
        self, transcript: Transcript, *, deps: Any, emit: Emit = unheard, room: Room | None = None, within: Run | None = None
    ) -> Result[Out]:
        run = self._run(transcript, deps=deps, emit=emit, room=room, within=within)
        emit(RunStarted(transcript.run_id))
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
        result: Result[Out] = _result(run, done=True)
        emit(RunEnded("paused" if result.paused else "done"))
        return result

    def _run(self, transcript: Transcript, *, deps: Any, emit: Emit, room: Room | None, within: Run | None) -> Run:
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
            deps=deps,
            emit=emit,
            stream=room is not None,
        )
        if room is not None:
            run.room = room
        return run


def _check_choice(choice: str | None, tools: Sequence[str]) -> None:
    if choice is not None and choice not in {"auto", "none", "required", *tools}:
        raise ConfigurationError(
            f"tool_choice={choice!r} is no tool of the agent; choose auto, none, required or one of: {', '.join(tools)}"
        )


def _begin(prompt: Prompt, before: Transcript | None) -> Transcript:
    transcript = Transcript(before.messages if before else (), decisions=before.decisions if before else None)
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
    error.result = _result(run, done=False)
    run.emit(RunEnded("failed"))


def _result(run: Run, *, done: bool) -> Result[Any]:
    move = run.transcript.next_move(run.waits)
    waiting = move.calls if isinstance(move, Wait) else ()
    return Result(
        transcript=run.transcript,
        usage=run.budget.usage,
        steps=run.budget.steps,
        waiting=waiting,
        answer=run.answer,
        done=done and not waiting,
        limited=run.limited,
    )
