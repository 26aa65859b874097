"""Compares two runs: step by step, what was said and called differently."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest

from agentloop.messages import Message
from agentloop.transcript import Transcript

_SHOWN = 160
_SHOWN_BEFORE = 30


@dataclass(frozen=True, slots=True)
class StepDifference:
    """One step of two runs that is not the same in both."""

    step: int | None
    """None for what was said before the first."""
    one: tuple[str, ...]
    """What was said and called in it, in lines: `says`, `calls`, results behind `→` or `✗`, `user`; nothing where there is no such step."""
    other: tuple[str, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines, those of the one alone behind `-`, those of the other alone behind `+`."""
        return tuple(_marked(self.one, self.other))


@dataclass(frozen=True, slots=True)
class Diff:
    """What differs between two runs."""

    one: str
    other: str
    steps: tuple[StepDifference, ...]

    def __bool__(self) -> bool:
        return bool(self.steps)

    @property
    def text(self) -> str:
        """The differences for people, with long lines cut around what differs."""
        lines = [f"--- {self.one}", f"+++ {self.other}"]
        for each in self.steps:
            lines += ["@@ before the first step @@" if each.step is None else f"@@ step {each.step} @@", *each.lines]
        return "\n".join(lines) + "\n" if self.steps else ""


def diff(one: Transcript, other: Transcript) -> Diff:
    """Compare what was said in two runs."""
    pairs = zip_longest(_steps(one), _steps(other), fillvalue=())
    return Diff(
        one.run_id,
        other.run_id,
        tuple(
            StepDifference(index - 1 if index else None, tuple(before), tuple(after))
            for index, (before, after) in enumerate(pairs)
            if before != after
        ),
    )


def _steps(transcript: Transcript) -> list[list[str]]:
    """Write each step as lines: first what was said before any, then a reply with what came of it and was said after it."""
    steps: list[list[str]] = [[]]
    names: dict[str, str] = {}
    for message in transcript:
        if message.role == "assistant":
            steps.append([])
            names = {call.id: f"{call.name}({call.arguments})" for call in message.calls}
        steps[-1] += _said(message, names)
    return steps


def _said(message: Message, names: dict[str, str]) -> Iterator[str]:
    match message.role:
        case "assistant":
            if message.text:
                yield f"says {message.text}"
            yield from (f"calls {call.name}({call.arguments})" for call in message.calls)
        case "tool":
            for result in message.results:
                yield f"{names.get(result.call_id, result.name)} {'✗' if result.is_error else '→'} {result.text}"
        case role:
            yield f"{role} {message.text}"


def _marked(one: Sequence[str], other: Sequence[str]) -> Iterator[str]:
    for tag, start, end, other_start, other_end in SequenceMatcher(a=one, b=other, autojunk=False).get_opcodes():
        before, after = one[start:end], other[other_start:other_end]
        if tag == "equal":
            yield from (f"  {_short(line)}" for line in before)
            continue
        paired = len(before) == len(after)
        places = [_first_difference(*pair) for pair in zip(before, after, strict=True)] if paired else None
        yield from (f"- {_short(line, places[index] if places else 0)}" for index, line in enumerate(before))
        yield from (f"+ {_short(line, places[index] if places else 0)}" for index, line in enumerate(after))


def _first_difference(one: str, other: str) -> int:
    return next((index for index, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), min(len(one), len(other)))


def _short(line: str, around: int = 0) -> str:
    """Make one short line of it, in which what is at `around` can be seen."""
    start = max(0, around - _SHOWN_BEFORE) if around > _SHOWN - _SHOWN_BEFORE else 0
    piece = line[start : start + _SHOWN]
    cut = f"{'…' if start else ''}{piece}{'…' if start + _SHOWN < len(line) else ''}"
    return " ".join(cut.splitlines())
