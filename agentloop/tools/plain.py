"""The types most tools take, described from a table; describing them with pydantic costs ten times as much."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic_core import CoreSchema, core_schema

Described = tuple[CoreSchema, dict[str, Any]]
"""A type as pydantic-core validates it, and as a model is shown it."""

_SCALARS: dict[Any, tuple[CoreSchema, str]] = {
    str: (core_schema.str_schema(), "string"),
    int: (core_schema.int_schema(), "integer"),
    float: (core_schema.float_schema(), "number"),
    bool: (core_schema.bool_schema(), "boolean"),
}


def plain(annotation: Any) -> Described | None:
    """Describe the type if the table has it: scalars, literal strings, lists, dicts by string, and all these or None."""
    if isinstance(annotation, type) and annotation in _SCALARS:
        core, kind = _SCALARS[annotation]
        return core, {"type": kind}
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal and all(type(choice) is str for choice in arguments):
        return core_schema.literal_schema(list(arguments)), {"type": "string", "enum": list(arguments)}
    if origin is list and (inner := plain(arguments[0])):
        return core_schema.list_schema(inner[0]), {"type": "array", "items": inner[1]}
    if origin is dict and arguments[0] is str and (inner := plain(arguments[1])):
        return core_schema.dict_schema(core_schema.str_schema(), inner[0]), {"type": "object", "additionalProperties": inner[1]}
    if origin in {Union, UnionType} and arguments[1:] == (NoneType,) and (inner := plain(arguments[0])):
        return core_schema.nullable_schema(inner[0]), {"anyOf": [inner[1], {"type": "null"}]}
    return None
