"""What `-T`, `-m` and `-a` name: tools, the model, an agent."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from agentloop import plugins
from agentloop.agent import Agent
from agentloop.cli.prints import ToolPrints
from agentloop.errors import ConfigurationError, PluginError
from agentloop.flows import Flow
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
    _look_here()
    # What a module prints when it is imported is no part of an answer either.
    with contextlib.redirect_stdout(ToolPrints()):
        return collect([_named(spec) for spec in specs])


def agent_at(spec: str) -> Agent[Any]:
    """Load the agent that 'module:attribute' names; modules of the current directory are found first.

    Raises:
        ConfigurationError: There is none.
    """
    found = _loaded(spec, what="agent")
    if not isinstance(found, Agent):
        raise ConfigurationError(f"{spec!r} is a {type(found).__name__} and no Agent; name the agent itself")
    return cast("Agent[Any]", found)


def work_at(spec: str) -> Agent[Any] | Flow[..., Any]:
    """Load the agent or flow that 'module:attribute' names.

    Raises:
        ConfigurationError: There is none.
    """
    found = _loaded(spec, what="agent and no flow")
    if not isinstance(found, Agent | Flow):
        raise ConfigurationError(f"{spec!r} is a {type(found).__name__}, and neither an Agent nor a flow; name one of these")
    return cast("Agent[Any] | Flow[..., Any]", found)


def _loaded(spec: str, *, what: str) -> object:
    _look_here()
    module, _, attribute = spec.partition(":")
    if not module or not attribute:
        raise ConfigurationError(f"{spec!r} names no {what}; write 'module:attribute'")
    try:
        with contextlib.redirect_stdout(ToolPrints()):
            found: Any = importlib.import_module(module)
            for name in attribute.split("."):
                found = getattr(found, name)
    # Importing runs a stranger's code, which may fail in any way, sys.exit() included.
    except (Exception, SystemExit) as error:
        raise ConfigurationError(f"{spec!r} cannot be loaded: {type(error).__name__}: {error}; write 'module:attribute'") from error
    return cast("object", found)


def model_at(name: str, *, base_url: str | None) -> Model:
    """Choose the model; at a base URL a bare name is enough, and it is asked in the format of chat completions.

    Raises:
        ProviderError: The provider is unknown, or none is named.
    """
    # Local servers have names with colons of their own, such as qwen3:8b.
    if base_url and not _names_a_provider(name):
        return model_named(f"openai:{name}", base_url=base_url)
    return model_named(name, base_url=base_url)


def _look_here() -> None:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


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
