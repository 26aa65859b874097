"""Reads chat completions, whole or by the chunk, leniently: no provider's replies fit OpenAI's own schema, not even OpenAI's."""

from __future__ import annotations

import contextlib
import json
from base64 import b64decode
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any, Literal, cast

from pydantic_core import to_json

from agentloop.deltas import (
    Delta,
    FinishDelta,
    PartDelta,
    RefusalDelta,
    ReplyDelta,
    StateDelta,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    UsageDelta,
)
from agentloop.errors import BadReply
from agentloop.messages import Citation, FinishReason, Image, State, Usage
from agentloop.wire.error_bodies import error_from, is_error
from agentloop.wire.lenient import as_arguments, as_count, as_list, as_object, as_text
from agentloop.wire.spoken import Sound

Json = Mapping[str, Any]

_READ_FIELDS = {"id", "object", "created", "model", "choices", "usage", "error"}
_RARE = {"function_call", "annotations", "images", "audio"}
_FINISH: dict[str, FinishReason] = {
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "length": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
}
_OPENS, _CLOSES = "<think>", "</think>"
_PICTURE = "![image](data:"
# OpenRouter, vLLM and DeepSeek end a reply that failed on their side with these; the last is Gemini's own word, which OpenRouter passes on.
_FAILED = {"error", "abort", "cancelled", "insufficient_system_resource", "MALFORMED_FUNCTION_CALL"}


