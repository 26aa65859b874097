"""How hard it storms: a little in each run of the tests, and in full with AGENTLOOP_STORM=full."""

from __future__ import annotations

import os
from random import Random

FULL = os.environ.get("AGENTLOOP_STORM") == "full"


def many(full: int, *, usual: int) -> range:
    """Count the cases, by their seeds."""
    return range(full if FULL else usual)


def dice(seed: int) -> Random:
    """Make what is random the same in each run."""
    return Random(seed)  # noqa: S311 - it makes cases, and guards nothing
