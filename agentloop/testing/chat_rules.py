"""What a chat completions request must be for a provider to take it, checked as strictly as the strictest of them do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from pydantic_core import from_json

from agentloop.testing.answers import Problem
from agentloop.testing.schema_rules import parameters_problems, strict_problems

Json = Mapping[str, Any]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_PARTS: Mapping[str, tuple[str, ...]] = {
    "system": ("text",),
    "developer": ("text",),
    "user": ("text", "image_url", "input_audio", "file"),
    "assistant": ("text", "refusal"),
    "tool": ("text",),
}
_PART_FIELDS: Mapping[str, tuple[str, str]] = {
    "image_url": ("image_url", "url"),
    "input_audio": ("input_audio", "data"),
    "file": ("file", ""),
}


def chat_problem(body: Any) -> Problem | None:
    """Say why a provider would refuse this body, or None."""
    if not isinstance(body, dict):
        return Problem(message="The body must be a JSON object.")
    return next(_problems(cast("Json", body)), None)


def _problems(body: Json) -> Iterator[Problem]:
    model = body.get("model")
    if not isinstance(model, str) or not model:
        yield _no("A model must be named.", "model", "missing_required_parameter" if model is None else "invalid_type")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        yield _no("There must be a list of messages, with at least one in it.", "messages", "missing_required_parameter")
    else:
        yield from _message_problems(cast("list[Any]", messages))
    yield from _tool_problems(body)
    yield from _setting_problems(body)


def _message_problems(messages: Sequence[Any]) -> Iterator[Problem]:
    """Walk through the transcript; every call must be answered once, by the tool messages right behind it."""
    unanswered: list[str] = []
    answered: set[str] = set()
    for number, message in enumerate(messages):
        place = f"messages.[{number}]"
        role = message.get("role") if isinstance(message, dict) else None
        if role not in _PARTS:
            yield _no(f"A message needs a role: one of {', '.join(_PARTS)}; this one has {role!r}.", f"{place}.role")
            return
        words = cast("Json", message)
        if role == "tool":
            yield from _result_problems(words, place=place, unanswered=unanswered, answered=answered)
        elif unanswered:
            yield _unanswered(unanswered, place)
            return
        if role == "assistant":
            yield from _call_problems(words, place)
            unanswered = _call_ids(words)
            answered = set()
        elif role != "tool":
            answered = set()
        yield from _content_problems(words, cast("str", role), place)
    if unanswered:
        yield _unanswered(unanswered, "messages")


def _call_ids(message: Json) -> list[str]:
    said = message.get("tool_calls")
    return [str(call["id"]) for call in cast("list[Any]", said) if isinstance(call, dict) and "id" in call] if isinstance(said, list) else []


def _result_problems(message: Json, *, place: str, unanswered: list[str], answered: set[str]) -> Iterator[Problem]:
    call_id = message.get("tool_call_id")
    place = f"{place}.tool_call_id"
    if not isinstance(call_id, str) or not call_id:
        yield _no("A tool message must say in 'tool_call_id' which call it answers.", place, "missing_required_parameter")
    elif call_id in unanswered:
        unanswered.remove(call_id)
        answered.add(call_id)
    elif call_id in answered:
        yield _no(f"The tool call {call_id!r} is answered twice.", place)
    else:
        yield _no(f"This tool message answers {call_id!r}, which the assistant message before it did not call.", place)


def _unanswered(call_ids: list[str], place: str) -> Problem:
    return _no(
        f"An assistant message with 'tool_calls' must be followed by a tool message for each; these have none: {', '.join(call_ids)}.", place
    )


def _call_problems(message: Json, place: str) -> Iterator[Problem]:
    if "tool_calls" not in message:
        return
    place = f"{place}.tool_calls"
    said = message["tool_calls"]
    if not isinstance(said, list) or not said:
        yield _no("'tool_calls' must be a list with a call in it, or be left out.", place)
        return
    seen: set[str] = set()
    for number, call in enumerate(cast("list[Any]", said)):
        here = f"{place}[{number}]"
        if not isinstance(call, dict) or cast("Json", call).get("type") not in {"function", "custom"}:
            yield _no("A tool call needs the type 'function' or 'custom'.", f"{here}.type")
            return
        words = cast("Json", call)
        call_id = words.get("id")
        if not isinstance(call_id, str) or not call_id:
            yield _no("A tool call needs an id.", f"{here}.id")
        elif call_id in seen:
            yield _no(f"The id {call_id!r} belongs to two tool calls.", f"{here}.id")
        seen.add(str(call_id))
        if words["type"] == "function":
            yield from _function_call_problems(words.get("function"), f"{here}.function")


def _function_call_problems(function: Any, place: str) -> Iterator[Problem]:
    words = cast("Json", function) if isinstance(function, dict) else {}
    if not _is_name(words.get("name")):
        yield _no(f"The name {words.get('name')!r} is none that a tool can have: {_NAME.pattern}.", f"{place}.name")
    arguments = words.get("arguments")
    if not isinstance(arguments, str):
        yield _no("The arguments of a tool call must be a string.", f"{place}.arguments", "invalid_type")
        return
    try:
        value = from_json(arguments, allow_inf_nan=False)
    except ValueError as error:
        yield _no(f"The arguments of a tool call must be JSON text: {error}.", f"{place}.arguments")
        return
    # Chat templates and the other formats behind a gateway take objects only.
    if not isinstance(value, dict):
        yield _no("The arguments of a tool call must be a JSON object.", f"{place}.arguments")


def _content_problems(message: Json, role: str, place: str) -> Iterator[Problem]:
    content = message.get("content")
    place = f"{place}.content"
    if content is None:
        if role != "assistant" or not any(message.get(other) for other in ("tool_calls", "refusal", "audio", "function_call")):
            yield _no(f"A message of the role {role!r} must have content.", place, "missing_required_parameter")
    elif isinstance(content, list) and content:
        for number, part in enumerate(cast("list[Any]", content)):
            yield from _part_problems(part, role, f"{place}[{number}]")
    elif not isinstance(content, str):
        yield _no("Content must be a string or a list with a part in it.", place, "invalid_type")


def _part_problems(part: Any, role: str, place: str) -> Iterator[Problem]:
    words = cast("Json", part) if isinstance(part, dict) else {}
    kind = words.get("type")
    if kind not in _PARTS[role]:
        yield _no(f"A message of the role {role!r} takes parts of the type {' or '.join(_PARTS[role])}, not {kind!r}.", f"{place}.type")
    elif kind in {"text", "refusal"}:
        if not isinstance(words.get(kind), str):
            yield _no(f"A part of the type {kind!r} needs {kind!r}.", f"{place}.{kind}")
    elif kind in _PART_FIELDS:
        outer, inner = _PART_FIELDS[kind]
        value = words.get(outer)
        if not isinstance(value, dict) or (inner and not isinstance(cast("Json", value).get(inner), str)):
            yield _no(f"A part of the type {kind!r} needs {outer!r}{f' with {inner!r}' if inner else ''}.", f"{place}.{outer}")


def _tool_problems(body: Json) -> Iterator[Problem]:
    tools = body.get("tools")
    if tools is None:
        fields = ("tool_choice", "parallel_tool_calls")
        yield from (_no(f"'{field}' is only allowed beside 'tools'.", field) for field in fields if body.get(field) is not None)
        return
    if not isinstance(tools, list) or not tools:
        yield _no("'tools' must be a list with a tool in it, or be left out.", "tools")
        return
    names: list[str] = []
    for number, tool in enumerate(cast("list[Any]", tools)):
        words = cast("Json", tool) if isinstance(tool, dict) else {}
        kind = words.get("type")
        function = words.get(kind) if kind in {"function", "custom"} else None
        if not isinstance(function, dict):
            yield _no("A tool needs the type 'function' or 'custom', and a description under that name.", f"tools[{number}]")
            return
        names.append(str(cast("Json", function).get("name")))
        yield from _described_tool_problems(cast("Json", function), f"tools[{number}].{kind}")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        yield _no(f"Two tools have the name {twice[0]!r}.", "tools")
    yield from _choice_problems(body, names)


def _described_tool_problems(function: Json, place: str) -> Iterator[Problem]:
    name = function.get("name")
    if not _is_name(name):
        yield _no(f"The name {name!r} is none that a tool can have: {_NAME.pattern}.", f"{place}.name")
    if not isinstance(function.get("description", ""), str):
        yield _no("The description of a tool must be a string.", f"{place}.description", "invalid_type")
    if function.get("strict") not in {None, True, False}:
        yield _no("'strict' must be true, false or null.", f"{place}.strict", "invalid_type")
    if "parameters" in function:
        wrong = [*parameters_problems(function["parameters"])]
        if function.get("strict") is True and not wrong:
            wrong = [*strict_problems(function["parameters"])]
        yield from (_no(f"The schema of the tool {name!r} is not valid: {one}.", f"{place}.parameters", "invalid_schema") for one in wrong)


def _choice_problems(body: Json, names: Sequence[str]) -> Iterator[Problem]:
    choice = body.get("tool_choice") or "auto"
    if isinstance(choice, dict):
        words = cast("Json", choice)
        kind = words.get("type")
        named = words.get(kind) if kind in {"function", "custom"} else None
        if kind == "allowed_tools":
            return
        name = cast("Json", named).get("name") if isinstance(named, dict) else None
        if name not in names:
            yield _no(f"'tool_choice' names {name!r}, which is none of the tools: {', '.join(names)}.", "tool_choice")
    elif choice not in {"none", "auto", "required"}:
        yield _no(f"'tool_choice' is none, auto, required or a tool; not {choice!r}.", "tool_choice", "invalid_value")
    if body.get("parallel_tool_calls") not in {None, True, False}:
        yield _no("'parallel_tool_calls' must be true or false.", "parallel_tool_calls", "invalid_type")


def _setting_problems(body: Json) -> Iterator[Problem]:
    # null is what leaving a setting out is.
    said = {name: value for name, value in body.items() if value is not None}
    if not isinstance(said.get("stream", False), bool):
        yield _no("'stream' must be true or false.", "stream", "invalid_type")
    if "stream_options" in said and not said.get("stream"):
        yield _no("'stream_options' is only allowed when 'stream' is true.", "stream_options")
    for name, most in (("temperature", 2), ("top_p", 1)):
        if name in said and not (_is_number(said[name]) and 0 <= said[name] <= most):
            yield _no(f"'{name}' must be a number from 0 to {most}.", name, "invalid_value")
    for name in ("max_tokens", "max_completion_tokens"):
        if name in said and not (isinstance(said[name], int) and said[name] >= 1):
            yield _no(f"'{name}' must be a whole number above 0.", name, "invalid_value")
    if "max_tokens" in said and "max_completion_tokens" in said:
        yield _no("'max_tokens' and 'max_completion_tokens' cannot both be set.", "max_tokens")
    if said.get("n", 1) != 1:
        yield _no("This gateway scripts one choice; 'n' must be 1.", "n", "invalid_value")
    if said.get("reasoning_effort", "low") not in _EFFORTS:
        yield _no(f"'reasoning_effort' is one of {', '.join(_EFFORTS)}.", "reasoning_effort", "invalid_value")
    yield from _stop_problems(said.get("stop"))
    yield from _output_problems(said.get("response_format"))


def _stop_problems(stop: Any) -> Iterator[Problem]:
    stops = cast("list[Any]", stop) if isinstance(stop, list) else [] if stop is None else [stop]
    # OpenAI takes four.
    if len(stops) > 4 or not all(isinstance(one, str) for one in stops):  # noqa: PLR2004 - said above
        yield _no("'stop' must be a string or a list of at most 4.", "stop", "invalid_value")


def _output_problems(response_format: Any) -> Iterator[Problem]:
    if response_format is None:
        return
    words = cast("Json", response_format) if isinstance(response_format, dict) else {}
    kind = words.get("type")
    if kind not in {"text", "json_object", "json_schema"}:
        yield _no(f"'response_format' has the type text, json_object or json_schema; not {kind!r}.", "response_format.type", "invalid_value")
    if kind != "json_schema":
        return
    described = words.get("json_schema")
    output = cast("Json", described) if isinstance(described, dict) else {}
    if not _is_name(output.get("name")):
        yield _no(f"The name {output.get('name')!r} is none that an output can have: {_NAME.pattern}.", "response_format.json_schema.name")
    wrong = [*parameters_problems(output.get("schema"))]
    if output.get("strict") is True and not wrong:
        wrong = [*strict_problems(output["schema"])]
    place = "response_format.json_schema.schema"
    yield from (_no(f"The schema of the output is not valid: {one}.", place, "invalid_schema") for one in wrong)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _no(message: str, param: str, code: str | None = None) -> Problem:
    return Problem(message=message, param=param, code=code)
