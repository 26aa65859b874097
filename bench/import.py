"""Print what importing agentloop costs, beside the import of what it stands on: CPU of fresh interpreters, as a ratio."""

from __future__ import annotations

import os
import sys
from statistics import median
from tempfile import TemporaryDirectory

NOTHING = "pass"
FLOOR = "import asyncio, docstring_parser, httpx, pydantic, tenacity"
OURS = "import agentloop"
USED = "from agentloop import Agent, tool"
ROUNDS = 15


def main() -> None:
    """Measure, and print a line for each statement."""
    with TemporaryDirectory() as cache:
        # The first round compiles the sources into the cache, and is thrown away.
        rounds = [costs(cache) for _ in range(ROUNDS + 1)][1:]
    print(f"medians of {ROUNDS} interleaved rounds, without the interpreter's own start; goal: a ratio of at most 1.2")
    for statement in (FLOOR, OURS, USED):
        milliseconds = median(cost[statement] for cost in rounds) * 1000
        ratio = median(cost[statement] / cost[FLOOR] for cost in rounds)
        print(f"{statement:62}{milliseconds:7.1f} ms{ratio:7.2f}")


def costs(cache: str) -> dict[str, float]:
    """Run each statement once, and give its seconds above those of an interpreter that does nothing."""
    start = cpu(NOTHING, cache)
    return {statement: cpu(statement, cache) - start for statement in (FLOOR, OURS, USED)}


def cpu(statement: str, cache: str) -> float:
    """Run the statement in a fresh interpreter, and give the seconds of CPU that the process took, of user and system."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    child = os.posix_spawn(sys.executable, [sys.executable, "-c", statement], environment | {"PYTHONPYCACHEPREFIX": cache})
    _, status, usage = os.wait4(child, 0)
    if status:
        sys.exit(f"{statement!r} failed; run this in the environment that scripts/install makes")
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
