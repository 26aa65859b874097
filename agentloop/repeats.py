"""Notices that a run makes no progress: the same calls with the same results, and none that is new."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from agentloop.errors import LimitReached
from agentloop.messages import Message, ToolCall, ToolResult

_ANSWERED_AGAIN = 3
_REMARK = "\n[You have made this call before, with this very result; it was not made again. Do something else.]"

Wish = tuple[str, str]


@dataclass(slots=True)
class _Known:
    """What a call came to, and how often."""

    result: ToolResult
    step: int
    """In which it was made last."""
    news: int
    """How much was new in the run when it was counted."""
    count: int = 1


class Repeats:
    """Counts how often each call was made with the same result since anything was new."""

    def __init__(self, most: int | None, messages: Iterable[Message] = (), *, polled: Collection[str] = ()) -> None:
        """Begin to count, with what was said before.

        Args:
            most: At how many the run must end; None counts nothing.
            messages: The transcript so far. What came before the user's last words is done with.
            polled: The names of the tools that are asked again and again on purpose.
        """
        self._most = most
        self._polled = polled
        self._known: dict[Wish, _Known] = {}
        self._news = 0
        self._stuck: Wish | None = None
        wishes: dict[str, ToolCall] = {}
        step = 0
        for message in messages if most else ():
            step += message.role == "assistant"
            if message.role == "user":
                self._known.clear()
            wishes.update((call.id, call) for call in message.calls)
            for result in message.results:
                if result.call_id in wishes:
                    self.note(wishes[result.call_id], result, step=step)
        # A run that is resumed may try once more.
        self._stuck = None

    def answer(self, call: ToolCall) -> ToolResult | None:
        """Give the result of a call that need not be made again; None where it should be made."""
        known = self._known.get((call.name, call.arguments))
        if self._most is None or known is None or self._count(known) < _ANSWERED_AGAIN - 1:
            return None
        content = known.result.content
        said = content + _REMARK if isinstance(content, str) else content
        return replace(known.result, call_id=call.id, content=said)

    def note(self, call: ToolCall, result: ToolResult, *, step: int) -> None:
        """Write down what a call came to; the calls of one step are made without knowing of one another, and count once."""
        wish = (call.name, call.arguments)
        known = self._known.get(wish)
        if self._most is None or call.name in self._polled or (known is not None and known.step == step):
            return
        if known is None or not _same(known.result, result):
            # Something new: what was counted before was on the way to it.
            self._news += 1
            self._known[wish] = _Known(result, step, self._news)
            self._stuck = None
            return
        known.count, known.step, known.news = self._count(known) + 1, step, self._news
        if known.count >= self._most:
            self._stuck = wish

    def _count(self, known: _Known) -> int:
        """Count how often since anything was new; each call counts once from there."""
        return known.count if known.news == self._news else 1

    def check(self) -> None:
        """Make sure that the run moves.

        Raises:
            LimitReached: One call was made too often, with one result.
        """
        if self._stuck is not None:
            name, times = self._stuck[0], self._known[self._stuck].count
            raise LimitReached(
                f"the run called {name!r} {times} times in a row with the same arguments and the same result; "
                "raise Limits(repeats=...), or mark the tool with poll=True",
                limit="repeats",
            )


def _same(one: ToolResult, other: ToolResult) -> bool:
    return one.is_error == other.is_error and _bare(one) == _bare(other)


def _bare(result: ToolResult) -> object:
    return result.content.removesuffix(_REMARK) if isinstance(result.content, str) else result.content
