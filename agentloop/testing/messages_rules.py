"""What a request to Anthropic's Messages must be for Anthropic to take it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agentloop.testing.answers import Problem
from agentloop.testing.messages_blocks import block_problems, blocks_of
from agentloop.testing.schema_rules import is_list, is_number, is_object, is_one_of, object_of, parameters_problems, plain_problems

Json = Mapping[str, Any]

# The fields of the API, by Anthropic's SDK 2.12, and those of sampling, which it has dropped and older models take.
_FIELDS = (
    "cache_control", "container", "diagnostics", "inference_geo", "max_tokens", "messages", "metadata", "model", "output_config",
    "service_tier", "speed", "stop_sequences", "stream", "system", "temperature", "thinking", "tool_choice", "tools", "top_k",
    "top_p", "user_profile_id", "workspace_id",
)  # fmt: skip
_BETA_FIELDS = ("compaction", "context_management", "fallbacks", "mcp_servers", "output_format", "thread")
_TOOL = (
    "allowed_callers", "cache_control", "defer_loading", "description", "eager_input_streaming", "input_examples", "input_schema",
    "name", "strict", "type",
)  # fmt: skip
# The families of tools that Anthropic runs, or has trained its models on; each type has a date behind it.
_TOOL_FAMILIES = (
    "advisor", "bash", "browser_toolset", "code_execution", "computer", "computer_toolset", "mcp_toolset", "memory", "text_editor",
    "tool_search_tool_bm25", "tool_search_tool_regex", "web_fetch", "web_search",
)  # fmt: skip
_DATED = re.compile(rf"({'|'.join(_TOOL_FAMILIES)})(?:_?\d{{8}})?")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_THOUGHTS = ("thinking", "redacted_thinking")
_TAKES_ONE_SAMPLING = re.compile(r"claude-(?:opus-4[-.][1-6]|(?:sonnet|haiku)-4[-.][56])(?!\d)")
_MOST_CACHE_MARKS = 4
_LEAST_BUDGET = 1024


def messages_problem(body: Any, *, headers: Mapping[str, str]) -> Problem | None:
    """Say why Anthropic would refuse this body under these headers, or None."""
    if not headers.get("anthropic-version"):
        return Problem(message="anthropic-version: header is required")
    if not is_object(body):
        return Problem(message="The request body must be a JSON object.")
    return next((Problem(message=words) for words in _problems(body, has_betas="anthropic-beta" in headers)), None)


def _problems(body: Json, *, has_betas: bool) -> Iterator[str]:
    known = {*_FIELDS, *(_BETA_FIELDS if has_betas else ())}
    yield from (f"{name}: Extra inputs are not permitted" for name in body if name not in known)
    yield from (f"{name}: Field required" for name in ("model", "max_tokens", "messages") if name not in body)
    if not isinstance(body.get("model"), str) or not body["model"]:
        yield "model: must be the name of a model"
    messages = body.get("messages")
    if not is_list(messages) or not messages:
        yield "messages: at least one message is required"
        return
    yield from _transcript_problems(messages)
    yield from _system_problems(body.get("system"))
    yield from _tool_problems(body)
    yield from _setting_problems(body)
    yield from _thinking_problems(body, messages)
    yield from _cache_problems(body)
    yield from _container_problems(body)


def _transcript_problems(messages: Sequence[Any]) -> Iterator[str]:
    """Walk through the messages; the calls of one must all be answered at the start of the next."""
    waiting: list[str] = []
    seen: set[str] = set()
    for number, message in enumerate(messages):
        place = f"messages.{number}"
        role = str(object_of(message).get("role"))
        if role not in {"user", "assistant"}:
            yield f"{place}.role: Input should be 'user' or 'assistant', not {role!r}; what the system says stands in 'system'"
            return
        yield from (f"{place}.{name}: Extra inputs are not permitted" for name in message if name not in {"role", "content"})
        if number == 0 and role != "user":
            yield 'messages: first message must use the "user" role'
        blocks = blocks_of(message.get("content"))
        if not blocks:
            yield f"{place}: all messages must have non-empty content"
        yield from block_problems(blocks, role, place=place)
        yield from _answer_problems(blocks, waiting, place=place)
        waiting = [str(block.get("id")) for block in blocks if block.get("type") == "tool_use"]
        if twice := [call_id for call_id in waiting if call_id in seen or waiting.count(call_id) > 1]:
            yield f"{place}: `tool_use` ids must be unique; {twice[0]} comes twice"
        seen.update(waiting)
    if waiting:
        yield _unanswered(f"messages.{len(messages) - 1}", waiting)
    if object_of(messages[-1]).get("role") == "assistant" and blocks_of(messages[-1].get("content"))[-1].get("text", "x")[-1:].isspace():
        yield "messages: final assistant content cannot end with trailing whitespace"


def _answer_problems(blocks: Sequence[Json], waiting: Sequence[str], *, place: str) -> Iterator[str]:
    kinds = [block.get("type") for block in blocks]
    answered = [str(block.get("tool_use_id")) for block in blocks if block.get("type") == "tool_result"]
    for call_id in answered:
        if call_id not in waiting:
            yield (
                f"{place}: unexpected `tool_use_id` found in `tool_result` blocks: {call_id}. "
                "Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
            )
        if answered.count(call_id) > 1:
            yield f"{place}: each tool_use must have a single result. Found multiple `tool_result` blocks with id: {call_id}"
    # Results behind other blocks are not found; https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/implement-tool-use
    if missing := [call_id for call_id in waiting if call_id not in answered]:
        yield _unanswered(place, missing)
    if "tool_result" in kinds[len(answered) :]:
        yield f"{place}: `tool_result` blocks must come first in the content, before any other block"


def _unanswered(place: str, call_ids: Sequence[str]) -> str:
    return (
        f"{place}: `tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(call_ids)}. "
        "Each `tool_use` block must have a corresponding `tool_result` block in the next message."
    )


def _system_problems(system: Any) -> Iterator[str]:
    if system is None or isinstance(system, str):
        return
    if not is_list(system):
        yield "system: Input should be a valid string or list"
        return
    for number, block in enumerate(blocks_of(system)):
        if block.get("type") != "text":
            yield f"system.{number}.type: Input should be 'text'"
    yield from block_problems(blocks_of(system), "user", place="system")


def _tool_problems(body: Json) -> Iterator[str]:
    tools = body.get("tools")
    if tools is not None and not is_list(tools):
        yield "tools: Input should be a valid list"
        return
    names: list[str] = []
    for number, tool in enumerate(tools or ()):
        place = f"tools.{number}"
        kind = object_of(tool).get("type") or "custom"
        if kind == "custom":
            yield from _custom_tool_problems(object_of(tool), place)
        elif not isinstance(kind, str) or not _DATED.fullmatch(kind):
            families = ", ".join(_TOOL_FAMILIES)
            yield f"{place}: Input tag {kind!r} does not match any of the expected tags: custom, {families}, with their dates"
        elif not kind.endswith("toolset") and "toolset" not in kind and not tool.get("name"):
            yield f"{place}.name: Field required"
        names.append(str(object_of(tool).get("name") or kind))
    if twice := sorted({name for name in names if names.count(name) > 1 and name != "mcp_toolset"}):
        yield f"tools: Tool names must be unique; {twice[0]!r} comes twice"
    yield from _choice_problems(body.get("tool_choice"), names)


def _custom_tool_problems(tool: Json, place: str) -> Iterator[str]:
    yield from (f"{place}.custom.{name}: Extra inputs are not permitted" for name in tool if name not in _TOOL)
    if not isinstance(tool.get("name"), str) or not _NAME.fullmatch(tool["name"]):
        yield f"{place}.custom.name: String should match pattern '^{_NAME.pattern}$', not {tool.get('name')!r}"
    if not isinstance(tool.get("description", ""), str):
        yield f"{place}.custom.description: Input should be a valid string"
    schema = tool.get("input_schema")
    if not is_object(schema):
        yield f"{place}.custom.input_schema: Field required"
    elif schema.get("type") != "object":
        yield f"{place}.custom.input_schema.type: Input should be 'object'"
    else:
        yield from (f"{place}.custom.input_schema: JSON schema is invalid: {wrong}" for wrong in parameters_problems(schema))
        if tool.get("strict"):
            yield from (f"{place}.custom: {wrong}" for wrong in plain_problems(schema))


def _choice_problems(choice: Any, names: Sequence[str]) -> Iterator[str]:
    if choice is None:
        return
    kind = str(object_of(choice).get("type"))
    switch = "disable_parallel_tool_use"
    allowed = {"auto": switch, "any": switch, "tool": f"name {switch}", "none": ""}
    if kind not in allowed:
        yield f"tool_choice: Input should be an object of the type 'auto', 'any', 'tool' or 'none', not {choice!r}"
        return
    known = {"type", *allowed[kind].split()}
    yield from (f"tool_choice.{name}: Extra inputs are not permitted" for name in choice if name not in known)
    if not isinstance(choice.get(switch, False), bool):
        yield f"tool_choice.{switch}: Input should be a valid boolean"
    if not names:
        yield "tool_choice: may only be specified while providing tools"
    elif kind == "tool" and choice.get("name") not in names:
        yield f"tool_choice.tool.name: Tool {choice.get('name')!r} not found in provided tools"


def _setting_problems(body: Json) -> Iterator[str]:
    most = body.get("max_tokens")
    if not isinstance(most, int) or isinstance(most, bool) or most < 1:
        yield "max_tokens: Input should be greater than or equal to 1"
    if not isinstance(body.get("stream", False), bool):
        yield "stream: Input should be a valid boolean"
    for name in ("temperature", "top_p"):
        if name in body and not (is_number(body[name]) and 0 <= body[name] <= 1):
            yield f"{name}: range: 0..1"
    if body.get("temperature") is not None and body.get("top_p") is not None and _TAKES_ONE_SAMPLING.search(str(body.get("model"))):
        yield "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
    stops = body.get("stop_sequences", [])
    if not is_list(stops) or not all(isinstance(stop, str) and stop.strip() for stop in stops):
        yield "stop_sequences: each stop sequence must contain non-whitespace"
    yield from (f"metadata.{name}: Extra inputs are not permitted" for name in object_of(body.get("metadata")) if name != "user_id")
    yield from _output_problems(body.get("output_config"))


def _output_problems(config: Any) -> Iterator[str]:
    if config is None:
        return
    if not is_object(config):
        yield "output_config: Input should be a valid dictionary"
        return
    yield from (f"output_config.{name}: Extra inputs are not permitted" for name in config if name not in {"effort", "format"})
    if not is_one_of(config.get("effort"), (None, "low", "medium", "high", "xhigh", "max")):
        yield "output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'"
    form = config.get("format")
    if form is None:
        return
    place = "output_config.format"
    if object_of(form).get("type") != "json_schema":
        yield f"{place}.type: Input should be 'json_schema'"
        return
    yield from (f"{place}.{name}: Extra inputs are not permitted" for name in form if name not in {"type", "schema"})
    if not is_object(form.get("schema")):
        yield f"{place}.schema: Field required"
    else:
        yield from (f"{place}.schema: {wrong}" for wrong in plain_problems(form["schema"]))


def _thinking_problems(body: Json, messages: Sequence[Json]) -> Iterator[str]:
    thinking = body.get("thinking")
    if thinking is None:
        return
    kind = str(object_of(thinking).get("type"))
    allowed = {"enabled": "budget_tokens display block_binding", "adaptive": "display block_binding", "disabled": "", "between_tools": ""}
    if kind not in allowed:
        yield "thinking: Input should be an object of the type 'enabled', 'adaptive', 'disabled' or 'between_tools'"
        return
    known = {"type", *allowed[kind].split()}
    yield from (f"thinking.{kind}.{name}: Extra inputs are not permitted" for name in thinking if name not in known)
    if kind != "enabled":
        return
    budget, most = thinking.get("budget_tokens"), body.get("max_tokens")
    if not isinstance(budget, int) or budget < _LEAST_BUDGET:
        yield f"thinking.enabled.budget_tokens: Input should be greater than or equal to {_LEAST_BUDGET}"
    elif isinstance(most, int) and budget >= most:
        yield "`max_tokens` must be greater than `thinking.budget_tokens`"
    if body.get("temperature", 1) != 1:
        yield "`temperature` may only be set to 1 when thinking is enabled"
    if "top_k" in body:
        yield "`top_k` must be unset when thinking is enabled"
    if not is_one_of(object_of(body.get("tool_choice")).get("type", "auto"), ("auto", "none")):
        yield "Thinking may not be enabled when tool_choice forces tool use."
    yield from _thoughts_first(messages)


def _thoughts_first(messages: Sequence[Json]) -> Iterator[str]:
    """While results are handed in, the reply that asked for them must still begin with its thoughts."""
    users = [number for number, message in enumerate(messages) if message.get("role") == "user"]
    last = users[-1] if users else 0
    if last == 0 or not any(block.get("type") == "tool_result" for block in blocks_of(messages[last].get("content"))):
        return
    before = [number for number in range(last) if messages[number].get("role") == "user"]
    first = (before[-1] if before else -1) + 1
    found = (blocks_of(messages[first].get("content")) or [{}])[0].get("type")
    if found not in _THOUGHTS:
        yield (
            f"messages.{first}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{found}`. "
            "When `thinking` is enabled, a final `assistant` message must start with a thinking block."
        )


def _cache_problems(body: Json) -> Iterator[str]:
    marks = [*_cache_marks({name: body.get(name) for name in ("cache_control", "tools", "system", "messages")})]
    for mark in marks:
        if object_of(mark).get("type") != "ephemeral" or not is_one_of(object_of(mark).get("ttl", "5m"), ("5m", "1h")):
            yield "cache_control: Input should be of the type 'ephemeral', with a ttl of '5m' or '1h'"
    if len(marks) > _MOST_CACHE_MARKS:
        yield f"A maximum of {_MOST_CACHE_MARKS} blocks with cache_control may be provided. Found {len(marks)}."


def _container_problems(body: Json) -> Iterator[str]:
    if "container" in body and not isinstance(body["container"], str) and not is_object(body["container"]):
        yield "container: Input should be a valid string or an object"
    blocks = [block for message in body["messages"][-2:] for block in blocks_of(object_of(message).get("content"))]
    callers = [str(object_of(block.get("caller")).get("type")) for block in blocks if block.get("type") == "tool_use"]
    if not body.get("container") and any(caller.startswith("code_execution") for caller in callers):
        yield "container_id is required when there are pending tool uses generated by code execution with tools."


def _cache_marks(value: Any) -> Iterator[Any]:
    if is_list(value):
        for each in value:
            yield from _cache_marks(each)
    elif is_object(value):
        if value.get("cache_control") is not None:
            yield value["cache_control"]
        # What a tool is called with, and what describes it, are the user's words.
        yield from _cache_marks([each for name, each in value.items() if name not in {"cache_control", "input", "input_schema"}])
