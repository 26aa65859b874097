"""`python -m agentloop.cli`, for where the console script is not on the path."""

from __future__ import annotations

from agentloop.cli import main

main()
