"""Reads what Gemini generates, whole or by the chunk; a whole reply is a stream of one chunk."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic_core import to_json

from agentloop.deltas import Delta, FinishDelta, PartDelta, ReplyDelta, StateDelta, TextDelta, ThinkingDelta, ToolCallDelta, UsageDelta
from agentloop.errors import BadReply
from agentloop.messages import File, FinishReason, Image, Opaque, State, Usage
from agentloop.wire.answer_tool import ANSWER
from agentloop.wire.error_bodies import error_from, is_error
from agentloop.wire.gemini_arguments import StreamedArguments
from agentloop.wire.gemini_grounding import citations
from agentloop.wire.lenient import as_count, as_list, as_object, as_text

Json = Mapping[str, Any]
_Kind = Literal["text", "thinking"]

_READ_FIELDS = {"candidates", "error", "modelVersion", "responseId", "usageMetadata"}
_READ_OF_CANDIDATE = {"content", "finishReason", "index"}
# Some proxies of Vertex write the numbers of its protocol, google.cloud.aiplatform.v1.Candidate.FinishReason.
_NUMBERED = (
    "FINISH_REASON_UNSPECIFIED", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII",
    "MALFORMED_FUNCTION_CALL", "MODEL_ARMOR",
)  # fmt: skip
_FINISH: dict[str, FinishReason] = {
    "CONTINUATION": "length",
    "MAX_TOKENS": "length",
    **dict.fromkeys(
        ("BLOCKLIST", "ESCALATION", "IMAGE_OTHER", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "IMAGE_SAFETY", "LANGUAGE",
         "MODEL_ARMOR", "PROHIBITED_CONTENT", "PUP_LIMITED_DISABLED", "RECITATION", "SAFETY", "SPII"), "content_filter"),
}  # fmt: skip
# Google means these to be asked again; nothing of the reply can be used.
_FAILED = {
    "MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "MISSING_THOUGHT_SIGNATURE", "NO_IMAGE", "OTHER", "TOO_MANY_TOOL_CALLS",
}  # fmt: skip


class GeminiDecoder:
    """Reads one reply."""

    def __init__(self, origin: str = "gemini/gemini") -> None:
        """`origin` marks what the provider wants to hear again."""
        self._origin = origin
        self._place = -1
        self._kind: _Kind | None = None
        self._text: list[str] = []
        self._length = 0
        self._starts: dict[int, int] = {}
        self._calls = 0
        self._open: _OpenCall | None = None
        self._has_answered = False
        self._grounding: list[Json] = []

    def feed(self, event: Json) -> Iterator[Delta]:
        """Read a chunk."""
        candidate = yield from self._begun(event)
        yield from self._said(candidate)
        yield from self._closing(candidate)

    def words_in(self, event: Json) -> str:
        """Name the field of a chunk's words; '' where it says more."""
        match event:
            case {"candidates": [{"content": {"parts": [{"text": str(), **part}]}, **candidate}]}:
                return "text" if part.keys() <= {"thought"} and not any(candidate.values()) else ""
            case _:
                return ""

    def feed_whole(self, body: Json) -> Iterator[Delta]:
        """Read a whole reply."""
        candidate = yield from self._begun(body)
        if not candidate and not _is_blocked(body):
            raise BadReply("the reply holds no candidates; ask again")
        yield from self._said(candidate)
        # A whole body is complete even where its reason is missing; a stream is not.
        if candidate:
            yield from self._closing({**candidate, "finishReason": candidate.get("finishReason") or "STOP"})

    def end(self) -> Iterator[Delta]:
        """Say where the words come from, once all of them are there."""
        for citation in citations(self._grounding, text="".join(self._text), starts=self._starts):
            yield PartDelta(citation, max(self._place, 0))

    def _begun(self, event: Json) -> Generator[Delta, None, Json]:
        extra = {name: event[name] for name in event.keys() - _READ_FIELDS if event[name] is not None}
        if extra or event.get("modelVersion") or event.get("responseId"):
            yield ReplyDelta(as_text(event.get("modelVersion")), as_text(event.get("responseId")), extra)
        if usage := read_usage(as_object(event.get("usageMetadata"))):
            yield UsageDelta(usage)
        if is_error(event):
            raise error_from(event)
        if _is_blocked(event):
            yield FinishDelta("content_filter")
        return _first_candidate(event)

    def _said(self, candidate: Json) -> Iterator[Delta]:
        if extra := {name: candidate[name] for name in candidate.keys() - _READ_OF_CANDIDATE if candidate[name] is not None}:
            yield ReplyDelta(extra=extra)
        if grounding := as_object(candidate.get("groundingMetadata")):
            self._grounding.append(grounding)
        for part in as_list(as_object(candidate.get("content")).get("parts")):
            yield from self._part(as_object(part))

    def _closing(self, candidate: Json) -> Iterator[Delta]:
        reason = candidate.get("finishReason")
        reason = _NUMBERED[reason] if isinstance(reason, int) and 0 <= reason < len(_NUMBERED) else as_text(reason)
        if reason in {"", "FINISH_REASON_UNSPECIFIED"}:
            return
        yield from self._call_ended()
        # A call of a tool that was not offered is answered like any other.
        if reason in _FAILED or (reason == "UNEXPECTED_TOOL_CALL" and not self._calls):
            why = as_text(candidate.get("finishMessage"))
            raise BadReply(f"the reply ended with {reason}{f' ({why[:500]})' if why else ''}; ask again")
        yield FinishDelta(_FINISH.get(reason, "stop"))

    def _part(self, part: Json) -> Iterator[Delta]:
        is_thought = part.get("thought") is True
        match part:
            case {"text": str(text)}:
                yield from self._words("thinking" if is_thought else "text", text, part)
            case {"functionCall": dict()}:
                yield from self._call(as_object(part["functionCall"]), part)
            case {"inlineData": dict()} if not is_thought:
                yield PartDelta(_made(as_object(part["inlineData"]), self._state(part)), self._next_place())
            case {"fileData": dict()} if not is_thought:
                yield PartDelta(_stored(as_object(part["fileData"]), self._state(part)), self._next_place())
            case _ if part:
                yield PartDelta(Opaque(State(self._origin, to_json(part).decode())), self._next_place())
            case _:
                pass

    def _next_place(self, kind: _Kind | None = None) -> int:
        self._place += 1
        self._kind = kind
        return self._place

    def _state(self, part: Json, **more: object) -> State | None:
        signature = part.get("thoughtSignature")
        data = more | ({"thoughtSignature": signature} if signature else {})
        return State(self._origin, to_json(data).decode()) if data else None

    def _words(self, kind: _Kind, text: str, part: Json) -> Iterator[Delta]:
        """Read words: more of those before, or of a new part behind a signature or another kind of part.

        A stream gives the signature with a text of its own, often an empty one; it belongs to the words before.
        """
        state = self._state(part)
        if not text and state is None:
            return
        if self._kind != kind:
            self._starts[self._next_place(kind)] = self._length
        if text and kind == "text":
            self._text.append(text)
            self._length += len(text)
            yield TextDelta(text, self._place)
        elif text:
            yield ThinkingDelta(text, self._place)
        if state is not None:
            yield StateDelta(state, kind, self._place)
            self._kind = None

    def _call(self, call: Json, part: Json) -> Iterator[Delta]:
        """Read a call, or the next piece of one; an empty piece ends it."""
        if call.get("name") or (call and self._open is None):
            yield from self._call_ended()
            yield from self._call_began(call, part)
        if self._open is not None:
            self._open.arguments.add(call)
            if call.get("willContinue") is not True:
                yield from self._call_ended()

    def _call_began(self, call: Json, part: Json) -> Iterator[Delta]:
        if call.get("name") == ANSWER:
            self._open = _OpenCall(None)
            return
        known = as_text(call.get("id"))
        self._open = _OpenCall(self._calls)
        self._calls += 1
        yield ToolCallDelta(
            self._open.index or 0,
            name=as_text(call.get("name")),
            provider_id=known,
            state=self._state(part, id=known) if known else self._state(part),
            place=self._next_place(),
        )

    def _call_ended(self) -> Iterator[Delta]:
        ended, self._open = self._open, None
        if ended is None:
            return
        if ended.index is not None:
            yield ToolCallDelta(ended.index, arguments=ended.arguments.text(), place=self._place)
        elif not self._has_answered:
            self._has_answered = True
            # Words that came before are no part of the answer.
            self._kind = None
            yield from self._words("text", ended.arguments.text(), {})


