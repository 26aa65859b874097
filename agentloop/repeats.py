"""Notices that a run makes no progress: the same calls with the same results, and none that is new."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from agentloop.errors import LimitReached
from agentloop.messages import Message, ToolCall, ToolResult

_ANSWERED_AGAIN = 3
_REMARK = "\n[You have made this call before, with this very result; it was not made again. Do something else.]"

Wish = tuple[str, str]


class Repeats:
    """Counts how often each call was made with the same result since anything was new."""

    def __init__(self, most: int | None, messages: Iterable[Message] = ()) -> None:
        """Begin to count, with what was said before.

        Args:
            most: At how many the run must end; None counts nothing.
            messages: The transcript so far.
        """
        self._most = most
        self._results: dict[Wish, ToolResult] = {}
        self._counts: dict[Wish, int] = {}
        self._stuck: Wish | None = None
        self._noted: dict[Wish, int] = {}
        wishes: dict[str, ToolCall] = {}
        step = 0
        for message in messages if most else ():
            step += message.role == "assistant"
            wishes.update((call.id, call) for call in message.calls)
            for result in message.results:
                if result.call_id in wishes:
                    self.note(wishes[result.call_id], result, step=step)

    def answer(self, call: ToolCall) -> ToolResult | None:
        """Give the result of a call that need not be made again; None where it should be made."""
        wish = (call.name, call.arguments)
        if self._most is None or self._counts.get(wish, 0) < _ANSWERED_AGAIN - 1:
            return None
        known = self._results[wish]
        content = known.content
        said = content + _REMARK if isinstance(content, str) else content
        return replace(known, call_id=call.id, content=said)

    def note(self, call: ToolCall, result: ToolResult, *, step: int) -> None:
        """Write down what a call came to; the calls of one step are made without knowing of one another, and count once."""
        wish = (call.name, call.arguments)
        if self._most is None or self._noted.get(wish) == step:
            return
        self._noted[wish] = step
        known = self._results.get(wish)
        if known is None or not _same(known, result):
            # Something new: what was counted before was on the way to it.
            self._counts = dict.fromkeys(self._results, 1)
            self._results[wish] = result
            self._counts[wish] = 1
            self._stuck = None
            return
        self._counts[wish] += 1
        if self._counts[wish] >= self._most:
            self._stuck = wish

    def check(self) -> None:
        """Make sure that the run moves.

        Raises:
            LimitReached: One call was made too often, with one result.
        """
        if self._stuck is not None:
            name, times = self._stuck[0], self._counts[self._stuck]
            raise LimitReached(
                f"the run called {name!r} {times} times in a row with the same arguments and the same result; "
                "raise Limits(repeats=...), or mark the tool with poll=True",
                limit="repeats",
            )


def _same(one: ToolResult, other: ToolResult) -> bool:
    return one.is_error == other.is_error and _bare(one) == _bare(other)


def _bare(result: ToolResult) -> object:
    return result.content.removesuffix(_REMARK) if isinstance(result.content, str) else result.content
