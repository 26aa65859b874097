"""Testing as a feature: a scripted model, a scripted gateway with scripted faults, and the contract that a toolset keeps.

    model = Scripted(calls("divide", a=1, b=0), says("That cannot be done."))

    with Gateway(calls("add", a=1, b=2), status(429, retry_after=1), says("3")) as gateway:
        ...  # any client of chat completions, at gateway.base_url

    check_toolset(my_toolset)
"""

from __future__ import annotations

from agentloop.testing.answers import Answer, HeardRequest, Piece, Problem
from agentloop.testing.faults import Spoiled, cut, error_inside, keep_alive, malformed, no_answer, raw, redirect, slow, status
from agentloop.testing.gateway import Gateway
from agentloop.testing.scripted import Scripted
from agentloop.testing.turns import ScriptExhausted, Turn, always, calls, fails, refuses, says

__all__ = [
    "Answer",
    "Gateway",
    "HeardRequest",
    "Piece",
    "Problem",
    "ScriptExhausted",
    "Scripted",
    "Spoiled",
    "Turn",
    "always",
    "calls",
    "cut",
    "error_inside",
    "fails",
    "keep_alive",
    "malformed",
    "no_answer",
    "raw",
    "redirect",
    "refuses",
    "says",
    "slow",
    "status",
]
