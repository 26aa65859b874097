"""Says messages as Anthropic's content blocks: only users and assistants speak, and nothing that they say is empty."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from agentloop.errors import ConfigurationError
from agentloop.messages import File, Image, Message, Opaque, Part, Refusal, ResultPart, Text, Thinking, ToolCall, ToolResult
from agentloop.wire.attachments import attachments_moved
from agentloop.wire.lenient import as_text
from agentloop.wire.sayable import arguments_object, base64_text, call_id, call_name, not_for_users, own, own_opaque

Json = dict[str, Any]

# Anthropic refuses text that is empty or all white space.
_EMPTY = "(empty)"
_THOUGHTS = ("thinking", "redacted_thinking")
_PICTURES = ("image/gif", "image/jpeg", "image/png", "image/webp")
_TEXTS = ("application/javascript", "application/json", "application/toml", "application/xml", "application/x-yaml", "application/yaml")


class Speaker:
    """Says one transcript."""

    def __init__(self, origin: str, *, says_unsigned: bool) -> None:
        """Prepare to say what `origin` wants to hear again, and its thinking even where no signature proves it if `says_unsigned`."""
        self._origin = origin
        self._says_unsigned = says_unsigned
        self._ids: dict[str, str] = {}
        self._taken: set[str] = set()
        self._unsaid: set[str] = set()

    def said(self, messages: Sequence[Message]) -> list[Json]:
        """Say the messages in their order; a longer transcript begins with the same words."""
        self._unsaid = _halves(messages, self._origin)
        said: list[Json] = []
        before = ""
        for message in attachments_moved(messages, from_results=False):
            blocks = [*self._blocks(message)]
            if message.role == "tool" and before == "tool":
                # Anthropic wants all results of a reply in one message.
                said[-1]["content"] += blocks
            elif blocks or message.role != "assistant":
                role = "assistant" if message.role == "assistant" else "user"
                said.append({"role": role, "content": blocks or [_text(_EMPTY)]})
            before = message.role
        return _sayable(said)

    def _blocks(self, message: Message) -> Iterator[Json]:
        match message.role:
            case "assistant":
                for part in message.parts:
                    yield from self._part(part)
            case "tool":
                yield from map(self._result, message.results)
            case _:
                yield from map(shown_block, (part for part in message.parts if not _is_blank(part)))

    def _part(self, part: Part) -> Iterator[Json]:
        match part:
            case Text(text, state) if text.strip():
                yield _text(text) | (own(state, self._origin) or {})
            case Refusal(text) if text.strip():
                yield _text(text)
            case Thinking(text, state):
                fields = own(state, self._origin)
                if fields is not None and (fields.get("signature") or self._says_unsigned):
                    yield {"type": "thinking", "thinking": text} | fields
            case ToolCall():
                said: Json = {"type": "tool_use", "id": self._call_id(part), "name": call_name(part.name), "input": arguments_object(part)}
                yield said | (own(part.state, self._origin) or {})
            case Opaque(state):
                block = own(state, self._origin)
                if block is not None and self._is_said(block):
                    yield block
            case _:
                return

    def _is_said(self, block: Json) -> bool:
        return block.get("type") != "container" and as_text(block.get("tool_use_id") or block.get("id")) not in self._unsaid

    def _call_id(self, call: ToolCall) -> str:
        known = call_id(call)
        if known in self._taken:
            # A provider that counts its ids anew in each reply gives them twice in a transcript.
            known = f"{call.id}_{len(self._taken)}"
        self._taken.add(known)
        self._ids[call.id] = known
        return known

    def _result(self, result: ToolResult) -> Json:
        said: Json = {
            "type": "tool_result",
            "tool_use_id": self._ids.get(result.call_id, result.call_id),
            "content": _content(result.content),
        }
        return said | ({"is_error": True} if result.is_error else {})


def starts_with_thought(message: Json) -> bool:
    """Whether what is said begins with the model's own thinking."""
    return message["content"][0]["type"] in _THOUGHTS


def open_container(messages: Sequence[Message], origin: str) -> str | None:
    """Find the container in which the model ran code last, unless it has expired: there its files and its waiting calls are."""
    for message in reversed(messages):
        for block in reversed([*own_opaque(message, origin)]):
            if block.get("type") == "container" and block.get("id") and not _is_over(block.get("expires_at")):
                return as_text(block["id"])
    return None


