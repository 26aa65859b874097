"""Lists of tools, plugins and models, as plain tables."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from agentloop import plugins
from agentloop.cli.escape import one_line
from agentloop.cli.targets import tools_named
from agentloop.models import listing
from agentloop.tools.function import Tool

_DESCRIPTION_LENGTH = 100


def list_tools(targets: Iterable[str]) -> None:
    """Print the tools that the targets name.

    Raises:
        PluginError: There is nothing of such a name.
    """
    tools = tools_named(targets).values()
    print_table([(_signature(tool), tool.options.effect, _rules(tool), _first_sentence(tool.description.description)) for tool in tools])


def list_plugins() -> None:
    """Print what installed packages offer."""
    found = plugins.installed()
    if not found:
        sys.stdout.write("no installed package offers anything to agentloop\n")
    print_table([(plugin.name, plugin.group, f"{plugin.distribution} {plugin.version}", _state(plugin)) for plugin in found])


def list_models(provider: str, *, base_url: str | None) -> None:
    """Print the models that the provider serves.

    Raises:
        ProviderError: It is unknown, or its key is missing.
        ModelError: It does not answer, or says no.
    """
    found = asyncio.run(listing.list_models(provider, base_url=base_url))
    if not found:
        sys.stdout.write(f"{provider} lists no models\n")
    print_table([(each.name, _thousands(each.context_tokens), each.title) for each in found])


def _thousands(tokens: int | None) -> str:
    return f"{tokens:,} tokens" if tokens else ""


def _signature(tool: Tool[..., Any]) -> str:
    schema = tool.description.parameters
    required = cast("Sequence[str]", schema.get("required", ()))
    properties = cast("Mapping[str, Any]", schema.get("properties", {}))
    names = (name if name in required else f"{name}?" for name in properties)
    return one_line(f"{tool.description.name}({', '.join(names)})")


def _rules(tool: Tool[..., Any]) -> str:
    options = tool.options
    rules = {"approval": options.needs_approval, "destructive": options.destructive, "open world": options.open_world}
    return ", ".join(rule for rule, holds in rules.items() if holds)


def _first_sentence(description: str) -> str:
    return re.split(r"(?<=\.)\s|\n", description.strip(), maxsplit=1)[0]


def _state(plugin: plugins.Plugin) -> str:
    return f"broken: {plugin.cause}" if plugin.cause else plugin.value


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print the rows, their cells in columns."""
    shown = [[one_line(cell, _DESCRIPTION_LENGTH) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write(f"{'  '.join(padded).rstrip()}\n")
