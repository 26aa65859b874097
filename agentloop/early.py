"""Starts calls of tools that only read while the reply still comes, as soon as their arguments are complete."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from agentloop.deltas import Delta, RestartDelta, ToolCallDelta
from agentloop.messages import ToolCall, ToolResult

_MARKS = re.compile(r'(?:\\.)+|["{}\[\]]', re.DOTALL)
_ENDS_ESCAPING = re.compile(r"(?<!\\)(?:\\\\)*\\$")
Answered = tuple[ToolResult, float]
"""What a call came to, and in how many seconds."""
Answer = Callable[[ToolCall], Coroutine[Any, Any, Answered] | None]


class Early:
    """The calls of one reply that were started before it had ended."""

    def __init__(self, answer: Answer, *, give_up: Callable[[int], None], step: int, most: int) -> None:
        """Begin with none.

        Args:
            answer: Begins to answer a call; None where it must wait until the reply has ended well.
            give_up: Is told how many calls came to nothing after all.
            step: The reply's place, which its calls' ids are made of.
            most: How many calls one reply may make.
        """
        self._answer = answer
        self._give_up = give_up
        self._step = step
        self._most = most
        self._growing: dict[int, _Growing] = {}
        self._started: dict[str, tuple[ToolCall, asyncio.Task[Answered]]] = {}
        self._ending: list[asyncio.Task[Answered]] = []

    def hear(self, delta: Delta) -> None:
        """Take in the next piece of the reply."""
        match delta:
            case ToolCallDelta(index=index) if index < self._most:
                growing = self._growing.setdefault(index, _Growing())
                growing.name = growing.name or delta.name
                if growing.completed_by(delta.arguments):
                    self._start(ToolCall(f"call_{self._step}_{index}", growing.name, "".join(growing.pieces).strip()))
            case RestartDelta():
                self.cancel()
                self._growing.clear()
            case _:
                pass

    def taken(self, call: ToolCall) -> asyncio.Task[Answered] | None:
        """Give the task that answers the call, once; None where it was not started."""
        started = self._started.get(call.id)
        # What came after the closing brace, or another id in the transcript, makes it another call.
        if started is None or (started[0].name, started[0].arguments) != (call.name, call.arguments):
            return None
        return self._started.pop(call.id)[1]

    def has(self, call: ToolCall) -> bool:
        """Whether the call was started."""
        return call.id in self._started

    def keep(self, calls: Iterable[ToolCall]) -> None:
        """Give up all but these, which the whole reply makes; such tools change nothing, so nothing is lost."""
        kept = {call.id: (call.name, call.arguments) for call in calls}
        dropped = [key for key, (call, _) in self._started.items() if kept.get(key) != (call.name, call.arguments)]
        for key in dropped:
            task = self._started.pop(key)[1]
            task.cancel()
            task.add_done_callback(_forget)
            self._ending.append(task)
        if dropped:
            self._give_up(len(dropped))

    def cancel(self) -> None:
        """Give up what nobody has taken."""
        self.keep(())

    async def end(self) -> None:
        """Give up what nobody has taken, and wait until it is gone; each call's own deadline bounds that."""
        self.cancel()
        if ending := [task for task in self._ending if not task.done()]:
            await asyncio.wait(ending)

    def _start(self, call: ToolCall) -> None:
        if answer := self._answer(call):
            self._started[call.id] = (call, asyncio.create_task(answer))


class _Growing:
    """A call on its way; tells when the object of its arguments closes."""

    __slots__ = ("_depth", "_quoted", "_rest", "closed", "name", "pieces")

    def __init__(self) -> None:
        self.name = ""
        self.pieces: list[str] = []
        self.closed = False
        self._depth = 0
        self._quoted = False
        self._rest = ""

    def completed_by(self, piece: str) -> bool:
        """Take in the next characters, and say whether they close the object."""
        if not piece:
            return False
        self.pieces.append(piece)
        if self.closed:
            return False
        text = self._rest + piece
        # A backslash at the end belongs to the character that comes next.
        whole = text[:-1] if _ENDS_ESCAPING.search(text) else text
        self._rest = text[len(whole) :]
        for mark in _MARKS.findall(whole):
            if mark[0] == "\\":
                continue
            if mark == '"':
                self._quoted = not self._quoted
            elif not self._quoted:
                self._depth += 1 if mark in "{[" else -1
                if self._depth == 0:
                    self.closed = True
                    return True
        return False


def _forget(task: asyncio.Task[Answered]) -> None:
    if not task.cancelled():
        task.exception()
