"""The questions of a run and the words on them, as they are written down."""

from __future__ import annotations

from dataclasses import dataclass

from agentloop.journal.typed import Form
from agentloop.messages import ToolCall
from agentloop.transcript import Decision, Question


@dataclass(frozen=True, slots=True)
class Posed:
    """A question as it is written down: with the call, so that it can be answered without the rest of the run."""

    call: ToolCall
    question: Question


POSED: Form[Posed] = Form(Posed)
DECISION: Form[Decision] = Form(Decision)
