"""Chaos: an agent of one's own under everything that can go wrong, one thing at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from agentloop.agent import Agent, Prompt
from agentloop.errors import ConfigurationError
from agentloop.models import Model
from agentloop.testing.chaos_case import Case, Outcome, Subject, WireName, play
from agentloop.testing.chaos_faults import FAULTS, SILENT_FAULTS
from agentloop.testing.turns import Turn

_CANCELLED = "cancelled at await"
_MOST_CANCELS = 200
_MOST_TOLD = 20


@dataclass(frozen=True, slots=True)
class Row:
    """What became of the runs that one thing went wrong in."""

    fault: str
    cases: int
    outcomes: Mapping[str, int]
    """How the runs ended, and how many: "answered", "paused", or the error's name. Those that failed were resumed, and answered then."""


@dataclass(frozen=True, slots=True)
class Report:
    """What an agent went through; printed, a table."""

    rows: tuple[Row, ...]

    @property
    def cases(self) -> int:
        """How many runs something went wrong in."""
        return sum(row.cases for row in self.rows)

    def __str__(self) -> str:
        width = max((len(row.fault) for row in self.rows), default=0)
        lines = [f"{row.fault:{width}}  {row.cases:>5}  {_listed(row.outcomes)}" for row in self.rows]
        return "\n".join([f"{'fault':{width}}  cases  outcome", *lines, f"{'all':{width}}  {self.cases:>5}  every invariant held"])


async def chaos(
    make: Callable[[Model], Agent[Any]],
    prompt: Prompt,
    *,
    script: Sequence[Turn],
    wires: Sequence[WireName] = ("chat",),
    faults: Iterable[str] | None = None,
    deps: Any = None,
) -> Report:
    """Run an agent with each fault of a server at each turn, with each tool failing, and cancelled at each await; then resume it.

    In every case it must hold that
    the run comes back in time and ends with an answer, an `AgentLoopError` or, cancelled, a `CancelledError`;
    the answer is the model's whole answer, and never a part of it;
    each call has one result, and no request is one that a provider would refuse;
    a tool whose effect is "once" does its work at most once for each call, the resumed run included;
    the limits of steps and calls are kept;
    the run can be resumed from its stored transcript, and answers then;
    no task, thread or connection is left.

    Args:
        make: Makes the agent, for the model it is given; it is called for each case.
        prompt: What the agent is asked.
        script: What the model says, a turn for each step; made with `calls(...)` and `says(...)`.
        wires: The formats in which the model is asked.
        faults: The faults of the server, as the report names them; all of them by default.
        deps: What tools find as `context.deps`.

    Raises:
        AssertionError: Something did not hold; it lists what, and in which case.
        ConfigurationError: There is no such fault.
    """
    chosen = tuple(FAULTS if faults is None else faults)
    if unknown := [name for name in chosen if name not in FAULTS]:
        raise ConfigurationError(f"there is no fault {unknown[0]!r}; choose of: {', '.join(FAULTS)}")
    subject = Subject(make, prompt, tuple(script), deps)
    outcomes = [
        each for wire, streamed in product(wires, (False, True)) for each in await _played(subject, chosen, wire, streamed=streamed)
    ]
    if broken := [outcome for outcome in outcomes if outcome.problems]:
        raise AssertionError(_complaint(broken, f"{len(broken)} of {len(outcomes)} cases do not hold"))
    return _report(outcomes)


async def _played(subject: Subject, faults: Iterable[str], wire: WireName, *, streamed: bool) -> list[Outcome]:
    calm = await play(subject, Case(name="nothing", wire=wire, streamed=streamed))
    if calm.words not in {"answered", "paused"} or calm.problems:
        raise AssertionError(_complaint([calm], "the run does not hold even where nothing goes wrong"))
    cases = (*_faults(subject, faults, wire, streamed=streamed), *_cancels(calm))
    return [calm, *[await play(subject, case, answer=calm.text) for case in cases]]


def _faults(subject: Subject, names: Iterable[str], wire: WireName, *, streamed: bool) -> Iterator[Case]:
    for name, turn, lasting in product(names, range(len(subject.script)), (False, True)):
        silent = name in SILENT_FAULTS
        yield Case(name=name, wire=wire, streamed=streamed, turn=turn, fault=FAULTS[name], lasting=lasting, silent=silent)
    for tool in dict.fromkeys(call.name for turn in subject.script for call in turn.calls):
        yield Case(name=f"the tool {tool!r} raises", wire=wire, streamed=streamed, failing=tool)


def _cancels(calm: Outcome) -> Iterator[Case]:
    most = calm.awaits
    every = range(most + 1) if most < _MOST_CANCELS else [round(place * most / _MOST_CANCELS) for place in range(_MOST_CANCELS + 1)]
    for place in every:
        yield Case(name=_CANCELLED, wire=calm.case.wire, streamed=calm.case.streamed, cancel_at=place)


def _report(outcomes: Sequence[Outcome]) -> Report:
    by_name: dict[str, Counter[str]] = {}
    for outcome in outcomes:
        by_name.setdefault(outcome.case.name, Counter())[outcome.words] += 1
    return Report(tuple(Row(name, counts.total(), dict(counts)) for name, counts in by_name.items()))


def _complaint(broken: Sequence[Outcome], what: str) -> str:
    told = [f"- {problem}; in the case: {outcome.case}" for outcome in broken for problem in outcome.problems or (outcome.words,)]
    more = [f"- and {len(told) - _MOST_TOLD} more"] if len(told) > _MOST_TOLD else []
    return "\n".join([f"{what}:", *told[:_MOST_TOLD], *more])


def _listed(outcomes: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {words}" for words, count in sorted(outcomes.items(), key=lambda item: (item[0] != "answered", item[0])))
