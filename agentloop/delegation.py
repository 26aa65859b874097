"""Makes a tool of an agent: a call of it is work inside the run that makes it, and a run of its own where that is written down."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from time import monotonic
from typing import Any, cast

from pydantic_core import from_json, to_json

from agentloop.errors import AgentLoopError, Drained, InvalidArguments, JournalError
from agentloop.events import CallStarted
from agentloop.journal import Journal, Unanswered
from agentloop.journal.typed import TypedJournal
from agentloop.journal.written import END, OUTCOME, Outcome
from agentloop.messages import ToolCall, ToolResult
from agentloop.result import Result
from agentloop.run import Run
from agentloop.tools.context import Context
from agentloop.tools.function import Delegated, Tool, tool
from agentloop.tools.options import Effect
from agentloop.tools.results import to_failure, to_result

Answer = Callable[[str, Context[Any], TypedJournal], Awaitable[Result[Any]]]
"""Gives an agent a task inside the run of the context."""


def agent_tool(answer: Answer, *, agent: str, description: str, name: str, effect: Effect) -> Tool[..., Any]:
    """Make a tool of the agent that answers so.

    Args:
        answer: Gives the agent its work.
        agent: The agent's name, by which a journal knows its runs.
        description: What a model is told of it.
        name: How a model calls it.
        effect: What giving it the same task again would do.
    """

    async def work(task: str, context: Context[Any]) -> Any:  # noqa: D417  # no model is told of the context
        """Give the agent a task.

        Args:
            task: What is to be done, and all that must be known for it.
        """
        return (await answer(task, context, TypedJournal())).output

    # Its own limits end it; a tool's time-out would only hide which.
    made: Tool[..., Any] = tool(work, name=name, description=description, effect=effect, timeout=None)

    def delegate(call: ToolCall, context: Context[Any]) -> Awaitable[Delegated]:
        try:
            task = made.arguments(call.arguments)["task"]
        except InvalidArguments as error:
            return _told(ToolResult(call.id, str(error), is_error=True, name=call.name))
        return _Delegation(answer, call, context).begun(agent, task)

    made.delegate = delegate
    return made


class _Delegation:
    """One call that is given to an agent, in a run that is written down."""

    def __init__(self, answer: Answer, call: ToolCall, context: Context[Any]) -> None:
        self._answer = answer
        self._call = call
        self._context = context
        self._run: Run = context.run
        self._performed_here = False

    def begun(self, agent: str, task: str) -> Awaitable[Delegated]:
        """Give the agent its task, under the call's place in the journal."""
        self._run.works[agent] = self._performed
        return self._came_to(self._run.journal.spawn(self._run.place(self._call), agent, given=to_json(task).decode()))

    async def _performed(self, journal: Journal, given: str) -> str:
        self._performed_here = True
        self._run.emit(CallStarted(self._call))
        started, spent = monotonic(), Outcome()
        try:
            came_to = await self._answer(from_json(given), self._context, TypedJournal(journal))
            spent = _spent(came_to)
            result = to_result(came_to.output, call_id=self._call.id, name=self._call.name)
        except (Drained, JournalError, Unanswered):
            raise
        except Exception as error:  # noqa: BLE001  # the model that gave the task reads what came of it
            if isinstance(error, AgentLoopError) and error.result is not None:
                spent = _spent(cast("Result[Any]", error.result))
            result = to_failure(error, call_id=self._call.id, name=self._call.name)
        return OUTCOME.written(replace(spent, result=result, seconds=monotonic() - started))

    async def _came_to(self, spawned: Awaitable[str]) -> Delegated:
        outcome = OUTCOME.read(await spawned, key=END)
        if outcome.result is None:
            raise JournalError("an agent's run ended without a result; nothing of ours writes that")
        if not self._performed_here:
            # It was paid for in an earlier life, and counts in this one too.
            self._run.budget.recount(steps=outcome.steps, calls=outcome.calls, usage=outcome.usage)
        return Delegated(outcome.result, outcome.seconds, replayed=not self._performed_here)


def _spent(result: Result[Any]) -> Outcome:
    made = sum(len(message.results) for message in result.transcript)
    return Outcome(steps=result.steps, calls=made, usage=result.usage)


async def _told(result: ToolResult) -> Delegated:
    return Delegated(result)
