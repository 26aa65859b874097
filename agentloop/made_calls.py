"""Reads from what a run wrote down which of its calls took effect, those of the agents in it included."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from agentloop.approvals import Granted
from agentloop.journal.reading import beginning_of
from agentloop.journal.store import Record
from agentloop.journal.words import DECISION, POSED
from agentloop.journal.written import OUTCOME, REPLY, TAKEN_OVER, WORD, place_of
from agentloop.lives import other_tools
from agentloop.messages import ToolCall, ToolResult
from agentloop.tools.companions import Delegating
from agentloop.tools.function import Tool
from agentloop.tools.repair import repaired
from agentloop.transcript import Decision, Dispatch, Question, Transcript

Tools = Mapping[str, Tool[..., Any]]

# What the model reads after a result that was given again, without the call being made again.
_NOT_MADE = "it was not made again. Do something else.]"


@dataclass(frozen=True, slots=True)
class Made:
    """A call that took effect, or may have."""

    run_id: str
    """The run that made it: the one that was asked about, or that of an agent in it."""
    place: str
    """Under which key that run wrote it down."""
    call: ToolCall
    """As it was made: with the arguments that a person wrote, where one did."""
    said: str = ""
    """What its undo came to, once that is done."""


@dataclass(frozen=True, slots=True)
class Undoable:
    """A call that took effect, and whose tool can undo it."""

    made: Made
    tool: Tool[..., Any]
    came_to: str
    """What the tool returned, as text."""
    seq: int
    """The place of that among all records."""


@dataclass(frozen=True, slots=True)
class MadeCalls:
    """The calls of a run and of the runs in it, by what can be done about them."""

    undoable: list[Undoable] = field(default_factory=list[Undoable])
    stays: list[Made] = field(default_factory=list[Made])
    """Those whose tools have no undo, or are gone, and those that a person made and gave the result of."""
    in_doubt: list[Made] = field(default_factory=list[Made])
    """Those that may have been begun when the run was cut off: nobody knows whether they took effect. One that would have waited for a
    person is among them, if the run had not asked yet."""
    other_tools: dict[str, str] = field(default_factory=dict[str, str])
    """The tools of these calls that have changed since, and how."""


def made_calls(records: Sequence[Record], run_id: str, *, tools: Tools) -> MadeCalls:
    """Find the calls that took effect; those that failed are taken to have had none.

    Args:
        records: Those of the run and of the runs in it.
        run_id: The run.
        tools: Those of its agent.
    """
    found = MadeCalls()
    # What a fork took over, the run that it was made of has done.
    taken_over = next((record.seq for record in records if record.run_id == run_id and record.key == TAKEN_OVER), 0)
    _Reading(records, run_id, after=taken_over).sort_into(found, tools)
    return found


class _Reading:
    """What one run wrote down."""

    def __init__(self, records: Sequence[Record], run_id: str, *, after: int) -> None:
        self._all = records
        self._after = after
        self._run_id = run_id
        self._own = {record.key: record for record in records if record.run_id == run_id}
        self._begun = beginning_of(records, run_id)
        self._before = Transcript.from_json(json.dumps(self._begun.transcript)) if self._begun.transcript else Transcript()

    def sort_into(self, found: MadeCalls, tools: Tools) -> None:
        """Add the calls of this run, and of the agents in it."""
        changed = other_tools(self._begun, tools)
        for place, call in self._calls():
            tool = tools.get(call.name)
            inner = f"{self._run_id}/{place}"
            inside: Tools = tool.delegate.tools if tool and isinstance(tool.delegate, Delegating) else {}
            if any(record.run_id == inner for record in self._all):
                _Reading(self._all, inner, after=self._after).sort_into(found, inside)
                continue
            had_effect = (call.name in changed or tool is None or tool.options.effect != "read") and self._sort(place, call, tool, found)
            if had_effect and call.name in changed:
                found.other_tools[call.name] = changed[call.name]

    def _calls(self) -> Iterator[tuple[str, ToolCall]]:
        match self._before.next_move():
            case Dispatch():
                yield from self._placed(self._before.replies - 1, self._before.asked[-1].calls)
            case _:
                pass
        for key, record in self._own.items():
            place = place_of(key)
            if place is not None and place.kind == "reply":
                yield from self._placed(place.step, REPLY.read(record.value, key=key).calls)

    def _placed(self, step: int, calls: Sequence[ToolCall]) -> Iterator[tuple[str, ToolCall]]:
        return ((f"{step}/{index}", call) for index, call in enumerate(calls))

    def _sort(self, first: str, call: ToolCall, tool: Tool[..., Any] | None, found: MadeCalls) -> bool:
        """Add a call where it belongs; no where it has had no effect, or not in this run."""
        places = self._lives(first)
        record = self._own.get(places[-1])
        result = OUTCOME.read(record.value, key=record.key).result if record else None
        made, by_hand = self._made(places, call, result)
        if record is None or result is None:
            if len(places) == 1 and not self._may_have_begun(first, tool):
                return False
            found.in_doubt.append(made)
        elif record.seq <= self._after:
            return False
        elif result.is_error and len(places) > 1:
            found.in_doubt.append(made)
        elif result.is_error or result.text.endswith(_NOT_MADE):
            return False
        elif tool is None or tool.options.undo is None or by_hand:
            found.stays.append(made)
        else:
            found.undoable.append(Undoable(made, tool, _returned(result, call, made.call), record.seq))
        return True

    def _lives(self, first: str) -> list[str]:
        """List the places of a call: another one for each time that it came into doubt."""
        places = [first]
        while (record := self._own.get(places[-1])) and OUTCOME.read(record.value, key=record.key).result is None:
            places.append(f"{first}/again/{len(places)}")
        return places

    def _made(self, places: Sequence[str], call: ToolCall, result: ToolResult | None) -> tuple[Made, bool]:
        """Say how a call was made, and whether a person gave its result instead."""
        call = replace(call, id=result.call_id) if result else call
        decisions = [self._before.decisions[call.id]] if call.id in self._before.decisions else []
        decisions += [said for place in places for question, said in self._words(place) if said and question.wants != "outcome"]
        last = decisions[-1] if decisions else None
        if last is not None and last.word == "approved" and last.arguments is not None:
            call = replace(call, arguments=last.arguments)
        return Made(self._run_id, places[-1], call), last is not None and last.word == "answered"

    def _words(self, place: str) -> Iterator[tuple[Question, Decision | None]]:
        for number in count():
            key = f"{place}/question/{number}"
            if key not in self._own:
                return
            word = self._own.get(key + WORD)
            said = DECISION.read(word.value, key=word.key) if word else None
            yield POSED.read(self._own[key].value, key=key).question, said

    def _may_have_begun(self, place: str, tool: Tool[..., Any] | None) -> bool:
        """Whether a call without a result may have been made: nothing kept it back, and it was marked if it had to be."""
        words = list(self._words(place))
        if words and (words[-1][1] is None or words[-1][1].word != "approved"):
            return False
        if tool is not None and tool.options.effect == "idempotent":
            return True
        return f"{place}/begun" in self._own


def _returned(result: ToolResult, call: ToolCall, made: ToolCall) -> str:
    """Give what the tool returned, without what the model is told beside it."""
    if result.whole is not None:
        return result.whole
    text = result.text
    if call.arguments != made.arguments:
        text = text.removeprefix(Granted(made, edited=True).told(replace(result, content="")).text)
    repair = repaired(made.arguments)
    return text.removesuffix(f"\n\n{repair.remark}") if repair else text
