"""Takes what should be of a kind for one of that kind; servers send anything, and what is of no use is read as nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pydantic_core import to_json


def as_object(value: object) -> Mapping[str, Any]:
    """Take the value for an object; anything else holds nothing."""
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def as_list(value: object) -> list[object]:
    """Take the value for a list; anything else is empty."""
    return cast("list[object]", value) if isinstance(value, list) else []


def as_text(value: object) -> str:
    """Take the value for a text; null is none, and a number is its digits."""
    return value if isinstance(value, str) else "" if value is None else str(value)


def as_arguments(value: object) -> str:
    """Take the value for the arguments of a call, as JSON text; null is none."""
    # Ollama's own format and some gateways send the object instead of its text.
    return value if isinstance(value, str) else "" if value is None else to_json(value).decode()


def as_count(value: object) -> int:
    """Take the value for a whole number, which some write as 12.0; anything else is 0."""
    match value:
        case int():
            return value
        case float() if value.is_integer():
            return int(value)
        case _:
            return 0
