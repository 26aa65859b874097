"""A model that says what the test tells it to, above any wire."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from agentloop.deltas import Assembly
from agentloop.messages import Reply, Request
from agentloop.models import Hear
from agentloop.testing.turns import Always, Failure, Script, Turn, check_playable, played

ModelTurn = Turn | Failure
ModelAnswer = ModelTurn | Callable[[Request], ModelTurn | Awaitable[ModelTurn]]


class Scripted:
    """A model that plays turns: `Scripted(calls("divide", a=1, b=0), says("That cannot be done."))`.

    A turn may also be a function of the `Request` that gives one, for answers that depend on results; a coroutine may wait.
    """

    heard: list[Request]
    """What the model was asked, each as it was at that moment."""

    def __init__(self, *turns: ModelAnswer | Always[ModelAnswer], name: str = "scripted") -> None:
        for turn in turns:
            check_playable(turn, (Turn, Failure), player="a scripted model")
        self._script = Script[ModelAnswer](turns)
        self._name = name
        self.heard = []

    def __repr__(self) -> str:
        return f"<Scripted {self._name!r}, {self.turns_left} turns left>"

    @property
    def name(self) -> str:
        """What the model is called, for people."""
        return self._name

    @property
    def turns_left(self) -> int:
        """How many turns nobody has asked for yet."""
        return self._script.left

    async def ask(self, request: Request, hear: Hear) -> Reply:
        """Play the next turn.

        Raises:
            ScriptExhausted: There is none.
        """
        # The loop's list of messages grows while the run goes on.
        heard = replace(request, messages=tuple(request.messages), tools=tuple(request.tools))
        self.heard.append(heard)
        turn: ModelTurn = await played(self._script.take(_summary(heard)), heard)
        check_playable(turn, (Turn, Failure), player="a scripted model")
        if isinstance(turn, Failure):
            raise turn.error
        assembly = Assembly(request.step)
        for delta in turn.deltas():
            assembly.add(delta)
            if request.stream:
                await hear(delta)
        return assembly.reply()


def _summary(request: Request) -> str:
    if results := request.results:
        return "the results " + ", ".join(repr(result.text[:200]) for result in results)
    return repr(request.text[:200])
