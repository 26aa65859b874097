"""Says messages as Anthropic's content blocks: only users and assistants speak, and nothing that they say is empty."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from agentloop.errors import ConfigurationError
from agentloop.messages import File, Image, Message, Opaque, Part, Refusal, ResultPart, Text, Thinking, ToolCall, ToolResult
from agentloop.wire.attachments import Moving
from agentloop.wire.lenient import as_text
from agentloop.wire.sayable import arguments_object, base64_text, call_id, call_name, not_for_users, own, own_opaque

Json = dict[str, Any]

# Anthropic refuses text that is empty or all white space.
_EMPTY = "(empty)"
_THOUGHTS = ("thinking", "redacted_thinking")
_PICTURES = ("image/gif", "image/jpeg", "image/png", "image/webp")
_TEXTS = ("application/javascript", "application/json", "application/toml", "application/xml", "application/x-yaml", "application/yaml")


@dataclass(frozen=True, slots=True)
class Chain:
    """The replies that a model has made since somebody else than a tool spoke last."""

    first_thinks: bool
    """Whether the first of them begins with a thought."""
    last_thinks: bool
    last_calls: bool
    is_over: bool = False
    """Whether somebody has spoken since: the next reply begins a chain of its own."""
    is_last: bool = True
    """Whether nobody has."""

    @property
    def may_think_on(self) -> bool:
        """Whether a model with a budget may think: the replies whose results it reads now must have begun with thoughts of its own.

        "When `thinking` is enabled, a final `assistant` message must start with a thinking block (preceeding the lastmost set of
        `tool_use` and `tool_result` blocks)", says Anthropic's error.
        """
        goes_on = self.is_last or self.last_calls
        return not goes_on or (self.first_thinks and self.last_thinks)

    @classmethod
    def with_next(cls, chain: Chain | None, said: Json) -> Chain | None:
        """Go on with what is said next."""
        blocks = said["content"]
        if said["role"] == "assistant":
            thinks = blocks[0]["type"] in _THOUGHTS
            first_thinks = thinks if chain is None or chain.is_over else chain.first_thinks
            return cls(first_thinks, thinks, any(block["type"] == "tool_use" for block in blocks))
        return chain and replace(chain, is_over=chain.is_over or blocks[0]["type"] != "tool_result", is_last=False)


class Speaker:
    """Says one transcript."""

    def __init__(self, origin: str, *, says_unsigned: bool, halves: frozenset[str] = frozenset()) -> None:
        """Begin with nothing said.

        Args:
            origin: Who wants to hear again what it made.
            says_unsigned: Whether it wants its thinking back even where no signature proves it.
            halves: The hosted calls that have no result, and the results that have no call; these are left out.
        """
        self._origin = origin
        self._says_unsigned = says_unsigned
        self._halves = {*halves}
        self._at_work: set[str] = set()
        self._ids: dict[str, str] = {}
        self._taken: set[str] = set()
        self._moving = Moving(from_results=False)
        self._before = ""
        self._has_said = False
        self.leading: list[str] = []
        """What the system says before anybody else speaks."""
        self._hosted: set[str] = set()
        self.kinds: frozenset[str] = frozenset()
        """The types of all blocks."""
        self.called: frozenset[str] = frozenset()
        """The names of the hosted tools that were called."""
        self.containers: list[Json] = []
        """Where the model ran code."""
        self.chain: Chain | None = None
        """Of what is settled."""

    def foresee(self, messages: Sequence[Message]) -> Speaker:
        """Find the halves; where a hosted call is one of them that was said already, it should not have been."""
        found = {half for message in messages for half in self._new_halves(message)} - self._halves
        self._halves |= found
        if found.isdisjoint(self._hosted):
            return self
        return Speaker(self._origin, says_unsigned=self._says_unsigned, halves=frozenset(self._halves))

    def say(self, message: Message, said: list[Json]) -> None:
        """Say the next message."""
        if message.role == "system" and not self._before:
            self.leading.append(message.text)
            return
        self.containers += [block for block in own_opaque(message, self._origin) if block.get("type") == "container" and block.get("id")]
        for moved in self._moving.moved(message):
            blocks = [*self._blocks(moved)]
            self.kinds |= {as_text(block["type"]) for block in blocks}
            self.called |= {as_text(block.get("name")) for block in blocks if block["type"] == "server_tool_use"}
            if moved.role == "tool" and self._before == "tool":
                # Anthropic wants all results of a reply in one message.
                said[-1]["content"] += blocks
            elif blocks or moved.role != "assistant":
                role = "assistant" if moved.role == "assistant" else "user"
                if role == "assistant" and not self._has_said:
                    said.append({"role": "user", "content": [_text(_EMPTY)]})
                self._has_said = True
                said.append({"role": role, "content": blocks or [_text(_EMPTY)]})
            self._before = moved.role

    def settle(self, said: Sequence[Json]) -> int:
        """Keep all open from the last but one that a user says: there marks for the cache may stand, and behind them half a reply."""
        users = [number for number, each in enumerate(said) if each["role"] == "user"]
        count = users[-2] if len(users) > 1 else 0
        for each in said[:count]:
            self.chain = Chain.with_next(self.chain, each)
        return count

    def _new_halves(self, message: Message) -> set[str]:
        """Find the hosted tools' calls without a result, and results without a call, which Anthropic refuses.

        A call beside calls of our tools waits for their results, and its own result stands in the reply after them; so a call without
        one is still at work as long as nothing else was said.
        https://platform.claude.com/docs/en/agents-and-tools/tool-use/server-tools
        """
        if message.role == "tool":
            return set()
        before, at_work = self._at_work, set[str]()
        halves: set[str] = set()
        for block in own_opaque(message, self._origin):
            if "tool_use_id" in block:
                answered = as_text(block["tool_use_id"])
                halves |= {answered} - before - at_work
                before, at_work = before - {answered}, at_work - {answered}
            elif str(block.get("type")).endswith("tool_use"):
                at_work.add(as_text(block.get("id")))
        self._at_work = at_work
        return halves | before

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
                if block is not None and block.get("type") != "container" and (known := _hosted_id(block)) not in self._halves:
                    self._hosted.add(known)
                    yield block
            case _:
                return

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


def open_container(containers: list[Json]) -> str | None:
    """Find the container in which the model ran code last, unless it has expired: there its files and its waiting calls are."""
    while containers and _is_over(containers[-1].get("expires_at")):
        containers.pop()
    return as_text(containers[-1]["id"]) if containers else None


def _hosted_id(block: Json) -> str:
    return as_text(block.get("tool_use_id") or block.get("id"))


def _is_over(until: object) -> bool:
    try:
        return datetime.fromisoformat(as_text(until)) <= datetime.now(UTC)
    # A TypeError is a time without its zone.
    except (TypeError, ValueError):
        return False


def sayable(said: Sequence[Json], *, is_all: bool) -> list[Json]:
    """Let somebody speak, and neither a thought nor white space stand last, where the transcript does otherwise.

    Args:
        said: The end of what is said.
        is_all: Whether it is the beginning, too.
    """
    said = [*said]
    while said and said[-1]["role"] == "assistant" and said[-1]["content"][-1]["type"] in _THOUGHTS:
        kept = said[-1]["content"][:-1]
        said[-1:] = [said[-1] | {"content": kept}] if kept else []
    if is_all and not said:
        said = [{"role": "user", "content": [_text(_EMPTY)]}]
    if said and said[-1]["role"] == "assistant" and said[-1]["content"][-1]["type"] == "text":
        *before, last = said[-1]["content"]
        said[-1] = said[-1] | {"content": [*before, last | {"text": last["text"].rstrip()}]}
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
