"""Tools whose results come from outside: a person, another program, a job that takes days."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from agentloop.errors import AgentLoopError
from agentloop.tools.definition import Definition
from agentloop.tools.function import Tool
from agentloop.tools.options import Effect


class External(Tool[..., Any]):
    """A tool without a function: a call of it waits for `transcript.answer(call.id, result)`. Made by `external`."""

    def __repr__(self) -> str:
        return f"<External {self.name}>"


def external(
    name: str,
    description: str,
    *,
    parameters: Mapping[str, Any] | None = None,
    effect: Effect = "once",
    destructive: bool = False,
    open_world: bool = False,
    strict: bool | None = None,
) -> External:
    """Describe a tool whose results come from outside. A run that calls it pauses, and goes on once it has the result.

    ```python
    ask_editor = external("ask_editor", "Ask the editor.", parameters={"type": "object", "properties": {"question": {"type": "string"}}})
    ```

    Args:
        name: How the model calls it.
        description: What the model is told of it.
        parameters: A JSON Schema of the arguments; none if left out. Names and `required` are checked here, types by whoever answers.
        effect: What asking again would do; a policy reads it.
        destructive: See `Options`.
        open_world: See `Options`.
        strict: Whether the provider shall hold the model to the schema; None leaves it to the provider.

    Raises:
        ToolDefinitionError: The name or the schema cannot be a tool's.
    """

    def elsewhere(**_: Any) -> NoReturn:
        raise AgentLoopError(f"the result of {name!r} comes from outside; give it with transcript.answer(call.id, ...)")

    written = {"additionalProperties": False, **(parameters or {"type": "object", "properties": {}})}
    definition = Definition(
        elsewhere,
        given={
            "name": name,
            "description": description,
            "parameters": written,
            "effect": effect,
            "destructive": destructive,
            "open_world": open_world,
            "strict": strict,
        },
        in_class=False,
    )
    return External(elsewhere, definition)
