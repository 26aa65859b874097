"""The tools of an agent, by name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterable
from types import MethodType
from typing import Any

from agentloop.errors import ToolDefinitionError
from agentloop.tools import Toolset
from agentloop.tools.function import Tool, tool
from agentloop.tools.parameters import innermost

_MOST_NAMES = 50
_LONGEST_NAME = 64


def collect(tools: Iterable[Toolset | Callable[..., Any]]) -> dict[str, Tool[..., Any]]:
    """List tools by name: decorated and plain functions, and what toolsets hold.

    Raises:
        ToolDefinitionError: Two have one name, or something is none of these.
    """
    found: dict[str, Tool[..., Any]] = {}
    for each in tools:
        for one in _tools(each):
            if one.name in found:
                raise ToolDefinitionError(
                    f"two tools are named {one.name!r}: {_origin(found[one.name])} and {_origin(one)}; rename one with tool(name=...)"
                )
            found[one.name] = one
    return found


def describe_unknown(name: str, known: Collection[str]) -> str:
    """Tell a model that there is no such tool, which comes nearest, and which there are."""
    name = name[:_LONGEST_NAME]
    # Models also write `functions.search`, `default_api:search` and `Search`.
    by_lower = {each.lower(): each for each in known}
    nearest = difflib.get_close_matches(re.split(r"[.:/]", name.lower())[-1].strip(), by_lower, n=1)
    guess = f" Did you mean {by_lower[nearest[0]]!r}?" if nearest else ""
    names = sorted(known)
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"There is no tool {name!r}.{guess} Tools: {', '.join(names[:_MOST_NAMES]) or 'none'}{more}."


def _tools(source: Any) -> Iterable[Tool[..., Any]]:
    if isinstance(source, type):
        raise ToolDefinitionError(f"{source.__name__!r} is a class; give an instance of it")
    # A bound method has all the attributes of its function, which may be a tool.
    listing: Any = None if isinstance(source, MethodType) else getattr(source, "tools", None)
    if not callable(listing):
        return tool(source).tools()
    listed: Any = listing()
    return listed if isinstance(source, Tool) else [one for each in listed for one in _tools(each)]


def _origin(one: Tool[..., Any]) -> str:
    worker = innermost(one.function)
    return f"{worker.__module__}.{worker.__qualname__}"
