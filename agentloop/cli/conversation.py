"""A run with the person at the terminal, who is asked wherever it pauses."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TextIO

from pydantic_core import from_json

from agentloop.agent import Agent
from agentloop.cli.approval import Person, Undecided
from agentloop.cli.display import Display
from agentloop.cli.escape import as_json
from agentloop.cli.exits import ExitCode, say
from agentloop.draining import draining
from agentloop.events import CallEnded, Event, Replied
from agentloop.journal.reading import family, transcript_of
from agentloop.journal.runs import Runs, Waiting
from agentloop.journal.store import Store
from agentloop.result import Result
from agentloop.stream import Stream
from agentloop.transcript import Decision, Transcript

Talk = Callable[["Conversation"], Coroutine[Any, Any, Result[Any]]]
"""Begins a conversation, or goes on with one."""


class Conversation:
    """A run, with the person's word wherever it pauses."""

    def __init__(self, agent: Agent[Any], *, display: Display, lines: TextIO | None, store: Store | None, stream: bool) -> None:
        """Tell events to the display, or as lines of JSON where there is a stream for those.

        Args:
            agent: Who works.
            display: Shows the run to a person.
            lines: Takes the events instead, for a program.
            store: Where the run is written down, if it is.
            stream: Whether replies are asked for piece by piece.
        """
        self._agent = agent
        self._display = display
        self._store = store
        self._stream = stream
        self.transcript = Transcript()
        """What was said so far."""
        self._show: Callable[[Event], None] = display.show if lines is None else lambda event: write_line(event, lines)
        # Events are for a program, which has nobody to ask.
        self._person = Person(answers=sys.stdin if lines is None else io.StringIO(), out=sys.stderr)

    def hold(self, talk: Talk) -> tuple[Result[Any], ExitCode]:
        """Run to the end, or until a word is needed and nobody is there to give it."""
        # One loop for all of it: what a tool keeps open belongs to its loop.
        with asyncio.Runner() as runner:
            try:
                return self._hold(runner, talk)
            finally:
                runner.run(closed(self._store))

    def _hold(self, runner: asyncio.Runner, talk: Talk) -> tuple[Result[Any], ExitCode]:
        result = runner.run(talk(self))
        denied = False
        while result.paused:
            self._display.close()
            asked = runner.run(self._waiting(result))
            if not asked:
                say("an agent that is a tool waits for a person, and where the run is written down is not said here; give --journal")
                return result, ExitCode.APPROVAL
            try:
                # A person thinks for long, and no task waits for her meanwhile.
                for waiting in asked:
                    decision = self._person.decide(waiting.call, self._tool(waiting, result), question=waiting.question)
                    denied = denied or (decision.word == "denied" and waiting.question.wants != "outcome")
                    runner.run(self._say(waiting, decision, result))
            except Undecided as undecided:
                say(str(undecided))
                return result, ExitCode.APPROVAL
            result = runner.run(self._told(self._agent.stream(result, deltas=self._stream)))
        return result, ExitCode.APPROVAL if denied else ExitCode.DONE

    async def begin(self, prompt: str, *, run_id: str) -> Result[Any]:
        """Begin the run, or go on with it."""
        return await self._told(self._agent.stream(prompt, deltas=self._stream, run_id=run_id))

    async def resume(self, run_id: str, *, verbose: bool) -> Result[Any]:
        """Go on with a run that is written down; what it did before is shown only if wanted, or if nothing is left to do."""
        if self._store is None:
            raise AssertionError("only what is written down is resumed here")
        records = await family(self._store, run_id)
        return await self._told(self._agent.stream(transcript_of(records), deltas=self._stream), before=verbose)

    async def _told(self, stream: Stream[Result[Any]], *, before: bool = False) -> Result[Any]:
        async with draining(), stream:
            async for event in stream:
                self.transcript = stream.transcript
                if before or not _is_over(event):
                    self._show(event)
        return stream.result

    async def _waiting(self, result: Result[Any]) -> tuple[Waiting, ...]:
        if self._store is not None:
            return await Runs(self._store).waiting(result.run_id)
        questions = result.transcript.questions
        return tuple(Waiting(result.run_id, call, questions[call.id], "") for call in result.waiting if call.id in questions)

    async def _say(self, waiting: Waiting, decision: Decision, result: Result[Any]) -> None:
        if self._store is not None:
            await speak(Runs(self._store), waiting.run_id, call_id=waiting.call.id, decision=decision)
            return
        match decision.word:
            case "approved":
                result.transcript.approve(waiting.call.id, arguments=arguments_in(decision))
            case "denied":
                result.transcript.deny(waiting.call.id, decision.reason)
            case "answered":
                result.transcript.answer(waiting.call.id, decision.result)

    def _tool(self, waiting: Waiting, result: Result[Any]) -> Any:
        # The tools of an agent in an agent are its own.
        return self._agent.tools.get(waiting.call.name) if waiting.run_id == result.run_id else None


async def speak(runs: Runs, run_id: str, *, call_id: str, decision: Decision) -> None:
    """Send the word on a waiting call."""
    match decision.word:
        case "approved":
            await runs.approve(run_id, call_id, arguments=arguments_in(decision))
        case "denied":
            await runs.deny(run_id, call_id, reason=decision.reason)
        case "answered":
            await runs.answer(run_id, call_id, result=decision.result)


def arguments_in(decision: Decision) -> Any:
    """Read the arguments that a person gave; None where the model's own will do."""
    return None if decision.arguments is None else from_json(decision.arguments)


async def closed(store: Store | None) -> None:
    """Let go of the file that the store keeps, where it keeps one."""
    close = getattr(store, "aclose", None)
    if close is not None:
        await close()


def write_line(value: Any, out: TextIO) -> None:
    """Write a value as a line of JSON."""
    out.write(f"{as_json(value)}\n")
    out.flush()


def _is_over(event: Event) -> bool:
    """Whether the event is of an earlier life, and leads to no answer."""
    match event:
        case Replied(reply, replayed=True):
            return bool(reply.calls)
        case CallEnded(replayed=True):
            return True
        case _:
            return False
