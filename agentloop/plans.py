"""Plans: what a run would do, written down without doing it, for a person to read, approve and have carried out."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Coroutine, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from typing_extensions import TypeVar

from agentloop.approvals import fingerprint
from agentloop.errors import BadReply, BadTranscript, ConfigurationError, InvalidArguments, JournalMismatch, PlanOutdated
from agentloop.journal import note
from agentloop.journal.store import Store
from agentloop.journal.travel import Replaying
from agentloop.journal.typed import Form, TypedJournal
from agentloop.lives import begin
from agentloop.messages import Message, Part, Reply, Request, ToolCall, ToolResult, UserPart
from agentloop.models import Hear, Model
from agentloop.placing import outside_of_flows
from agentloop.planning import Planning, Tools
from agentloop.result import Result
from agentloop.tools.options import Effect
from agentloop.transcript import Decision, Question, Transcript
from agentloop.undoing import refuse_undone

PLAN = "plan"
"""The key under which a run has the plan that it carries out."""

_CARRIED_OUT = (
    "You made a plan, and a person has read it and said which of its calls may be made. What you read as their results is what they "
    "came to; what only looked something up is from when you planned. Nothing more can be called: say what was done and what was not."
)

Out = TypeVar("Out", default=str)
AnyAgent = TypeVar("AnyAgent")


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A call as the model made it, and as it is made if a person says yes."""

    id: str
    name: str
    arguments: str
    """The JSON the model wrote, to the letter."""
    effect: Effect
    destructive: bool
    open_world: bool
    preview: str
    """What the model read instead of its result."""
    fingerprint: str
    """The hash of the tool's definition and the arguments. A yes holds for nothing else."""


@dataclass(frozen=True, slots=True)
class _Stored:
    run_id: str
    before: int
    """How many messages there were before the planning began."""
    messages: tuple[Message, ...]
    calls: tuple[PlannedCall, ...]
    decisions: Mapping[str, Decision] = field(default_factory=dict[str, Decision])
    format: Literal[1] = 1


_STORED: Form[_Stored] = Form(_Stored)
_TEXT: Form[str] = Form(str)