def _is_over(until: object) -> bool:
    try:
        return datetime.fromisoformat(as_text(until)) <= datetime.now(UTC)
    # A TypeError is a time without its zone.
    except (TypeError, ValueError):
        return False


def _halves(messages: Sequence[Message], origin: str) -> set[str]:
    """Find the hosted tools' calls without a result, and results without a call, which Anthropic refuses.

    A call beside calls of our tools waits for their results, and its own result stands in the reply after them; so a call without one is
    still at work as long as nothing else was said.
    https://platform.claude.com/docs/en/agents-and-tools/tool-use/server-tools
    """
    halves: set[str] = set()
    at_work: set[str] = set()
    for message in messages:
        if message.role == "tool":
            continue
        before, at_work = at_work, set[str]()
        for block in own_opaque(message, origin):
            if "tool_use_id" in block:
                answered = as_text(block["tool_use_id"])
                halves |= {answered} - before - at_work
                before, at_work = before - {answered}, at_work - {answered}
            elif str(block.get("type")).endswith("tool_use"):
                at_work.add(as_text(block.get("id")))
        halves |= before
    return halves


def _sayable(said: list[Json]) -> list[Json]:
    """Let a user speak first, and neither a thought nor white space stand last, where the transcript does otherwise."""
    while said and said[-1]["role"] == "assistant" and said[-1]["content"][-1]["type"] in _THOUGHTS:
        said[-1]["content"].pop()
        said = said if said[-1]["content"] else said[:-1]
    if not said or said[0]["role"] != "user":
        said.insert(0, {"role": "user", "content": [_text(_EMPTY)]})
    last = said[-1]["content"][-1]
    if said[-1]["role"] == "assistant" and last["type"] == "text":
        last["text"] = last["text"].rstrip()
    return said


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


def _is_blank(part: Part) -> bool:
    return isinstance(part, Text) and not part.text.strip()


def _content(content: str | tuple[ResultPart, ...]) -> str | list[Json]:
    if isinstance(content, str):
        return content if content.strip() else _EMPTY
    return [shown_block(part) for part in content if not _is_blank(part)] or _EMPTY


def shown_block(part: Part) -> Json:
    """Say what a user shows, or a tool."""
    match part:
        case Text(text):
            return _text(text)
        case Image() | File() if part.url and part.url.startswith("data:"):
            media_type, _, data = part.url.removeprefix("data:").partition(";base64,")
            return _picture(media_type, data) if isinstance(part, Image) else _document(part.name, media_type, data)
        case Image(url=str(url)):
            return {"type": "image", "source": {"type": "url", "url": url}}
        case Image():
            return _picture(part.media_type, base64_text(part.data))
        case File(url=str(url)) if not part.media_type.startswith(("audio/", "video/")):
            return {"type": "document", "source": {"type": "url", "url": url}}
        case File(data=bytes(data)) if part.media_type.startswith("image/"):
            return _picture(part.media_type, base64_text(data))
        case File(data=bytes(data)) if part.media_type.startswith("text/") or part.media_type in _TEXTS:
            source = {"type": "text", "media_type": "text/plain", "data": data.decode("utf-8", "replace")}
            return {"type": "document", "source": source, "title": part.name}
        case File(data=bytes(data)):
            return _document(part.name, part.media_type, base64_text(data))
        case File():
            raise _not_taken(part.media_type)
        case _:
            raise not_for_users(part)


def _picture(media_type: str, data: str) -> Json:
    if media_type not in _PICTURES:
        raise ConfigurationError(f"Anthropic's messages take no {media_type!r}; give pictures as {', '.join(_PICTURES)}")
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}


def _document(name: str, media_type: str, data: str) -> Json:
    if media_type != "application/pdf":
        raise _not_taken(media_type)
    return {"type": "document", "source": {"type": "base64", "media_type": media_type, "data": data}, "title": name}


def _not_taken(media_type: str) -> ConfigurationError:
    return ConfigurationError(
        f"Anthropic's messages take no {media_type!r}; give files as 'application/pdf' or as text, and words for sounds"
    )
