"""What a Responses request must be for a provider to take it, checked as strictly as the strictest of them do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic_core import from_json

from agentloop.testing.answers import Problem, is_forged
from agentloop.testing.chat_rules import output_problems
from agentloop.testing.schema_rules import is_list, is_number, is_object, is_one_of, object_of, parameters_problems, strict_problems

Json = Mapping[str, Any]

# The fields of the API, by https://github.com/openai/openai-openapi.
_FIELDS = (
    "background", "context_management", "conversation", "include", "input", "instructions", "max_output_tokens", "max_tool_calls",
    "metadata", "model", "moderation", "parallel_tool_calls", "previous_response_id", "prompt", "prompt_cache_key",
    "prompt_cache_options", "prompt_cache_retention", "reasoning", "safety_identifier", "service_tier", "store", "stream",
    "stream_options", "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p", "truncation", "user",
)  # fmt: skip
_INCLUDES = (
    "code_interpreter_call.outputs", "computer_call_output.output.image_url", "file_search_call.results",
    "message.input_image.image_url", "message.output_text.logprobs", "reasoning.encrypted_content",
    "web_search_call.action.sources", "web_search_call.results",
)  # fmt: skip
# llama.cpp reads the form of the answer where chat completions have it.
_FURTHER_FIELDS = ("response_format",)
# What an item must have, and what else it may have; "type" and "id" are not said again.
_ITEMS: Mapping[str, tuple[str, str]] = {
    "message": ("role content", "status phase"),
    "function_call": ("call_id name arguments", "status namespace caller"),
    "function_call_output": ("call_id output", "status name namespace caller"),
    "reasoning": ("id summary", "status content encrypted_content"),
    "item_reference": ("id", ""),
    "web_search_call": ("id status action", ""),
    "file_search_call": ("id status queries", "results"),
    "code_interpreter_call": ("id status container_id code outputs", ""),
    "image_generation_call": ("id status result", "action background output_format quality revised_prompt size"),
    "mcp_list_tools": ("id server_label tools", "error"),
    "mcp_call": ("id server_label name arguments", "status output error approval_request_id"),
    "mcp_approval_request": ("id server_label name arguments", ""),
    "mcp_approval_response": ("approval_request_id approve", "reason"),
    "custom_tool_call": ("call_id name input", "status namespace caller"),
    "custom_tool_call_output": ("call_id output", "status caller"),
    "tool_search_call": ("arguments", "status call_id execution"),
    "tool_search_output": ("tools", "status call_id execution"),
    "additional_tools": ("role tools", ""),
    "compaction": ("encrypted_content", "created_by"),
    "compaction_trigger": ("", ""),
    "computer_call": ("call_id status", "action actions pending_safety_checks"),
    "computer_call_output": ("call_id output", "status acknowledged_safety_checks"),
    "local_shell_call": ("call_id status action", ""),
    "local_shell_call_output": ("output", "status call_id"),
    "shell_call": ("call_id action", "status caller environment"),
    "shell_call_output": ("call_id output", "status caller max_output_length"),
    "apply_patch_call": ("call_id status operation", "caller"),
    "apply_patch_call_output": ("call_id status", "caller output"),
    "program": ("id call_id code fingerprint", ""),
    "program_output": ("id call_id result status", ""),
}
_RESULTS: Mapping[str, str] = {
    "function_call_output": "function_call",
    "custom_tool_call_output": "custom_tool_call",
}
# What a reply holds besides thoughts; behind a reasoning item one of these must come, or another reasoning item.
_SAID = frozenset(kind for kind in _ITEMS if kind.endswith("_call") or kind in {"mcp_list_tools", "mcp_approval_request", "program"})
_TOOLS: Mapping[str, str] = {
    "apply_patch": "", "code_interpreter": "container", "computer": "", "computer_use_preview": "", "custom": "name",
    "file_search": "vector_store_ids", "image_generation": "", "local_shell": "", "mcp": "server_label", "namespace": "name tools",
    "programmatic_tool_calling": "", "shell": "", "tool_search": "", "web_search": "", "web_search_2025_08_26": "",
    "web_search_preview": "", "web_search_preview_2025_03_11": "",
}  # fmt: skip
_FUNCTION = ("type", "name", "description", "parameters", "strict", "defer_loading", "output_schema", "allowed_callers")
_PARTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "assistant": {"output_text": ("text", "annotations", "logprobs"), "refusal": ("refusal",)},
    "user": {
        "input_text": ("text",),
        "input_image": ("image_url", "file_id", "detail"),
        "input_file": ("file_data", "file_id", "file_url", "filename", "detail"),
    },
}
_ROLES = ("user", "assistant", "system", "developer")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CALL_ID = re.compile(r"[\w-]{1,64}")
_ID_BEGINNINGS = {"message": "msg", "function_call": "fc", "reasoning": "rs"}
_THINKS_NOT = re.compile(r"(?:.*/)?(?:gpt-3\.5|gpt-4)")
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_REASONING: Mapping[str, tuple[str, ...]] = {
    "effort": _EFFORTS,
    "summary": ("auto", "concise", "detailed"),
    "generate_summary": ("auto", "concise", "detailed"),
}
# OpenAI takes no fewer tokens, and no more pairs of metadata.
_FEWEST_TOKENS = 16
_MOST_PAIRS = 16


def responses_problem(body: Any) -> Problem | None:
    """Say why a provider would refuse this body, or None."""
    return next(_problems(body), None) if is_object(body) else Problem(message="The body must be a JSON object.")


def _problems(body: Json) -> Iterator[Problem]:
    yield from (_unknown(name) for name in body if name not in {*_FIELDS, *_FURTHER_FIELDS})
    model = body.get("model")
    if not isinstance(model, str) or not model:
        yield _no("A model must be named.", "model", "missing_required_parameter" if model is None else "invalid_type")
    words = body.get("input")
    if isinstance(words, str):
        if not words:
            yield _no("'input' must not be empty.", "input", "invalid_value")
    elif is_list(words) and words:
        yield from _input_problems(words, body)
    else:
        yield _no("'input' must be a string, or a list with an item in it.", "input", "missing_required_parameter")
    yield from _tool_problems(body)
    yield from _setting_problems(body)


def _input_problems(items: Sequence[Any], body: Json) -> Iterator[Problem]:
    """Walk through the items; every call must be answered once, behind it, and every thought be followed by what it led to."""
    waiting: dict[str, str] = {}
    # The other half of what is here may stand on the server.
    is_part = bool(body.get("previous_response_id") or body.get("conversation")) or any(_kind(item) == "item_reference" for item in items)
    for number, item in enumerate(items):
        place, kind = f"input[{number}]", _kind(item)
        if not is_object(item) or kind not in _ITEMS:
            yield _no(f"There is no item of the type {kind!r}.", place, "invalid_value")
            return
        yield from _item_problems(item, kind, place=place)
        if kind == "reasoning" and item.get("encrypted_content") and _THINKS_NOT.match(str(body.get("model"))):
            yield _no("Reasoning input items can only be provided to a reasoning or computer use model.", "input")
        if kind == "reasoning":
            yield from _reasoning_problems(item, items[number + 1 :], place=place, store=body.get("store"))
        call_id = str(item.get("call_id"))
        if kind in _RESULTS.values():
            if call_id in waiting:
                yield _no(f"The call_id {call_id!r} belongs to two calls.", f"{place}.call_id")
            waiting[call_id] = kind
        elif kind in _RESULTS and waiting.pop(call_id, None) != _RESULTS[kind] and not is_part:
            yield _no(f"No tool call found for the output with call_id {call_id}.", f"{place}.call_id")
    if waiting:
        yield _no(f"No tool output found for function call {next(iter(waiting))}.", "input")


def _item_problems(item: Json, kind: str, *, place: str) -> Iterator[Problem]:
    needed, allowed = (fields.split() for fields in _ITEMS[kind])
    yield from (_missing(f"{place}.{name}") for name in needed if name not in item)
    yield from (_unknown(f"{place}.{name}") for name in item if name not in {*needed, *allowed, "type", "id"})
    beginning = _ID_BEGINNINGS.get(kind, "")
    if item.get("id") is not None and not (isinstance(item["id"], str) and item["id"].startswith(beginning)):
        yield _no(f"Expected an id that begins with {beginning!r}, not {item['id']!r}.", f"{place}.id", "invalid_value")
    if "call_id" in item and kind not in {"tool_search_call", "tool_search_output"} and not _matches(_CALL_ID, item["call_id"]):
        yield _no(f"The call_id {item['call_id']!r} is none: {_CALL_ID.pattern}.", f"{place}.call_id", "invalid_value")
    match kind:
        case "message":
            yield from _message_problems(item, place)
        case "function_call":
            yield from _call_problems(item, place)
        case "function_call_output" | "custom_tool_call_output":
            yield from _content_problems(item.get("output"), "user", place=f"{place}.output")
        case _:
            pass


def _message_problems(item: Json, place: str) -> Iterator[Problem]:
    role = item.get("role")
    if role not in _ROLES:
        yield _no(f"A message needs a role: one of {', '.join(_ROLES)}; this one has {role!r}.", f"{place}.role", "invalid_value")
    elif not item.get("content") and role != "assistant":
        yield _no("A message must have content.", f"{place}.content", "missing_required_parameter")
    yield from _content_problems(item.get("content"), "assistant" if role == "assistant" else "user", place=f"{place}.content")


def _content_problems(content: Any, speaker: str, *, place: str) -> Iterator[Problem]:
    if isinstance(content, str):
        return
    if not is_list(content):
        yield _no("Content must be a string or a list of parts.", place, "invalid_type")
        return
    known = _PARTS[speaker]
    for number, part in enumerate(content):
        here = f"{place}[{number}]"
        kind = str(object_of(part).get("type"))
        if kind not in known:
            yield _no(f"The type {kind!r} is none of {', '.join(known)}.", f"{here}.type", "invalid_value")
            return
        yield from (_unknown(f"{here}.{name}") for name in part if name not in {*known[kind], "type", "prompt_cache_breakpoint"})
        word = "refusal" if kind == "refusal" else "text"
        if word in known[kind] and not isinstance(part.get(word), str):
            yield _missing(f"{here}.{word}")
        sources = ("image_url", "file_id", "file_data", "file_url")
        if word not in known[kind] and not any(isinstance(part.get(source), str) for source in sources):
            yield _no(f"A part of the type {kind!r} needs its data or its address.", here, "missing_required_parameter")
        if kind == "input_file" and "file_data" in part and not part.get("filename"):
            yield _missing(f"{here}.filename")


def _call_problems(item: Json, place: str) -> Iterator[Problem]:
    if not _matches(_NAME, item.get("name")):
        yield _no(f"The name {item.get('name')!r} is none that a tool can have: {_NAME.pattern}.", f"{place}.name", "invalid_value")
    arguments = item.get("arguments")
    try:
        value = from_json(arguments, allow_inf_nan=False) if isinstance(arguments, str) else None
    except ValueError:
        value = None
    # Chat templates and the other formats behind a gateway take objects only.
    if not is_object(value):
        yield _no("The arguments of a tool call must be the text of a JSON object.", f"{place}.arguments", "invalid_type")


def _reasoning_problems(item: Json, following: Sequence[Any], *, place: str, store: Any) -> Iterator[Problem]:
    summary = item.get("summary")
    if not is_list(summary) or not all(object_of(part).get("type") == "summary_text" for part in summary):
        yield _no("The summary must be a list of parts of the type 'summary_text'.", f"{place}.summary", "invalid_type")
        return
    if is_forged(item.get("encrypted_content"), "reasoning", [part.get("text") for part in summary]):
        words = f"The encrypted content for item {item.get('id')} could not be verified."
        yield _no(words, f"{place}.encrypted_content", "invalid_encrypted_content")
    if store is False and not item.get("encrypted_content") and not item.get("content"):
        words = f"Item with id '{item.get('id')}' not found. Items are not persisted when `store` is set to false."
        yield Problem(message=words, status=404, param="input")
    led_to = object_of(following[0] if following else None)
    kind = _kind(led_to)
    if not is_one_of(kind, (*_SAID, "reasoning", "item_reference")) and led_to.get("role") != "assistant":
        yield _no(f"Item '{item.get('id')}' of type 'reasoning' was provided without its required following item.", "input")


def _tool_problems(body: Json) -> Iterator[Problem]:
    tools = body.get("tools")
    if tools is not None and not is_list(tools):
        yield _no("'tools' must be a list.", "tools", "invalid_type")
        return
    names: list[str] = []
    for number, tool in enumerate(tools or ()):
        place = f"tools[{number}]"
        kind = str(object_of(tool).get("type"))
        if kind == "function":
            names.append(str(tool.get("name")))
            yield from _function_problems(tool, place)
        elif kind in _TOOLS:
            yield from (_missing(f"{place}.{name}") for name in _TOOLS[kind].split() if name not in tool)
            if kind == "mcp" and not (tool.get("server_url") or tool.get("connector_id") or tool.get("tunnel_id")):
                yield _no("An MCP tool needs 'server_url' or 'connector_id'.", place, "missing_required_parameter")
            names.append(str(tool.get("name") if kind == "custom" else kind))
        else:
            yield _no(f"There is no tool of the type {kind!r}; known: function, {', '.join(_TOOLS)}.", f"{place}.type", "invalid_value")
            return
    functions = [str(tool["name"]) for tool in tools or () if tool.get("type") == "function"]
    if twice := sorted({name for name in functions if functions.count(name) > 1}):
        yield _no(f"Two tools have the name {twice[0]!r}.", "tools")
    yield from _choice_problems(body.get("tool_choice"), names)


def _function_problems(tool: Json, place: str) -> Iterator[Problem]:
    yield from (_unknown(f"{place}.{name}") for name in tool if name not in _FUNCTION)
    name = tool.get("name")
    if name is None:
        yield _missing(f"{place}.name")
    elif not _matches(_NAME, name):
        yield _no(f"The name {name!r} is none that a tool can have: {_NAME.pattern}.", f"{place}.name", "invalid_value")
    if not isinstance(tool.get("description") or "", str):
        yield _no("The description of a tool must be a string.", f"{place}.description", "invalid_type")
    if not is_one_of(tool.get("strict"), (None, True, False)):
        yield _no("'strict' must be true, false or null.", f"{place}.strict", "invalid_type")
    if "parameters" not in tool:
        yield _missing(f"{place}.parameters")
    elif tool["parameters"] is not None:
        for wrong in _schema_problems(tool["parameters"], strict=tool.get("strict")):
            yield _no(f"Invalid schema for function {name!r}: {wrong}.", f"{place}.parameters", "invalid_function_parameters")


def _schema_problems(schema: Any, *, strict: Any) -> list[str]:
    wrong = [*parameters_problems(schema)]
    return wrong if wrong or strict is not True else [*strict_problems(schema)]


def _choice_problems(choice: Any, names: Sequence[str]) -> Iterator[Problem]:
    if is_one_of(choice, (None, "auto", "none")):
        return
    if not names:
        yield _no("A 'tool_choice' other than auto or none needs 'tools'.", "tool_choice", "invalid_value")
    elif is_object(choice):
        kind = choice.get("type")
        if kind == "allowed_tools":
            if not is_one_of(choice.get("mode"), ("auto", "required")) or not is_list(choice.get("tools")):
                yield _no("'allowed_tools' needs 'mode', auto or required, and 'tools'.", "tool_choice", "invalid_value")
            return
        named = choice.get("name") if is_one_of(kind, ("function", "custom")) else kind
        if named not in names:
            yield _no(f"The tool choice {named!r} is none of the tools: {', '.join(names)}.", "tool_choice", "invalid_value")
    elif choice != "required":
        yield _no(f"'tool_choice' is none, auto, required or a tool; not {choice!r}.", "tool_choice", "invalid_value")


def _setting_problems(body: Json) -> Iterator[Problem]:
    # null is what leaving a setting out is.
    said = {name: value for name, value in body.items() if value is not None}
    for name in ("background", "parallel_tool_calls", "store", "stream"):
        if not isinstance(said.get(name, False), bool):
            yield _no(f"'{name}' must be true or false.", name, "invalid_type")
    if "stream_options" in said and not said.get("stream"):
        yield _no("'stream_options' is only allowed when 'stream' is true.", "stream_options")
    for name, most in (("temperature", 2), ("top_p", 1)):
        if name in said and not (is_number(said[name]) and 0 <= said[name] <= most):
            yield _no(f"'{name}' must be a number from 0 to {most}.", name, "invalid_value")
    if not (isinstance(said.get("max_output_tokens", _FEWEST_TOKENS), int) and said.get("max_output_tokens", 99) >= _FEWEST_TOKENS):
        yield _no(f"'max_output_tokens' must be a whole number, at least {_FEWEST_TOKENS}.", "max_output_tokens", "integer_below_min_value")
    if not is_one_of(said.get("truncation", "auto"), ("auto", "disabled")):
        yield _no("'truncation' is auto or disabled.", "truncation", "invalid_value")
    include = said.get("include", [])
    wrong = [each for each in include if each not in _INCLUDES] if is_list(include) else [include]
    yield from (_no(f"{each!r} is none of {', '.join(_INCLUDES)}.", "include", "invalid_value") for each in wrong)
    metadata = said.get("metadata", {})
    if not is_object(metadata) or len(metadata) > _MOST_PAIRS or not all(isinstance(value, str) for value in metadata.values()):
        yield _no(f"'metadata' must be an object of at most {_MOST_PAIRS} strings.", "metadata", "invalid_type")
    yield from _reasoning_setting_problems(said.get("reasoning", {}))
    yield from _output_problems(said.get("text", {}))
    yield from output_problems(said.get("response_format"))


def _reasoning_setting_problems(reasoning: Any) -> Iterator[Problem]:
    if not is_object(reasoning):
        yield _no("'reasoning' must be an object.", "reasoning", "invalid_type")
        return
    yield from (_unknown(f"reasoning.{name}") for name in reasoning if name not in {*_REASONING, "context", "mode"})
    for name, values in _REASONING.items():
        if not is_one_of(reasoning.get(name), (None, *values)):
            yield _no(f"'{name}' is one of {', '.join(values)}; not {reasoning[name]!r}.", f"reasoning.{name}", "invalid_value")


def _output_problems(text: Any) -> Iterator[Problem]:
    if not is_object(text):
        yield _no("'text' must be an object.", "text", "invalid_type")
        return
    yield from (_unknown(f"text.{name}") for name in text if name not in {"format", "verbosity"})
    if not is_one_of(text.get("verbosity"), (None, "low", "medium", "high")):
        yield _no("'verbosity' is low, medium or high.", "text.verbosity", "invalid_value")
    form = object_of(text.get("format", {"type": "text"}))
    place = "text.format"
    kind = form.get("type")
    if not is_one_of(kind, ("text", "json_object", "json_schema")):
        yield _no(f"The type of the output is text, json_object or json_schema; not {kind!r}.", f"{place}.type", "invalid_value")
    if kind != "json_schema":
        return
    yield from (_unknown(f"{place}.{name}") for name in form if name not in {"type", "name", "schema", "strict", "description"})
    if not _matches(_NAME, form.get("name")):
        yield _no(f"The name {form.get('name')!r} is none that an output can have: {_NAME.pattern}.", f"{place}.name")
    for wrong in _schema_problems(form.get("schema"), strict=form.get("strict")):
        yield _no(f"Invalid schema for response_format {form.get('name')!r}: {wrong}.", f"{place}.schema", "invalid_json_schema")


def _kind(item: Any) -> str:
    """Say what an item is; a message need not."""
    item = object_of(item)
    return str(item.get("type") or ("message" if "role" in item else "item_reference" if set(item) == {"id"} else None))


def _matches(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _missing(place: str) -> Problem:
    return _no(f"Missing required parameter: '{place}'.", place, "missing_required_parameter")


def _unknown(place: str) -> Problem:
    return _no(f"Unknown parameter: '{place}'.", place, "unknown_parameter")


def _no(message: str, param: str, code: str | None = None) -> Problem:
    return Problem(message=message, param=param, code=code)
