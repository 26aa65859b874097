"""What a function takes, and how the arguments of a call reach it."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType, MethodType, UnionType
from typing import Any, Final, NamedTuple

from agentloop.errors import ToolDefinitionError
from agentloop.tools.annotations import resolve
from agentloop.tools.context import Context

NOTHING: Final = inspect.Parameter.empty
"""What stands where a parameter has no annotation or no default."""
POSITIONAL_ONLY: Final = inspect.Parameter.POSITIONAL_ONLY
POSITIONAL_OR_KEYWORD: Final = inspect.Parameter.POSITIONAL_OR_KEYWORD
VAR_POSITIONAL: Final = inspect.Parameter.VAR_POSITIONAL
KEYWORD_ONLY: Final = inspect.Parameter.KEYWORD_ONLY
VAR_KEYWORD: Final = inspect.Parameter.VAR_KEYWORD

_POSITIONAL = (POSITIONAL_ONLY, POSITIONAL_OR_KEYWORD)
_NAMED = (POSITIONAL_OR_KEYWORD, KEYWORD_ONLY)
_BY_NAME = (*_NAMED, VAR_KEYWORD)


class Parameter(NamedTuple):
    """A parameter as it is written."""

    name: str
    kind: int
    """One of the five of `inspect.Parameter`."""
    annotation: Any
    default: Any


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a function takes, and which of it the model is shown."""

    all: tuple[Parameter, ...]
    """With annotations as types; without an instance or class that comes first, and without what a partial binds."""
    context: str | None
    """The parameter that receives the `Context`."""
    method: bool
    """Whether an instance or class comes first."""
    reserved: frozenset[str]
    """Names that `**kwargs` would let the model give although they are not its to give."""
    by_name: bool
    """Whether every argument can be given by its name."""

    @property
    def shown(self) -> tuple[Parameter, ...]:
        """The parameters that the model is shown."""
        return tuple(parameter for parameter in self.all if parameter.name != self.context)

    def bind(self, values: dict[str, Any], context: Context[Any]) -> tuple[Sequence[Any], dict[str, Any]]:
        """Sort validated values into positional and keyword arguments; takes `values` over."""
        if self.context is not None:
            values[self.context] = context
        if self.by_name:
            return (), values
        positional: list[Any] = []
        for parameter in self.all:
            if parameter.kind in _POSITIONAL:
                positional.append(values.pop(parameter.name, parameter.default))
            elif parameter.kind is VAR_POSITIONAL:
                positional.extend(values.pop(parameter.name, ()))
        return positional, values


def read_parameters(
    function: Callable[..., Any],
    *,
    tool: str,
    in_class: bool,
    untyped: bool,
    module_names: Mapping[str, Any],
    local: Mapping[str, Any],
) -> Parameters:
    """Read what the function takes.

    Args:
        function: The function, or whatever can be called.
        tool: The tool's name, for errors.
        in_class: Whether it stands in a class body, so that its first parameter may be the instance or the class.
        untyped: Whether parameters need no annotation.
        module_names: The globals of the function that does the work, which its annotations may use.
        local: The names that they may use beside those.

    Raises:
        ToolDefinitionError: A parameter cannot be filled in by a model.
    """
    listed = _listed(function, tool)
    method = in_class and bool(listed) and _is_receiver(listed[0])
    given: set[str] = {listed.pop(0).name} if method else set()
    # A signature still lists what a partial binds by name, with the bound value as its default.
    bound = function.keywords if isinstance(function, functools.partial) else {}
    typed: list[Parameter] = []
    for parameter in listed:
        if parameter.name not in bound:
            annotation = _annotation(parameter, tool, untyped=untyped, module_names=module_names, local=local)
            typed.append(Parameter(parameter.name, parameter.kind, annotation, parameter.default))
    context = _context(typed, tool)
    open_ended = bool(typed) and typed[-1].kind is VAR_KEYWORD
    return Parameters(
        all=tuple(typed),
        context=context,
        method=method,
        reserved=frozenset(given | {context} - {None} | _given(function, typed)) if open_ended else frozenset(),  # type: ignore[arg-type]
        by_name=all(parameter.kind in _BY_NAME for parameter in typed),
    )


def _listed(function: Callable[..., Any], tool: str) -> list[Parameter]:
    # What stands in a function's dict, such as `__wrapped__`, may change its signature.
    if type(function) is FunctionType and not function.__dict__:
        return _written(function)
    try:
        return [Parameter(each.name, each.kind, each.annotation, each.default) for each in inspect.signature(function).parameters.values()]
    except (ValueError, TypeError) as error:
        raise ToolDefinitionError(f"tool {tool!r}: its parameters are not known to Python; wrap it in a function that has some") from error


