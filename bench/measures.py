"""What is measured, of whom, and what is to be reached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

FLOOR = "httpx"
OURS = "ours"
FLOORS = ("httpx", "httpx_incremental", "httpx2", "aiohttp", "pyreqwest", "raw")
FAST = "ours-fast"
"""With the extra of that name, in an environment of its own."""
FORMATS = ("ours-responses", "ours-messages", "ours-gemini")
"""The formats that only we speak here; all others are asked in chat completions, as "ours" is."""
PEERS = ("pydantic_ai", "openai_agents", "langchain", "smolagents", "agno", "strands")
EVERYONE = (FLOOR, OURS, FAST, *FORMATS, *FLOORS[1:], *PEERS)
CHATTING = (FLOOR, OURS, FAST, *FLOORS[1:], *PEERS)
STREAMING = tuple(each for each in EVERYONE if each != "httpx_incremental")
FEW = (FLOOR, OURS, "httpx_incremental", "raw")

Took = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A row of the table."""

    name: str
    unit: str
    wanted: dict[str, Any]
    """What a worker is told to do; nothing for the import, which needs fresh interpreters."""
    figure: Callable[[Took], float]
    """Makes the figure of what the worker tells."""
    subjects: tuple[str, ...] = CHATTING
    rounds: int = 5
    quick: int = 3
    """How many rounds `--quick` makes."""
    goal: str = ""
    fresh: bool = False
    """Whether each round needs a new process."""
    more_is_better: bool = False
    untimed: dict[str, Any] = field(default_factory=dict[str, Any])
    """What is done before the rounds, so that what is done once is not counted."""


def _steps(steps: int, *, times: int, rounds: int, quick: int, subjects: tuple[str, ...] = CHATTING, goal: str = "") -> Measure:
    # The last reply is a step too.
    return Measure(
        name=f"CPU a step, run of {steps:,} steps",
        unit="us",
        wanted={"measure": "runs", "model": f"s{steps - 1}p2", "times": times},
        figure=lambda took: took["cpu"] / times / steps * 1e6,
        subjects=subjects,
        rounds=rounds,
        quick=quick,
        goal=goal,
        untimed={"measure": "runs", "model": "s9p2", "times": 3},
    )


def _middle(steps: int) -> Measure:
    return Measure(
        name=f"CPU a step in the middle of a run of {steps:,} steps",
        unit="us",
        wanted={"measure": "in_the_middle", "steps": steps},
        figure=lambda took: took["cpu"] * 1e6,
        subjects=(FLOOR, OURS, "pydantic_ai", "openai_agents"),
        rounds=1,
        quick=0,
        untimed={"measure": "runs", "model": "s9p2", "times": 3},
    )


def _at_once(runs: int, *, times: int, rounds: int, quick: int, subjects: tuple[str, ...] = CHATTING, goal: str = "") -> Measure:
    return Measure(
        name=f"runs (10 steps) a CPU second, {runs:,} at once",
        unit="1/s",
        wanted={"measure": "runs", "model": "s9p2", "times": times, "at_once": runs},
        figure=lambda took: times / took["cpu"],
        subjects=subjects,
        rounds=rounds,
        quick=quick,
        goal=goal,
        fresh=runs > 100,  # noqa: PLR2004  # many connections are not left open for the next round
        more_is_better=True,
        untimed={"measure": "runs", "model": "s9p2", "times": 3},
    )


def _memory(runs: int) -> Measure:
    return Measure(
        name=f"memory a run, {runs:,} at once",
        unit="KiB",
        wanted={"measure": "runs", "model": "s9p2", "times": runs, "at_once": runs},
        figure=lambda took: took["memory"] / runs / 1024,
        rounds=1,
        quick=0,
        goal="at most 40 KiB",
        fresh=True,
        untimed={"measure": "runs", "model": "s9p2", "times": 3},
    )


def _grown(steps: int) -> Measure:
    return Measure(
        name=f"memory that a process grows by in a run of {steps:,} steps",
        unit="MiB",
        wanted={"measure": "runs", "model": f"s{steps - 1}p2"},
        figure=lambda took: took["memory"] / 2**20,
        subjects=(FLOOR, OURS, *PEERS[:2]),
        rounds=1,
        quick=0,
        fresh=True,
        untimed={"measure": "runs", "model": "s9p2", "times": 3},
    )


def _streamed(name: str, model: str, warm: str) -> Measure:
    return Measure(
        name=name,
        unit="ms",
        wanted={"measure": "streamed", "model": model},
        figure=lambda took: took["cpu"] * 1e3,
        subjects=STREAMING,
        goal="at most 1.3 times the floor, 8 times less than a peer",
        untimed={"measure": "streamed", "model": warm},
    )