class ChatDecoder:
    """Reads one reply."""

    def __init__(self, origin: str = "openai/chat") -> None:
        """`origin` marks what the provider wants to hear again."""
        self._origin = origin
        self._call_ids: list[str] = []
        self._by_index: dict[int, int] = {}
        self._legacy_call: int | None = None
        self._details: list[dict[str, Any]] = []
        self._thought_field = ""
        self._tags = _ThinkTags()
        self._pictures = _Pictures()
        self._sound = Sound()
        self._logprobs: dict[str, list[object]] = {}

    def feed(self, event: Json) -> Iterator[Delta]:
        """Read a chunk."""
        choice = yield from self._first_choice(event)
        if choice is not None:
            # Perplexity's chunks carry the piece (delta) and all so far (message); only the piece is new.
            yield from self._said(as_object(choice.get("delta")), whole=False)
            yield from self._closing(choice)

    def feed_whole(self, body: Json) -> Iterator[Delta]:
        """Read a whole completion."""
        choice = yield from self._first_choice(body)
        if choice is None:
            raise BadReply("the reply holds no choices; ask again")
        yield from self._said(as_object(choice.get("message")), whole=True)
        # A whole body is complete even where its reason is null or ''; a stream is not.
        yield from self._closing({**choice, "finish_reason": choice.get("finish_reason") or "stop"})

    def end(self) -> Iterator[Delta]:
        """Give the odds of all tokens, and what the provider wants to hear again of its thinking."""
        yield from self._in_words(self._tags.end())
        yield from self._pictures.end()
        if sound := self._sound.whole():
            yield PartDelta(sound)
        if self._logprobs:
            yield ReplyDelta(extra={"logprobs": self._logprobs})
        if self._details:
            yield StateDelta(self._state({"reasoning_details": self._details}), of="thinking")
        elif self._thought_field:
            yield StateDelta(self._state({"field": self._thought_field}), of="thinking")

    def words_in(self, event: Json) -> str:
        """Name the field of a chunk's words; '' where it says more than words that any number of chunks may add to."""
        choices = as_list(event.get("choices"))
        choice = as_object(choices[0] if len(choices) == 1 else None)
        if any(value for name, value in choice.items() if name != "delta"):
            return ""
        said = {name: value for name, value in as_object(choice.get("delta")).items() if value and name != "role"}
        match said:
            case {"content": str()} | {"reasoning_content": str()} | {"reasoning": str()} | {"refusal": str()} if len(said) == 1:
                return next(iter(said))
            case {"tool_calls": [{"function": {"arguments": str()}}]} if len(said) == 1:
                return "arguments"
            case _:
                return ""

    def _state(self, data: Json) -> State:
        return State(self._origin, to_json(data).decode())

    def _about(self, event: Json) -> Iterator[Delta]:
        extra = {name: event[name] for name in event.keys() - _READ_FIELDS if event[name] is not None}
        if extra or event.get("id") or event.get("model"):
            yield ReplyDelta(as_text(event.get("model")), as_text(event.get("id")), extra)
        usage = as_object(event.get("usage")) or as_object(event.get("x_groq")).get("usage")
        if usage:
            yield UsageDelta(read_usage(as_object(usage)))

    def _first_choice(self, event: Json) -> Generator[Delta, None, Json | None]:
        yield from self._about(event)
        if is_error(event):
            raise error_from(event)
        # Where several answers were asked for, their pieces come in turns.
        return next((choice for choice in map(as_object, as_list(event.get("choices"))) if not as_count(choice.get("index"))), None)

    def _closing(self, choice: Json) -> Iterator[Delta]:
        for name, tokens in as_object(choice.get("logprobs")).items():
            self._logprobs.setdefault(name, []).extend(as_list(tokens))
        reason = choice.get("finish_reason")
        if not (reason or choice.get("native_finish_reason") or is_error(choice)):
            return
        failed = next((word for word in (reason, choice.get("native_finish_reason")) if word in _FAILED), None)
        if is_error(choice) or failed:
            raise error_from({"error": choice.get("error") or {"message": f"the reply ended with {failed!r}"}})
        if reason:
            yield FinishDelta(_FINISH.get(reason, "stop"))

    def _said(self, said: Json, *, whole: bool) -> Iterator[Delta]:
        yield from self._thinking(said, whole=whole)
        if refusal := said.get("refusal"):
            yield RefusalDelta(as_text(refusal))
        yield from self._content(said.get("content"))
        for call in as_list(said.get("tool_calls")):
            yield self._call(as_object(call), whole=whole)
        if said.keys() & _RARE:
            yield from self._rarely_said(said)

    def _rarely_said(self, said: Json) -> Iterator[Delta]:
        legacy = as_object(said.get("function_call"))
        if legacy.get("name") or legacy.get("arguments"):
            yield self._function_call(legacy)
        for annotation in as_list(said.get("annotations")):
            yield from self._citation(as_object(annotation))
        for image in as_list(said.get("images")):
            yield from _image(as_object(image))
        audio = as_object(said.get("audio"))
        self._sound.feed(as_text(audio.get("data")))
        if words := as_text(audio.get("transcript")):
            yield TextDelta(words)

    def _thinking(self, said: Json, *, whole: bool) -> Iterator[Delta]:
        for detail in map(as_object, as_list(said.get("reasoning_details"))):
            known = None if whole else next((begun for begun in reversed(self._details) if _goes_on(begun, detail)), None)
            if known is None:
                self._details.append(dict(detail))
            else:
                _add_to_detail(known, detail)
        # Mistral's thoughts lie among the parts of the content, which is read as such.
        if self._thought_field == "content":
            return
        # Some send the same thought under both names; the first field seen is the one that is read.
        for field in (self._thought_field,) if self._thought_field else ("reasoning_content", "reasoning"):
            thought = said.get(field)
            if thought and isinstance(thought, str):
                self._thought_field = field
                yield ThinkingDelta(thought)
                return

    def _content(self, content: object) -> Iterator[Delta]:
        match content:
            case None | "":
                return
            # Most pieces of an answer, for which the search for tags and pictures took 5 us each.
            case str() if self._tags.are_over and self._pictures.are_not_in(content):
                self._pictures.pass_over(content)
                yield TextDelta(content)
            case str():
                yield from self._in_words(self._tags.feed(content))
            case list():
                for part in cast("list[object]", content):
                    yield from self._content_part(part)
            case _:
                # Cloudflare gives the object itself where JSON was asked for.
                yield TextDelta(json.dumps(content, ensure_ascii=False))

    def _citation(self, annotation: Json) -> Iterator[Delta]:
        if place := as_object(annotation.get("url_citation")):
            start, end = (self._place(as_count(place.get(name))) for name in ("start_index", "end_index"))
            yield PartDelta(Citation(as_text(place.get("url")), as_text(place.get("title")), start, end))

    def _place(self, place: int) -> int:
        """Say where in the text a place of the content is, out of which a thought and pictures were taken."""
        thought = self._tags.taken
        taken = [(0, thought), *((thought + start, length) for start, length in self._pictures.taken)]
        return place - sum(min(max(place - start, 0), length) for start, length in taken)

    def _in_words(self, deltas: Iterable[TextDelta | ThinkingDelta]) -> Iterator[Delta]:
        for delta in deltas:
            if isinstance(delta, TextDelta):
                yield from self._pictures.feed(delta.text)
            else:
                yield delta

    def _content_part(self, part: object) -> Iterator[Delta]:
        if isinstance(part, str):
            yield TextDelta(part)
            return
        said = as_object(part)
        match said.get("type"):
            case "text" | "output_text":
                yield TextDelta(as_text(said.get("text")))
            case "thinking":
                self._thought_field = "content"
                for thought in as_list(said.get("thinking")):
                    yield ThinkingDelta(as_text(as_object(thought).get("text")))
            case "refusal":
                yield RefusalDelta(as_text(said.get("refusal")))
            case "image_url":
                yield from _image(said)
            case _:
                yield ReplyDelta(extra={"content_parts": [part]})

    def _call(self, call: Json, *, whole: bool) -> ToolCallDelta:
        call_id = as_text(call.get("id"))
        slot = self._new_slot(call_id) if whole else self._slot(call.get("index"), call_id)
        function = as_object(call.get("function"))
        extra = call.get("extra_content")
        return ToolCallDelta(
            index=slot,
            name=as_text(function.get("name")),
            arguments=as_arguments(function.get("arguments")),
            provider_id=call_id,
            state=self._state({"extra_content": extra}) if extra else None,
        )

    def _slot(self, index: int | None, call_id: str) -> int:
        """Tell to which call a piece belongs.

        A new id on an index in use is a new call (Cerebras, Ollama); no index means the call with that id, else the last one (Mistral,
        Gemini's compatible path).
        """
        if index is None:
            if call_id in self._call_ids and call_id:
                return self._call_ids.index(call_id)
            return self._new_slot(call_id) if call_id or not self._call_ids else len(self._call_ids) - 1
        slot = self._by_index.get(index)
        if slot is None or (call_id and self._call_ids[slot] not in ("", call_id)):
            slot = self._by_index[index] = self._new_slot(call_id)
        elif call_id:
            self._call_ids[slot] = call_id
        return slot

    def _new_slot(self, call_id: str) -> int:
        self._call_ids.append(call_id)
        return len(self._call_ids) - 1

    def _function_call(self, call: Json) -> ToolCallDelta:
        if self._legacy_call is None:
            self._legacy_call = self._new_slot("")
        return ToolCallDelta(self._legacy_call, name=as_text(call.get("name")), arguments=as_arguments(call.get("arguments")))