def _written(function: FunctionType) -> list[Parameter]:
    """Read what `inspect.signature` would, at less than half of its cost, which was an eighth of making a tool."""
    code, annotations = function.__code__, function.__annotations__
    names, many, named = code.co_varnames, code.co_argcount, code.co_argcount + code.co_kwonlyargcount
    kinds = [POSITIONAL_ONLY] * code.co_posonlyargcount + [POSITIONAL_OR_KEYWORD] * (many - code.co_posonlyargcount)
    ordered: list[tuple[str, int]] = [*zip(names, kinds, strict=False)]
    end = named
    if code.co_flags & inspect.CO_VARARGS:
        ordered.append((names[end], VAR_POSITIONAL))
        end += 1
    ordered += [(name, KEYWORD_ONLY) for name in names[many:named]]
    if code.co_flags & inspect.CO_VARKEYWORDS:
        ordered.append((names[end], VAR_KEYWORD))
    values = function.__defaults__ or ()
    defaults = {**dict(zip(names[many - len(values) : many], values, strict=True)), **(function.__kwdefaults__ or {})}
    return [Parameter(name, kind, annotations.get(name, NOTHING), defaults.get(name, NOTHING)) for name, kind in ordered]


def _is_receiver(first: Parameter) -> bool:
    return first.kind in _POSITIONAL and (first.annotation is NOTHING or first.name in {"self", "cls"})


def _annotation(
    parameter: Parameter,
    tool: str,
    *,
    untyped: bool,
    module_names: Mapping[str, Any],
    local: Mapping[str, Any],
) -> Any:
    if is_field(parameter.default):
        raise ToolDefinitionError(
            f"tool {tool!r}: parameter {parameter.name!r} has a Field as its default; write Annotated[..., Field(...)] and a plain default"
        )
    if isinstance(parameter.annotation, type) and parameter.annotation is not NOTHING:
        return parameter.annotation
    if parameter.annotation is not NOTHING:
        owner = f"tool {tool!r}: parameter {parameter.name!r}"
        return resolve(parameter.annotation, module_names=module_names, local=local, owner=owner)
    if untyped:
        return Any
    raise ToolDefinitionError(f"tool {tool!r}: parameter {parameter.name!r} has no type; add an annotation")


def _context(parameters: list[Parameter], tool: str) -> str | None:
    contexts = [parameter for parameter in parameters if _is_context(parameter.annotation)]
    if not contexts:
        return None
    if len(contexts) > 1:
        names = " and ".join(repr(parameter.name) for parameter in contexts)
        raise ToolDefinitionError(f"tool {tool!r} takes more than one context, {names}; keep one of them")
    if contexts[0].kind not in (*_POSITIONAL, KEYWORD_ONLY):
        raise ToolDefinitionError(f"tool {tool!r}: parameter {contexts[0].name!r} would take many contexts; drop its star")
    return contexts[0].name


def _is_context(annotation: Any) -> bool:
    if annotation is Context:
        return True
    if isinstance(annotation, type):
        return False
    origin = typing.get_origin(annotation)
    if origin in {typing.Annotated, typing.Union, UnionType}:
        return any(_is_context(inner) for inner in typing.get_args(annotation))
    return origin is Context


def innermost(function: Any) -> Any:
    """Find the function that does the work, inside of partials, bound methods, wrappers and objects that can be called."""
    while True:
        function = inspect.unwrap(function)
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, MethodType):
            function = function.__func__
        elif inspect.isroutine(function):
            return function
        else:
            function = type(function).__call__


def _given(function: Any, typed: list[Parameter]) -> set[str]:
    """Name the parameters that partials and bound methods have filled in."""
    free = {parameter.name for parameter in typed}
    given: set[str] = set()
    while isinstance(function, functools.partial | MethodType):
        function = function.func if isinstance(function, functools.partial) else function.__func__
        given |= {parameter.name for parameter in inspect.signature(function).parameters.values() if parameter.kind in _NAMED} - free
    return given


def is_field(value: Any) -> bool:
    """Whether the value is what `pydantic.Field()` gives; told by its name, because importing it costs as much as all of agentloop."""
    return type(value).__name__ == "FieldInfo" and type(value).__module__ == "pydantic.fields"
