"""The type a run must end with, and how the model is held to it."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any, Generic, TypeVar

import pydantic
from pydantic_core import ValidationError, from_json

from agentloop.deltas import RestartDelta, TextDelta
from agentloop.errors import ConfigurationError
from agentloop.messages import OutputSchema
from agentloop.tools.dialects import drop_strict_nulls
from agentloop.tools.typed_dicts import readable

Out = TypeVar("Out")
Value = TypeVar("Value")

_WRAP = "value"
_SHOWN_ERRORS = 10
_LEAST_GROWTH = 8


class Mismatch(ValueError):
    """An answer that does not take the form; the message is for the model."""


class Output(Generic[Out]):
    """The type a run must end with: a model, dataclass, TypedDict, union, list or plain type."""

    corrections = 2
    """How often the model is told what is wrong before the run fails."""

    def __init__(self, kind: type[Out]) -> None:
        """Prepare for answers of type `kind`.

        Raises:
            ConfigurationError: pydantic cannot describe the type.
        """
        self._kind = kind = readable(kind)
        try:
            self._adapter: pydantic.TypeAdapter[Out] = pydantic.TypeAdapter(kind)
            self._plain = self._adapter.json_schema()
        except (pydantic.PydanticSchemaGenerationError, pydantic.PydanticUserError) as error:
            why = str(error).partition("\n")[0].rstrip(".")
            raise ConfigurationError(f"output={kind!r} cannot be described as JSON: {why}; give a type that pydantic knows") from error
        self._name = re.sub(r"\W+", "_", getattr(kind, "__name__", "answer"))[:64].strip("_") or "answer"

    @cached_property
    def schema(self) -> OutputSchema:
        """What the model is told; a form that is no object is wrapped in one, which providers demand."""
        return OutputSchema(self._name, self._wrapped_schema() if self._wraps else self._plain)

    def read(self, *words: str) -> Out:
        """Read the answer: all the words of a reply together, or else the last of them, since a model may speak before it answers.

        Raises:
            Mismatch: It does not take the form.
        """
        try:
            return self._read("".join(words))
        except Mismatch:
            if len(words) <= 1:
                raise
        return self._read(words[-1])

    def _read(self, text: str) -> Out:
        text = drop_strict_nulls(self.schema.schema, _without_fence(text))
        if not self._wraps:
            return _valid(self._adapter, text)
        try:
            # A model that was told the form in words may leave the wrapping out.
            return self._adapter.validate_json(text)
        except ValidationError:
            wrapped = _valid(self._wrapped_adapter, text)
        if _WRAP not in wrapped:
            raise Mismatch(_correction([f"{_WRAP}: missing"]))
        return wrapped[_WRAP]

    def growing(self) -> Growing:
        """Read an answer while it comes."""
        return Growing(_WRAP if self._wraps else None)

    @property
    def _wraps(self) -> bool:
        return self._plain.get("type") != "object"

    @cached_property
    def _wrapped_adapter(self) -> pydantic.TypeAdapter[dict[str, Out]]:
        return pydantic.TypeAdapter(dict[str, self._kind])  # type: ignore[name-defined]  # a type that is only known here

    def _wrapped_schema(self) -> dict[str, Any]:
        inner = dict(self._plain)
        definitions = inner.pop("$defs", None)
        outer: dict[str, Any] = {"type": "object", "properties": {_WRAP: inner}, "required": [_WRAP], "additionalProperties": False}
        return outer | ({"$defs": definitions} if definitions else {})


class Growing:
    """A typed answer on its way, as plain JSON data."""

    def __init__(self, wrap: str | None = None) -> None:
        self._wrap = wrap
        self._begin()

    def _begin(self) -> None:
        self._pieces: list[str] = []
        self._length = 0
        self._next = 1
        self._place = 0
        self._last: Any = None

    def grown(self, delta: object) -> Any:
        """Take in the next piece, and give the data so far where there is more of it than before; else None."""
        match delta:
            case RestartDelta():
                self._begin()
            case TextDelta(text, place):
                if place != self._place:
                    # What was said before it is no part of the answer.
                    self._begin()
                    self._place = place
                self._pieces.append(text)
                self._length += len(text)
            case _:
                pass
        if self._length < self._next:
            return None
        # All is read anew each time; reading only when a sixteenth was added keeps the sum linear.
        self._next = self._length + max(_LEAST_GROWTH, self._length // 16)
        value = self._read("".join(self._pieces))
        if value is None or value == self._last:
            return None
        self._last = value
        return value

    def _read(self, text: str) -> Any:
        try:
            value: Any = from_json(text.lstrip().removeprefix("```json"), allow_partial="trailing-strings")
        except ValueError:
            return None
        return value.get(self._wrap) if self._wrap and isinstance(value, dict) else value  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def _valid(adapter: pydantic.TypeAdapter[Value], text: str) -> Value:
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        faults = [f"{'.'.join(str(key) for key in fault['loc']) or 'the answer'}: {fault['msg']}" for fault in error.errors()]
        raise Mismatch(_correction(faults[:_SHOWN_ERRORS])) from error


def _correction(faults: list[str]) -> str:
    listed = "".join(f"- {fault}\n" for fault in faults)
    return f"Your answer does not take the form asked for:\n{listed}Answer again with JSON of that form, and nothing else."


def _without_fence(text: str) -> str:
    # Models without a native structured answer put it into a Markdown fence.
    said = text.strip()
    if len(said) < len("``````") or not (said.startswith("```") and said.endswith("```")):
        return text
    head, newline, inside = said[3:-3].partition("\n")
    return inside if newline and head.strip() in {"", "json"} else text
