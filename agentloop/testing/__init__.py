"""Testing as a feature: what an agent meets, played from a script.

Above the wire, a scripted model answers:

    model = Scripted(calls("divide", a=1, b=0), says("That cannot be done."))

On the wire, a scripted gateway speaks real HTTP, and goes wrong where the script says so:

    with Gateway(calls("add", a=1, b=2), status(429, retry_after=1), says("3")) as gateway:
        agent = Agent(model("openai:gpt-4o", base_url=gateway.base_url, key="any"), tools=[add])

A cassette records a run against a real model once, and replays it without a network:

    with Cassette("tests/cassettes/weather.json"):
        result = agent.run_sync("What is the weather in Paris?")

A run that was written down answers for its model, too:

    model = recorded("tests/data/run.json")

For your own tools, `check_toolset(toolset)` proves that they fit every model; for your own agents, `chaos(make, prompt, script=[...])`
plays every fault of this module, and cancels them wherever they wait.
"""

from __future__ import annotations

from agentloop.testing.answers import Answer, HeardRequest, Piece, Problem
from agentloop.testing.cassette_replay import CassetteDiverged
from agentloop.testing.cassettes import Cassette
from agentloop.testing.chaos import chaos
from agentloop.testing.contracts import check_toolset
from agentloop.testing.faults import Spoiled, cut, error_inside, keep_alive, malformed, no_answer, raw, redirect, slow, status
from agentloop.testing.gateway import Gateway
from agentloop.testing.recorded_runs import recorded
from agentloop.testing.scripted import Scripted
from agentloop.testing.turns import ScriptExhausted, Turn, always, calls, fails, refuses, says

__all__ = [
    "Answer",
    "Cassette",
    "CassetteDiverged",
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
    "chaos",
    "check_toolset",
    "cut",
    "error_inside",
    "fails",
    "keep_alive",
    "malformed",
    "no_answer",
    "raw",
    "recorded",
    "redirect",
    "refuses",
    "says",
    "slow",
    "status",
]
