"""What goes wrong between an agent and its model, a row each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from agentloop.testing.answers import Answer, Format
from agentloop.testing.faults import (
    GatewayTurn,
    Spoiled,
    cut,
    error_inside,
    keep_alive,
    malformed,
    no_answer,
    raw,
    redirect,
    slow,
    status,
)
from agentloop.testing.turns import Turn

_REFUSALS = (400, 401, 404, 429, 500, 503, 529)


def _refusing(number: int) -> Callable[[Turn], GatewayTurn]:
    return lambda _: status(number)


FAULTS: Mapping[str, Callable[[Turn], GatewayTurn]] = {
    **{f"status {number}": _refusing(number) for number in _REFUSALS},
    "status 429, wait 0 s": lambda _: status(429, retry_after=0),
    "status 429, wait an hour": lambda _: status(429, retry_after=3600),
    "status 429, nothing left": lambda _: status(429, code="insufficient_quota"),
    "redirect": lambda _: redirect("http://elsewhere.example/v1"),
    "closed before the answer": lambda _: no_answer("closed"),
    "reset before the answer": lambda _: no_answer("reset"),
    "silent": lambda _: no_answer("silent"),
    "cut, as if whole": lambda turn: cut(turn, after=1),
    "cut in half, as if whole": lambda turn: Spoiled(turn, _halved),
    "cut before the last event": lambda turn: Spoiled(turn, _without_end),
    "cut, closed": lambda turn: cut(turn, after=2, end="closed"),
    "cut, reset": lambda turn: cut(turn, after=2, end="reset"),
    "cut, silent": lambda turn: cut(turn, after=2, end="silent"),
    "an event that is no JSON": lambda turn: malformed("not_json", turn, after=2),
    "an event cut in half": lambda turn: malformed("cut_json", turn, after=2),
    "a page of HTML": lambda turn: malformed("html", turn),
    "an empty body": lambda turn: malformed("empty", turn),
    "JSON that says nothing": lambda turn: malformed("no_choices", turn),
    "no UTF-8": lambda _: raw(b'data: {"a": "\xff\xfe"}\n\n'),
    "another encoding": lambda turn: Spoiled(turn, lambda answer, _: replace(answer, headers={**answer.headers, "content-encoding": "br"})),
    "an error inside": lambda turn: error_inside(turn=turn, after=2),
    "comments for ever": lambda turn: keep_alive(turn, times=None, pause=0.001),
    "comments between": lambda turn: keep_alive(turn, times=2),
    "slow": lambda turn: slow(turn, before=0.002, between=0.0001),
}
"""What a gateway plays instead of a turn."""

SILENT_FAULTS = frozenset({"silent", "cut, silent", "comments for ever"})
"""Those that only a time-out ends."""


def _halved(answer: Answer, _: Format) -> Answer:
    if not answer.streams:
        return answer
    pieces = [*answer.pieces]
    return replace(answer, pieces=pieces[: len(pieces) // 2])


def _without_end(answer: Answer, _: Format) -> Answer:
    if not answer.streams:
        return answer
    pieces = [*answer.pieces]
    return replace(answer, pieces=pieces[:-1])
