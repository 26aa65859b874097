"""Runs an agent for one prompt, and asks the person at the terminal where a call needs it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TextIO

from pydantic_core import from_json

from agentloop.agent import Agent
from agentloop.approvals import PolicyName
from agentloop.cli.approval import Person, Undecided
from agentloop.cli.display import Display, display_on
from agentloop.cli.escape import as_json
from agentloop.cli.exits import ExitCode, say
from agentloop.cli.prints import ToolPrints
from agentloop.cli.targets import model_at, tools_named
from agentloop.errors import AgentLoopError
from agentloop.events import Event
from agentloop.limits import Limits
from agentloop.messages import ToolCall
from agentloop.result import Result
from agentloop.tools.function import Tool
from agentloop.transcript import Decision, Transcript

Form = Literal["text", "json", "jsonl"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the command line asks for."""

    prompt: str
    model: str
    base_url: str | None = None
    targets: tuple[str, ...] = ()
    instructions: str = ""
    max_steps: int | None = None
    approvals: PolicyName = "auto"
    form: Form = "text"
    """What stdout gets: the answer, the result as JSON, or the events as lines of JSON."""
    stream: bool = True
    verbose: bool = False


def run(wish: Wish) -> ExitCode:
    """Run the agent and give its answer.

    Raises:
        AgentLoopError: The run failed.
    """
    tools = tools_named(wish.targets)
    limits = Limits(steps=wish.max_steps) if wish.max_steps else Limits()
    model = model_at(wish.model, base_url=wish.base_url)
    agent = Agent(model, tools=tools.values(), instructions=wish.instructions, limits=limits, approvals=wish.approvals)
    out = sys.stdout
    display = display_on(answer=out if wish.form == "text" else None, notes=sys.stderr, model=model.name, verbose=wish.verbose)
    with contextlib.redirect_stdout(ToolPrints()), contextlib.closing(display):
        conversation = _Conversation(agent, tools, wish, display=display, out=out)
        try:
            result, code = conversation.hold()
        except KeyboardInterrupt:
            display.close()
            if wish.form == "json":
                _print_interrupted(conversation.transcript, out)
            raise
        except AgentLoopError as error:
            if wish.form == "json":
                _print_result(error.result, out, error=error)
            raise
    if wish.form == "json":
        _print_result(result, out)
    if wish.verbose:
        display.note(_summary(result))
    return code


class _Conversation:
    """The run, with the person's word wherever it pauses."""

    def __init__(self, agent: Agent[str], tools: Mapping[str, Tool[..., Any]], wish: Wish, *, display: Display, out: TextIO) -> None:
        self._agent = agent
        self._tools = tools
        self._wish = wish
        self._display = display
        self.transcript = Transcript()
        """What was said so far."""
        self._show: Callable[[Event], None] = display.show
        # Events are for a program, which has nobody to ask.
        self._person = Person(answers=io.StringIO() if wish.form == "jsonl" else sys.stdin, out=sys.stderr)
        if wish.form == "jsonl":
            self._show = lambda event: _print_line(event, out)

    def hold(self) -> tuple[Result[str], ExitCode]:
        """Run to the end, or until a word is needed and nobody is there to give it."""
        # One loop for all of it: what a tool keeps open belongs to its loop.
        with asyncio.Runner() as runner:
            result = runner.run(self._advance(self._wish.prompt))
            denied = False
            while result.paused:
                try:
                    denied = self._decide(result) or denied
                except Undecided as undecided:
                    say(str(undecided))
                    return result, ExitCode.APPROVAL
                result = runner.run(self._advance(result))
        return result, ExitCode.APPROVAL if denied else ExitCode.DONE

    async def _advance(self, work: str | Result[str]) -> Result[str]:
        async with self._agent.stream(work, deltas=self._wish.stream) as stream:
            self.transcript = stream.transcript
            async for event in stream:
                self._show(event)
        return stream.result

    def _decide(self, result: Result[str]) -> bool:
        """Ask for each call, and say whether one was denied."""
        self._display.close()
        denied = False
        for call in result.waiting:
            decision = self._decision(call, result.transcript)
            match decision.word:
                case "approved":
                    arguments = None if decision.arguments is None else from_json(decision.arguments)
                    result.transcript.approve(call.id, arguments=arguments)
                case "denied":
                    result.transcript.deny(call.id, decision.reason)
                    denied = True
                case "answered":
                    result.transcript.answer(call.id, decision.result)
        return denied

    def _decision(self, call: ToolCall, transcript: Transcript) -> Decision:
        return self._person.decide(call, self._tools[call.name], problem=transcript.questions[call.id].problem)


def _print_line(value: Any, out: TextIO) -> None:
    out.write(f"{as_json(value)}\n")
    out.flush()


def _print_interrupted(transcript: Transcript, out: TextIO) -> None:
    said = {"answer": None, "steps": transcript.replies, "waiting": transcript.waiting, "transcript": from_json(transcript.to_json())}
    _print_line({"outcome": "interrupted", **said}, out)


def _print_result(result: Result[str] | None, out: TextIO, *, error: AgentLoopError | None = None) -> None:
    said: dict[str, Any] = {"outcome": "failed" if error else "paused" if result and result.paused else "done"}
    if result is not None:
        said |= {
            "answer": result.answer,
            "steps": result.steps,
            "usage": result.usage,
            "waiting": result.waiting,
            "transcript": from_json(result.transcript.to_json()),
        }
    if error is not None:
        said["error"] = {"kind": type(error).__name__, "message": str(error)}
    _print_line(said, out)


def _summary(result: Result[str]) -> str:
    calls = sum(len(message.calls) for message in result.transcript.messages)
    counted = (f"{number} {word}{'' if number == 1 else 's'}" for number, word in ((result.steps, "step"), (calls, "call")))
    return f"{', '.join(counted)}, {result.usage.input_tokens} tokens in, {result.usage.output_tokens} out"
