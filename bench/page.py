"""Writes docs/performance.md and its curve from the newest table in bench/history."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from measures import FAST, FLOOR, FLOORS, FORMATS, MEASURES, OURS, PEERS, Measure

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
LENGTHS = (10, 50, 200, 1_000, 5_000)
CURVES = ((FLOOR, "#555555"), (OURS, "#0a7d4b"), ("pydantic_ai", "#c2410c"), ("openai_agents", "#1d4ed8"))
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM, LINE = 760, 420, 70, 150, 30, 50, 15

TOP_OF_PAGE = """# Performance

What agentloop costs beside a loop that you would write by hand, and beside other frameworks.

```bash
bench/run --quick        # agentloop and the floor, in a minute or two
bench/environments       # the peers, each in an environment of its own
bench/run --save         # everything, which takes an hour; --only, --subjects and --rounds take less
```

The *floor* is a loop on httpx with pydantic-core's JSON and no framework: [bench/loop.py](../bench/loop.py).
All subjects talk to one server in a process of its own, which says the same to each: [bench/server.py](../bench/server.py).
A step is one reply and the results of its two calls, about 2 kB; a run of 10 steps is 10 replies.
CPU is user and system time of the client's process.
Figures are medians of interleaved rounds; compare them within a table, as another machine, or the same on another day, gives others.
"""


def main() -> None:
    """Write both."""
    newest = max((HERE / "history").glob("*.json"))
    table: dict[str, Any] = json.loads(newest.read_text(encoding="utf-8"))
    (DOCS / "performance.svg").write_text("\n".join(curve(table["figures"])) + "\n", encoding="utf-8")
    (DOCS / "performance.md").write_text("\n".join(page(table, date=newest.stem)) + "\n", encoding="utf-8")


def page(table: dict[str, Any], *, date: str) -> Iterator[str]:
    """Give the lines of the page."""
    yield TOP_OF_PAGE
    yield "![CPU a step over the length of a run](performance.svg)\n"
    yield f"## The table of {date}\n"
    yield f"Python {table['python']} on {table['system']}, {table['cores']} cores; in brackets how many times ours, in the same rounds.\n"
    if note := table.get("note"):
        yield f"{note}\n"
    yield from rows(table, (OURS, FLOOR, *PEERS), [measure for measure in MEASURES if {OURS, FLOOR, *PEERS} & {*measure.subjects}])
    yield "\n## Other floors\n"
    yield "The same loop on other clients, and on httpx with each message encoded once; in brackets how many times ours.\n"
    yield from rows(table, (OURS, *FLOORS), [measure for measure in MEASURES if "raw" in measure.subjects])
    yield "\n## The extra fast, and the four formats\n"
    yield "httptools reads answers in the place of h11; agentloop alone speaks chat completions, see [wires](wires.md).\n"
    yield from rows(table, (OURS, FAST, *FORMATS), [measure for measure in MEASURES if FAST in measure.subjects])
    yield f"\n{(HERE / 'notes.md').read_text(encoding='utf-8').strip()}"
    yield "\n## What could not be measured\n"
    yield from missing(table)
    yield "\n## Releases\n"
    yield from (f"- {name} {version}" for name, version in table["versions"].items())


def rows(table: dict[str, Any], subjects: tuple[str, ...], measures: list[Measure]) -> Iterator[str]:
    """Give a table in Markdown."""
    yield "| | " + " | ".join(title(subject) for subject in subjects) + " |"
    yield "|---|" + "---:|" * len(subjects)
    for measure in measures:
        found = table["figures"].get(measure.name, {})
        if any(subject in found for subject in subjects):
            goal = f"; {measure.goal}" if measure.goal and OURS in subjects and FLOOR in subjects and PEERS[0] in subjects else ""
            yield f"| {measure.name}, {measure.unit}{goal} | " + " | ".join(cell(found, subject) for subject in subjects) + " |"


def cell(found: dict[str, dict[str, Any]], subject: str) -> str:
    """Say a figure, and how many times ours it was in the same rounds."""
    if subject not in found:
        return "-"
    said, times = number(median(found[subject]["figures"])), found[subject]["times ours"]
    return said if subject == OURS or times is None else f"{said} ({number(times)})"


def number(value: float) -> str:
    """Write three digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004  # three digits


def title(subject: str) -> str:
    """Name a subject."""
    return {OURS: "agentloop", FLOOR: "httpx by hand"}.get(subject, subject.replace("ours-", "agentloop, ").replace("_", "-"))


def missing(table: dict[str, Any]) -> Iterator[str]:
    """Say which figures are not there, and why."""
    reasons = [
        f"- {title(subject)}, {measure}: {reason}"
        for measure, found in table["missing"].items()
        for subject, reason in found.items()
        if subject not in table["figures"].get(measure, {})
    ]
    yield from reasons or ["Everything was measured that is in the tables; a dash stands for what a round of this day left out."]


def measured(figures: dict[str, dict[str, dict[str, Any]]], subject: str) -> Iterator[tuple[int, float]]:
    """Give the points of a line; where a whole run takes hours, what its ten steps in the middle cost."""
    for length in LENGTHS:
        for name in (f"CPU a step, run of {length:,} steps", f"CPU a step in the middle of a run of {length:,} steps"):
            if subject in (found := figures.get(name, {})):
                yield length, median(found[subject]["figures"])
                break


def curve(figures: dict[str, dict[str, dict[str, Any]]]) -> Iterator[str]:
    """Draw CPU a step over the length of a run, both axes logarithmic."""
    points = {subject: [*measured(figures, subject)] for subject, _ in CURVES}
    all_costs = [cost for line in points.values() for _, cost in line]
    least, most = 10 ** math.floor(math.log10(min(all_costs))), 10 ** math.ceil(math.log10(max(all_costs)))

    def x(length: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(length / LENGTHS[0]) / math.log(LENGTHS[-1] / LENGTHS[0])

    def y(cost: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * math.log(cost / least) / math.log(most / least)

    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">'
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
    yield f'<text x="{LEFT}" y="18">CPU a step, in milliseconds, over the steps of a run</text>'
    for power in range(round(math.log10(least)), round(math.log10(most)) + 1):
        height = y(10**power)
        yield f'<path d="M{LEFT} {height:.1f}H{WIDTH - RIGHT}" stroke="#dddddd"/>'
        yield f'<text x="{LEFT - 8}" y="{height + 4:.1f}" text-anchor="end">{10**power / 1000:g}</text>'
    for length in LENGTHS:
        yield f'<text x="{x(length):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{length:,}</text>'
    named: list[float] = []
    for subject, colour in CURVES:
        if not points[subject]:
            continue
        path = " ".join(f"{x(length):.1f},{y(cost):.1f}" for length, cost in points[subject])
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        for length, cost in points[subject]:
            yield f'<circle cx="{x(length):.1f}" cy="{y(cost):.1f}" r="3.5" fill="{colour}"/>'
        length, cost = points[subject][-1]
        height = y(cost)
        while any(abs(height - other) < LINE for other in named):
            height += 1
        named.append(height)
        yield f'<text x="{x(length) + 9:.1f}" y="{height + 4:.1f}" fill="{colour}">{title(subject)}</text>'
    yield "</svg>"


if __name__ == "__main__":
    main()
