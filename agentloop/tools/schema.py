"""What the arguments of a tool must be: as a model is shown it, and as a validator that holds the model to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import GenericAlias
from typing import Annotated, Any, get_args, get_origin

from pydantic_core import CoreConfig, CoreSchema, SchemaValidator, core_schema, from_json, to_json
from typing_extensions import Unpack

from agentloop.errors import ToolDefinitionError
from agentloop.tools.parameters import NOTHING, VAR_KEYWORD, VAR_POSITIONAL, Parameter, is_field
from agentloop.tools.plain import plain

_CORE_CONFIG = CoreConfig(allow_inf_nan=False, val_json_bytes="base64", regex_engine="rust-regex")

_ANNOTATED: Any = Annotated

_Fields = dict[str, core_schema.TypedDictField]
_Json = dict[str, Any]


@dataclass(slots=True)
class Schema:
    """What the arguments of a tool must be."""

    fields: _Fields
    """By the name of the parameter."""
    properties: dict[str, _Json]
    """By the name that the model uses."""
    required: list[str]
    extra: CoreSchema | None = None
    """What further arguments must be; None allows none."""
    shown_extra: Any = False
    core_definitions: list[CoreSchema] = field(default_factory=list[CoreSchema])
    definitions: dict[str, _Json] = field(default_factory=dict[str, _Json])
    undescribed: dict[str, str] = field(default_factory=dict[str, str])
    """The properties whose annotation has no description, and the parameters that they are."""
    plain: bool = True
    """Whether every type stands in the table of plain ones."""

    def shown(self, descriptions: Mapping[str, str]) -> _Json:
        """Write the JSON Schema that a model is shown.

        Args:
            descriptions: Of parameters, for those whose annotation has none.
        """
        properties = dict(self.properties)
        for name, parameter in self.undescribed.items():
            if parameter in descriptions:
                properties[name] = {**properties[name], "description": descriptions[parameter]}
        schema: _Json = {"type": "object", "properties": properties}
        if self.required:
            schema["required"] = list(self.required)
        schema["additionalProperties"] = self.shown_extra
        if self.definitions:
            schema["$defs"] = self.definitions
        return schema

    def validator(self) -> SchemaValidator:
        """Build what turns the arguments' JSON into a dict by the parameters' names."""
        arguments = core_schema.typed_dict_schema(
            self.fields,
            extra_behavior="forbid" if self.extra is None else "allow",
            extras_schema=self.extra,
            config=_CORE_CONFIG,
        )
        core = core_schema.definitions_schema(arguments, self.core_definitions) if self.core_definitions else arguments
        return SchemaValidator(core)


@dataclass(slots=True)
class _Taken:
    """A parameter on its way into the schema."""

    parameter: Parameter
    annotation: Any
    description: str | None

    @property
    def name(self) -> str:
        return self.parameter.name

    @property
    def optional(self) -> bool:
        return self.parameter.default is not NOTHING or self.parameter.kind is VAR_POSITIONAL


def describe(parameters: tuple[Parameter, ...], *, tool: str, module: str, local: Mapping[str, Any]) -> Schema:
    """Describe what the parameters take.

    Args:
        parameters: With annotations as types.
        tool: The tool's name, for errors.
        module: Where the tool is defined, for names that its types mention.
        local: The further names that its types may mention.

    Raises:
        ToolDefinitionError: JSON cannot say a parameter's type.
    """
    taken = [_take(parameter, tool) for parameter in parameters]
    schema = _from_table(taken) or _from_pydantic(taken, tool=tool, module=module, local=local)
    if len(schema.properties) < len(schema.fields):
        raise ToolDefinitionError(f"tool {tool!r}: two parameters have one name for the model; give them different aliases")
    for each in taken:
        _settle(each, schema, tool)
    return schema


def _take(parameter: Parameter, tool: str) -> _Taken:
    annotation, description = parameter.annotation, None
    origin = None if type(annotation) is type else get_origin(annotation)
    if origin is Annotated:
        annotation, description = _without_description(annotation)
        origin = get_origin(annotation)
    if origin is Unpack:
        star = "**" if parameter.kind is VAR_KEYWORD else "*"
        raise ToolDefinitionError(
            f"tool {tool!r}: parameter '{star}{parameter.name}' unpacks a type, which is not supported; list its fields as parameters"
        )
    if parameter.kind is VAR_POSITIONAL:
        annotation = GenericAlias(list, (annotation,))
    return _Taken(parameter, annotation, description)


def _without_description(annotation: Any) -> tuple[Any, str | None]:
    base, *metadata = get_args(annotation)
    described: str | None = None
    said: str | None = None
    kept: list[Any] = []
    for item in metadata:
        if isinstance(item, str):
            said = said or item
        elif isinstance(document := getattr(item, "documentation", None), str):
            said = said or document
        elif is_field(item):
            described = item.description or described
            if not _only_describes(item):
                kept.append(item)
        else:
            kept.append(item)
    return _ANNOTATED[(base, *kept)] if kept else base, described or said


def _only_describes(info: Any) -> bool:
    blank = type(info)()
    return all(
        getattr(info, name) == getattr(blank, name) for name in blank.__slots__ if not name.startswith("_") and name != "description"
    )


def _from_table(taken: list[_Taken]) -> Schema | None:
    schema = Schema({}, {}, [], core_definitions=[], definitions={}, undescribed={})
    for each in taken:
        described = plain(each.annotation)
        if described is None:
            return None
        schema.fields[each.name] = {"type": "typed-dict-field", "schema": described[0]}
        schema.properties[each.name] = described[1]
    return schema


def _from_pydantic(taken: list[_Taken], *, tool: str, module: str, local: Mapping[str, Any]) -> Schema:
    # What describes any type is most of pydantic; an app whose tools take what the table has never imports it.
    from agentloop.tools.any_type import describe_any  # noqa: PLC0415

    found = describe_any({each.name: each.annotation for each in taken}, tool=tool, module=module, local=local)
    return Schema(found.fields, found.properties, [], core_definitions=found.core_definitions, definitions=found.definitions, plain=False)


def _settle(taken: _Taken, schema: Schema, tool: str) -> None:
    parameter, found = taken.parameter, schema.fields[taken.name]
    name = found.get("validation_alias", taken.name)
    if not isinstance(name, str):
        raise ToolDefinitionError(f"tool {tool!r}: parameter {taken.name!r} has several aliases; give it one")
    shown = schema.properties[name]
    if parameter.kind is VAR_KEYWORD:
        schema.extra = found["schema"]
        schema.shown_extra = shown or True
        del schema.fields[taken.name], schema.properties[name]
        return
    inner: Any = found["schema"]
    if taken.optional:
        if inner["type"] == "default":
            found["schema"] = inner["schema"]
        shown = _with_default(shown, parameter.default)
    found["required"] = not taken.optional and inner["type"] != "default"
    if found["required"]:
        schema.required.append(name)
    if taken.description is None:
        schema.undescribed[name] = taken.name
    else:
        shown = {**shown, "description": taken.description}
    schema.properties[name] = shown


def _with_default(shown: _Json, default: Any) -> _Json:
    """Show the function's default; where it is None, leave out that null may be given: leaving the argument out says the same."""
    if type(default) in {str, int, bool}:
        return {**shown, "default": default}
    shown = {key: value for key, value in shown.items() if key != "default"}
    if default is None:
        return _without_null(shown)
    if default is NOTHING or isinstance(default, Iterator):
        return shown
    try:
        return {**shown, "default": from_json(to_json(default, bytes_mode="base64", inf_nan_mode="constants"), allow_inf_nan=False)}
    except ValueError:
        return shown


def _without_null(shown: _Json) -> _Json:
    null = {"type": "null"}
    branches = [branch for branch in shown.get("anyOf", ()) if branch != null]
    rest = {key: value for key, value in shown.items() if key != "anyOf"}
    if len(branches) == 1:
        return {**branches[0], **rest}
    if branches:
        return {**rest, "anyOf": branches}
    if None not in shown.get("enum", ()):
        return shown
    choices = [choice for choice in shown["enum"] if choice is not None]
    return {**({"type": "string"} if all(isinstance(choice, str) for choice in choices) else {}), **shown, "enum": choices}
