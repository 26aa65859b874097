"""The commands and their options."""

from __future__ import annotations

import sys
from typing import Any

import click

from agentloop.cli.exits import Commands, ExitCode
from agentloop.cli.listing import list_models, list_plugins, list_tools
from agentloop.cli.options import agent_options, output_options, targets_option, wish_of
from agentloop.cli.run import run
from agentloop.cli.runs import runs
from agentloop.cli.worker import submit, worker


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="agentloop-core")
def app() -> None:
    """Run agents and their tools."""


@app.command("demo")
def _demo() -> ExitCode:
    """Watch a real agent call real tools; needs no key and no network."""
    # The scripted gateway takes time to import, which no other command should spend.
    from agentloop.cli.demo import demo  # noqa: PLC0415 - the reason is above

    return demo()


@app.command("run")
@click.argument("prompt")
@agent_options
@click.option("--journal", metavar="FILE", envvar="AGENTLOOP_JOURNAL", help="Write the run down there, so that it can be resumed.")
@click.option("--run-id", metavar="NAME", help="What the run is called in the journal.")
@output_options
@click.pass_context
def _run(context: click.Context, /, *, prompt: str, run_id: str | None, **options: Any) -> ExitCode:
    """Run an agent on PROMPT; '-' reads it from stdin.

    The answer goes to stdout, everything else to stderr.
    """
    if run_id is not None and not options["journal"]:
        raise click.UsageError("--run-id names a run in a journal; give --journal too")
    wish = wish_of(context, prompt=sys.stdin.read() if prompt == "-" else prompt, run_id=run_id, **options)
    return run(wish)


app.add_command(runs)
app.add_command(worker)
app.add_command(submit)


@app.command("models")
@click.argument("provider")
@click.option("--base-url", metavar="URL", help="Where to ask instead: 'http://127.0.0.1:8080/v1'.")
def _models(provider: str, base_url: str | None) -> None:
    """List what PROVIDER serves: 'openai', 'anthropic', 'ollama', or with a format 'xaix/messages'."""
    list_models(provider, base_url=base_url)


@app.group("tools")
def _tools() -> None:
    """Look at tools."""


@_tools.command("list")
@targets_option
def _list_tools(targets: tuple[str, ...]) -> None:
    """List the tools that -T names, as a model would be told of them."""
    if not targets:
        raise click.UsageError("no tools were named; give -T, such as -T files or -T module:attribute")
    list_tools(targets)


@app.group("plugins")
def _plugins() -> None:
    """Look at what installed packages offer."""


@_plugins.command("list")
def _list_plugins() -> None:
    """List what installed packages offer, broken ones too; nothing of them is imported."""
    list_plugins()
