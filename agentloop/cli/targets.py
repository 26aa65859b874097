"""What `-T` and `-m` name: tools and the model."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from agentloop import plugins
from agentloop.cli.prints import ToolPrints
from agentloop.errors import PluginError
from agentloop.models import Model
from agentloop.models.providers import PROVIDERS
from agentloop.models.providers import model as model_named
from agentloop.tools import Toolset
from agentloop.tools.collection import collect
from agentloop.tools.function import Tool


def tools_named(specs: Iterable[str]) -> Mapping[str, Tool[..., Any]]:
    """Load the tools that the `-T` options name, by their own names; modules of the current directory are found first.

    Raises:
        PluginError: There is nothing of that name, or it offers no tools.
        ToolDefinitionError: A function cannot become a tool, or two tools have one name.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    # What a module prints when it is imported is no part of an answer either.
    with contextlib.redirect_stdout(ToolPrints()):
        return collect([_named(spec) for spec in specs])


def model_at(name: str, *, base_url: str | None) -> Model:
    """Choose the model; at a base URL a bare name is enough, and it is asked in the format of chat completions.

    Raises:
        ProviderError: The provider is unknown, or none is named.
    """
    # Local servers have names with colons of their own, such as qwen3:8b.
    if base_url and not _names_a_provider(name):
        return model_named(f"openai:{name}", base_url=base_url)
    return model_named(name, base_url=base_url)


def _names_a_provider(name: str) -> bool:
    place, colon, _ = name.partition(":")
    provider, slash, wire = place.partition("/")
    return bool(colon) and provider in PROVIDERS and (not slash or wire in PROVIDERS[provider].wires)


def _named(spec: str) -> Toolset | Callable[..., Any]:
    try:
        return plugins.tools_from(spec)
    except PluginError:
        if (function := _plain_function(spec)) is not None:
            return function
        raise


def _plain_function(spec: str) -> Callable[..., Any] | None:
    """Find a function that nobody decorated; `plugins` has imported its module before it turned it down."""
    wanted = plugins.parse(spec)
    if wanted.attribute is None or wanted.settings:
        return None
    found: Any = sys.modules.get(wanted.source)
    for name in wanted.attribute.split("."):
        found = getattr(found, name, None)
    return found if inspect.isroutine(found) else None
