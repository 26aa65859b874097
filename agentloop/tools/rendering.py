"""JSON Schema as models are shown it: without titles, with enumerations in place."""

from __future__ import annotations

from typing import Any, cast

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import CoreSchema, core_schema

_MAPS = {"properties", "patternProperties", "$defs", "dependentSchemas"}
_LISTS = {"anyOf", "oneOf", "allOf", "prefixItems"}
_SINGLE = {"items", "additionalProperties", "contains", "propertyNames", "not", "if", "then", "else"}
_DEFINITION = "#/$defs/"


def render(core: CoreSchema) -> dict[str, Any]:
    """Write a core schema as JSON Schema 2020-12.

    Raises:
        pydantic.errors.PydanticUserError: JSON Schema cannot say it.
    """
    schema = _Generator().generate(core)
    definitions: dict[str, Any] = schema.pop("$defs", {})
    choices = {f"{_DEFINITION}{name}": each for name, each in definitions.items() if "enum" in each or "const" in each}
    tidied = _tidy(schema, choices)
    kept = {name: _tidy(each, choices) for name, each in definitions.items() if f"{_DEFINITION}{name}" not in choices}
    return {**tidied, "$defs": kept} if kept else tidied


def _tidy(schema: dict[str, Any], choices: dict[str, dict[str, Any]]) -> dict[str, Any]:
    if schema.get("$ref") in choices:
        return _tidy({**choices[schema["$ref"]], **{key: value for key, value in schema.items() if key != "$ref"}}, choices)
    tidied: dict[str, Any] = {}
    for key, value in schema.items():
        # `discriminator` is OpenAPI's; the title of a property says its name again.
        if key in ("title", "discriminator"):
            continue
        if key == "const":
            # Some providers know no `const`.
            tidied["enum"] = [value]
        elif key in _MAPS:
            tidied[key] = {name: _tidy(each, choices) for name, each in value.items()}
        elif key in _LISTS:
            tidied[key] = [_tidy(each, choices) for each in value]
        elif key in _SINGLE and isinstance(value, dict):
            tidied[key] = _tidy(cast("dict[str, Any]", value), choices)
        else:
            tidied[key] = value
    return tidied


class _Generator(GenerateJsonSchema):
    """Says of bytes how they are validated, and refuses classes as values."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012  # pydantic declares it so
    _base64 = False

    def sort(self, value: Any, parent_key: str | None = None) -> Any:
        """Leave the keys as they come."""
        del parent_key
        return value

    def generate_inner(self, schema: Any) -> dict[str, Any]:
        """Remember on the way down how the class around says its bytes."""
        config = schema.get("config")
        if config is None:
            return super().generate_inner(schema)
        outer, self._base64 = self._base64, config.get("val_json_bytes") == "base64"
        try:
            return super().generate_inner(schema)
        finally:
            self._base64 = outer

    def bytes_schema(self, schema: core_schema.BytesSchema) -> dict[str, Any]:
        """Name the encoding; limits of length hold for the bytes and not for their text."""
        if self._base64:
            return {"type": "string", "contentEncoding": "base64"}
        return super().bytes_schema(schema)

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> dict[str, Any]:
        """Say that unknown fields are refused, where the config was handed down."""
        return _closed(super().dataclass_schema(schema), schema)

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> dict[str, Any]:
        """Say that unknown keys are refused, where the config was handed down."""
        return _closed(super().typed_dict_schema(schema), schema)

    def is_subclass_schema(self, schema: core_schema.IsSubclassSchema) -> dict[str, Any]:
        """Refuse: no JSON is a class."""
        return self.handle_invalid_for_json_schema(schema, "a class")


def _closed(shown: dict[str, Any], schema: core_schema.DataclassSchema | core_schema.TypedDictSchema) -> dict[str, Any]:
    # pydantic itself looks only at a class's own config up to version 2.12.
    forbidden = schema.get("config", {}).get("extra_fields_behavior") == "forbid"
    return {"additionalProperties": False, **shown} if forbidden else shown
