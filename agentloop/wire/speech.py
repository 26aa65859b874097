"""What a format has said of a transcript: each message is encoded once, so that a step costs the same after ten and after ten thousand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, Self, TypeVar, cast

from agentloop.messages import Message, Messages, Request
from agentloop.wire import Outgoing
from agentloop.wire.sayable import as_json

Json = dict[str, Any]

_PIECE = 64 * 2**10

SAID: Final = object()
"""Stands in a body where the messages will."""


class Speaker(Protocol):
    """Says the messages of one transcript, one after the other."""

    def foresee(self, messages: Sequence[Message]) -> Self:
        """Look at what is to be said next, and give who says it: another, who has said nothing, where it changes what is said already."""
        ...

    def say(self, message: Message, said: list[Json]) -> None:
        """Say a message behind those said before."""
        ...

    def settle(self, said: Sequence[Json]) -> int:
        """Tell how many of these, from the first, no later message can change; they are not seen again."""
        ...


AnySpeaker = TypeVar("AnySpeaker", bound=Speaker)


class Speech(Generic[AnySpeaker]):
    """What was said of one transcript so far."""

    def __init__(self, speaker: AnySpeaker) -> None:
        """Begin with nothing."""
        self.speaker = speaker
        self.open: list[Json] = []
        """What a later message may still change."""
        # In pieces that are not written to again, so that a request can be made of them without a copy of them all.
        self._settled: list[bytes] = []
        self._heard = 0
        self._frame: tuple[tuple[object, ...], Frame] | None = None

    def hear(self, messages: Sequence[Message]) -> None:
        """Say those messages that are new."""
        new = messages[self._heard :]
        before, self.speaker = self.speaker, self.speaker.foresee(new)
        if self.speaker is not before:
            self._settled.clear()
            self.open.clear()
            new = messages
            self.speaker.foresee(new)
        for message in new:
            self.speaker.say(message, self.open)
        self._heard = len(messages)
        if count := self.speaker.settle(self.open):
            self._keep(_inside(self.open[:count]))
            del self.open[:count]

    @property
    def is_open(self) -> bool:
        """Whether a later message may still change all that was said."""
        return not self._settled

    @property
    def is_silent(self) -> bool:
        """Whether there was nothing to say."""
        return not (self._settled or self.open)

    def frame(self, about: tuple[object, ...], made: Callable[[], Frame]) -> Frame:
        """Give what stands around the messages; it is made again only where something that it says is another than last time."""
        if self._frame is None or self._frame[0] != about:
            self._frame = (about, made())
        return self._frame[1]

    def outgoing(self, frame: Frame, last: Sequence[Json] | None = None) -> Outgoing:
        """Make the request.

        Args:
            frame: What stands around the messages.
            last: What is said at the end, in the place of what is still open.
        """
        if frame.after is None:
            return Outgoing(frame.path, frame.before, frame.headers)
        end = _inside(self.open if last is None else last)
        first = frame.first + b"," if frame.first and (self._settled or end) else frame.first
        if self._settled and end:
            end = b"," + end
        return Outgoing(frame.path, (b"%b[%b" % (frame.before, first), *self._settled, b"%b]%b" % (end, frame.after)), frame.headers)

    def _keep(self, said: bytes) -> None:
        if not self._settled:
            self._settled.append(said)
        elif len(self._settled[-1]) < _PIECE:
            self._settled[-1] = b"%b,%b" % (self._settled[-1], said)
        else:
            self._settled.append(b"," + said)


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around the messages in a request."""

    path: str
    before: bytes = field(repr=False)
    """Not shown, as the whole is not: it may hold the token of an MCP server."""
    after: bytes | None = field(repr=False)
    """None where the body has other messages."""
    first: bytes = field(default=b"", repr=False)
    """What is said before the messages, in the same list."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


def framed(path: str, body: Json, *, first: Sequence[Json] = (), headers: Mapping[str, str] | None = None) -> Frame:
    """Encode a body in which `SAID` stands for the messages."""
    names = list(body)
    place = next((number for number, name in enumerate(names) if body[name] is SAID), None)
    if place is None:
        return Frame(path, as_json(body), None, headers=headers or {})
    before = as_json({name: body[name] for name in names[:place]} | {names[place]: []}).removesuffix(b"[]}")
    after = as_json({name: body[name] for name in names[place + 1 :]})
    return Frame(path, before, b"," + after[1:] if len(after) > len(b"{}") else b"}", _inside(first), headers or {})


def about(request: Request, *further: object) -> tuple[object, ...]:
    """Name all that a request says beside its messages."""
    settings = request.settings
    # Fields of yours may be changed in place, and are then equal to what they were.
    yours = as_json({"extra": dict(settings.extra), "metadata": dict(settings.metadata)})
    return (request.instructions, request.tools, request.hosted, settings, yours, request.output, request.stream, *further)


def speech_of(messages: Sequence[Message], begin: Callable[[], AnySpeaker], *, key: object) -> Speech[AnySpeaker]:
    """Say what is new in the messages, and all of them where nothing is kept of them.

    Args:
        messages: They keep what was said of them, if they are a transcript's.
        begin: Makes a speaker who has said nothing.
        key: Tells one way of saying them from another.

    Raises:
        ConfigurationError: The format has no words for one of them; nothing is kept then, so that a step more says all anew.
    """
    kept = messages.said if isinstance(messages, Messages) else {}
    speech = cast("Speech[AnySpeaker]", kept.pop(key, None) or Speech(begin()))
    speech.hear(messages)
    kept[key] = speech
    return speech


def _inside(items: Sequence[Json]) -> bytes:
    return as_json(list(items))[1:-1] if items else b""
