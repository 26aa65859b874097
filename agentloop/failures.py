"""An error as JSON, and back: so that a flow which went on in spite of it meets the same error in each of its lives."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn, cast

from pydantic_core import PydanticCustomError, PydanticSerializationError, ValidationError, to_jsonable_python

from agentloop.errors import AgentLoopError


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as it is written down."""

    classes: tuple[str, ...]
    """The error's class and those it inherits from, the nearest first: `module:name`."""
    args: tuple[Any, ...] = ()
    state: dict[str, Any] = field(default_factory=dict[str, Any])
    """Its attributes, as far as JSON can say them; of an `AgentLoopError` only, since those of others may hold a key."""
    inner: tuple[Failure, ...] = ()
    """The errors of a group."""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Write an error down."""
        classes = [each for each in type(error).__mro__ if issubclass(each, BaseException)]
        names = tuple(f"{each.__module__}:{each.__qualname__}" for each in classes)
        match error:
            case BaseExceptionGroup():
                group: BaseExceptionGroup[BaseException] = error
                return cls(names, (group.message,), inner=tuple(cls.of(each) for each in group.exceptions))
            case ValidationError():
                return cls(names, (str(error),), {"title": error.title, "lines": [_line(dict(each)) for each in error.errors()]})
            case _:
                state = _sayable(vars(error)) if isinstance(error, AgentLoopError) else {}
                return cls(names, _args(error), state)

    @property
    def cancelled(self) -> bool:
        """Whether the flow itself gave up what it had begun, as a time limit of its own does."""
        return f"{asyncio.CancelledError.__module__}:CancelledError" in self.classes

    async def raise_again(self) -> NoReturn:
        """Raise the error again; what was given up is given up again: it lasts until it is."""
        if self.cancelled:
            await asyncio.get_running_loop().create_future()
        raise self.error()

    def error(self) -> BaseException:
        """Make the error again: of its class, or where that is not loaded, of the nearest that is."""
        for name in self.classes:
            if (found := _loaded(name)) is not None and (error := self._made(found)) is not None:
                return error
        return RuntimeError(*self.args)

    def _made(self, found: type[BaseException]) -> BaseException | None:
        try:
            if issubclass(found, ValidationError):
                return found.from_exception_data(self.state["title"], [_line_again(each) for each in self.state["lines"]])
            if issubclass(found, BaseExceptionGroup):
                group = cast("Callable[[str, list[BaseException]], BaseException]", found)
                return group(str(self.args[0]), [each.error() for each in self.inner])
            # Its own `__init__` may take anything.
            error = found.__new__(found, *self.args)
            if isinstance(error, OSError):
                # This one reads the number, the words and the files out of what it is given.
                OSError.__init__(error, *self.args)
            else:
                error.args = self.args
                vars(error).update(self.state)
        except Exception:  # noqa: BLE001  # the class may be anybody's
            return None
        return error


def _loaded(name: str) -> type[BaseException] | None:
    """Find the class where its module is loaded; what a flow can name in an `except` is."""
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, BaseException) else None


def _args(error: BaseException) -> tuple[Any, ...]:
    given = error.args
    if isinstance(error, OSError) and error.filename is not None:
        files = (error.filename,) if error.filename2 is None else (error.filename, None, error.filename2)
        given = (error.errno, error.strerror, *files)
    args = _sayable(dict(enumerate(given)))
    return tuple(args.values()) if len(args) == len(given) else (str(error),)


def _line(told: dict[str, Any]) -> dict[str, Any]:
    """Write down one of the things that a validation found."""
    context = {name: _sayable({name: value}).get(name, str(value)) for name, value in told.get("ctx", {}).items()}
    line = {**told, "input": _sayable(told).get("input", repr(told["input"])), "ctx": context}
    return _sayable(line)


def _line_again(line: dict[str, Any]) -> Any:
    # Only what pydantic itself finds has a page that explains it.
    kind = line["type"] if "url" in line else PydanticCustomError(line["type"], line["msg"])
    return {"type": kind, "loc": tuple(line["loc"]), "input": line["input"], "ctx": line["ctx"]}


def _sayable(values: dict[Any, Any]) -> dict[Any, Any]:
    """Say in JSON's values what can be said in them."""
    said: dict[Any, Any] = {}
    for name, value in values.items():
        with suppress(PydanticSerializationError, ValueError):
            said[name] = to_jsonable_python(value)
    return said
