"""What runs write down: the keys and the forms of their records."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agentloop.journal.typed import Form
from agentloop.messages import Message, Reply, ToolResult, Usage

FORMAT = 1
"""The format of what runs write down; one that is not known is refused."""
BEGINNING = "input"
"""The key of the first record of a run."""
END = "end"
"""The key of the last record of a run that is done."""
ORDER = "undo"
"""The key under which a run is told that it shall be undone."""
TAKEN_OVER = "taken_over"
"""The key of the last record that a fork has of the run it was made of; what follows is its own."""

_STEP = re.compile(r"(\d+)(?![^/-])")
_PLACE = re.compile(r"(?P<step>\d+)/(?:(?P<reply>reply)|told/(?P<told>\d+)|(?P<call>\d+(?:/again/\d+)?)(?P<rest>/.+)?)")
_QUESTION = re.compile(r"/question/\d+")
WORD = "/word"
"""What the key of a word adds to that of its question."""


@dataclass(frozen=True, slots=True)
class Forked:
    """Where a fork comes from."""

    run_id: str
    at: int
    """The first step that is not of the run it was made of."""
    of: Forked | None = None
    """Where that run comes from, if it is a fork itself."""


@dataclass(frozen=True, slots=True)
class Begun:
    """The first record of a run."""

    agent: str = ""
    tools: Mapping[str, str] = field(default_factory=dict[str, str])
    """The hash of each tool's definition, by its name; none in a fork, which goes on with whatever tools there are."""
    transcript: Any = None
    """What was said before the run began, the prompt included, as `Transcript.to_json` writes it; None in a flow."""
    flow: str = ""
    format: int = FORMAT
    forked: Forked | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call came to."""

    result: ToolResult | None = None
    """None where an earlier life of the run began the call, and nobody knows."""
    seconds: float = 0.0
    steps: int = 0
    """The replies that an agent took which answered it."""
    calls: int = 0
    """The calls that it made."""
    usage: Usage = field(default_factory=Usage)
    """The tokens that it took."""


@dataclass(frozen=True, slots=True)
class Ending:
    """The last record of a run that is done."""

    steps: int
    usage: Usage
    text: str
    """The words of the last message."""


@dataclass(frozen=True, slots=True)
class Order:
    """A person's word that a run shall be undone."""

    reason: str = ""


BEGUN: Form[Begun] = Form(Begun)
ORDERED: Form[Order] = Form(Order)
REPLY: Form[Reply] = Form(Reply)
TOLD: Form[tuple[Message, ...]] = Form(tuple[Message, ...])
OUTCOME: Form[Outcome] = Form(Outcome)
LIFE: Form[str] = Form(str)
ENDING: Form[Ending] = Form(Ending)


@dataclass(frozen=True, slots=True)
class Place:
    """What a key of an agent's run says."""

    step: int
    kind: str
    """"told", "reply", "result", "question", "word" or "note"."""
    order: int = 0
    """Among what was told before a reply."""
    call: str = ""
    """The call's place in its step: "0", or "0/again/1" where it was in doubt once."""

    @property
    def index(self) -> int:
        """Which call of the reply."""
        return int(self.call.partition("/")[0])


def place_of(key: str) -> Place | None:
    """Read the key of a record of an agent's run; None for the first, the last and those of others."""
    match = _PLACE.fullmatch(key)
    if match is None:
        return None
    step = int(match["step"])
    if match["reply"]:
        return Place(step, "reply")
    if match["told"]:
        return Place(step, "told", order=int(match["told"]))
    return Place(step, _kind(match["rest"] or ""), call=match["call"])


def _kind(rest: str) -> str:
    if not rest:
        return "result"
    if _QUESTION.fullmatch(rest):
        return "question"
    if _QUESTION.fullmatch(rest.removesuffix(WORD)):
        return "word"
    return "note"


def step_of(key: str) -> int | None:
    """Read the step that a key or the rest of a run's name begins with, in runs of agents and of flows alike."""
    match = _STEP.match(key)
    return int(match[1]) if match else None
