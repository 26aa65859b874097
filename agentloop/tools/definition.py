"""What makes a function a tool: its name, its arguments, what a model is told of it."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import cached_property
from typing import Any, TypedDict

from pydantic_core import SchemaValidator, core_schema, to_json

from agentloop.errors import ToolDefinitionError
from agentloop.messages import ToolDescription
from agentloop.tools.annotations import local_names
from agentloop.tools.arguments import NotAnObject, read_arguments
from agentloop.tools.docstrings import read_docstring
from agentloop.tools.isolation import check_isolated
from agentloop.tools.options import Effect, Lock, NeedsApproval, Options, Preview, Reconcile, Undo
from agentloop.tools.parameters import innermost, read_parameters
from agentloop.tools.repair import Repair, repaired
from agentloop.tools.schema import Schema, describe
from agentloop.tools.strict_nulls import drop_strict_nulls

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DEFAULTS = Options()


class Given(TypedDict, total=False):
    """What `tool` may be given beside the function; see `Options` for what is not explained here."""

    name: str
    """How the model calls it; the function's name if left out."""
    description: str
    """What the model is told of it; the docstring if left out."""
    parameters: Mapping[str, Any]
    """A JSON Schema of the arguments, written by hand. Annotations still hold, where the function has them."""
    strict: bool | None
    """Whether the provider shall hold the model to the schema; None leaves it to the provider."""
    effect: Effect
    retries: int
    timeout: float | None
    max_concurrency: int | None
    lock: Lock | None
    needs_approval: NeedsApproval
    destructive: bool
    open_world: bool
    isolated: bool
    memory: int | None
    cpu: float | None
    poll: bool
    reconcile: Reconcile | None
    undo: Undo | None
    preview: Preview | None


class Definition:
    """What makes a function a tool; the same for all instances that a method is bound to."""

    def __init__(self, function: Callable[..., Any], *, given: Given, in_class: bool) -> None:
        """Read the function.

        Args:
            function: What does the work.
            given: What `tool` was given beside it.
            in_class: Whether it stands in a class body, so that its first parameter may be the instance or the class.

        Raises:
            ToolDefinitionError: The function cannot become a tool.
        """
        options: dict[str, Any] = {**given}
        name: str | None = options.pop("name", None)
        self.name = _name(function) if name is None else name
        self._description: str | None = options.pop("description", None)
        self._by_hand: Mapping[str, Any] | None = options.pop("parameters", None)
        self._strict: bool | None = options.pop("strict", None)
        _check_name(self.name)
        self.options = _checked(function, options, tool=self.name) if options else _DEFAULTS
        worker = innermost(function)
        local = local_names(worker)
        self.parameters = read_parameters(
            function,
            tool=self.name,
            in_class=in_class,
            untyped=self._by_hand is not None,
            module_names=getattr(worker, "__globals__", {}),
            local=local,
        )
        self._docstring: str | None = getattr(worker, "__doc__", None) or getattr(function, "__doc__", None)
        module = getattr(worker, "__module__", None) or __name__
        self._schema = describe(self.parameters.shown, tool=self.name, module=module, local=local)
        if self._by_hand is not None:
            self._by_hand = _written(self._by_hand, self.name)
            _fit(self._schema, self._by_hand, self.name)

    @cached_property
    def description(self) -> ToolDescription:
        """What a model is told of the tool."""
        said = read_docstring(self._docstring)
        shown = self._schema.shown(said.parameters) if self._by_hand is None else self._by_hand
        description = said.description if self._description is None else self._description
        return ToolDescription(self.name, description, shown, self._strict)

    @property
    def given_again(self) -> dict[str, Any]:
        """What `tool` must be given beside the function to make a tool that reads the same calls."""
        again = {"name": self.name, "parameters": self._by_hand, "strict": self._strict}
        return {option: value for option, value in again.items() if value is not None}

    @cached_property
    def _validator(self) -> SchemaValidator:
        return self._schema.validator()

    def arguments(self, text: str) -> tuple[dict[str, Any], Repair | None]:
        """Read a model's JSON text as arguments by the parameters' names, and tell what of it had to be repaired.

        Raises:
            InvalidArguments: They are not what the tool takes.
        """
        try:
            return self._read(text), None
        except NotAnObject:
            # What deletes or overwrites is run on the model's own words only.
            repair = None if self.options.destructive else repaired(text)
            if repair is None:
                raise
        return self._read(repair.text), repair

    def _read(self, text: str) -> dict[str, Any]:
        schema = self._schema
        if self._strict:
            text = drop_strict_nulls(self.description.parameters, text)
        return read_arguments(text, self._validator, known=schema.properties, reserved=self.parameters.reserved, plain=schema.plain)


