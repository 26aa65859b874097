"""What belongs to a tool beside its function: what undoes or previews its calls, and what may be called inside of it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from types import FunctionType, MethodType
from typing import Any, cast

from agentloop.messages import ToolCall
from agentloop.tools.context import Context
from agentloop.tools.function import Delegate, Delegated, Tool, tool
from agentloop.tools.hosted import Hosted, MCPServer, ProviderTool

_NO_ARGUMENTS: Mapping[str, Any] = {"type": "object", "properties": {}}


@dataclass(frozen=True, slots=True)
class Delegating:
    """How a tool that is an agent gives its work away, and what that agent may call."""

    give: Delegate
    tools: Mapping[str, Tool[..., Any]]
    hosted: tuple[Hosted, ...] = ()

    def __call__(self, call: ToolCall, context: Context[Any]) -> Awaitable[Delegated]:
        """Give the call to the agent."""
        return self.give(call, context)


def delegating(one: Tool[..., Any], tools: Mapping[str, Tool[..., Any]], *, hosted: tuple[Hosted, ...]) -> Tool[..., Any]:
    """Have the tool that is an agent know what that agent may call."""
    if one.delegate is not None:
        one.delegate = Delegating(one.delegate, tools, hosted)
    return one


def companion(function: Callable[..., Any], beside: Tool[..., Any], *, arguments: str, **more: Any) -> Tool[..., Any]:
    """Make a tool without parameters of a function that takes what another tool takes: called, it is given those arguments.

    Args:
        function: A function or a tool. Only a tool is more than "once", and has a time-out or retries of its own.
        beside: The tool whose arguments it takes. Where both stand in one class, it gets the same instance.
        arguments: The JSON of the call.
        more: What the function is given beside them, where it has parameters of these names and the tool has none.

    Raises:
        InvalidArguments: The tool does not take the arguments any more.
    """
    options = function.options if isinstance(function, Tool) else None
    work = _bound(cast("Callable[..., Any]", function.function if isinstance(function, Tool) else function), beside)
    values = _with_defaults(beside, beside.arguments(arguments))
    known = inspect.signature(work).parameters
    values = {**{name: value for name, value in more.items() if name in known}, **values}
    return tool(
        partial(work, **values),
        name=beside.name,
        description="",
        parameters=_NO_ARGUMENTS,
        effect=options.effect if options else "once",
        retries=options.retries if options else 0,
        timeout=options.timeout if options else beside.options.timeout,
    )


def effect_is_out_of_reach(hosted: Hosted) -> bool:
    """Whether the provider may do something for the model that nobody here is asked about."""
    return isinstance(hosted, MCPServer | ProviderTool)


def only_reads(one: Tool[..., Any]) -> bool:
    """Whether nothing that the tool does, or that an agent does in it, has an effect."""
    if one.options.effect != "read":
        return False
    inside = one.delegate
    if not isinstance(inside, Delegating):
        return inside is None
    return all(only_reads(each) for each in inside.tools.values()) and not any(effect_is_out_of_reach(each) for each in inside.hosted)


def _bound(function: Callable[..., Any], beside: Tool[..., Any]) -> Callable[..., Any]:
    """Bind a function of the tool's own class to what the tool is bound to."""
    method = cast("Any", beside.function)
    if not isinstance(function, FunctionType) or not isinstance(method, MethodType):
        return function
    own, tools = (each.__qualname__.rpartition(".")[0] for each in (function, method))
    return MethodType(function, method.__self__) if own == tools and function.__module__ == method.__module__ else function


def _with_defaults(beside: Tool[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Add what the tool's function takes where the model says nothing."""
    shown = beside.description.parameters["properties"]
    parameters = inspect.signature(beside.function).parameters.values()
    defaults = {each.name: each.default for each in parameters if each.default is not each.empty and each.name in shown}
    return {**deepcopy(defaults), **values}
