"""What a scripted server sends back, before anybody decided how it travels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from threading import Event
from typing import Any, Literal, Protocol

from pydantic_core import from_json

from agentloop.testing.turns import Turn

End = Literal["whole", "closed", "reset", "silent"]
Outcome = Literal["open", "answered", "abandoned"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes that are sent at once."""

    data: bytes
    wait: float = 0.0
    """Seconds before they are sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer over HTTP, with all that goes wrong on its way."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    pieces: Iterable[Piece] = ()
    """The body; endless where it does not end."""
    length: int | None = None
    """The content-length that is claimed; None sends the body in chunks."""
    end: End = "whole"
    """How it ends: as it should, by closing the connection too early, by resetting it, or never, in silence."""
    wait: float = 0.0
    """Seconds before the first header."""
    headless: bool = False
    """Whether the end comes before the first header."""

    @property
    def streams(self) -> bool:
        """Whether the body is a stream of events."""
        return self.headers.get("content-type", "").startswith("text/event-stream")

    @classmethod
    def whole(cls, body: bytes, *, status: int = 200, headers: Mapping[str, str]) -> Answer:
        """Make an answer in one piece."""
        return cls(status=status, headers=headers, pieces=(Piece(body),), length=len(body))


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why a server says no; each format has its own words for it."""

    message: str
    status: int = 400
    type: str = "invalid_request_error"
    param: str | None = None
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


def with_last(pieces: Iterable[Piece]) -> Iterator[tuple[Piece, bool]]:
    """Say of each piece whether it is the last."""
    rest = iter(pieces)
    piece = next(rest, None)
    while piece is not None:
        following = next(rest, None)
        yield piece, following is None
        piece = following


class Format(Protocol):
    """How a wire format is spoken by the server's side."""

    def problem(self, body: Any) -> Problem | None:
        """Say why a provider would refuse the request, or None."""
        ...

    def last_words(self, body: Mapping[str, Any]) -> str:
        """Say what the request ends with, for errors."""
        ...

    def reply(self, turn: Turn, *, body: Mapping[str, Any], number: int) -> Answer:
        """Say the turn, streamed or whole as the request asks; `number` makes the ids."""
        ...

    def refusal(self, problem: Problem) -> Answer:
        """Say no."""
        ...

    def broken_off(self, problem: Problem) -> bytes:
        """Say no in the middle of a stream."""
        ...


Spoil = Callable[[Answer, Format], Answer]


class Headers(dict[str, str]):
    """Headers by their lower-case names, whose keys are never printed."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr({name: "***" if _is_secret(name) else value for name, value in self.items()})


def _is_secret(name: str) -> bool:
    return "authorization" in name or "key" in name or "secret" in name or "cookie" in name or "token" in name


@dataclass(slots=True, kw_only=True)
class HeardRequest:
    """A request as the gateway received it."""

    method: str
    path: str
    query: str = field(default="", repr=False)
    headers: Headers
    content: bytes = field(repr=False)
    body: Any = None
    """The content as JSON; None where it is none."""
    not_json: str = field(default="", repr=False)
    """Why the content is no JSON."""
    status: int | None = None
    """What was answered."""
    refused: str = ""
    """Why the gateway itself refused the request, where it did."""
    outcome: Outcome = "open"
    """"answered" as the script says, however badly that ends; "abandoned" where the client, or the gateway's end, came before that."""
    _over: Event = field(default_factory=Event, repr=False)

    @classmethod
    def read(cls, method: str, target: str, *, headers: Iterable[tuple[str, str]], content: bytes) -> HeardRequest:
        """Make a request of what came over HTTP."""
        path, _, query = target.partition("?")
        named: dict[str, str] = {}
        for name, value in headers:
            name = name.lower()  # noqa: PLW2901 - the name as it is meant
            named[name] = f"{named[name]}, {value}" if name in named else value
        request = cls(method=method, path=path, query=query, headers=Headers(named), content=content)
        try:
            request.body = from_json(content, allow_inf_nan=False) if content else None
        except ValueError as error:
            request.not_json = str(error)
        return request

    def is_over(self, outcome: Outcome) -> None:
        """Write down how the exchange ended."""
        if self.outcome == "open":
            self.outcome = outcome
        self._over.set()

    def wait(self, seconds: float = 5.0) -> Outcome:
        """Wait until the exchange is over, and say how it ended. Blocks: for tests that look at the server's side.

        Raises:
            TimeoutError: It is still open.
        """
        if not self._over.wait(seconds):
            raise TimeoutError(f"the exchange {self.method} {self.path} is still open after {seconds} s")
        return self.outcome
