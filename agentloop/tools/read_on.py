"""The tool by which a model reads on in a result that was too long for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentloop.tools.function import Tool, tool
from agentloop.tools.results import MOST_CHARACTERS, READ_ON

# What is read on is a result itself, and must not be cut for its remark.
_PAGE = MOST_CHARACTERS - 1_000


def read_on(whole: Callable[[str], str | None]) -> Tool[..., Any]:
    """Make the tool.

    Args:
        whole: Finds all of the text of a result that was cut, by the id of its call.
    """

    @tool(name=READ_ON, effect="read", poll=True)
    def read_result(call_id: str, start: int) -> str:
        """Read on in a result that was cut.

        Args:
            call_id: What the cut result gives.
            start: The character to begin with.
        """
        text = whole(call_id)
        if text is None:
            raise LookupError(f"no result of {call_id!r} was cut")
        start = max(0, start)
        end = start + _PAGE
        left = max(0, len(text) - end)
        return text[start:end] + (f"\n[{left:,} more characters; go on with start={end}]" if left else "")

    return read_result
