"""Typed dicts of the standard library, which pydantic takes from Python 3.12 on only."""

from __future__ import annotations

import sys
import typing
from types import GenericAlias, UnionType
from typing import Any

import typing_extensions

_TYPED_DICT: Any = typing_extensions.TypedDict
_ANNOTATED: Any = typing.Annotated
_UNION: Any = typing.Union
_NOT_REQUIRED: Any = typing_extensions.NotRequired


def readable(annotation: Any, *, _known: dict[Any, Any] | None = None) -> Any:
    """Give the annotation with each `typing.TypedDict` in it made one of `typing_extensions`, which says the same.

    One that contains itself stays as it is.
    """
    if sys.version_info >= (3, 12):
        return annotation
    known = {} if _known is None else _known
    if typing.is_typeddict(annotation) and type(annotation).__module__ == "typing":
        if annotation not in known:
            known[annotation] = annotation
            known[annotation] = _rebuilt(annotation, known)
        return known[annotation]
    arguments = typing.get_args(annotation)
    changed = tuple(readable(argument, _known=known) for argument in arguments)
    if all(new is old for new, old in zip(changed, arguments, strict=True)):
        return annotation
    return _with_arguments(annotation, changed)


def _with_arguments(annotation: Any, arguments: tuple[Any, ...]) -> Any:
    match annotation:
        case UnionType():
            return _UNION[arguments]
        case GenericAlias():
            return GenericAlias(typing.get_origin(annotation), arguments)
        case _ if typing.get_origin(annotation) is typing.Annotated:
            return _ANNOTATED[arguments]
        case _:
            return annotation.copy_with(arguments)


def _rebuilt(given: Any, known: dict[Any, Any]) -> Any:
    fields = {
        name: _marked(readable(hint, _known=known), required=name in given.__required_keys__)
        for name, hint in typing.get_type_hints(given, include_extras=True).items()
    }
    made = _TYPED_DICT(given.__name__, fields)
    made.__doc__, made.__module__, made.__qualname__ = given.__doc__, given.__module__, given.__qualname__
    return made


def _marked(hint: Any, *, required: bool) -> Any:
    marked = typing.get_origin(hint) in {typing.Required, typing.NotRequired}
    return hint if marked or required else _NOT_REQUIRED[hint]
