"""Takes apart the call in which a model wraps several: `parallel`, a tool that it believes to have."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from agentloop.errors import InvalidArguments
from agentloop.messages import Part, Reply, ToolCall
from agentloop.tools.arguments import decoded
from agentloop.tools.inlining import is_list, is_object

# Seen from OpenAI's models, which know it from how ChatGPT describes tools to them.
_WRAPPERS = {"parallel", "multi_tool_use.parallel", "multi_tool_use_parallel"}
_NAMESPACE = "functions."


def unpacked(reply: Reply, known: Collection[str]) -> Reply:
    """Put in the place of a call to `parallel` the calls that it holds.

    They have ids of ours and no provider's, since the provider never saw them. A wrapper of another shape, or one that holds a
    tool that is not known, stays as it is: its result tells the model that there is no such tool.

    Args:
        reply: What the model said.
        known: The names of the tools; one of them may be `parallel`, which is then called as any other.
    """
    if not any(_wraps(call, known) for call in reply.calls):
        return reply
    taken = {call.id for call in reply.calls}
    return replace(reply, parts=tuple(new for part in reply.parts for new in _in_place_of(part, known, taken)))


def _wraps(part: Part, known: Collection[str]) -> bool:
    return isinstance(part, ToolCall) and part.name not in known and part.name.removeprefix(_NAMESPACE) in _WRAPPERS


def _in_place_of(part: Part, known: Collection[str], taken: set[str]) -> Iterable[Part]:
    if not isinstance(part, ToolCall) or not _wraps(part, known):
        return (part,)
    held = _held(part.arguments)
    if not held or not all(name in known for name, _ in held):
        return (part,)
    ids = _free_ids(part.id, taken)
    return [ToolCall(next(ids), name, arguments) for name, arguments in held]


def _held(text: str) -> list[tuple[str, str]]:
    """Read the names and the arguments, or nothing where the wrapper has another shape."""
    try:
        wrapper = decoded(text.strip())
    except InvalidArguments:
        return []
    held: list[tuple[str, str]] = []
    for use in _uses(wrapper):
        match use:
            case {"recipient_name": str(name), "parameters": parameters, **others} if is_object(parameters) and not others:
                held.append((name.removeprefix(_NAMESPACE), _written(parameters)))
            case _:
                return []
    return held


def _uses(wrapper: Any) -> list[Any]:
    match wrapper:
        case {"tool_uses": uses, **others} if is_list(uses) and not others:
            return uses
        case _:
            return []


def _written(parameters: Mapping[str, Any]) -> str:
    text = json.dumps(parameters, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        # Half a surrogate pair came as an escape, and has no other form.
        return json.dumps(parameters)
    return text


def _free_ids(start: str, taken: set[str]) -> Iterator[str]:
    number = 0
    while True:
        if (found := f"{start}_{number}") not in taken:
            taken.add(found)
            yield found
        number += 1
