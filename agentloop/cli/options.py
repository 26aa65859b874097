"""The options that several commands take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from click.core import ParameterSource

from agentloop.cli.run import Form, Wish

_Command = Callable[..., Any]

_OF_AN_AGENT = ("targets", "model", "base_url", "instructions", "max_steps", "approvals")

targets_option = click.option(
    "-T",
    "--tools",
    "targets",
    multiple=True,
    metavar="TOOLS",
    help="Tools: a plugin ('files', 'files:root=.') or 'module:attribute'; may be given again.",
)

_AGENT = (
    targets_option,
    click.option("-m", "--model", envvar="AGENTLOOP_MODEL", help="A model: 'openai:gpt-4o'; with --base-url a bare name too."),
    click.option("-a", "--agent", metavar="AGENT", help="An agent of your own instead, 'module:attribute', with all that it has."),
    click.option("--base-url", metavar="URL", help="Where to ask instead: 'http://127.0.0.1:8080/v1'."),
    click.option("--instructions", default="", metavar="TEXT", help="What the model is told first."),
    click.option("--max-steps", type=click.IntRange(min=1), metavar="N", help="How often the model may be asked; 25 by default."),
    click.option(
        "--approvals",
        type=click.Choice(["auto", "ask", "read_only", "deny"]),
        default="auto",
        help="Which calls you are asked about: as their tools want it, all that do more than read, or none, which refuses them.",
    ),
)
_OUTPUT = (
    click.option("--json", "as_json", is_flag=True, help="Print the whole result as JSON."),
    click.option("--jsonl", "as_lines", is_flag=True, help="Print the events as they come, one JSON object a line."),
    click.option("--no-stream", is_flag=True, help="Ask for whole replies, for servers that cannot stream."),
    click.option("-v", "--verbose", is_flag=True, help="Show results, thoughts and tokens too."),
)


def agent_options(command: _Command) -> _Command:
    """Let the command be told who works."""
    return _with(_AGENT, command)


def output_options(command: _Command) -> _Command:
    """Let the command be told what it prints."""
    return _with(_OUTPUT, command)


def wish_of(context: click.Context, /, *, as_json: bool, as_lines: bool, no_stream: bool, **options: Any) -> Wish:
    """Read what the options of `agent_options` and `output_options` ask for.

    Raises:
        click.UsageError: They exclude each other.
    """
    if as_json and as_lines:
        raise click.UsageError("--json and --jsonl exclude each other; choose one")
    if as_lines and no_stream:
        raise click.UsageError("--jsonl needs the events that --no-stream leaves out; choose one")
    if options["agent"] is not None:
        for parameter in context.command.params:
            if parameter.name in _OF_AN_AGENT and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE:
                raise click.UsageError(f"{parameter.opts[0]} is the agent's own where -a names one; leave one of them out")
    elif options["model"] is None:
        raise click.UsageError("who shall answer is not said; give -m (a model: 'openai:gpt-4o') or -a (an agent: 'module:attribute')")
    form: Form = "json" if as_json else "jsonl" if as_lines else "text"
    return Wish(form=form, stream=not no_stream, **options)


def _with(options: tuple[Callable[[_Command], _Command], ...], command: _Command) -> _Command:
    for option in reversed(options):
        command = option(command)
    return command