@dataclass(slots=True)
class _OpenCall:
    """A call whose arguments are on their way."""

    index: int | None
    """None where the call gives the answer, and is no call of the reply."""
    arguments: StreamedArguments = field(default_factory=StreamedArguments)


def read_usage(usage: Json) -> Usage | None:
    """Read the tokens, or None where none are counted; what Google's own tools gave the model to read is part of the input."""
    if not any(name.endswith("TokenCount") for name in usage):
        return None
    thought = as_count(usage.get("thoughtsTokenCount"))
    details = {name: usage[name] for name in ("toolUsePromptTokenCount",) if isinstance(usage.get(name), int)}
    for name, counts in usage.items():
        for count in map(as_object, as_list(counts)):
            details[f"{name}.{count.get('modality')}"] = as_count(count.get("tokenCount"))
    return Usage(
        input_tokens=as_count(usage.get("promptTokenCount")) + as_count(usage.get("toolUsePromptTokenCount")),
        # Google counts thoughts apart from candidates.
        output_tokens=as_count(usage.get("candidatesTokenCount")) + thought,
        cached_tokens=as_count(usage.get("cachedContentTokenCount")),
        reasoning_tokens=thought,
        details=details,
    )


def _first_candidate(event: Json) -> Json:
    candidates = map(as_object, as_list(event.get("candidates")))
    return next((candidate for candidate in candidates if not candidate.get("index")), as_object(None))


def _is_blocked(event: Json) -> bool:
    return bool(as_object(event.get("promptFeedback")).get("blockReason")) and not event.get("candidates")


def _made(blob: Json, state: State | None) -> Image | File:
    data, media_type = b64decode(as_text(blob.get("data"))), as_text(blob.get("mimeType"))
    if media_type.startswith("image/"):
        return Image(data=data, media_type=media_type, state=state)
    return File(data=data, media_type=media_type or "application/octet-stream", state=state)


def _stored(file: Json, state: State | None) -> Image | File:
    address, media_type = as_text(file.get("fileUri")), as_text(file.get("mimeType"))
    if media_type.startswith("image/"):
        return Image(url=address, media_type=media_type, state=state)
    return File(url=address, media_type=media_type or "application/octet-stream", state=state)
