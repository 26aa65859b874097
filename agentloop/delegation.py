"""Makes a tool of an agent: a call of it is work inside the run that makes it, and a run of its own where that is written down."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from pydantic_core import from_json, to_json

from agentloop.errors import Drained, InvalidArguments, JournalError
from agentloop.journal import Journal, Unanswered
from agentloop.journal.typed import TypedJournal
from agentloop.lives import END
from agentloop.messages import ToolCall, ToolResult
from agentloop.run import OUTCOME, Outcome, Run
from agentloop.tools.context import Context
from agentloop.tools.function import Tool, tool
from agentloop.tools.options import Effect
from agentloop.tools.results import to_failure, to_result

Answer = Callable[[str, Context[Any], TypedJournal], Awaitable[Any]]
"""Gives an agent a task inside the run of the context, and gives its output."""


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
        return await answer(task, context, TypedJournal())

    # Its own limits end it; a tool's time-out would only hide which.
    made: Tool[..., Any] = tool(work, name=name, description=description, effect=effect, timeout=None)

    def delegate(call: ToolCall, context: Context[Any]) -> Awaitable[ToolResult]:
        try:
            task = made.arguments(call.arguments)["task"]
        except InvalidArguments as error:
            return _told(ToolResult(call.id, str(error), is_error=True, name=call.name))
        run: Run = context.run
        run.works[agent] = partial(_performed, answer=answer, call=call, context=context)
        return _answered(run.journal.spawn(run.place(call), agent, given=to_json(task).decode()))

    made.delegate = delegate
    return made


async def _performed(journal: Journal, given: str, *, answer: Answer, call: ToolCall, context: Context[Any]) -> str:
    try:
        output = await answer(from_json(given), context, TypedJournal(journal))
        result = to_result(output, call_id=call.id, name=call.name)
    except (Drained, JournalError, Unanswered):
        raise
    except Exception as error:  # noqa: BLE001  # the model that gave the task reads what came of it
        result = to_failure(error, call_id=call.id, name=call.name)
    return OUTCOME.written(Outcome(result))


async def _answered(spawned: Awaitable[str]) -> ToolResult:
    outcome = OUTCOME.read(await spawned, key=END)
    if outcome.result is None:
        raise JournalError("an agent's run ended without a result; nothing of ours writes that")
    return outcome.result


async def _told(result: ToolResult) -> ToolResult:
    return result
