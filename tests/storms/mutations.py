"""Replies as servers would send them if they had gone wrong: keys missing, kinds swapped, events lost, doubled and in disorder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

ODD: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1.5,
    10**30,
    1e308,
    "",
    "x",
    "0",
    "\u2028",
    [],
    {},
    [None],
    [[]],
    {"a": 1},
    [{"type": "text"}],
    {"type": 7},
    "null",
    "tool_calls",
    "error",
]
JUNK = [
    b"\xff\xfe",
    b"\x00",
    b"\n\n",
    b"\r",
    b"data: ",
    b"data: {}\n\n",
    b"data: [DONE]\n\n",
    b": x\n\n",
    b"}",
    b'"',
    b"[",
    b"event: error\n",
    b"null",
    b"\xe2\x80",
]
TYPES = [
    "",
    "text/plain",
    "application/json",
    "text/event-stream",
    "text/html",
    "application/octet-stream",
    "text/event-stream; charset=latin-1",
]


@dataclass(frozen=True, slots=True)
class Sent:
    """What a server sends."""

    body: bytes
    content_type: str

    @property
    def streams(self) -> bool:
        """Whether it is a stream of events."""
        return self.content_type.startswith("text/event-stream")


def mutated(random: Random, sent: Sent) -> Sent:
    """Let one to three things go wrong."""
    for _ in range(random.choice([1, 1, 2, 3])):
        sent = random.choice(_WAYS)(random, sent)
    return sent


def cut(random: Random, sent: Sent) -> Sent:
    """Let it end too early: in the middle of an event, or between two."""
    if sent.streams and random.random() < 0.7:
        events = _events(sent.body)
        return Sent(b"".join(events[: random.randrange(len(events))]), sent.content_type)
    return Sent(sent.body[: random.randrange(len(sent.body) + 1)], sent.content_type)


def _values(random: Random, sent: Sent) -> Sent:
    """Change values in the JSON: drop a key, put another kind in its place, double an item, nest it."""
    if not sent.streams:
        return Sent(_changed(random, sent.body), sent.content_type)
    events = _events(sent.body)
    for _ in range(random.choice([1, 1, 2])):
        place = random.randrange(len(events))
        head, mark, data = events[place].partition(b"data: ")
        events[place] = head + mark + _changed(random, data.strip()) + b"\n\n"
    return Sent(b"".join(events), sent.content_type)


def _order(random: Random, sent: Sent) -> Sent:
    """Lose events, double them, or put them in another order."""
    events = _events(sent.body)
    place, other = random.randrange(len(events)), random.randrange(len(events))
    match random.choice(["drop", "double", "swap", "shuffle", "again"]):
        case "drop":
            del events[place]
        case "double":
            events.insert(other, events[place])
        case "swap":
            events[place], events[other] = events[other], events[place]
        case "shuffle":
            random.shuffle(events)
        case _:
            events += events
    return Sent(b"".join(events), sent.content_type)


def _bytes(random: Random, sent: Sent) -> Sent:
    place = random.randrange(len(sent.body) + 1)
    return Sent(sent.body[:place] + random.choice(JUNK) + sent.body[place + random.choice([0, 0, 1, 20]) :], sent.content_type)


def _kind(random: Random, sent: Sent) -> Sent:
    return Sent(sent.body, random.choice(TYPES))


_WAYS: list[Callable[[Random, Sent], Sent]] = [_values, _values, _values, _values, _order, _order, _bytes, _kind, cut]


def _events(body: bytes) -> list[bytes]:
    return [event + b"\n\n" for event in body.split(b"\n\n") if event] or [b""]


def _changed(random: Random, data: bytes) -> bytes:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return data
    places = [*_places(value)]
    if not places:
        return json.dumps(random.choice(ODD)).encode()
    holder, key = random.choice(places)
    match random.choice(["drop", "odd", "odd", "odd", "text", "wrap", "double", "rename"]):
        case "drop":
            del holder[key]
        case "odd":
            holder[key] = random.choice(ODD)
        case "text":
            holder[key] = json.dumps(holder[key])
        case "wrap":
            holder[key] = random.choice([[holder[key]], {"value": holder[key]}])
        case "double" if isinstance(holder, list):
            holder.append(holder[key])
        case _ if isinstance(holder, dict):
            holder[f"{key}_"] = holder.pop(key)
        case _:
            holder.reverse()
    return json.dumps(value).encode()


def _places(value: Any) -> Any:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield value, key
        yield from _places(inner)
