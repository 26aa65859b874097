"""Runs a real agent with real tools over real HTTP, against a model that follows a script on this machine."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from inspect import getsource
from typing import Any

from agentloop.cli import demo_script
from agentloop.cli.display import display_on, is_terminal
from agentloop.cli.exits import ExitCode
from agentloop.cli.page import page_on
from agentloop.events import CallEnded, CallStarted, Event
from agentloop.models.providers import model
from agentloop.testing import Gateway, Turn, calls, says

QUESTION = "I am in Berlin. Which is nearer, Oslo or Lisbon, and how long is the day there on 21 June 2026?"

_TARGET = f"-T {demo_script.__name__}:TOOLS"
_NEXT = (
    ("see what the model was told of the tools", f"agentloop tools list {_TARGET}"),
    ("ask a real model; set OPENAI_API_KEY first", f'agentloop run "Is Oslo or Lisbon nearer to Berlin?" {_TARGET} -m openai:gpt-4o'),
    (
        "ask one of your own: Ollama here; LM Studio, llama.cpp and vLLM have other ports",
        f'agentloop run "Is Oslo or Lisbon nearer to Berlin?" {_TARGET} --base-url http://127.0.0.1:11434/v1 -m qwen3',
    ),
    ("read on, in the repository", "docs/command-line.md, docs/tools.md, docs/agents.md"),
)
_SECONDS_AN_EVENT = 0.015
_SECONDS_A_CALL = 0.3


def demo() -> ExitCode:
    """Show the script, run it, and say where to go from here."""
    pretty = is_terminal(sys.stdout)
    page = page_on(sys.stdout)
    page.heading("agentloop demo", "a real agent and real tools; only the model is scripted, and it is asked over HTTP on this machine")
    page.code(getsource(demo_script))
    page.heading("What it does")
    page.line(f"> {QUESTION}")
    page.line()
    trip = _run(pretty=pretty)
    page.line()
    page.value(trip)
    page.heading("Go on")
    for why, command in _NEXT:
        page.step(command, why=why)
    return ExitCode.DONE


def _run(*, pretty: bool) -> demo_script.Trip:
    display = display_on(answer=sys.stdout, notes=sys.stdout, model="the scripted model", verbose=True)

    async def show(event: Event) -> None:
        display.show(event)
        # The tools are done at once; people are not.
        if pretty and isinstance(event, CallStarted | CallEnded):
            await asyncio.sleep(_SECONDS_A_CALL)

    turns = (_measure_both, _ask_for_the_nearer, _correct_the_day, _answer)
    with Gateway(*turns, pace=_SECONDS_AN_EVENT if pretty else 0.0) as gateway:
        scripted = model("openai:scripted", base_url=gateway.base_url, key="none-needed")
        try:
            return asyncio.run(demo_script.plan(QUESTION, model=scripted, show=show))
        finally:
            display.close()


def _measure_both(_: Any) -> Turn:
    both = calls("distance", start="Berlin", end="Oslo") & calls("distance", start="Berlin", end="Lisbon")
    return both.saying("I measure both ways at once.")


def _ask_for_the_nearer(body: Any) -> Turn:
    city, kilometres = _nearer(body)
    # A mistake that models make: the tool wants 2026-06-21.
    return calls("daylight", city=city, day="21.06.2026").saying(f"{city} is nearer, {kilometres} km away. Now its day.")


def _correct_the_day(body: Any) -> Turn:
    *_, made = _made(body)
    day = "-".join(reversed(made.arguments["day"].split(".")))
    return calls("daylight", made.arguments | {"day": day}).saying("The tool turned my date down and said why, so I write it anew.")


def _answer(body: Any) -> Turn:
    city, kilometres = _nearer(body)
    *_, made = _made(body)
    return says(json.dumps({"city": city, "kilometres": kilometres, "hours_of_daylight": float(made.result)}))


def _nearer(body: Any) -> tuple[str, int]:
    measured = {made.arguments["end"]: int(made.result) for made in _made(body) if made.name == "distance"}
    city = min(measured, key=measured.__getitem__)
    return city, measured[city]


@dataclass(frozen=True, slots=True)
class _Made:
    """A call that the model has made, and what it came to."""

    name: str
    arguments: dict[str, Any]
    result: str


def _made(body: Any) -> Iterator[_Made]:
    """Read the calls from the body of a request, as a model would."""
    results = {message["tool_call_id"]: message["content"] for message in body["messages"] if message["role"] == "tool"}
    for message in body["messages"]:
        for call in message.get("tool_calls", ()):
            yield _Made(call["function"]["name"], json.loads(call["function"]["arguments"]), results[call["id"]])