class _ThinkTags:
    """Takes the thought out of a content that begins with `<think>`.

    Perplexity, distilled models and new-api (where it is set to) write it there. Tags further on are the model's own words.
    """

    def __init__(self) -> None:
        self._at: Literal["start", "thought", "answer"] = "start"
        self._held = ""
        self._after_tag: bool = False
        self.taken = 0
        """How many characters were taken out, all of them before the answer."""

    @property
    def are_over(self) -> bool:
        """Whether the answer has begun, in which nothing is taken out."""
        return self._at == "answer" and not self._after_tag

    def feed(self, text: str) -> Iterator[TextDelta | ThinkingDelta]:
        """Take the next words; what may be a piece of a tag is held back."""
        self.taken += len(text)
        text, self._held = self._held + text, ""
        if self._at == "start":
            if _OPENS.startswith(text) and text != _OPENS:
                self._held = text
                return
            self._after_tag = text.startswith(_OPENS)
            self._at = "thought" if self._after_tag else "answer"
            text = text.removeprefix(_OPENS)
        if self._at == "thought":
            thought, closing, text = text.partition(_CLOSES)
            if not closing:
                thought, self._held = _without_start_of(_CLOSES, thought)
            yield from self._said(thought)
            if not closing:
                return
            self._at, self._after_tag = "answer", True
        yield from self._said(text)

    def end(self) -> Iterator[TextDelta | ThinkingDelta]:
        """Give what was held back."""
        yield from self._said(self._held)

    def _said(self, text: str) -> Iterator[TextDelta | ThinkingDelta]:
        # A tag stands on a line of its own.
        if self._after_tag:
            text = text.lstrip("\n")
        if not text:
            return
        self._after_tag = False
        if self._at == "thought":
            yield ThinkingDelta(text)
        else:
            self.taken -= len(text)
            yield TextDelta(text)


