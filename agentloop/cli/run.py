"""Runs an agent for one prompt, or goes on with a run that is written down."""

from __future__ import annotations

import contextlib
import secrets
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO

from pydantic_core import from_json

from agentloop.agent import Agent
from agentloop.approvals import PolicyName
from agentloop.cli.conversation import Conversation, Talk, write_line
from agentloop.cli.display import Display, display_on
from agentloop.cli.escape import printable
from agentloop.cli.exits import ExitCode
from agentloop.cli.prints import ToolPrints
from agentloop.cli.targets import agent_at, model_at, tools_named
from agentloop.errors import AgentLoopError, ConfigurationError
from agentloop.journal.runs import store_at
from agentloop.limits import Limits
from agentloop.result import Result
from agentloop.transcript import Transcript

Form = Literal["text", "json", "jsonl"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the command line asks for."""

    prompt: str = ""
    model: str | None = None
    agent: str | None = None
    """Where the agent is, "module:attribute", instead of a model and all that follows down to the policy."""
    base_url: str | None = None
    targets: tuple[str, ...] = ()
    instructions: str = ""
    max_steps: int | None = None
    approvals: PolicyName = "auto"
    form: Form = "text"
    """What stdout gets: the answer, the result as JSON, or the events as lines of JSON."""
    stream: bool = True
    verbose: bool = False
    journal: str | None = None
    """The file in which the run is written down, if it is."""
    run_id: str | None = None


def run(wish: Wish) -> ExitCode:
    """Run the agent and give its answer.

    Raises:
        AgentLoopError: The run failed.
    """
    run_id = wish.run_id or secrets.token_hex(4)
    return _talk(wish, run_id, lambda conversation: conversation.begin(wish.prompt, run_id=run_id))


def resume(wish: Wish, run_id: str) -> ExitCode:
    """Go on with a run that is written down, and give its answer.

    Raises:
        AgentLoopError: The run failed, or is not there.
    """
    return _talk(wish, run_id, lambda conversation: conversation.resume(run_id, verbose=wish.verbose))


def agent_of(wish: Wish) -> Agent[Any]:
    """Put the agent together that the options describe, or load the one that they name.

    Raises:
        ConfigurationError: They do neither, or there is no such agent.
    """
    if wish.agent is not None:
        return agent_at(wish.agent)
    if wish.model is None:
        raise ConfigurationError("who shall answer is not said; give -m (a model: 'openai:gpt-4o') or -a (an agent: 'module:attribute')")
    tools = tools_named(wish.targets)
    limits = Limits(steps=wish.max_steps) if wish.max_steps else Limits()
    model = model_at(wish.model, base_url=wish.base_url)
    return Agent(model, tools=tools.values(), instructions=wish.instructions, limits=limits, approvals=wish.approvals)


def _talk(wish: Wish, run_id: str, talk: Talk) -> ExitCode:
    agent = agent_of(wish)
    store = None if wish.journal is None else store_at(wish.journal)
    if store is not None:
        agent = agent.with_journal(store)
    out = sys.stdout
    display = display_on(answer=out if wish.form == "text" else None, notes=sys.stderr, model=agent.model.name, verbose=wish.verbose)
    with contextlib.redirect_stdout(ToolPrints()), contextlib.closing(display):
        lines = out if wish.form == "jsonl" else None
        conversation = Conversation(agent, display=display, lines=lines, store=store, stream=wish.stream)
        try:
            result, code = conversation.hold(talk)
        except KeyboardInterrupt:
            display.close()
            if wish.form == "json":
                _print_interrupted(conversation.transcript, out)
            _show_way_on(display, wish, run_id)
            raise
        except AgentLoopError as error:
            if wish.form == "json":
                _print_result(error.result, out, error=error)
            if error.result is not None:
                _show_way_on(display, wish, run_id)
            raise
    if wish.form == "json":
        _print_result(result, out)
    if wish.verbose:
        display.note(_summary(result))
    if not result.done:
        _show_way_on(display, wish, run_id)
    return code


def _show_way_on(display: Display, wish: Wish, run_id: str) -> None:
    if wish.journal is not None and Path(wish.journal).exists():
        display.note(f"  to go on: {printable(way_on(wish, run_id))}")


def way_on(wish: Wish, run_id: str) -> str:
    """Write the command that goes on with the run."""
    words = ["agentloop", "runs", "resume", run_id, "--journal", wish.journal or ""]
    if wish.agent is not None:
        return shlex.join([*words, "-a", wish.agent])
    options = [("-m", wish.model), ("--base-url", wish.base_url), ("--instructions", wish.instructions)]
    words += [word for name, value in options if value for word in (name, value)]
    words += [word for target in wish.targets for word in ("-T", target)]
    if wish.approvals != "auto":
        words += ["--approvals", wish.approvals]
    return shlex.join(words)


def _print_interrupted(transcript: Transcript, out: TextIO) -> None:
    said = {"answer": None, "steps": transcript.replies, "waiting": transcript.waiting, "transcript": from_json(transcript.to_json())}
    write_line({"outcome": "interrupted", **said}, out)


def _print_result(result: Result[str] | None, out: TextIO, *, error: AgentLoopError | None = None) -> None:
    said: dict[str, Any] = {"outcome": "failed" if error else "paused" if result and result.paused else "done"}
    if result is not None:
        said |= {
            "answer": result.answer,
            "run_id": result.run_id,
            "steps": result.steps,
            "usage": result.usage,
            "waiting": result.waiting,
            "transcript": from_json(result.transcript.to_json()),
        }
    if error is not None:
        said["error"] = {"kind": type(error).__name__, "message": str(error)}
    write_line(said, out)


def _summary(result: Result[str]) -> str:
    calls = sum(len(message.calls) for message in result.transcript.messages)
    counted = (f"{number} {word}{'' if number == 1 else 's'}" for number, word in ((result.steps, "step"), (calls, "call")))
    return f"{', '.join(counted)}, {result.usage.input_tokens} tokens in, {result.usage.output_tokens} out"
