"""Parameters of any type that pydantic can describe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import isroutine
from typing import Any, cast

from pydantic import ConfigDict, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError, PydanticUndefinedAnnotation
from pydantic_core import CoreSchema, core_schema
from typing_extensions import TypedDict

from agentloop.errors import ToolDefinitionError
from agentloop.tools.annotations import undefined
from agentloop.tools.rendering import render
from agentloop.tools.typed_dicts import readable

_CONFIG = ConfigDict(extra="forbid", allow_inf_nan=False, val_json_bytes="base64", ser_json_bytes="base64", regex_engine="rust-regex")

_TYPED_DICT: Any = TypedDict


@dataclass(frozen=True, slots=True)
class Found:
    """What the parameters take, as pydantic-core validates it and as a model is shown it."""

    fields: dict[str, core_schema.TypedDictField]
    properties: dict[str, dict[str, Any]]
    core_definitions: list[CoreSchema]
    definitions: dict[str, dict[str, Any]]


def describe_any(annotations: Mapping[str, Any], *, tool: str, module: str, local: Mapping[str, Any]) -> Found:
    """Describe what parameters with these annotations take.

    Args:
        annotations: Types, by the parameters' names.
        tool: The tool's name, for errors.
        module: Where the tool is defined, for names that its types mention.
        local: The further names that its types may mention.

    Raises:
        ToolDefinitionError: JSON cannot say a parameter's type.
    """
    try:
        core, shown = _described(annotations, module, local)
    except Exception as error:  # types bring their own code for describing them
        raise _refusal(annotations, error, tool=tool, module=module, local=local) from error
    definitions: list[CoreSchema] = []
    if core["type"] == "definitions":
        definitions, core = core["definitions"], core["schema"]
    return Found(cast("core_schema.TypedDictSchema", core)["fields"], shown["properties"], definitions, shown.get("$defs", {}))


def _described(annotations: Mapping[str, Any], module: str, local: Mapping[str, Any]) -> tuple[CoreSchema, dict[str, Any]]:
    # A typed dict may have keys of any name, and hands its config down to dataclasses and typed dicts that have none.
    arguments = _TYPED_DICT("Arguments", {name: readable(annotation) for name, annotation in annotations.items()})
    arguments.__pydantic_config__ = _CONFIG
    arguments.__module__ = module
    adapter = TypeAdapter[Any](arguments)
    if not adapter.pydantic_complete:
        adapter.rebuild(_types_namespace=local, raise_errors=True)
    return adapter.core_schema, render(adapter.core_schema)


def _refusal(annotations: Mapping[str, Any], error: Exception, *, tool: str, module: str, local: Mapping[str, Any]) -> ToolDefinitionError:
    for name, annotation in annotations.items():
        try:
            _described({name: annotation}, module, local)
        except Exception as found:  # noqa: BLE001  # types bring their own code for describing them
            return _refused(annotation, found, f"tool {tool!r}: parameter {name!r}")
    return ToolDefinitionError(f"tool {tool!r}: its parameters cannot be described together: {error}; change one of their types")


def _refused(annotation: Any, error: Exception, owner: str) -> ToolDefinitionError:
    match error:
        case PydanticUndefinedAnnotation():
            return undefined(error.name, owner=owner)
        case PydanticSchemaGenerationError() | PydanticInvalidForJsonSchema():
            return ToolDefinitionError(f"{owner} has the type {_type_name(annotation)}, which JSON cannot say; take what a model can write")
        case _:
            reason = str(error).split("\n\n", 1)[0].rstrip(".")
            return ToolDefinitionError(f"{owner} cannot be described: {reason}; change its type")


def _type_name(annotation: Any) -> str:
    return annotation.__qualname__ if isinstance(annotation, type) or isroutine(annotation) else str(annotation).replace("typing.", "")
