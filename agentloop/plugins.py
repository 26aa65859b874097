"""What installed packages offer: listed without importing anything, enabled by name."""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, Final, Protocol, TypeGuard, runtime_checkable

from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError

from agentloop.errors import AgentLoopError, PluginError

GROUPS: Final = ("agentloop.tools", "agentloop.providers", "agentloop.journals", "agentloop.observers", "agentloop.commands")
"""The entry-point groups in which a package can offer something."""

_VALUE = re.compile(r"(?P<module>\w+(\.\w+)*)(\s*:\s*(?P<attribute>\w+(\.\w+)*))?(\s*\[.*\])?")
_SPEC = re.compile(r"(?P<source>[^\s:=,]+)(:(?P<attribute>[A-Za-z_][\w.]*))?(:(?P<settings>[A-Za-z_]\w*=.*))?", re.DOTALL)
_NEXT_SETTING = re.compile(r",(?=[A-Za-z_]\w*=)")


@runtime_checkable
class Toolset(Protocol):
    """Tools that belong together; a tool is one, of itself."""

    def tools(self) -> Sequence[Any]:
        """List the tools."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """One thing that an installed package offers, by the word of its metadata."""

    name: str
    group: str
    distribution: str
    version: str
    value: str
    """Where it is, as `module:attribute`."""
    cause: str | None = None
    """Why it cannot be loaded, where the metadata alone shows it."""

    def __str__(self) -> str:
        """Name the plugin and who offers it."""
        return f"plugin {self.name!r} of {self.distribution} {self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What a `-T` option asks for: a plugin's tools, or those at `module:attribute`, and their settings."""

    source: str
    """The plugin's name; the module's where there is an `attribute`."""
    attribute: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict[str, str])


def installed(group: str | None = None) -> tuple[Plugin, ...]:
    """List what packages offer, in one group or in all, broken plugins too; reads metadata and imports nothing."""
    if group is not None:
        _check_group(group)
    plugins: dict[str, list[Plugin]] = {}
    for distribution in metadata.distributions():
        if offered := _offered(distribution):
            # As for imports, a distribution hides those of the same name further down the path.
            plugins.setdefault(_normal(offered[0].distribution), offered)
    chosen = [plugin for offered in plugins.values() for plugin in offered if group in {None, plugin.group}]
    return tuple(sorted(chosen, key=lambda plugin: (plugin.group, plugin.name, plugin.distribution)))


def load(group: str, name: str, *, distribution: str | None = None) -> Any:
    """Import what a plugin offers.

    Args:
        group: One of `GROUPS`.
        name: The plugin's name.
        distribution: Whose, where several packages offer the name.

    Raises:
        PluginError: It is unknown, broken, or offered by several.
    """
    return _loaded(_named(group, name, distribution=distribution))


def tools(name: str, /, *, distribution: str | None = None, **settings: Any) -> Toolset:
    """Load the tools that a plugin offers.

    Args:
        name: The plugin's name in the group `agentloop.tools`.
        distribution: Whose, where several packages offer the name.
        settings: What its factory takes, each read as the parameter's annotation says.

    Raises:
        PluginError: It is unknown, broken, offered by several, or a setting does not fit.
    """
    plugin = _named("agentloop.tools", name, distribution=distribution)
    return _toolset(_made(_loaded(plugin), settings, owner=str(plugin)), owner=str(plugin))


def parse(spec: str) -> Spec:
    """Read the command line's form: `files`, `files:root=.,max_bytes=9000`, `mytools:get_weather`, `mytools:Shop:city=Rome`.

    A comma starts a new setting only before `name=`, so that a value may hold commas.

    Raises:
        PluginError: It has another form.
    """
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise PluginError(f"{spec!r} names no tools; write 'plugin', 'plugin:setting=value,setting=value' or 'module:attribute'")
    settings: dict[str, str] = {}
    for setting in _NEXT_SETTING.split(match["settings"]) if match["settings"] else ():
        name, _, value = setting.partition("=")
        if name in settings:
            raise PluginError(f"{spec!r} has the setting {name!r} twice; give it once")
        settings[name] = value
    return Spec(source=match["source"], attribute=match["attribute"], settings=settings)


def tools_from(spec: str) -> Toolset:
    """Load the tools that `spec` names in the form that `parse` reads.

    Raises:
        PluginError: There is nothing of that name, it is broken, it is no tools, or a setting does not fit.
    """
    wanted = parse(spec)
    if wanted.attribute is None:
        return tools(wanted.source, **wanted.settings)
    target = f"{wanted.source}:{wanted.attribute}"
    found = _imported(target, owner=repr(target), remedy="write 'module:attribute', or 'plugin:setting=value' for a plugin's setting")
    # A function may be a tool that nobody decorated; calling it as a factory would run it before any model asked.
    if _is_factory(found) and not inspect.isclass(found):
        raise PluginError(f"{target!r} is a plain function; decorate it with @tool")
    return _toolset(_made(found, wanted.settings, owner=repr(target)), owner=repr(target))


def _offered(distribution: metadata.Distribution) -> list[Plugin]:
    try:
        text = distribution.read_text("entry_points.txt") or ""
    except (OSError, ValueError) as error:
        name, version = _identity(distribution)
        return [Plugin(name=name, group="", distribution=name, version=version, value="", cause=f"entry_points.txt: {error}")]
    entries = list(_entries(text))
    if not entries:
        return []
    name, version = _identity(distribution)
    return [
        Plugin(name=entry, group=group, distribution=name, version=version, value=value, cause=_fault(value))
        for group, entry, value in entries
    ]


def _identity(distribution: metadata.Distribution) -> tuple[str, str]:
    try:
        # Each look at this property reads and parses the file anew.
        written = distribution.metadata
        about = {key: written[key] for key in ("Name", "Version") if key in written}
    except (OSError, ValueError, TypeError):
        about = {}
    return about.get("Name", "a package without a name"), about.get("Version", "without a version")


