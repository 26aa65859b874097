"""What a chat completions request must be for a provider to take it, checked as strictly as the strictest of them do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic_core import from_json

from agentloop.testing.answers import Problem
from agentloop.testing.schema_rules import is_list, is_number, is_object, is_one_of, object_of, parameters_problems, strict_problems

Json = Mapping[str, Any]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_PARTS: Mapping[str, tuple[str, ...]] = {
    "system": ("text",),
    "developer": ("text",),
    "user": ("text", "image_url", "input_audio", "file"),
    # Mistral's own thoughts go back to it among the parts.
    "assistant": ("text", "refusal", "thinking"),
    "tool": ("text",),
}


def chat_problem(body: Any) -> Problem | None:
    """Say why a provider would refuse this body, or None."""
    return next(_problems(body), None) if is_object(body) else Problem(message="The body must be a JSON object.")


def _problems(body: Json) -> Iterator[Problem]:
    model = body.get("model")
    if not isinstance(model, str) or not model:
        yield _no("A model must be named.", "model", "missing_required_parameter" if model is None else "invalid_type")
    messages = body.get("messages")
    if not is_list(messages) or not messages:
        yield _no("There must be a list of messages, with at least one in it.", "messages", "missing_required_parameter")
    else:
        yield from _message_problems(messages)
    yield from _tool_problems(body)
    yield from _setting_problems(body)
    if body.get("metadata") and not body.get("store"):
        yield _no("The 'metadata' parameter is only allowed when 'store' is enabled.", "metadata")


def _message_problems(messages: Sequence[Any]) -> Iterator[Problem]:
    """Walk through the transcript; every call must be answered once, by the tool messages right behind it."""
    unanswered: list[str] = []
    answered: set[str] = set()
    for number, message in enumerate(messages):
        place = f"messages.[{number}]"
        role = message.get("role") if is_object(message) else None
        if not is_object(message) or not isinstance(role, str) or role not in _PARTS:
            yield _no(f"A message needs a role: one of {', '.join(_PARTS)}; this one has {role!r}.", f"{place}.role")
            return
        if role == "tool":
            yield from _result_problems(message, place=place, unanswered=unanswered, answered=answered)
        elif unanswered:
            yield _unanswered(unanswered, place)
            return
        else:
            yield from _call_problems(message, place)
            unanswered, answered = _call_ids(message), set()
        yield from _content_problems(message, role, place=place)
    if unanswered:
        yield _unanswered(unanswered, "messages")


def _call_ids(message: Json) -> list[str]:
    calls = message.get("tool_calls")
    return [str(call["id"]) for call in calls if is_object(call) and "id" in call] if is_list(calls) else []


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
    return _no(f"A tool message must follow for each of the 'tool_calls'; these have none: {', '.join(call_ids)}.", place)


def _call_problems(message: Json, place: str) -> Iterator[Problem]:
    if "tool_calls" not in message:
        return
    place = f"{place}.tool_calls"
    calls = message["tool_calls"]
    if message["role"] != "assistant":
        yield _no("Only an assistant message calls tools.", place)
    if not is_list(calls) or not calls:
        yield _no("'tool_calls' must be a list with a call in it, or be left out.", place)
        return
    seen: set[str] = set()
    for number, call in enumerate(calls):
        here = f"{place}[{number}]"
        if not is_object(call) or not is_one_of(call.get("type"), ("function", "custom")):
            yield _no("A tool call needs the type 'function' or 'custom'.", f"{here}.type")
            return
        call_id = call.get("id")
        if not isinstance(call_id, str) or not call_id:
            yield _no("A tool call needs an id.", f"{here}.id")
        elif call_id in seen:
            yield _no(f"The id {call_id!r} belongs to two tool calls.", f"{here}.id")
        seen.add(str(call_id))
        if call["type"] == "function":
            yield from _function_call_problems(object_of(call.get("function")), f"{here}.function")


def _function_call_problems(function: Json, place: str) -> Iterator[Problem]:
    if not _is_name(function.get("name")):
        yield _no(f"The name {function.get('name')!r} is none that a tool can have: {_NAME.pattern}.", f"{place}.name")
    place = f"{place}.arguments"
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        yield _no("The arguments of a tool call must be a string.", place, "invalid_type")
        return
    try:
        value = from_json(arguments, allow_inf_nan=False)
    except ValueError as error:
        yield _no(f"The arguments of a tool call must be JSON text: {error}.", place)
        return
    # Chat templates and the other formats behind a gateway take objects only.
    if not is_object(value):
        yield _no("The arguments of a tool call must be a JSON object.", place)


def _content_problems(message: Json, role: str, *, place: str) -> Iterator[Problem]:
    content = message.get("content")
    place = f"{place}.content"
    if content is None:
        if role != "assistant" or not any(message.get(other) for other in ("tool_calls", "refusal", "audio", "function_call")):
            yield _no(f"A message of the role {role!r} must have content.", place, "missing_required_parameter")
    elif is_list(content) and content:
        for number, part in enumerate(content):
            yield from _part_problems(object_of(part), role, place=f"{place}[{number}]")
    elif not isinstance(content, str):
        yield _no("Content must be a string or a list with a part in it.", place, "invalid_type")


def _part_problems(part: Json, role: str, *, place: str) -> Iterator[Problem]:
    kind = str(part.get("type"))
    if kind not in _PARTS[role]:
        yield _no(f"A message of the role {role!r} takes parts of the type {' or '.join(_PARTS[role])}, not {kind!r}.", f"{place}.type")
    elif kind in {"text", "refusal"}:
        if not isinstance(part.get(kind), str):
            yield _no(f"A part of the type {kind!r} needs {kind!r}.", f"{place}.{kind}")
    elif kind == "thinking":
        thoughts = part.get(kind)
        if not is_list(thoughts) or not all(isinstance(object_of(thought).get("text"), str) for thought in thoughts):
            yield _no("A part of the type 'thinking' needs a list of parts with 'text'.", f"{place}.{kind}")
    elif not is_object(part.get(kind)) or (kind == "image_url" and not isinstance(part[kind].get("url"), str)):
        needed = "'image_url' with 'url'" if kind == "image_url" else repr(kind)
        yield _no(f"A part of the type {kind!r} needs {needed}.", f"{place}.{kind}")


def _tool_problems(body: Json) -> Iterator[Problem]:
    tools = body.get("tools")
    if tools is None:
        fields = ("tool_choice", "parallel_tool_calls")
        yield from (_no(f"'{field}' is only allowed beside 'tools'.", field) for field in fields if body.get(field) is not None)
        return
    if not is_list(tools) or not tools:
        yield _no("'tools' must be a list with a tool in it, or be left out.", "tools")
        return
    names: list[str] = []
    for number, tool in enumerate(tools):
        kind = str(object_of(tool).get("type"))
        described = tool.get(kind) if kind in {"function", "custom"} else None
        if not is_object(described):
            yield _no("A tool needs the type 'function' or 'custom', and a description under that name.", f"tools[{number}]")
            return
        names.append(str(described.get("name")))
        yield from _described_tool_problems(described, f"tools[{number}].{kind}")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        yield _no(f"Two tools have the name {twice[0]!r}.", "tools")
    yield from _choice_problems(body, names)


def _described_tool_problems(function: Json, place: str) -> Iterator[Problem]:
    name = function.get("name")
    if not _is_name(name):
        yield _no(f"The name {name!r} is none that a tool can have: {_NAME.pattern}.", f"{place}.name")
    if not isinstance(function.get("description", ""), str):
        yield _no("The description of a tool must be a string.", f"{place}.description", "invalid_type")
    if not is_one_of(function.get("strict"), (None, True, False)):
        yield _no("'strict' must be true, false or null.", f"{place}.strict", "invalid_type")
    if "parameters" in function:
        for wrong in _schema_problems(function["parameters"], strict=function.get("strict")):
            yield _no(f"The schema of the tool {name!r} is not valid: {wrong}.", f"{place}.parameters", "invalid_schema")


def _schema_problems(schema: Any, *, strict: Any) -> list[str]:
    wrong = [*parameters_problems(schema)]
    return wrong if wrong or strict is not True else [*strict_problems(schema)]


def _choice_problems(body: Json, names: Sequence[str]) -> Iterator[Problem]:
    choice = body.get("tool_choice") or "auto"
    if is_object(choice):
        kind = choice.get("type")
        name = object_of(choice.get(str(kind))).get("name")
        if kind != "allowed_tools" and name not in names:
            yield _no(f"'tool_choice' names {name!r}, which is none of the tools: {', '.join(names)}.", "tool_choice")
    elif not is_one_of(choice, ("none", "auto", "required")):
        yield _no(f"'tool_choice' is none, auto, required or a tool; not {choice!r}.", "tool_choice", "invalid_value")
    if not is_one_of(body.get("parallel_tool_calls"), (None, True, False)):
        yield _no("'parallel_tool_calls' must be true or false.", "parallel_tool_calls", "invalid_type")


def _setting_problems(body: Json) -> Iterator[Problem]:
    # null is what leaving a setting out is.
    said = {name: value for name, value in body.items() if value is not None}
    if not isinstance(said.get("stream", False), bool):
        yield _no("'stream' must be true or false.", "stream", "invalid_type")
    if "stream_options" in said and not said.get("stream"):
        yield _no("'stream_options' is only allowed when 'stream' is true.", "stream_options")
    for name, most in (("temperature", 2), ("top_p", 1)):
        if name in said and not (is_number(said[name]) and 0 <= said[name] <= most):
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
    yield from output_problems(said.get("response_format"))


def _stop_problems(stop: Any) -> Iterator[Problem]:
    stops = stop if is_list(stop) else [] if stop is None else [stop]
    # OpenAI takes four.
    if len(stops) > 4 or not all(isinstance(one, str) for one in stops):  # noqa: PLR2004 - said above
        yield _no("'stop' must be a string or a list of at most 4.", "stop", "invalid_value")


def output_problems(response_format: Any) -> Iterator[Problem]:
    """Say what is wrong with the form of the answer, as `response_format` gives it."""
    if response_format is None:
        return
    place = "response_format"
    kind = object_of(response_format).get("type")
    if not is_one_of(kind, ("text", "json_object", "json_schema")):
        yield _no(f"The type of the output is text, json_object or json_schema; not {kind!r}.", f"{place}.type", "invalid_value")
    if kind != "json_schema":
        return
    place = f"{place}.json_schema"
    output = object_of(object_of(response_format).get("json_schema"))
    if not _is_name(output.get("name")):
        yield _no(f"The name {output.get('name')!r} is none that an output can have: {_NAME.pattern}.", f"{place}.name")
    for wrong in _schema_problems(output.get("schema"), strict=output.get("strict")):
        yield _no(f"The schema of the output is not valid: {wrong}.", f"{place}.schema", "invalid_schema")


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _no(message: str, param: str, code: str | None = None) -> Problem:
    return Problem(message=message, param=param, code=code)
