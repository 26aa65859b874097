"""Begins a run that is written down, or goes on with it: what every life of it reads first."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from pydantic_core import from_json

from agentloop.errors import ConfigurationError, JournalMismatch
from agentloop.journal.typed import TypedJournal
from agentloop.journal.written import BEGINNING, BEGUN, FORMAT, Begun, Forked
from agentloop.tools.function import Tool
from agentloop.transcript import Transcript

OtherTools = Mapping[str, str]
"""The tools that have changed since a run began, and how."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a life of a run learns from its first record."""

    other_tools: OtherTools
    forked: Forked | None
    """Where the run comes from, if it is a fork."""


async def begin(journal: TypedJournal, transcript: Transcript, *, agent: str, tools: Mapping[str, Tool[..., Any]]) -> Known:
    """Begin the run with this transcript, or find that it has begun with it already.

    Raises:
        JournalMismatch: It was begun with another.
    """
    hashes = {name: _hash(tool) for name, tool in tools.items()}

    async def beginning() -> Begun:
        return Begun(agent, hashes, from_json(transcript.to_json()))

    recorded, known = await journal.step(BEGINNING, beginning, form=BEGUN)
    # As it comes back from JSON, which has no half surrogate pairs.
    if known and _transcript(recorded).messages != Transcript.from_json(transcript.to_json()).messages:
        raise JournalMismatch(f"the run {transcript.run_id!r} was begun with another prompt; resume it, or choose another run_id")
    return Known(_others(recorded, hashes), recorded.forked)


async def take_up(journal: TypedJournal, transcript: Transcript, *, tools: Mapping[str, Tool[..., Any]]) -> Known:
    """Go on with the run that was begun under the id of this transcript, which is empty; it is filled with what was said before.

    Raises:
        ConfigurationError: There is none.
    """

    async def missing() -> NoReturn:
        run_id = transcript.run_id
        raise ConfigurationError(f"there is no run {run_id!r} in the journal; begin it with agent.run(..., run_id={run_id!r})")

    recorded, _ = await journal.step(BEGINNING, missing, form=BEGUN)
    said = _transcript(recorded)
    for message in said:
        transcript.add(message)
    transcript.decisions.update(said.decisions)
    transcript.questions.update(said.questions)
    return Known(other_tools(recorded, tools), recorded.forked)


def other_tools(recorded: Begun, tools: Mapping[str, Tool[..., Any]]) -> OtherTools:
    """Find the tools that are others than those with which a run began."""
    return _others(recorded, {name: _hash(tool) for name, tool in tools.items()})


def _transcript(recorded: Begun) -> Transcript:
    if recorded.format != FORMAT:
        raise JournalMismatch(f"the run is written in format {recorded.format}, and this version reads {FORMAT}; use the one that wrote it")
    return Transcript.from_json(json.dumps(recorded.transcript))


def _others(recorded: Begun, hashes: Mapping[str, str]) -> OtherTools:
    return {name: _difference(name, hashes) for name, known in recorded.tools.items() if hashes.get(name) != known}


def _difference(name: str, hashes: Mapping[str, str]) -> str:
    return "takes other arguments" if name in hashes else "is gone"


def _hash(tool: Tool[..., Any]) -> str:
    about = tool.description
    text = json.dumps([about.name, about.parameters, tool.options.effect], sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