def _entries(text: str) -> Iterator[tuple[str, str, str]]:
    group = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            group = line[1:-1].strip()
        elif group in GROUPS and line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            yield group, name.strip(), value.strip()


def _fault(value: str) -> str | None:
    return None if _VALUE.fullmatch(value) else f"its entry point is {value!r}, not 'module:attribute'"


def _check_group(group: str) -> None:
    if group not in GROUPS:
        raise PluginError(f"no group {group!r}; known: {', '.join(GROUPS)}")


def _named(group: str, name: str, *, distribution: str | None) -> Plugin:
    _check_group(group)
    known = installed(group)
    offers = [plugin for plugin in known if plugin.name == name]
    if distribution is not None:
        offers = [plugin for plugin in offers if _normal(plugin.distribution) == _normal(distribution)]
    match offers:
        case [Plugin(cause=None) as plugin]:
            return plugin
        case [plugin]:
            raise PluginError(f"{plugin} is broken: {plugin.cause}; update or uninstall {plugin.distribution}")
        case []:
            raise PluginError(_unknown("plugin" if distribution is None else f"plugin of {distribution!r}", name, [p.name for p in known]))
        case _:
            owners = " and ".join(f"{plugin.distribution} {plugin.version}" for plugin in offers)
            raise PluginError(f"plugin {name!r} is offered by {owners}; choose one with distribution=")


def _loaded(plugin: Plugin) -> Any:
    return _imported(plugin.value, owner=str(plugin), remedy=f"update or uninstall {plugin.distribution}")


def _imported(value: str, *, owner: str, remedy: str) -> Any:
    match = _VALUE.fullmatch(value)
    if match is None:
        raise PluginError(f"{owner} names no Python module; {remedy}")
    attributes = match["attribute"].split(".") if match["attribute"] else ()
    try:
        return functools.reduce(getattr, attributes, importlib.import_module(match["module"]))
    # Importing runs a stranger's code, which may fail in any way, sys.exit() included.
    except (Exception, SystemExit) as error:
        raise PluginError(f"{owner} cannot be loaded: {type(error).__name__}: {error}; {remedy}") from error


def _made(offered: Any, settings: Mapping[str, Any], *, owner: str) -> Any:
    """Call `offered` with its settings where it is a factory."""
    if _is_factory(offered):
        try:
            return offered(**_read(settings, offered, owner=owner))
        except ValidationError as error:
            raise _unfit(error, owner=owner) from None
        except AgentLoopError:
            raise
        except Exception as error:  # the factory is a stranger's code
            raise PluginError(f"{owner} cannot be set up: {type(error).__name__}: {error}; look at its settings") from error
    if settings:
        raise PluginError(f"{owner} has no settings; leave out {', '.join(map(repr, settings))}")
    return offered


def _is_factory(offered: Any) -> TypeGuard[Callable[..., Any]]:
    return inspect.isclass(offered) or (callable(offered) and not isinstance(offered, Toolset))


def _read(settings: Mapping[str, Any], factory: Callable[..., Any], *, owner: str) -> dict[str, Any]:
    parameters = inspect.signature(factory, eval_str=True).parameters.values()
    known = {p.name: p for p in parameters if p.kind in {p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY}}
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)
    for name in settings:
        if name not in known and not open_ended:
            raise PluginError(f"{owner}: {_unknown('setting', name, list(known))}")
    for name, parameter in known.items():
        if name not in settings and parameter.default is parameter.empty:
            raise PluginError(f"{owner}: the setting {name!r} is missing; give {name}=...")
    return {name: _value(name, value, known, owner=owner) for name, value in settings.items()}


def _value(name: str, value: Any, known: Mapping[str, inspect.Parameter], *, owner: str) -> Any:
    if name not in known or known[name].annotation is inspect.Parameter.empty:
        return value
    reader = _reader(known[name].annotation)
    try:
        return reader.validate_python(value)
    except ValidationError as error:
        unfit = _unfit(error, owner=owner, setting=name)
    # The command line knows only text, so lists and objects come as JSON.
    if isinstance(value, str):
        with contextlib.suppress(ValidationError):
            return reader.validate_json(value)
    raise unfit


def _reader(annotation: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(annotation)
    except PydanticSchemaGenerationError:
        return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))


def _unfit(error: ValidationError, *, owner: str, setting: str = "") -> PluginError:
    """Say which setting is wrong and what was expected; never what came, which may be a key."""
    fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(step) for step in (setting, *fault["loc"]) if step != "")
    return PluginError(f"{owner}: the setting {place!r} does not fit; {fault['msg'][:1].lower()}{fault['msg'][1:]}")


def _toolset(found: Any, *, owner: str) -> Toolset:
    match found:
        case Toolset() if not inspect.isclass(found):
            return found
        case [*toolsets] if all(isinstance(toolset, Toolset) for toolset in toolsets):
            return _Several(tuple(toolsets))
        case _:
            raise PluginError(f"{owner} gives a {type(found).__name__}; offer a tool, an object with tools(), or a factory of one")


@dataclass(frozen=True, slots=True)
class _Several:
    """Toolsets as one."""

    toolsets: tuple[Toolset, ...]

    def tools(self) -> Sequence[Any]:
        """List the tools of all."""
        return [tool for toolset in self.toolsets for tool in toolset.tools()]


def _unknown(kind: str, name: str, known: Sequence[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {nearest[0]!r}? Known: " if nearest else "known: "
    return f"no {kind} {name!r}; {hint}{', '.join(sorted(set(known))) or 'none'}"


def _normal(distribution: str) -> str:
    """Spell a distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()
