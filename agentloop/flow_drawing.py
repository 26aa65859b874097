"""Draws what a flow has done, from its journal alone: a flowchart in Mermaid's words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pydantic_core import from_json

from agentloop.flow_life import CALLED, CAME, Called
from agentloop.journal.store import Record
from agentloop.journal.words import POSED
from agentloop.journal.written import END, REPLY

_SHAPES = {"agent": ('(["', '"])'), "flow": ('[["', '"]]'), "step": ('["', '"]'), "wait": ('{{"', '"}}'), "sleep": ('(("', '"))')}
_MOST_WORDS = 60


@dataclass(frozen=True, slots=True)
class _Node:
    number: int
    id: str
    called: Called
    label: str


def drawing(records: Iterable[Record]) -> str:
    """Draw a run of a flow: its agents, steps and waits in their order, those side by side that were under way together.

    Args:
        records: Those of the run, and of the runs that it has spawned.
    """
    by_run: dict[str, list[Record]] = {}
    for record in records:
        by_run.setdefault(record.run_id, []).append(record)
    run_id = min(by_run, key=len, default="")
    return "\n".join(["flowchart TD", *(f"  {line}" for line in _lines(run_id, by_run, "n"))]) + "\n"


def _lines(run_id: str, by_run: dict[str, list[Record]], prefix: str) -> Iterator[str]:
    nodes = [_node(record, by_run, prefix) for record in by_run.get(run_id, ()) if record.key.isdecimal()]
    nodes.sort(key=lambda node: node.number)
    for node in nodes:
        yield from _drawn(node, _child(node, run_id), by_run)
    for node in nodes:
        for before in _before(node, nodes):
            yield f"{before.id} --> {node.id}"


def _node(record: Record, by_run: dict[str, list[Record]], prefix: str) -> _Node:
    called = CALLED.read(record.value, key=record.key)
    number = int(record.key)
    label = called.name
    own = by_run[record.run_id]
    if called.kind == "wait":
        posed = next((POSED.read(each.value, key=each.key) for each in own if each.key == f"{number}/question/0"), None)
        label = str(from_json(posed.call.arguments)["question"]) if posed else label
    return _Node(number, f"{prefix}{number}", called, f"{label}{_state(called, record, own)}")


def _state(called: Called, record: Record, own: Sequence[Record]) -> str:
    """Say how a step has ended, where it is not simply done."""
    came = called.came
    for each in own:
        if re.fullmatch(rf"{record.key}/outcome/\d+", each.key):
            came = CAME.read(each.value, key=each.key)
    if called.kind == "wait" and not any(each.key.startswith(f"{record.key}/") and each.key.endswith("/word") for each in own):
        return " (waits)"
    if came is None:
        return " (open)" if called.kind == "step" else ""
    return " (in doubt)" if came.in_doubt else " (failed)" if came.failure else ""


def _child(node: _Node, run_id: str) -> str:
    return f"{run_id}/{node.number}-{node.called.name.replace('/', '_')}"


def _drawn(node: _Node, child: str, by_run: dict[str, list[Record]]) -> Iterator[str]:
    inside: list[str] = []
    done = any(record.key == END for record in by_run.get(child, ()))
    match node.called.kind:
        case "flow":
            inside = list(_lines(child, by_run, f"{node.id}_"))
        case "agent":
            inside = list(_tools(by_run.get(child, ()), f"{node.id}_"))
        case _:
            done = True
    label = _quoted(node.label + ("" if done else " (open)"))
    if not inside:
        opening, closing = _SHAPES[node.called.kind]
        yield f"{node.id}{opening}{label}{closing}"
        return
    yield f'subgraph {node.id}["{label}"]'
    yield from (f"  {line}" for line in inside)
    yield "end"


def _tools(records: Iterable[Record], prefix: str) -> Iterator[str]:
    """Draw the tools that an agent has called, those of one reply side by side."""
    before: list[str] = []
    for record in records:
        if not re.fullmatch(r"\d+/reply", record.key):
            continue
        now: list[str] = []
        for index, call in enumerate(REPLY.read(record.value, key=record.key).calls):
            now.append(f"{prefix}{record.key.partition('/')[0]}_{index}")
            yield f'{now[-1]}["{_quoted(call.name)}"]'
        yield from (f"{one} --> {other}" for one in before for other in now)
        before = now or before


def _before(node: _Node, nodes: Sequence[_Node]) -> Iterator[_Node]:
    """List the calls that were over when this one was made, but for those that come before another of them."""
    over = [each for each in nodes if each.number < node.number and each.number not in node.called.beside]
    for each in over:
        if not any(each.number < other.number and each.number not in other.called.beside for other in over):
            yield each


def _quoted(text: str) -> str:
    shown = text if len(text) <= _MOST_WORDS else f"{text[:_MOST_WORDS]}…"
    return "".join(character if character.isalnum() or character in " .,:?!()-+_/" else f"#{ord(character)};" for character in shown)
