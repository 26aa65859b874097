"""Parameter annotations as types, wherever the function was written."""

from __future__ import annotations

import builtins
import inspect
import re
import types
import typing
from collections.abc import Mapping
from typing import Any

from agentloop.errors import ToolDefinitionError


def local_names(function: Any) -> dict[str, Any]:
    """List the names that a function's annotations may use beside its globals: those of the functions and classes around it.

    They can be found only while these still run, as they do where a function is decorated.
    """
    qualname: str = getattr(function, "__qualname__", "")
    if "." not in qualname:
        return {}
    around = {qualname[: match.start()].removesuffix(".<locals>") for match in re.finditer(r"\.", qualname)}
    names: dict[str, Any] = {}
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_qualname in around and frame.f_globals is getattr(function, "__globals__", None):
            names = {**frame.f_locals, **names}
        frame = frame.f_back
    return names


def resolve(annotation: Any, *, module_names: Mapping[str, Any], local: Mapping[str, Any], owner: str) -> Any:
    """Turn an annotation into a type; strings in it are looked up.

    Raises:
        ToolDefinitionError: A name in it is not defined, or it is no type.
    """
    if isinstance(annotation, type):
        return annotation
    if isinstance(annotation, str):
        # Most annotations are one name, and looking it up is what evaluating it would do, at a tenth of the cost.
        named = next((names[annotation] for names in (local, module_names, vars(builtins)) if annotation in names), None)
        if isinstance(named, type):
            return named
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    try:
        return typing.get_type_hints(holder, dict(module_names), dict(local), include_extras=True)["it"]
    except NameError as error:
        raise undefined(error.name, owner=owner) from error
    except Exception as error:  # the annotation is the user's own expression, and may fail in any way
        raise ToolDefinitionError(f"{owner} is annotated {annotation!r}, which cannot be read: {error}; name a type") from error


def undefined(name: str | None, *, owner: str) -> ToolDefinitionError:
    """Make the error of an annotation that names what does not exist."""
    return ToolDefinitionError(f"{owner} names {name!r}, which is not defined; define or import it above the tool")