class Plan:
    """The calls that a run would make, in their order, and what a person said on them."""

    def __init__(self, stored: _Stored) -> None:
        """Take up a plan that `Agent.plan` made, or that was stored.

        Raises:
            BadTranscript: Its calls are not those that the model made.
        """
        self.calls = stored.calls
        """In the order in which the model made them; those of one reply are made side by side."""
        self.run_id = stored.run_id
        """The run that carries it out, where no other is named."""
        self.decisions = dict(stored.decisions)
        """What was said on the calls, by their ids."""
        self._stored = stored
        self._planned = {call.id: call for call in stored.calls}
        replies = [message for message in stored.messages[stored.before :] if message.role == "assistant"]
        made = [(call.id, call.name, call.arguments) for reply in replies for call in reply.calls if call.id in self._planned]
        if made != [(call.id, call.name, call.arguments) for call in stored.calls]:
            raise BadTranscript("the calls of the stored plan are not those that the model made; plan anew")
        while replies and not any(call.id in self._planned for call in replies[-1].calls):
            replies.pop()
        self._replies = replies

    def __repr__(self) -> str:
        return f"<Plan of {len(self.calls)} calls>"

    @property
    def text(self) -> str:
        """What the model said at the end."""
        return self._stored.messages[-1].text

    @property
    def fingerprint(self) -> str:
        """The hash of the calls in their order: two plans that have the same do the same."""
        replies = ([self._planned[call.id].fingerprint for call in reply.calls if call.id in self._planned] for reply in self._replies)
        return hashlib.sha256(json.dumps([each for each in replies if each]).encode()).hexdigest()

    @property
    def waiting(self) -> tuple[PlannedCall, ...]:
        """The calls on which nobody has spoken yet."""
        return tuple(call for call in self.calls if call.id not in self.decisions)

    def approve(self, call_id: str | None = None, *, arguments: Mapping[str, Any] | None = None) -> None:
        """Let a call be made as it was planned, or all on which nobody has spoken yet.

        Args:
            call_id: The call; all if left out.
            arguments: All the arguments to make it with, if not the model's; the model is told.

        Raises:
            BadTranscript: The plan has no such call.
            ConfigurationError: JSON cannot say the arguments, or they are for no call.
        """
        if call_id is None and arguments is not None:
            raise ConfigurationError("arguments are for one call; name it: plan.approve(call.id, arguments={...})")
        for call in self.waiting if call_id is None else (self._call(call_id),):
            asked = Transcript(
                [Message("assistant", (ToolCall(call.id, call.name, call.arguments),))],
                questions={call.id: Question("approval", call.fingerprint)},
            )
            asked.approve(call.id, arguments=arguments)
            self.decisions[call.id] = asked.decisions[call.id]

    def deny(self, call_id: str, reason: str = "") -> None:
        """Have a call left out; the model reads the reason as its result."""
        self.decisions[self._call(call_id).id] = Decision("denied", reason)

    def to_json(self) -> bytes:
        """Write the plan as JSON text, with what was said on it."""
        return _STORED.written(replace(self._stored, decisions=self.decisions)).encode()

    @classmethod
    def from_json(cls, data: str | bytes) -> Plan:
        """Read what `to_json` wrote, from where only you can write: it holds approvals.

        Raises:
            BadTranscript: It is not that.
        """
        try:
            stored = _STORED.read(data.decode() if isinstance(data, bytes) else data, key=PLAN)
        except (JournalMismatch, UnicodeDecodeError) as error:
            raise BadTranscript(f"this is no stored plan: {error}") from error
        return cls(stored)

    def beginning(self, run_id: str | None = None) -> Transcript:
        """Make the transcript of the run that carries the plan out: what was said before, and what was decided on the calls to come."""
        results = {result.call_id: result for message in self._stored.messages for result in message.results}
        looked_up = {call.id: Decision("answered", result=results[call.id]) for reply in self._replies for call in reply.calls}
        return Transcript(
            self._stored.messages[: self._stored.before], decisions={**looked_up, **self.decisions}, run_id=run_id or self.run_id
        )

    def reply(self, request: Request) -> Reply | None:
        """Give the next reply of the plan; None where all were given, or a call of it has failed."""
        number = request.step - sum(message.role == "assistant" for message in self._stored.messages[: self._stored.before])
        if not 0 <= number < len(self._replies) or self.failed(request):
            return None
        return Reply(self._replies[number].parts, "tool_calls")

    def failed(self, request: Request) -> bool:
        """Whether a call that was approved came to nothing."""
        approved = {call_id for call_id, decision in self.decisions.items() if decision.word == "approved"}
        return any(result.is_error and result.call_id in approved for message in request.messages for result in message.results)

    def unmade(self, request: Request) -> list[str]:
        """Name the tools of the calls that were not reached."""
        reached = {result.call_id for message in request.messages for result in message.results}
        return [call.name for call in self.calls if call.id not in reached]

    def checked(self, tools: Tools) -> None:
        """Make sure that everything is said, and holds for the tools as they are.

        Raises:
            ConfigurationError: A call waits for a word, has no tool any more, or cannot be made like this.
            PlanOutdated: A tool has changed.
        """
        if self.waiting:
            names = ", ".join(repr(call.name) for call in self.waiting)
            raise ConfigurationError(f"nobody has spoken on the calls of {names} yet; say plan.approve(), or plan.deny(call.id)")
        fresh = [_as_now(call, tools) if self.decisions[call.id].word == "approved" else call for call in self.calls]
        changed = [now for now, call in zip(fresh, self.calls, strict=True) if now != call]
        if changed:
            kept = {call_id: said for call_id, said in self.decisions.items() if call_id not in {call.id for call in changed}}
            plan = Plan(replace(self._stored, calls=tuple(fresh), decisions=kept))
            names = ", ".join(dict.fromkeys(repr(call.name) for call in changed))
            raise PlanOutdated(f"{names} changed since the plan was made, and nothing was done; read error.plan and approve that", plan)
        for call in self.calls:
            edited = self.decisions[call.id].arguments
            if edited is not None:
                _check_arguments(call.name, edited, tools)

    def _call(self, call_id: str) -> PlannedCall:
        if call_id not in self._planned:
            names = ", ".join(f"{call.id} ({call.name})" for call in self.calls)
            raise BadTranscript(f"the plan has no call {call_id!r}; it has: {names or 'none'}")
        return self._planned[call_id]