def _name(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    name: str = getattr(function, "__name__", None) or type(function).__name__
    if name == "<lambda>":
        raise ToolDefinitionError("a lambda has no name; write tool(..., name=...)")
    return name


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ToolDefinitionError(f"{name!r} cannot name a tool; use 1 to 64 letters, digits, - and _ of ASCII, with name=... if need be")


def _checked(function: Callable[..., Any], given: Mapping[str, Any], *, tool: str) -> Options:
    options = Options(**given)
    _check(options, owner=f"tool {tool!r}")
    _check_isolated(function, options, given=given, tool=tool)
    return options


def _check(options: Options, *, owner: str) -> None:
    if options.effect not in ("read", "idempotent", "once"):
        raise ToolDefinitionError(f"{owner}: there is no effect {options.effect!r}; choose 'read', 'idempotent' or 'once'")
    if options.retries < 0:
        raise ToolDefinitionError(f"{owner}: retries={options.retries} is less than none; give 0 or more")
    if options.retries and options.effect == "once":
        raise ToolDefinitionError(
            f"{owner}: retries={options.retries} would never be used, as a call with the effect 'once' may do harm when it is repeated; "
            "set effect='read' or 'idempotent' if it does none"
        )
    if options.timeout is not None and not options.timeout > 0:
        raise ToolDefinitionError(f"{owner}: timeout={options.timeout} leaves no time; give seconds, or None to wait for ever")
    if options.max_concurrency is not None and options.max_concurrency < 1:
        raise ToolDefinitionError(f"{owner}: max_concurrency={options.max_concurrency} lets no call run; give 1 or more, or None")
    for given in ("lock", "needs_approval"):
        if inspect.iscoroutinefunction(getattr(options, given)):
            raise ToolDefinitionError(f"{owner}: {given} is a coroutine function, which nobody would await; give a plain one")


def _check_isolated(function: Callable[..., Any], options: Options, *, given: Mapping[str, Any], tool: str) -> None:
    for option, unit in (("memory", "bytes"), ("cpu", "seconds")):
        if option not in given:
            continue
        most: float | None = getattr(options, option)
        if not options.isolated:
            raise ToolDefinitionError(
                f"tool {tool!r}: {option}={most} limits a process of its own, and this tool has none; set isolated=True or leave it out"
            )
        if most is not None and not most > 0:
            raise ToolDefinitionError(f"tool {tool!r}: {option}={most} leaves nothing; give {unit}, or None for no limit")
    if options.isolated:
        check_isolated(function, tool=tool)


def _written(schema: Mapping[str, Any], tool: str) -> dict[str, Any]:
    written = deepcopy(dict(schema))
    if written.get("type") != "object":
        raise ToolDefinitionError(f"tool {tool!r}: its parameters are no object; write {{'type': 'object', 'properties': ...}}")
    try:
        to_json(written, inf_nan_mode="constants")
    except ValueError as error:
        raise ToolDefinitionError(f"tool {tool!r}: its parameters are no JSON Schema: {error}; use what JSON can say") from error
    written.setdefault("properties", {})
    return written


def _fit(schema: Schema, written: Mapping[str, Any], tool: str) -> None:
    """Have the function's own schema ask for what the written one asks for."""
    required = written.get("required", ())
    for name in written["properties"]:
        if name in schema.properties:
            continue
        if schema.extra is None:
            known = ", ".join(schema.properties) or "none"
            raise ToolDefinitionError(f"tool {tool!r}: its parameters name {name!r}, which the function does not take; it takes: {known}")
        schema.fields[name] = core_schema.typed_dict_field(schema.extra, required=False)
        schema.properties[name] = {}
    for name, found in schema.fields.items():
        if found.get("validation_alias", name) in required:
            found["required"] = True
    if written.get("additionalProperties", True) is False:
        schema.extra = None
