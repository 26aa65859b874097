"""The commands and their options."""

from __future__ import annotations

import sys
from typing import Any

import click

from agentloop.cli.exits import Commands, ExitCode
from agentloop.cli.listing import list_models, list_plugins, list_tools
from agentloop.cli.run import Form, Wish, run

_targets = click.option(
    "-T",
    "--tools",
    "targets",
    multiple=True,
    metavar="TOOLS",
    help="Tools: a plugin ('files', 'files:root=.') or 'module:attribute'; may be given again.",
)


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
@_targets
@click.option("-m", "--model", required=True, envvar="AGENTLOOP_MODEL", help="A model: 'openai:gpt-4o'; with --base-url a bare name too.")
@click.option("--base-url", metavar="URL", help="Where to ask instead: 'http://127.0.0.1:8080/v1'.")
@click.option("--instructions", default="", metavar="TEXT", help="What the model is told first.")
@click.option("--max-steps", type=click.IntRange(min=1), metavar="N", help="How often the model may be asked; 25 by default.")
@click.option(
    "--approvals",
    type=click.Choice(["auto", "ask", "read_only", "deny"]),
    default="auto",
    help="Which calls you are asked about: as their tools want it, all that do more than read, or none, which refuses them.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the whole result as JSON.")
@click.option("--jsonl", "as_lines", is_flag=True, help="Print the events as they come, one JSON object a line.")
@click.option("--no-stream", is_flag=True, help="Ask for whole replies, for servers that cannot stream.")
@click.option("-v", "--verbose", is_flag=True, help="Show results, thoughts and tokens too.")
def _run(*, as_json: bool, as_lines: bool, no_stream: bool, prompt: str, **wish: Any) -> ExitCode:
    """Run an agent on PROMPT; '-' reads it from stdin.

    The answer goes to stdout, everything else to stderr.
    """
    if as_json and as_lines:
        raise click.UsageError("--json and --jsonl exclude each other; choose one")
    if as_lines and no_stream:
        raise click.UsageError("--jsonl needs the events that --no-stream leaves out; choose one")
    form: Form = "json" if as_json else "jsonl" if as_lines else "text"
    return run(Wish(prompt=sys.stdin.read() if prompt == "-" else prompt, form=form, stream=not no_stream, **wish))


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
@_targets
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