class _Resumable(Protocol[Out]):
    """An agent."""

    def resume(self, before: str | Transcript | Result[Any], *, deps: Any = None) -> Coroutine[Any, Any, Result[Out]]: ...


async def plan(
    agent: Any, prompt: str | Message | Sequence[str | UserPart], *, deps: Any = None, transcript: Transcript | None = None
) -> Plan:
    """Have the model work on the prompt without doing anything: what it would do is a plan, for a person to read and approve.

    Calls of tools that only read are made as usual. Any other is noted, and the model reads the tool's `preview` of it, or that it is
    planned; an agent in it is one such call. What the agent's policy denies is denied. Nothing is written to the journal.

    Args:
        agent: The agent.
        prompt: What is wanted.
        deps: What tools find as `context.deps`.
        transcript: What was said before; it is left as it is.

    Raises:
        AgentLoopError: The run failed or reached a limit.
    """
    hosted = agent._hosted  # noqa: SLF001  # a method of the agent, kept here
    planning = Planning(agent.tools, agent.approvals, hosted=hosted)
    planner = type(agent)(
        agent.model,
        tools=(*planning.tools.values(), *hosted),
        instructions=agent.instructions,
        name=agent.name,
        settings=agent.settings,
        limits=agent.limits,
        approvals=planning.judge,
    )
    with outside_of_flows():
        result: Result[str] = await planner.run(prompt, deps=deps, transcript=transcript)
    return _plan_of(result.transcript, len(transcript or ()) + 1, planning, agent.tools)


async def carry_out(agent: _Resumable[Out], plan: Plan, *, deps: Any = None, run_id: str | None = None) -> Result[Out]:
    """Make the calls of a plan that were approved, to the letter and in their order, and let the model say what came of them.

    The calls of one reply are made side by side. Once one has failed, those of later replies are not made. With a journal, a plan is
    carried out once: done again, it goes on where it stopped.

    Args:
        agent: The agent, or another with the same tools.
        plan: The plan; each of its calls is approved or denied.
        deps: What tools find as `context.deps`.
        run_id: The name of the run; that of the plan if left out.

    Raises:
        PlanOutdated: A tool has changed since; nothing was done, and `.plan` can be approved instead.
        ConfigurationError: Nobody has spoken on a call, or one cannot be made; nothing was done.
        AgentLoopError: The run failed or reached a limit.
    """
    own: Any = agent
    plan.checked(own.tools)
    beginning = plan.beginning(run_id)
    store: Store | None = own._store  # noqa: SLF001  # a method of the agent, kept here
    if store is None:
        return await _carrying(agent, plan).resume(beginning, deps=deps)
    async with store.open(beginning.run_id, {}) as journal:
        given = plan.to_json().decode()
        # Before the run begins, so that nobody goes on with it as with another.
        if await journal.step(PLAN, note, given) != given:
            raise JournalMismatch(f"the run {beginning.run_id!r} carries out another plan, or other words on it; choose another run_id")
        await begin(TypedJournal(journal), beginning, agent=own.name, tools=own.tools)
    return await agent.resume(beginning.run_id, deps=deps)


