"""What a scripted model says, turn by turn; the scripted model and the scripted gateway play the same turns."""

from __future__ import annotations

import inspect
import re
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any, Generic, TypeVar, cast

from pydantic_core import to_json

from agentloop.deltas import Delta, FinishDelta, RefusalDelta, TextDelta, ThinkingDelta, ToolCallDelta, UsageDelta
from agentloop.errors import ServerError
from agentloop.messages import FinishReason, Usage

Played = TypeVar("Played")
Asked = TypeVar("Asked")


@dataclass(frozen=True, slots=True)
class ScriptedCall:
    """A tool call that the script makes."""

    name: str
    arguments: str
    """Any text, so that a script can write what does not parse."""

    @property
    def pieces(self) -> tuple[str, ...]:
        """The arguments as they are streamed."""
        return tuple(re.findall(r"\w+|\W+", self.arguments))


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One reply of a script; made by `says`, `calls` and `refuses`."""

    text: tuple[str, ...] = ()
    """The pieces in which the text is streamed."""
    thinking: tuple[str, ...] = ()
    refusal: tuple[str, ...] = ()
    calls: tuple[ScriptedCall, ...] = ()
    finish_reason: FinishReason | None = None
    """None ends the reply as its content asks: with "tool_calls" or with "stop"."""
    usage: Usage | None = None

    def __and__(self, other: Turn) -> Turn:
        """Make both calls in one reply: `calls("add", a=1) & calls("sub", b=2)`."""
        return replace(self, text=self.text + other.text, thinking=self.thinking + other.thinking, calls=self.calls + other.calls)

    def saying(self, *text: str, thinking: str = "") -> Turn:
        """Say this beside the calls."""
        return replace(self, text=_streamed(text), thinking=_streamed((thinking,)))

    def ending(self, finish_reason: FinishReason) -> Turn:
        """End for this reason, whatever the content: `says("and then").ending("length")`."""
        return replace(self, finish_reason=finish_reason)

    def spending(self, usage: Usage) -> Turn:
        """Say that the reply took these tokens."""
        return replace(self, usage=usage)

    @property
    def finish(self) -> FinishReason:
        """Why the reply ends."""
        return self.finish_reason or ("tool_calls" if self.calls else "stop")

    def deltas(self) -> Iterator[Delta]:
        """Cut the turn into what a model streams."""
        yield from map(ThinkingDelta, self.thinking)
        yield from map(RefusalDelta, self.refusal)
        yield from map(TextDelta, self.text)
        for index, call in enumerate(self.calls):
            yield ToolCallDelta(index, name=call.name)
            for piece in call.pieces:
                yield ToolCallDelta(index, arguments=piece)
        if self.usage:
            yield UsageDelta(self.usage)
        yield FinishDelta(self.finish)


@dataclass(frozen=True, slots=True)
class Failure:
    """A turn that is no reply but an error; made by `fails`."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Always(Generic[Played]):
    """A turn that is played for ever; made by `always`."""

    turn: Played


class ScriptExhausted(AssertionError):
    """A model was asked more often than its script has turns."""


def says(*text: str, thinking: str = "") -> Turn:
    """Script a reply of words: one text is streamed word by word, several are streamed as they are."""
    return Turn(text=_streamed(text), thinking=_streamed((thinking,)))


def calls(name: str, arguments: str | Mapping[str, Any] | None = None, /, **named: Any) -> Turn:
    """Script a tool call: `calls("divide", a=1, b=0)`, or `calls("divide", '{"a":')` for text that does not parse.

    Join several with `&`; they are then made in one reply.
    """
    if isinstance(arguments, str):
        return Turn(calls=(ScriptedCall(name, arguments),))
    return Turn(calls=(ScriptedCall(name, to_json({**(arguments or {}), **named}, inf_nan_mode="constants").decode()),))


def refuses(*words: str) -> Turn:
    """Script a reply in which the model declines."""
    return Turn(refusal=_streamed(words))


def fails(error: Exception | str) -> Failure:
    """Script an error instead of a reply; words make a `ServerError`."""
    return Failure(ServerError(error) if isinstance(error, str) else error)


def always(turn: Played) -> Always[Played]:
    """Play this turn each time from here on, for scripts that must not end."""
    return Always(turn)


class Script(Generic[Played]):
    """Turns, taken one after the other from any thread."""

    def __init__(self, turns: Iterable[Played | Always[Played]]) -> None:
        self._turns = deque(turns)
        self._length = len(self._turns)
        self._lock = Lock()

    @property
    def left(self) -> int:
        """How many turns nobody has taken yet."""
        return len(self._turns)

    def take(self, asked: str) -> Played:
        """Take the next turn.

        Args:
            asked: What the model was asked, for the error.

        Raises:
            ScriptExhausted: There is none.
        """
        with self._lock:
            if not self._turns:
                turns = "1 turn" if self._length == 1 else f"{self._length} turns"
                raise ScriptExhausted(
                    f"the script has {turns} and all were taken, yet the model was asked again, with {asked}; "
                    "add a turn, or end the script with always(...)"
                )
            first = self._turns[0]
            if isinstance(first, Always):
                return cast("Always[Played]", first).turn
            self._turns.popleft()
            return first


def check_playable(turn: object, kinds: tuple[type, ...], *, player: str) -> None:
    """Make sure that the turn is one of these, or a function that may give one.

    Raises:
        TypeError: It is not.
    """
    if isinstance(turn, Always):
        turn = cast("Always[object]", turn).turn
    if not isinstance(turn, kinds) and not callable(turn):
        raise TypeError(f"{player} cannot play {turn!r:.200}; give it calls(...), says(...), refuses(...), fails(...) or a function")


async def played(turn: Played | Callable[[Asked], Played | Awaitable[Played]], asked: Asked) -> Played:
    """Ask a turn that is a function what it says to `asked`; any other turn stays as it is."""
    if not callable(turn):
        return turn
    said = turn(asked)
    return await cast("Awaitable[Played]", said) if inspect.isawaitable(said) else said  # pyright: ignore[reportReturnType]  # it cannot see that a turn is never callable


def _streamed(text: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(re.findall(r"\S+\s*|\s+", text[0])) if len(text) == 1 else text
