"""An error as JSON, and back: so that a flow which went on in spite of it meets the same error in each of its lives."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field
from typing import Any, NoReturn

from pydantic_core import PydanticSerializationError, to_jsonable_python


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as it is written down."""

    classes: tuple[str, ...]
    """The error's class and those it inherits from, the nearest first: `module:name`."""
    args: tuple[Any, ...] = ()
    state: dict[str, Any] = field(default_factory=dict[str, Any])
    """Its attributes, as far as JSON can say them."""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Write an error down."""
        classes = [each for each in type(error).__mro__ if issubclass(each, BaseException)]
        names = tuple(f"{each.__module__}:{each.__qualname__}" for each in classes)
        args = tuple(_plain(arg) for arg in error.args)
        state = {name: plain for name, value in vars(error).items() if (plain := _plain(value)) is not None}
        return cls(names, (str(error),) if None in args else args, state)

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
            # Its `__init__` may take anything; what that had set is in the state.
            error = found.__new__(found, *self.args)
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


def _plain(value: object) -> Any:
    try:
        return to_jsonable_python(value)
    except (PydanticSerializationError, ValueError):
        return None
