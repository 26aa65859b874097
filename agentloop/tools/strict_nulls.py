"""The nulls with which a model under a strict schema says that it leaves a property out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from agentloop.tools.inlining import AnySchema, Schema, allows_null, is_list, is_object, same, target, types


def drop_strict_nulls(plain_schema: Mapping[str, Any], arguments: str) -> str:
    """Drop each null that stands where `plain_schema` neither allows null nor requires a value, so that the tool's own default applies.

    Text without such a null comes back untouched, as does text that is no JSON object. Under a union the first branch that the value
    fits is followed.
    """
    if "null" not in arguments:
        return arguments
    root = dict(plain_schema)
    try:
        given = json.loads(arguments)
        left = _Reading(root).drop(root, given)
        return arguments if left == given else json.dumps(left, allow_nan=False)
    except (ValueError, RecursionError):
        return arguments


@dataclass(frozen=True, slots=True)
class _Reading:
    """Reads one value by one schema; the memos keep it linear in both, and hold what their keys are the ids of."""

    root: Schema
    nulls: dict[int, bool] = field(default_factory=dict[int, bool])
    dropped: dict[tuple[int, int], tuple[Any, Any]] = field(default_factory=dict[tuple[int, int], tuple[Any, Any]])
    fitting: dict[tuple[int, int], tuple[Any, bool]] = field(default_factory=dict[tuple[int, int], tuple[Any, bool]])

    def drop(self, schema: AnySchema, value: Any) -> Any:
        """Give the value without the nulls that mean nothing."""
        if isinstance(schema, bool) or not (is_object(value) or is_list(value)):
            return value
        key = (id(schema), id(value))
        if key not in self.dropped:
            # A definition may lead back to itself without looking into the value.
            self.dropped[key] = (value, value)
            self.dropped[key] = (value, self._drop(schema, value))
        return self.dropped[key][1]

    def _drop(self, schema: Schema, value: Any) -> Any:
        for part in self._all_of(schema):
            value = self.drop(part, value)
        for union in ("anyOf", "oneOf"):
            value = self._drop_by_branch(schema.get(union, ()), value)
        left: Any
        if is_object(value):
            left = self._drop_in_object(schema, value)
        else:
            left = [self.drop(part, inner) for part, inner in _parts(schema, value)]
        # What did not change stays the same object, which the memos know.
        return value if left == value else left

    def _all_of(self, schema: Schema) -> list[AnySchema]:
        aims = [target(schema["$ref"], root=self.root)] if "$ref" in schema else []
        return [*aims, *schema.get("allOf", ())]

    def _drop_by_branch(self, branches: list[AnySchema], value: Any) -> Any:
        for branch in branches:
            left = self.drop(branch, value)
            if self.fits(branch, left):
                return left
        return value

    def _drop_in_object(self, schema: Schema, value: dict[str, Any]) -> dict[str, Any]:
        properties, required = schema.get("properties", {}), set(schema.get("required", ()))

        def means_nothing(name: str) -> bool:
            named = value[name] is None and name in properties and name not in required
            return named and not allows_null(properties[name], root=self.root, known=self.nulls)

        return {name: self.drop(properties.get(name, True), value[name]) for name in value if not means_nothing(name)}

    def fits(self, schema: AnySchema, value: Any) -> bool:
        """Tell whether the value has the schema's form; texts are not measured."""
        if isinstance(schema, bool):
            return schema
        key = (id(schema), id(value))
        if key not in self.fitting:
            self.fitting[key] = (value, False)
            self.fitting[key] = (value, self._fits(schema, value))
        return self.fitting[key][1]

    def _fits(self, schema: Schema, value: Any) -> bool:
        if not all(_HOLDS[keyword](limit, value) for keyword, limit in schema.items() if keyword in _HOLDS):
            return False
        if not all(self.fits(part, value) for part in self._all_of(schema)):
            return False
        if not all(any(self.fits(part, value) for part in schema[union]) for union in ("anyOf", "oneOf") if union in schema):
            return False
        return all(self.fits(part, inner) for part, inner in _parts(schema, value))


def _parts(schema: Schema, value: Any) -> Iterator[tuple[AnySchema, Any]]:
    """Pair what is in an object or array with what the schema says of it."""
    if is_object(value):
        properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        yield from ((properties.get(name, others), inner) for name, inner in value.items())
    if is_list(value):
        named = schema.get("prefixItems", [])[: len(value)]
        others = schema.get("items", True)
        yield from zip([*named, *[others] * (len(value) - len(named))], value, strict=True)


def _is_of_type(name: Any, value: Any) -> bool:
    [actual] = types({"const": value})
    wanted = types({"type": name})
    return actual in wanted or ("number" in wanted and actual == "integer") or ("integer" in wanted and _is_whole(value))


def _is_whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()


def _for(kind: type | tuple[type, ...], holds: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def check(limit: Any, value: Any) -> bool:
        return not isinstance(value, kind) or isinstance(value, bool) or holds(limit, value)

    return check


_HOLDS: Mapping[str, Callable[[Any, Any], bool]] = {
    "type": _is_of_type,
    "const": same,
    "enum": lambda values, value: any(same(one, value) for one in values),
    "required": _for(dict, lambda names, value: all(name in value for name in names)),
    "maximum": _for((int, float), lambda limit, value: value <= limit),
    "minimum": _for((int, float), lambda limit, value: value >= limit),
    "exclusiveMaximum": _for((int, float), lambda limit, value: value < limit),
    "exclusiveMinimum": _for((int, float), lambda limit, value: value > limit),
    "maxItems": _for(list, lambda limit, value: len(value) <= limit),
    "minItems": _for(list, lambda limit, value: len(value) >= limit),
}
