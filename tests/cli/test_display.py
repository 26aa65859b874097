from __future__ import annotations

import io

from agentloop.cli.display import display_on
from agentloop.deltas import RestartDelta
from agentloop.events import CallStarted, Replied, StepStarted
from agentloop.messages import Reply, ToolCall


def test_a_call_that_begins_anew_with_its_reply_is_shown_once():
    notes = io.StringIO()
    display = display_on(answer=None, notes=notes, model="scripted")
    call = ToolCall("call_0_0", "rain", '{"city": "Oslo"}')

    for event in (StepStarted(0), CallStarted(call), RestartDelta(), CallStarted(call), Replied(Reply((call,), "tool_calls"))):
        display.show(event)

    assert notes.getvalue() == '● rain(city="Oslo")\n'
