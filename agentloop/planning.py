"""Tools that a model plans with: what only reads is done, what has an effect is noted, and the model reads what it would do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentloop.approvals import Bounded, Granted, Policy, Rules, Settled, Word, rule
from agentloop.errors import ConfigurationError
from agentloop.messages import ToolCall, ToolResult
from agentloop.tools.companions import companion, effect_is_out_of_reach, only_reads
from agentloop.tools.context import Context
from agentloop.tools.function import Tool
from agentloop.tools.gates import gate
from agentloop.tools.hosted import Hosted
from agentloop.tools.options import Options

Tools = Mapping[str, Tool[..., Any]]


class Planning:
    """One planning run: its tools, and the calls that they noted."""

    def __init__(self, tools: Tools, policy: Rules, *, hosted: tuple[Hosted, ...]) -> None:
        """Make tools to plan with.

        Args:
            tools: Those of the agent.
            policy: What the agent's calls are ruled by; what it denies is denied here too.
            hosted: What the provider runs for the agent.

        Raises:
            ConfigurationError: The provider runs something that nobody here could hold back.
        """
        for each in hosted:
            if effect_is_out_of_reach(each):
                raise ConfigurationError(f"the provider runs {each.kind!r} itself, so it cannot be planned; plan with an agent without it")
        self.policy = policy
        self.tools = {name: PlannedTool(tool, self) for name, tool in tools.items()}
        self.noted: dict[str, ToolCall] = {}
        """The calls that were not made, by their ids."""

    def judge(self, tool: Tool[..., Any], arguments: Mapping[str, Any]) -> Word:
        """Rule on the calls of the planning run and of the agents in it: no tool of theirs has an effect, whatever they may do else."""
        if isinstance(tool, PlannedTool):
            # It asks the agent's own policy, about the tool that it stands for.
            return "allow"
        if not only_reads(tool):
            return "deny"
        return _word(self.policy, tool, arguments)


class PlannedTool(Tool[..., Any]):
    """Stands for a tool while a plan is made: the model is told the same of it."""

    def __init__(self, tool: Tool[..., Any], planning: Planning) -> None:
        super().__init__(tool.function, tool._definition)  # noqa: SLF001  # another tool's, for the same words to the model
        # What is noted always comes to the same words, and may be wanted more than once.
        self.options = Options(effect="read", timeout=None, poll=tool.options.poll or not only_reads(tool))
        self._tool = tool
        self._planning = planning

    async def call(self, call: ToolCall, context: Context[Any]) -> ToolResult:
        """Do what only reads and needs nobody's word; note anything else, and say what it would do."""
        match rule(call, self._tool, policy=self._planning.policy, decision=None):
            case Settled(result):
                return result
            case Granted() if only_reads(self._tool):
                async with gate(self._tool, call.arguments):
                    return await self._tool.call(call, context)
            case _:
                return await self._noted(call, context)

    async def _noted(self, call: ToolCall, context: Context[Any]) -> ToolResult:
        if self._tool.options.preview is None:
            words = f"Planned, and not done yet: {call.name!r} is called like this once the plan is approved. Plan on as if it were done."
            result = ToolResult(call.id, words, name=call.name)
        else:
            previewing = companion(self._tool.options.preview, self._tool, arguments=call.arguments)
            result = await previewing.call(ToolCall(call.id, call.name), context)
        if not result.is_error:
            self._planning.noted[call.id] = call
        return result


def _word(policy: Rules, tool: Tool[..., Any], arguments: Mapping[str, Any]) -> Word:
    match policy:
        case Policy():
            word = policy.word(tool)
            return "deny" if word == "ask" and not policy.attended else word
        case Bounded():
            words = {_word(policy.own, tool, arguments), _word(policy.above, tool, arguments)}
            if "deny" in words:
                return "deny"
            return "ask" if "ask" in words else "allow"
        case _:
            return policy(tool, arguments)
