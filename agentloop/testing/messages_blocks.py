"""What the content blocks of a message to Anthropic must be."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agentloop.testing.answers import is_forged
from agentloop.testing.schema_rules import is_list, is_object, is_one_of, object_of

Json = Mapping[str, Any]

# What a block must have, and what else it may have; "type" is not said again.
_BLOCKS: Mapping[str, tuple[str, str]] = {
    "text": ("text", "cache_control citations"),
    "image": ("source", "cache_control transformations"),
    "document": ("source", "cache_control citations context title"),
    "search_result": ("content source title", "cache_control citations"),
    "thinking": ("thinking signature", ""),
    "redacted_thinking": ("data", ""),
    "tool_use": ("id name input", "cache_control caller toolset_name"),
    "tool_result": ("tool_use_id", "cache_control content is_error toolset_name"),
    "server_tool_use": ("id name input", "cache_control caller"),
    "web_search_tool_result": ("tool_use_id content", "cache_control caller"),
    "web_fetch_tool_result": ("tool_use_id content", "cache_control caller"),
    "code_execution_tool_result": ("tool_use_id content", "cache_control"),
    "bash_code_execution_tool_result": ("tool_use_id content", "cache_control"),
    "text_editor_code_execution_tool_result": ("tool_use_id content", "cache_control"),
    "tool_search_tool_result": ("tool_use_id content", "cache_control"),
    "mcp_tool_use": ("id name input server_name", "cache_control"),
    "mcp_tool_result": ("tool_use_id", "cache_control content is_error"),
    "container_upload": ("file_id", "cache_control"),
    "compaction": ("content", "cache_control"),
    "fallback": ("", "from to"),
}
_USER = ("text", "image", "document", "search_result", "tool_result", "container_upload")
_INSIDE_RESULTS = ("text", "image", "document", "search_result", "tool_reference")
_THOUGHTS = ("thinking", "redacted_thinking")
_SOURCES = {"base64": "media_type data", "url": "url", "file": "file_id", "text": "media_type data", "content": "content"}
_ID = re.compile(r"[a-zA-Z0-9_-]+")
_CITATION = ("type", "cited_text", "url", "title", "encrypted_index")


def blocks_of(content: Any) -> list[Json]:
    """Take the content of a message as blocks; a string is one of text."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return [object_of(block) for block in content] if is_list(content) else []


def block_problems(blocks: Sequence[Json], role: str, *, place: str) -> Iterator[str]:
    """Look at the blocks of one message."""
    begun: set[str] = set()
    for number, block in enumerate(blocks):
        here = f"{place}.content.{number}"
        kind = str(block.get("type"))
        allowed = _USER if role == "user" else [each for each in _BLOCKS if each not in _USER or each in {"text", "container_upload"}]
        if kind not in allowed:
            yield f"{here}: Input tag {kind!r} does not match any of the expected tags for the role {role!r}: {', '.join(allowed)}"
            return
        needed, optional = (names.split() for names in _BLOCKS[kind])
        yield from (f"{here}.{kind}.{name}: Field required" for name in needed if name not in block)
        yield from (f"{here}.{kind}.{name}: Extra inputs are not permitted" for name in block if name not in {*needed, *optional, "type"})
        yield from _kind_problems(block, kind, role=role, place=f"{here}.{kind}")
        before = str(blocks[number - 1].get("type")) if number else ""
        if kind in _THOUGHTS and before and before not in _THOUGHTS and not before.endswith("_tool_result"):
            yield f"{here}.type: `{kind}` blocks must come first in their turn, not behind `{before}`"
        if kind in {"server_tool_use", "mcp_tool_use"}:
            begun.add(str(block.get("id")))
        elif kind.endswith("_tool_result") and not is_one_of(block.get("tool_use_id"), begun):
            yield f"{here}: unexpected `tool_use_id` found in `{kind}` blocks: {block.get('tool_use_id')}"


