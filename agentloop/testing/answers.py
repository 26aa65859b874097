"""What a scripted server sends back, before anybody decided how it travels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Any, Literal, Protocol
from urllib.parse import parse_qsl

from pydantic_core import from_json

from agentloop.models.masking import MaskedHeaders
from agentloop.testing.turns import Turn

End = Literal["whole", "closed", "reset", "silent"]
Outcome = Literal["open", "answered", "abandoned"]

# Google's signatures are base64, so this and the rest must be, too.
_SEAL = "scripted"


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

    @classmethod
    def json(cls, value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
        """Make an answer in one piece of a value."""
        return cls.whole(as_json(value), status=status, headers={"content-type": "application/json", **(headers or {})})

    @classmethod
    def stream(cls, events: Iterable[bytes], *, headers: Mapping[str, str] | None = None) -> Answer:
        """Make an answer of events, each sent at once."""
        said = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache", **(headers or {})}
        return cls(headers=said, pieces=[Piece(data) for data in events])


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

    def problem(self, request: HeardRequest) -> Problem | None:
        """Say why a provider would refuse the request, or None."""
        ...

    def last_words(self, body: Mapping[str, Any]) -> str:
        """Say what the request ends with, for errors."""
        ...

    def reply(self, turn: Turn, *, request: HeardRequest, number: int) -> Answer:
        """Say the turn, streamed or whole as the request asks; `number` makes the ids."""
        ...

    def refusal(self, problem: Problem) -> Answer:
        """Say no."""
        ...

    def broken_off(self, problem: Problem, *, sent: Sequence[bytes]) -> bytes:
        """Say no in the middle of a stream, behind these events."""
        ...

    def nothing(self, *, streamed: bool) -> bytes:
        """Say, in JSON, nothing."""
        ...


class Lister(Format, Protocol):
    """A format whose provider lists its models in its own way."""

    def listed(self, models: Sequence[str], query: Mapping[str, str]) -> Mapping[str, Any]:
        """List the models, or the page of them that the query asks for."""
        ...

    def described(self, model: str) -> Mapping[str, Any]:
        """Describe one model."""
        ...


Spoil = Callable[[Answer, Format], Answer]


def as_json(value: Any) -> bytes:
    """Write JSON the way servers do: compact, in UTF-8."""
    # A lone surrogate has no UTF-8; backslashreplace makes it the very escape that JSON has for it.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def event(data: bytes, name: str = "") -> bytes:
    """Make an event of a stream, with a line for its name where it has one."""
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + data + b"\n\n"


def digest(*what: object) -> str:
    """Make an id that looks like a provider's, and is the same in each run of a script."""
    return hashlib.sha256(repr(what).encode("utf-8", "backslashreplace")).hexdigest()[:24]


def seal(number: int, *content: object) -> str:
    """Sign what a reply says, as providers sign thoughts; `number` is the reply's, so that no two replies have the same seal."""
    mark = digest("seal", number)
    return f"{_SEAL}{mark}{digest(mark, *content)}"


def is_forged(signature: object, *content: object) -> bool:
    """Whether this is one of our seals, and does not fit the content; those of real providers are taken on trust."""
    if not isinstance(signature, str) or not signature.startswith(_SEAL):
        return False
    mark, rest = signature[len(_SEAL) :][:24], signature[len(_SEAL) :][24:]
    return rest != digest(mark, *content)


@dataclass(slots=True, kw_only=True)
class HeardRequest:
    """A request as the gateway received it."""

    method: str
    path: str
    query: str = field(default="", repr=False)
    headers: MaskedHeaders
    """By their lower-case names."""
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

    @property
    def named(self) -> Mapping[str, str]:
        """The query, by names; of a name that comes twice the last counts."""
        return dict(parse_qsl(self.query, keep_blank_values=True))

    @classmethod
    def read(cls, method: str, target: str, *, headers: Iterable[tuple[str, str]], content: bytes) -> HeardRequest:
        """Make a request of what came over HTTP."""
        path, _, query = target.partition("?")
        named: dict[str, str] = {}
        for name, value in headers:
            name = name.lower()  # noqa: PLW2901 - the name as it is meant
            named[name] = f"{named[name]}, {value}" if name in named else value
        request = cls(method=method, path=path, query=query, headers=MaskedHeaders(named), content=content)
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
