"""What a scripted model says, turn by turn; the scripted model and the scripted gateway play the same turns."""

from __future__ import annotations

import inspect
import re
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from threading import Lock
from typing import Any, Generic, TypeVar, cast

from pydantic_core import from_json, to_json

from agentloop.deltas import Delta, FinishDelta, PartDelta, RefusalDelta, TextDelta, ThinkingDelta, ToolCallDelta, UsageDelta
from agentloop.errors import ServerError
from agentloop.messages import Citation, FinishReason, Usage

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

    @property
    def object(self) -> Mapping[str, Any]:
        """The arguments as an object, for formats that have no other; empty where the text is none."""
        try:
            value = from_json(self.arguments)
        except ValueError:
            return {}
        return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of a turn's text that is cited as a whole, or not at all."""

    pieces: tuple[str, ...]
    citations: tuple[Citation, ...]

    @property
    def text(self) -> str:
        """Its words."""
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One reply of a script; made by `says`, `calls` and `refuses`."""

    text: tuple[str, ...] = ()
    """The pieces in which the text is streamed."""
    thinking: tuple[str, ...] = ()
    refusal: tuple[str, ...] = ()
    calls: tuple[ScriptedCall, ...] = ()
    searches: tuple[str, ...] = ()
    """The queries of a hosted web search, made before the text."""
    citations: tuple[Citation, ...] = ()
    finish_reason: FinishReason | None = None
    """None ends the reply as its content asks: with "tool_calls" or with "stop"."""
    usage: Usage | None = None

    def __post_init__(self) -> None:
        length = len("".join(self.text))
        for citation in self.citations:
            start, end = citation.start, citation.end
            if end and not 0 <= start < end <= length:
                place = f"[{start}:{end}] of {length} characters of text"
                raise ValueError(f"the citation of {citation.url!r} cites {place}; say the text first")

    def __and__(self, other: Turn) -> Turn:
        """Make both calls in one reply: `calls("add", a=1) & calls("sub", b=2)`."""
        return replace(
            self,
            text=self.text + other.text,
            thinking=self.thinking + other.thinking,
            calls=self.calls + other.calls,
            searches=self.searches + other.searches,
            citations=self.citations + _behind(len("".join(self.text)), other.citations),
        )

    def saying(self, *text: str, thinking: str = "") -> Turn:
        """Say this beside the calls."""
        return replace(self, text=_streamed(text), thinking=_streamed((thinking,)))

    def searching(self, *queries: str) -> Turn:
        """Search the web for these before anything is said, with the provider's hosted tool; chat completions do not show it."""
        return replace(self, searches=queries)

    def citing(self, *citations: Citation) -> Turn:
        """Cite these sources: `says("It is 4.0.6.").citing(Citation("https://ruby-lang.org", "Ruby", start=6, end=11))`.

        Raises:
            ValueError: A citation lies outside of the turn's text.
        """
        return replace(self, citations=citations)

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

    @property
    def passages(self) -> Iterator[Passage]:
        """The text, cut at the borders of its citations; a citation without a place is of the whole text."""
        text = "".join(self.text)
        placed = [citation if citation.end else replace(citation, end=len(text)) for citation in self.citations]
        starts = set(accumulate(map(len, self.text), initial=0))
        borders = sorted({0, len(text), *(border for citation in placed for border in (citation.start, citation.end))})
        for start, end in pairwise(borders):
            cuts = [start, *sorted(cut for cut in starts if start < cut < end), end]
            pieces = tuple(text[first:last] for first, last in pairwise(cuts))
            yield Passage(pieces, tuple(each for each in placed if each.start <= start and end <= each.end))

    def spent(self, read: int) -> Usage:
        """Say what tokens the reply takes: what the script says, or else a guess of some four characters each.

        Args:
            read: How many characters the model reads.
        """
        if self.usage:
            return self.usage
        thought = len("".join(self.thinking))
        written = len("".join((*self.text, *self.refusal))) + sum(len(call.name) + len(call.arguments) for call in self.calls)
        return Usage(input_tokens=-(-read // 4), output_tokens=-(-(thought + written) // 4), reasoning_tokens=-(-thought // 4))

    def deltas(self) -> Iterator[Delta]:
        """Cut the turn into what a model streams."""
        yield from map(ThinkingDelta, self.thinking)
        yield from map(RefusalDelta, self.refusal)
        yield from map(TextDelta, self.text)
        yield from map(PartDelta, self.citations)
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


def _behind(length: int, citations: tuple[Citation, ...]) -> tuple[Citation, ...]:
    # A citation that ends at 0 has no place, and so none to move.
    return tuple(replace(each, start=each.start + length, end=each.end + length) if each.end else each for each in citations)


def _streamed(text: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(re.findall(r"\S+\s*|\s+", text[0])) if len(text) == 1 else text