def _kind_problems(block: Json, kind: str, *, role: str, place: str) -> Iterator[str]:
    match kind:
        case "text":
            yield from _text_problems(block, role, place)
        case "thinking":
            yield from _thinking_problems(block, place)
        case "tool_use" | "server_tool_use" | "mcp_tool_use":
            yield from _use_problems(block, place)
        case "tool_result":
            yield from _result_problems(block, place)
        case "web_search_tool_result":
            for found in block["content"] if is_list(block.get("content")) else ():
                if is_forged(object_of(found).get("encrypted_content"), "found", object_of(found).get("url")):
                    yield f"{place}: Invalid `encrypted_content` in `web_search_result` block"
        case "image" | "document":
            yield from _source_problems(block.get("source"), f"{place}.source")
        case _:
            pass


def _thinking_problems(block: Json, place: str) -> Iterator[str]:
    if not isinstance(block.get("thinking"), str) or not block.get("signature"):
        yield f"{place}.signature: Field required"
    if is_forged(block.get("signature"), "thinking", block.get("thinking")):
        yield f"{place}: Invalid `signature` in `thinking` block"


def _use_problems(block: Json, place: str) -> Iterator[str]:
    if not isinstance(block.get("id"), str) or not _ID.fullmatch(block["id"]):
        yield f"{place}.id: String should match pattern '^{_ID.pattern}$', not {block.get('id')!r}"
    if not is_object(block.get("input")):
        yield f"{place}.input: Input should be a valid dictionary"
    if not isinstance(block.get("name"), str) or not block["name"]:
        yield f"{place}.name: String should have at least 1 character"


def _text_problems(block: Json, role: str, place: str) -> Iterator[str]:
    text = block.get("text")
    if not isinstance(text, str):
        yield f"{place}.text: Input should be a valid string"
    elif not text:
        yield "messages: text content blocks must be non-empty"
    # Anthropic's own cited replies have such blocks between the cited ones, and it takes them back.
    elif not text.strip() and role != "assistant":
        yield "messages: text content blocks must contain non-whitespace text"
    for number, citation in enumerate(block["citations"] if is_list(block.get("citations")) else ()):
        here = f"{place}.citations.{number}"
        citation = object_of(citation)  # noqa: PLW2901 - the citation as an object
        if citation.get("type") == "web_search_result_location":
            yield from (f"{here}.{name}: Field required" for name in _CITATION if name not in citation)
            yield from (f"{here}.{name}: Extra inputs are not permitted" for name in citation if name not in _CITATION)
            if is_forged(citation.get("encrypted_index"), "cited", citation.get("url")):
                yield f"{here}: Invalid `encrypted_index`"


def _result_problems(block: Json, place: str) -> Iterator[str]:
    if not isinstance(block.get("tool_use_id"), str) or not _ID.fullmatch(block["tool_use_id"]):
        yield f"{place}.tool_use_id: String should match pattern '^{_ID.pattern}$', not {block.get('tool_use_id')!r}"
    if not isinstance(block.get("is_error") or False, bool):
        yield f"{place}.is_error: Input should be a valid boolean"
    content = block.get("content", "")
    if not isinstance(content, str | list):
        yield f"{place}.content: Input should be a valid string or list"
        return
    # A whole result may be empty; a block of text in it may not.
    for number, inner in enumerate(blocks_of(content) if is_list(content) else ()):
        kind = str(inner.get("type"))
        if kind not in _INSIDE_RESULTS:
            yield f"{place}.content.{number}: Input tag {kind!r} does not match any of the expected tags: {', '.join(_INSIDE_RESULTS)}"
        else:
            yield from _kind_problems(inner, kind, role="user", place=f"{place}.content.{number}.{kind}")


def _source_problems(source: Any, place: str) -> Iterator[str]:
    kind = str(object_of(source).get("type"))
    if kind not in _SOURCES:
        yield f"{place}.type: Input should be one of {', '.join(_SOURCES)}, not {kind!r}"
    else:
        yield from (f"{place}.{kind}.{name}: Field required" for name in _SOURCES[kind].split() if name not in source)