def _naps(calls: int, kind: str, letter: str) -> Measure:
    return Measure(
        name=f"a step of {calls} {kind} calls of 50 ms, over 50 ms",
        unit="ms",
        wanted={"measure": "runs", "model": f"{letter}10p{calls}"},
        figure=lambda took: (took["wall"] / 10 - 0.05) * 1e3,
        subjects=(FLOOR, OURS, *PEERS),
        rounds=3,
        quick=1,
        goal="at most 3 ms",
        untimed={"measure": "runs", "model": f"{letter}1p{calls}"},
    )


def _own(name: str, unit: str, goal: str, figure: Callable[[Took], float], **wanted: Any) -> Measure:
    quick = int(wanted["measure"] != "held")
    return Measure(name=name, unit=unit, wanted=wanted, figure=figure, subjects=(OURS,), goal=goal, rounds=3, quick=quick)


MEASURES = (
    Measure(
        name="import, CPU",
        unit="ms",
        wanted={},
        figure=lambda took: took["cpu"] * 1e3,
        goal="at most 1.15 times the dependencies: see bench/import.py",
    ),
    _steps(10, times=10, rounds=7, quick=5, subjects=EVERYONE, goal="at most 0.8 times the floor, 7 times less than a peer"),
    _steps(50, times=1, rounds=5, quick=3),
    _steps(200, times=1, rounds=3, quick=1),
    _steps(
        1_000,
        times=1,
        rounds=1,
        quick=0,
        subjects=(FLOOR, OURS, FAST, *FLOORS[1:], "pydantic_ai", "openai_agents"),
        goal="at most 1.15 times a step of a run of 10, 200 times less than a peer",
    ),
    _steps(5_000, times=1, rounds=1, quick=0, subjects=FEW),
    _middle(200),
    _middle(1_000),
    _middle(5_000),
    _at_once(1, times=10, rounds=7, quick=3),
    _at_once(100, times=100, rounds=3, quick=3),
    _at_once(1_000, times=1_000, rounds=1, quick=0, goal="at least 6 times the floor, 10 times a peer; with fast, 12 times the floor"),
    _memory(1_000),
    _grown(1_000),
    _streamed("20,000 streamed deltas, CPU", "t20000", "t200"),
    _streamed("100 kB of streamed arguments, CPU", "a100000", "a1000"),
    Measure(
        name="from the first byte to the first delta",
        unit="ms",
        wanted={"measure": "first", "times": 50},
        figure=lambda took: took["wall"] * 1e3,
        subjects=STREAMING,
        goal="at most 0.2 ms over the floor",
        untimed={"measure": "first", "times": 5},
    ),
    Measure(
        name="decorate a function, CPU",
        unit="us",
        wanted={"measure": "decorated", "functions": 100},
        figure=lambda took: took["cpu"] * 1e6,
        subjects=(OURS, *PEERS),
        goal="at most 100 us",
        fresh=True,
        rounds=3,
    ),
    Measure(
        name="a call more in a reply, over HTTP, CPU",
        unit="us",
        wanted={"measure": "a_call_more", "calls": 32},
        figure=lambda took: took["cpu"] * 1e6,
        subjects=(FLOOR, OURS, *PEERS),
        rounds=3,
        untimed={"measure": "runs", "model": "s9p2", "times": 3},
    ),
    _own(
        "validate and call a tool, over the function, CPU",
        "us",
        "at most 10 us",
        lambda took: took["cpu"] * 1e6,
        measure="called",
        times=2_000,
    ),
    _own("a call more in a run, without HTTP, CPU", "us", "", lambda took: took["cpu"] * 1e6, measure="dispatched", calls=100),
    _own(
        "1,000 tools of a plugin, listed and ready, CPU",
        "ms",
        "at most 200 ms",
        lambda took: took["cpu"] * 1e3,
        measure="plugged",
        tools=1_000,
    ),
    _naps(8, "async", "n"),
    _naps(32, "async", "n"),
    _naps(8, "blocking", "m"),
    _naps(32, "blocking", "m"),
    Measure(
        name="eager start: a run with a stream of 500 ms whose calls take 300 ms",
        unit="ms",
        wanted={"measure": "streamed", "model": "e3"},
        figure=lambda took: took["wall"] * 1e3,
        subjects=(FLOOR, OURS, *PEERS),
        goal="the stream, 500 ms",
        rounds=3,
        quick=1,
        untimed={"measure": "streamed", "model": "t20"},
    ),
    _own(
        "memory held by a run of 1,000 steps, over its transcript's bytes",
        "x",
        "at most 3",
        lambda took: took["held"],
        measure="held",
        model="s999p2",
    ),
    _own("the same, at most", "x", "at most 3", lambda took: took["most"], measure="held", model="s999p2"),
)