class _Pictures:
    """Takes out the pictures that new-api writes into the text of Gemini's image models, in Markdown with a data URL."""

    def __init__(self) -> None:
        self._held = ""
        self._open: list[str] = []
        self._read = 0
        self.taken: list[tuple[int, int]] = []
        """Where each picture began, and how many characters it took."""

    def are_not_in(self, text: str) -> bool:
        """Whether these words are no piece of a picture."""
        return not (self._held or self._open or _PICTURE[0] in text)

    def pass_over(self, text: str) -> None:
        """Count words that are no piece of a picture."""
        self._read += len(text)

    def feed(self, text: str) -> Iterator[TextDelta | PartDelta]:
        """Take the next words; what may be a piece of a picture is held back."""
        text, self._held = self._held + text, ""
        while text:
            if self._open:
                piece, closing, text = text.partition(")")
                self._open.append(piece + closing)
                if closing:
                    yield from self._whole()
                continue
            words, opening, text = text.partition(_PICTURE)
            if opening:
                self._open = [opening]
            else:
                words, self._held = _without_start_of(_PICTURE, words)
            if words:
                self._read += len(words)
                yield TextDelta(words)

    def end(self) -> Iterator[TextDelta]:
        """Give what was held back."""
        if rest := self._held + "".join(self._open):
            yield TextDelta(rest)

    def _whole(self) -> Iterator[TextDelta | PartDelta]:
        said, self._open = "".join(self._open), []
        image = _picture(said.removeprefix("![image](").removesuffix(")"))
        start, self._read = self._read, self._read + len(said)
        if image.data:
            self.taken.append((start, len(said)))
        # An address that holds no picture is an example in the model's words.
        yield PartDelta(image) if image.data else TextDelta(said)


def _without_start_of(tag: str, text: str) -> tuple[str, str]:
    """Split off what may be the first half of the tag, whose first character must occur in it once."""
    place = text.rfind(tag[0])
    return (text[:place], text[place:]) if place >= 0 and tag.startswith(text[place:]) else (text, "")


def read_usage(usage: Json) -> Usage:
    """Read the tokens; nested details are flattened into `prompt_...` and `completion_...`."""
    prompt = as_object(usage.get("prompt_tokens_details"))
    completion = as_object(usage.get("completion_tokens_details"))
    details = {f"prompt_{name}": value for name, value in prompt.items()} | {
        f"completion_{name}": value for name, value in completion.items()
    }
    return Usage(
        input_tokens=as_count(usage.get("prompt_tokens")),
        output_tokens=as_count(usage.get("completion_tokens")),
        # The second is DeepSeek's own name.
        cached_tokens=as_count(prompt.get("cached_tokens")) or as_count(usage.get("prompt_cache_hit_tokens")),
        cache_write_tokens=as_count(prompt.get("cache_write_tokens")),
        reasoning_tokens=as_count(completion.get("reasoning_tokens")),
        details={name: value for name, value in details.items() if isinstance(value, int)},
    )


def _goes_on(detail: Json, piece: Json) -> bool:
    """Whether a piece belongs to this one of OpenRouter's reasoning details: both are of one type and index, and of one id if any."""
    if detail.get("type") != piece.get("type") or as_count(detail.get("index")) != as_count(piece.get("index")):
        return False
    # The signature that ends a text may be the first of its pieces with an id.
    gets_id = detail.get("id") is None and "data" not in detail
    return gets_id or piece.get("id") is None or piece["id"] == detail.get("id")


def _add_to_detail(detail: dict[str, Any], piece: Json) -> None:
    for name, value in piece.items():
        known = detail.get(name)
        if name in {"text", "summary", "data"} and isinstance(known, str) and isinstance(value, str):
            detail[name] = known + value
        elif value is not None or name not in detail:
            detail[name] = value


def _image(said: Json) -> Iterator[Delta]:
    if url := as_text(as_object(said.get("image_url")).get("url")):
        yield PartDelta(_picture(url))


def _picture(url: str) -> Image:
    """Make a picture of its address, or of its bytes where the address is a data URL that holds them."""
    about, _, data = url.partition(",")
    if about.startswith("data:image/") and about.endswith(";base64"):
        with contextlib.suppress(ValueError):
            return Image(data=b64decode(data, validate=True), media_type=about.removeprefix("data:").removesuffix(";base64"))
    return Image(url=url)
