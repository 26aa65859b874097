"""The commands for runs on many machines: work on them, and submit them."""

from __future__ import annotations

import asyncio
import importlib
import re
from types import ModuleType
from typing import TYPE_CHECKING

import click
from pydantic_core import from_json, to_json

from agentloop.cli.exits import say
from agentloop.cli.targets import work_at
from agentloop.errors import ConfigurationError
from agentloop.journal import Work

if TYPE_CHECKING:
    from agentloop.durable.dbos import DBOSStore

_RATE = re.compile(r"(\d+)/(\d+(?:\.\d+)?)")

_database = click.option(
    "--database", metavar="URL", envvar="AGENTLOOP_DATABASE", required=True, help="The Postgres that all share: 'postgresql://host/runs'."
)
_name = click.option("--name", metavar="NAME", default="agentloop", show_default=True, help="What these runs are part of in it.")


@click.command("worker")
@click.argument("targets", metavar="MODULE:ATTRIBUTE...", nargs=-1, required=True)
@_database
@_name
@click.option("--version", "version", metavar="WORD", default="1", show_default=True, help="Runs go on in workers of their version only.")
@click.option("--concurrency", metavar="N", default=10, show_default=True, help="How many runs go on here at once.")
@click.option("--total-concurrency", metavar="N", type=int, help="How many go on in all workers.")
@click.option("--rate", metavar="N/SECONDS", help="How many begin within how many seconds, in all workers: '100/60'.")
@click.option("--grace", metavar="SECONDS", default=5.0, show_default=True, help="How long runs may take to end when it is stopped.")
def worker(
    *,
    targets: tuple[str, ...],
    database: str,
    name: str,
    version: str,
    concurrency: int,
    total_concurrency: int | None,
    rate: str | None,
    grace: float,
) -> None:
    """Work on the runs of these agents and flows, beside other workers, until told to stop.

    Runs are named by what they are runs of: the name of the agent, or of the flow. Those of a worker that dies are taken over.
    """
    works = _works(targets)
    made = dbos().Worker(
        database,
        works,
        name=name,
        version=version,
        concurrency=concurrency,
        total_concurrency=total_concurrency,
        rate=_rate(rate),
        grace=grace,
    )
    say(f"at work on {', '.join(sorted(works))}; Ctrl-C stops")
    asyncio.run(made.run())


@click.command("submit")
@click.argument("work")
@click.argument("given", metavar="INPUT")
@_database
@_name
@click.option("--run-id", metavar="NAME", help="What the run is called; submitted twice under one name, it is one run.")
@click.option("--wait", is_flag=True, help="Wait until the run is over, and print what it came to.")
def submit(*, work: str, given: str, database: str, name: str, run_id: str | None, wait: bool) -> None:
    """Have a worker run WORK, an agent or a flow by its name, and print the run's name.

    INPUT is the prompt of an agent, or a flow's arguments as a JSON object.
    """

    async def submitted(store: DBOSStore) -> str:
        named = await store.submit(work, _given(given), run_id=run_id)
        return await store.result(named) if wait else named

    async def asked() -> str:
        store: DBOSStore = dbos().DBOSStore(database, name=name)
        try:
            return await submitted(store)
        finally:
            await store.aclose()

    click.echo(asyncio.run(asked()))


def _works(targets: tuple[str, ...]) -> dict[str, Work]:
    works: dict[str, Work] = {}
    for target in targets:
        found = work_at(target)
        if found.name in works:
            raise ConfigurationError(f"two of the works are called {found.name!r}; give Agent(name=...) or @flow(name=...) another")
        works[found.name] = found.work
    return works


def _rate(text: str | None) -> tuple[int, float] | None:
    if text is None:
        return None
    if (match := _RATE.fullmatch(text)) is None:
        raise click.UsageError(f"--rate {text!r} is no rate; write how many in how many seconds, as in '100/60'")
    return int(match[1]), float(match[2])


def _given(text: str) -> str:
    """Take a JSON object as it is, and anything else as a prompt."""
    try:
        value = from_json(text)
    except ValueError:
        value = text
    return text if isinstance(value, dict) else to_json(text).decode()


def dbos() -> ModuleType:
    """Import what runs on many machines need.

    Raises:
        ConfigurationError: It is not installed.
    """
    try:
        return importlib.import_module("agentloop.durable.dbos")
    except ImportError as error:
        raise ConfigurationError(f"runs on many machines need an extra ({error}); pip install 'agentloop-core[dbos]'") from error
