"""A run's journal as the loop sees it: values of our own types in, values of our own types out."""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Any, Generic, TypeVar

import pydantic
from pydantic_core import PydanticSerializationError, ValidationError

from agentloop.errors import JournalMismatch
from agentloop.journal import Journal, Unanswered, note

T = TypeVar("T")


class Form(Generic[T]):
    """How values of one type are written down as JSON text, and read again."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind

    @cached_property
    def _adapter(self) -> pydantic.TypeAdapter[T]:
        return pydantic.TypeAdapter(self._kind)

    def written(self, value: T) -> str:
        """Write the value as JSON text."""
        try:
            return self._adapter.dump_json(value).decode()
        except PydanticSerializationError:
            # Half a surrogate pair has no place in JSON text; no model is sent it either.
            text = json.dumps(self._adapter.dump_python(value, mode="json"), ensure_ascii=False)
            return text.encode("utf-8", "replace").decode()

    def read(self, text: str, *, key: str) -> T:
        """Read what was written under the key.

        Raises:
            JournalMismatch: It is something else.
        """
        try:
            return self._adapter.validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise JournalMismatch(
                f"what the run wrote under {key!r} cannot be read: {place or 'the text'}: {first['msg']}; "
                "go on with the version of agentloop that wrote it"
            ) from error


class TypedJournal:
    """The journal of one life of a run. Without a journal nothing is kept: a step is its function, and nobody ever sends a word."""

    def __init__(self, journal: Journal | None = None) -> None:
        self._journal = journal
        self.life = secrets.token_hex(8)
        """The name of this life: what an earlier one began has another."""

    @property
    def keeps(self) -> bool:
        """Whether anything is written down."""
        return self._journal is not None

    def step(self, key: str, fn: Callable[[], Awaitable[T]], *, form: Form[T]) -> Awaitable[tuple[T, bool]]:
        """Give what is recorded under the key, else what `fn` gives; and whether it was recorded in an earlier life."""
        if self._journal is None:
            return _lived(fn)
        lived: list[T] = []

        async def work() -> str:
            lived.append(await fn())
            return form.written(lived[-1])

        # Called here and now, since an engine may know the step by its order.
        return _known(self._journal.step(key, work), lived, form=form, key=key)

    async def note(self, key: str, value: T, *, form: Form[T]) -> T:
        """Write the value down, and give what is recorded: the value that an earlier life wrote, where it did."""
        if self._journal is None:
            return value
        text = await self._journal.step(key, note, form.written(value))
        return form.read(text, key=key)

    async def known(self, key: str, *, form: Form[T]) -> T | None:
        """Give what is recorded under the key; None where nothing is."""
        if self._journal is None:
            return None
        try:
            text = await self._journal.step(key, _absent)
        except (_Absent, JournalMismatch):
            # The latter from a replay, whose steps are all recorded or no steps of the run.
            return None
        return form.read(text, key=key)

    async def wait(self, key: str, *, form: Form[T]) -> T | None:
        """Give what was sent from outside; None where nobody has spoken yet, and the run had better pause."""
        if self._journal is None:
            return None
        try:
            return form.read(await self._journal.wait(key), key=key)
        except Unanswered:
            return None

    def spawn(self, key: str, name: str, *, given: str) -> Awaitable[str]:
        """Do the work of this name as a run of its own.

        Raises:
            Unanswered: That run waits for a word from outside.
        """
        if self._journal is None:
            raise JournalMismatch(f"nothing is written down here, so {name!r} cannot be a run of its own; give the agent a journal")
        return self._journal.spawn(key, name, input=given)


class _Absent(Exception):
    """Nothing is recorded."""


async def _absent() -> str:
    raise _Absent


async def _lived(fn: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
    return await fn(), False


async def _known(recorded: Awaitable[str], lived: list[T], *, form: Form[T], key: str) -> tuple[T, bool]:
    text = await recorded
    return (lived[-1], False) if lived else (form.read(text, key=key), True)
