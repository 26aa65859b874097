"""The commands for runs that are written down."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeVar, cast

import click
from pydantic_core import from_json

from agentloop.cli import runs_shown
from agentloop.cli.conversation import closed
from agentloop.cli.escape import printable
from agentloop.cli.exits import ExitCode, say
from agentloop.cli.options import agent_options, output_options, wish_of
from agentloop.cli.run import resume
from agentloop.cli.runs_replayed import replay
from agentloop.cli.worker import dbos
from agentloop.errors import BadTranscript, ConfigurationError
from agentloop.journal.following import follow
from agentloop.journal.runs import Runs, Waiting
from agentloop.journal.store import Store

T = TypeVar("T")

_journal = click.option(
    "--journal",
    metavar="FILE|URL",
    envvar="AGENTLOOP_JOURNAL",
    default="runs.db",
    show_default=True,
    help="Where they are.",
)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
_call = click.argument("call", required=False)


@click.group("runs")
def runs() -> None:
    """Look after runs that are written down: see them, resume them, answer them, fork them."""


@runs.command("list")
@_journal
@_as_json
def _list(*, journal: str, as_json: bool) -> None:
    """List the runs of the journal, the newest last."""
    runs_shown.list_runs(_ask(journal, lambda known: known.list()), as_json=as_json)


@runs.command("show")
@click.argument("run")
@_journal
@_as_json
@click.option("-v", "--verbose", is_flag=True, help="Show results and prompts in full.")
def _show(*, run: str, journal: str, as_json: bool, verbose: bool) -> None:
    """Show what RUN did, step by step, and what it waits for."""
    runs_shown.show_run(_ask(journal, lambda known: known.show(run)), as_json=as_json, verbose=verbose)


@runs.command("resume")
@click.argument("run")
@agent_options
@_journal
@output_options
@click.pass_context
def _resume(context: click.Context, /, *, run: str, **options: Any) -> ExitCode:
    """Go on with RUN; only what has no result yet is done.

    Name the agent as you did when it began.
    """
    wish = wish_of(context, **options)
    _check(options["journal"])
    return resume(wish, run)


@runs.command("replay")
@click.argument("run")
@click.option("-a", "--agent", metavar="AGENT", help="Check that this agent, 'module:attribute', would do what the run did.")
@_journal
@click.option("-v", "--verbose", is_flag=True, help="Show results and thoughts too.")
def _replay(*, run: str, agent: str | None, journal: str, verbose: bool) -> None:
    """Show RUN again as it was; no model is asked and no tool is called."""
    _check(journal)
    replay(run, journal=journal, agent=agent, verbose=verbose)


@runs.command("fork")
@click.argument("run")
@click.option("--at", type=click.IntRange(min=0), required=True, metavar="STEP", help="The first step that the fork takes on its own.")
@click.option("--prompt", metavar="TEXT", help="What the model is told before it; at 0 it takes the place of the prompt.")
@click.option("--run-id", metavar="NAME", help="What the fork is called.")
@_journal
def _fork(*, run: str, at: int, prompt: str | None, run_id: str | None, journal: str) -> None:
    """Make a run that has done the steps of RUN before one of them, and print its name; then resume it with any agent."""
    made = _ask(journal, lambda known: known.fork(run, at=at, prompt=prompt, run_id_of_fork=run_id))
    sys.stdout.write(f"{made}\n")
    sys.stderr.write(f"forked; `agentloop runs resume {printable(made)}` goes its own way from there\n")


@runs.command("diff")
@click.argument("one")
@click.argument("other")
@_journal
@_as_json
def _diff(*, one: str, other: str, journal: str, as_json: bool) -> None:
    """Compare what was said and called in two runs, step by step."""
    runs_shown.show_diff(_ask(journal, lambda known: known.diff(one, other)), as_json=as_json)


@runs.command("export")
@click.argument("run")
@click.option("-o", "--output", type=click.Path(dir_okay=False), metavar="FILE", help="Write it there, for your eyes only.")
@_journal
def _export(*, run: str, output: str | None, journal: str) -> None:
    """Write RUN as JSON, to keep it or to test against it; agentloop.testing.recorded answers from it."""
    text = _ask(journal, lambda known: known.export(run))
    if output is None:
        sys.stdout.write(runs_shown.safe_json(text.decode()))
        return
    with os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(text)


@runs.command("approve")
@click.argument("run")
@_call
@click.option("--arguments", metavar="JSON", help="All the arguments to make the call with, if not the model's.")
@_journal
def _approve(*, run: str, call: str | None, arguments: str | None, journal: str) -> None:
    """Let a CALL that RUN waits for be made; RUN goes on when it is resumed."""
    given = None if arguments is None else _object(arguments)

    async def approve(known: Runs, waiting: Waiting) -> None:
        await known.approve(waiting.run_id, waiting.call.id, arguments=given)

    _speak(journal, run, call, word="approved", say=approve)


@runs.command("deny")
@click.argument("run")
@_call
@click.option("--reason", default="", metavar="TEXT", help="Why; the model reads it.")
@_journal
def _deny(*, run: str, call: str | None, reason: str, journal: str) -> None:
    """Refuse a CALL that RUN waits for; of one in doubt, the model is told that nobody knows."""

    async def deny(known: Runs, waiting: Waiting) -> None:
        await known.deny(waiting.run_id, waiting.call.id, reason=reason)

    _speak(journal, run, call, word="denied", say=deny)


@runs.command("answer")
@click.argument("run")
@_call
@click.option("--result", required=True, metavar="TEXT", help="What the call came to, as the model reads it.")
@_journal
def _answer(*, run: str, call: str | None, result: str, journal: str) -> None:
    """Say what a CALL that RUN waits for came to; it is not made."""

    async def answer(known: Runs, waiting: Waiting) -> None:
        await known.answer(waiting.run_id, waiting.call.id, result=result)

    _speak(journal, run, call, word="answered", say=answer)


@runs.command("cancel")
@click.argument("run")
@_journal
def _cancel(*, run: str, journal: str) -> None:
    """Stop RUN, wherever a worker has it, with all that it has spawned."""
    if not _is_database(journal):
        raise ConfigurationError("only runs of workers are cancelled from elsewhere; stop the process that has this one, with Ctrl-C")
    _ask(journal, lambda known: cast("Any", known.store).cancel(run))
    say(f"{run!r} was cancelled")


@runs.command("follow")
@click.argument("run")
@_journal
@click.option("--jsonl", "as_lines", is_flag=True, help="Print the records as they are, one JSON object a line.")
@click.option("-v", "--verbose", is_flag=True, help="Show results too.")
def _follow(*, run: str, journal: str, as_lines: bool, verbose: bool) -> None:
    """Watch RUN, which goes on elsewhere, until it is done; Ctrl-C stops watching, not the run."""

    async def watch(known: Runs) -> None:
        show = runs_shown.Follower(as_lines=as_lines, verbose=verbose)
        if not await known.store.records(run):
            say(f"there is no run {run!r} yet; it is waited for")
        async with aclosing(follow(known.store, run)) as records:
            async for record in records:
                show.show(record)

    _ask(journal, watch)


def _ask(journal: str, question: Callable[[Runs], Awaitable[T]]) -> T:
    _check(journal)

    async def asked() -> T:
        known = Runs(_store(journal))
        try:
            return await question(known)
        finally:
            await closed(known.store)

    return asyncio.run(asked())


def _store(journal: str) -> Store | str:
    return cast("Store", dbos().DBOSStore(journal)) if _is_database(journal) else journal


def _is_database(journal: str) -> bool:
    return "://" in journal


def _check(journal: str) -> None:
    # What looks at a journal makes none.
    if not _is_database(journal) and not Path(journal).exists():
        raise ConfigurationError(f"there is no journal {journal!r}; name it with --journal or AGENTLOOP_JOURNAL")


def _speak(journal: str, run: str, call: str | None, *, word: str, say: Callable[[Runs, Waiting], Awaitable[None]]) -> None:
    async def spoken(known: Runs) -> tuple[Waiting, int]:
        waiting = await _meant(known, run, call)
        await say(known, waiting)
        return waiting, len(await known.waiting(run))

    waiting, left = _ask(journal, spoken)
    runs_shown.show_word(word, waiting, left=left)


async def _meant(known: Runs, run: str, call: str | None) -> Waiting:
    """Find the call that is meant; where none is named, the only one that waits."""
    waiting = await known.waiting(run)
    if not waiting:
        await known.show(run)
        raise BadTranscript(f"the run {run!r} waits for no word")
    found = [each for each in waiting if call in {None, each.call.id}]
    named = [each for each in found if each.run_id == run] or found
    if len(named) == 1 and (call is not None or len(waiting) == 1):
        return named[0]
    choices = ", ".join(f"{each.run_id} {each.call.id} ({each.call.name})" for each in waiting)
    raise BadTranscript(f"which call of {run!r} is meant is not clear; name the run and the call: {choices}")


def _object(text: str) -> dict[str, Any]:
    try:
        value: object = from_json(text)
    except ValueError as error:
        raise click.UsageError(f"--arguments is no JSON ({error}); write an object, as in '{{\"amount\": 3}}'") from error
    if not isinstance(value, dict):
        raise click.UsageError("--arguments is no JSON object; write one, as in '{\"amount\": 3}'")
    return cast("dict[str, Any]", value)