async def taken_up(agent: AnyAgent, store: Store, *, run_id: str, deps: Any) -> AnyAgent:
    """Give the agent that goes on with a run: as it is, or held to the plan that the run carries out.

    Raises:
        RunUndone: The run was undone; what was not yet is now.
    """
    records = await store.records(run_id)
    if not isinstance(store, Replaying):
        await refuse_undone(agent, records, run_id=run_id, deps=deps)
    stored = next((record.value for record in records if record.key == PLAN), None)
    return agent if stored is None else _carrying(agent, Plan.from_json(stored))


class _Carrying:
    """A model that makes the calls of a plan; only its last word is a model's own, and that calls nothing."""

    def __init__(self, model: Model, plan: Plan) -> None:
        self._model = model
        self._plan = plan

    @property
    def name(self) -> str:
        return self._model.name

    async def ask(self, request: Request, hear: Hear) -> Reply:
        planned = self._plan.reply(request)
        if planned is not None:
            return planned
        unmade = ", ".join(self._plan.unmade(request))
        stopped = f" A call failed, so these were not made: {unmade}." if unmade else ""
        request = replace(
            request,
            instructions=f"{request.instructions}\n\n{_CARRIED_OUT}{stopped}".strip(),
            hosted=(),
            settings=replace(request.settings, tool_choice="none"),
        )
        reply = await self._model.ask(request, hear)
        if not reply.calls:
            return reply
        if not reply.text:
            raise BadReply("the model calls more tools instead of saying what came of its plan; resume the run to ask it again")
        # Not all servers heed tool_choice.
        return replace(reply, parts=tuple(part for part in reply.parts if not isinstance(part, ToolCall)), finish_reason="stop")


def _carrying(agent: AnyAgent, plan: Plan) -> AnyAgent:
    same: Any = copy(agent)
    same.model = _Carrying(same.model, plan)
    # A person has read how often each call is made.
    same.limits = replace(same.limits, repeats=None)
    return same  # type: ignore[no-any-return]


def _plan_of(transcript: Transcript, before: int, planning: Planning, tools: Tools) -> Plan:
    said = transcript.messages[before:]
    names = {call.id: f"planned_{secrets.token_hex(6)}" for message in said for call in message.calls}
    messages = (*transcript.messages[:before], *(_renamed(message, names) for message in said))
    noted = {names[call_id] for call_id in planning.noted}
    results = {result.call_id: result.text for message in messages for result in message.results}
    calls = [call for message in messages[before:] for call in message.calls if call.id in noted]
    planned = tuple(_described(call, results[call.id], tools) for call in calls)
    return Plan(_Stored(secrets.token_hex(8), before, messages, planned))


def _renamed(message: Message, names: Mapping[str, str]) -> Message:
    """Give the calls ids that no others will ever have: what was said on them outlives the plan, and must answer nothing else."""

    def renamed(part: Part) -> Part:
        match part:
            case ToolCall():
                return replace(part, id=names[part.id])
            case ToolResult():
                return replace(part, call_id=names[part.call_id])
            case _:
                return part

    return replace(message, parts=tuple(renamed(part) for part in message.parts))


def _described(call: ToolCall, preview: str, tools: Tools) -> PlannedCall:
    options = tools[call.name].options
    return PlannedCall(
        call.id,
        call.name,
        call.arguments,
        options.effect,
        options.destructive,
        options.open_world,
        preview,
        fingerprint(tools[call.name], call.arguments),
    )


def _as_now(call: PlannedCall, tools: Tools) -> PlannedCall:
    _check_arguments(call.name, call.arguments, tools)
    return _described(ToolCall(call.id, call.name, call.arguments), call.preview, tools)


def _check_arguments(name: str, arguments: str, tools: Tools) -> None:
    if name not in tools:
        raise ConfigurationError(f"the agent has no tool {name!r} any more; plan anew")
    try:
        tools[name].arguments(arguments)
    except InvalidArguments as error:
        raise ConfigurationError(f"the planned call of {name!r} cannot be made: {error} Give it other arguments, or plan anew") from error
