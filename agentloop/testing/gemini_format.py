"""Gemini's generateContent, spoken by the server's side: turns into replies, streamed and whole, as Google sends them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agentloop.testing.answers import Answer, HeardRequest, Piece, Problem, as_json, digest, event, seal
from agentloop.testing.gemini_contents import call_words
from agentloop.testing.gemini_rules import gemini_problem, is_third_generation
from agentloop.testing.turns import Turn

Json = Mapping[str, Any]

_FINISH_REASONS = {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}
# https://cloud.google.com/apis/design/errors
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def problem(request: HeardRequest) -> Problem | None:
    """Say why a provider would refuse the request, or None."""
    return gemini_problem(request.body, model=_model(request))


def reply(turn: Turn, *, request: HeardRequest, number: int) -> Answer:
    """Say the turn, streamed or whole as the request asks; `number` makes the ids."""
    if not request.path.endswith(":streamGenerateContent"):
        return Answer.json(_whole(turn, request, number))
    chunks = [as_json(chunk) for chunk in _chunks(turn, request, number)]
    if request.named.get("alt") == "sse":
        return Answer.stream(map(event, chunks))
    # Without alt=sse the stream is one JSON array, which comes chunk by chunk.
    pieces = [Piece((b"[" if index == 0 else b",\n") + chunk) for index, chunk in enumerate(chunks)]
    return Answer(headers={"content-type": "application/json; charset=UTF-8"}, pieces=[*pieces, Piece(b"]")])


def refusal(problem: Problem) -> Answer:
    """Say no."""
    error = _error(problem)
    return Answer.json(error, status=problem.status if problem.status < 400 else error["error"]["code"], headers=problem.headers)  # noqa: PLR2004


def broken_off(problem: Problem, *, sent: Sequence[bytes]) -> bytes:  # noqa: ARG001 - other formats number their events
    """Say no in the middle of a stream."""
    return event(as_json(_error(problem)))


def nothing(*, streamed: bool) -> bytes:
    """Say, in JSON, nothing."""
    return event(b"{}") if streamed else b"{}"


def last_words(body: Json) -> str:
    """Say what the request ends with, for errors."""
    last = body["contents"][-1]
    return f"the {last.get('role', 'user')} content {str(last['parts'])[:200]!r}"


def listed(models: Sequence[str], query: Mapping[str, str]) -> Json:
    """List a page of the models, as `pageSize` and `pageToken` ask."""
    start = models.index(query["pageToken"]) if query.get("pageToken") in models else 0
    most = query.get("pageSize", "")
    end = start + (int(most) if most.isdecimal() else 50)
    following = {"nextPageToken": models[end]} if end < len(models) else {}
    return {"models": [described(model) for model in models[start:end]], **following}


def described(model: str) -> Json:
    """Describe a model the way Google does."""
    return {
        "name": f"models/{model}",
        "displayName": model,
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
    }


def _model(request: HeardRequest) -> str:
    return request.path.rpartition("/models/")[2].partition(":")[0]


def _error(problem: Problem) -> Json:
    status = problem.status if problem.status >= 400 else 500  # noqa: PLR2004 - an error inside an answer that began well
    details: list[Json] = []
    if problem.code == "invalid_api_key" and status == 401:  # noqa: PLR2004
        # Google calls a wrong key an invalid argument.
        status = 400
        kind = "type.googleapis.com/google.rpc.ErrorInfo"
        details.append({"@type": kind, "reason": "API_KEY_INVALID", "domain": "googleapis.com"})
    if (wait := problem.headers.get("retry-after", "")).replace(".", "", 1).isdigit():
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{wait}s"})
    error = {"code": status, "message": problem.message, "status": _STATUSES.get(status, "UNKNOWN")}
    return {"error": {**error, **({"details": details} if details else {})}}


def _whole(turn: Turn, request: HeardRequest, number: int) -> Json:
    """Make the whole reply; words that a stream would bring in pieces are one part."""
    parts: list[Json] = []
    if turn.refusal:
        return _chunk(turn, request, number, ended=True)
    if turn.thinking:
        parts.append({"text": "".join(turn.thinking), "thought": True})
    if turn.text or not turn.calls:
        parts.append({"text": "".join(turn.text), **_text_signature(turn, number)})
    parts.extend(_calls(turn, request, number))
    return _chunk(turn, request, number, parts=parts, ended=True)


def _chunks(turn: Turn, request: HeardRequest, number: int) -> Iterator[Json]:
    if not turn.refusal:
        thoughts: Iterator[Json] = ({"text": piece, "thought": True} for piece in turn.thinking)
        words: Iterator[Json] = ({"text": piece} for piece in turn.text)
        for part in (*thoughts, *words, *_calls(turn, request, number)):
            yield _chunk(turn, request, number, parts=[part])
    # Google ends a stream with an empty text, which bears the signature of the words before it.
    parts = None if turn.refusal else [{"text": "", **_text_signature(turn, number)}]
    yield _chunk(turn, request, number, parts=parts, ended=True)


def _text_signature(turn: Turn, number: int) -> Json:
    return {"thoughtSignature": seal(number, "text")} if turn.thinking and not turn.calls else {}


def _calls(turn: Turn, request: HeardRequest, number: int) -> Iterator[Json]:
    for index, call in enumerate(turn.calls):
        # What does not parse has no form here: Google's arguments are an object.
        said: Json = {"name": call.name, "args": call.object}
        if is_third_generation(_model(request)):
            said = {**said, "id": digest("call", number, index)[:8]}
        # Of parallel calls only the first is signed.
        signed = {} if index else {"thoughtSignature": seal(number, "call", call_words(call.name, call.object))}
        yield {"functionCall": said, **signed}


def _chunk(turn: Turn, request: HeardRequest, number: int, *, parts: Sequence[Json] | None = None, ended: bool = False) -> Json:
    candidate: dict[str, Any] = {} if parts is None else {"content": {"parts": parts, "role": "model"}}
    if ended:
        candidate["finishReason"] = "SAFETY" if turn.refusal else _FINISH_REASONS[turn.finish]
    candidate["index"] = 0
    if ended and turn.refusal:
        candidate["finishMessage"] = "".join(turn.refusal)
    if ended and (grounding := _grounding(turn)):
        candidate["groundingMetadata"] = grounding
    return {
        "candidates": [candidate],
        "usageMetadata": _usage(turn, request.body, ended=ended),
        "modelVersion": _model(request),
        "responseId": digest("reply", number),
    }


def _grounding(turn: Turn) -> Json:
    grounding: dict[str, Any] = {}
    if turn.searches:
        grounding["webSearchQueries"] = list(turn.searches)
    if turn.citations:
        pages = list({citation.url: citation.title for citation in turn.citations}.items())
        urls = [url for url, _ in pages]
        text = "".join(turn.text)
        grounding["groundingChunks"] = [{"web": {"uri": url, "title": title}} for url, title in pages]
        grounding["groundingSupports"] = [
            {"segment": _segment(text, citation.start, citation.end or len(text)), "groundingChunkIndices": [urls.index(citation.url)]}
            for citation in turn.citations
        ]
    return grounding


def _segment(text: str, start: int, end: int) -> Json:
    """Say a place the way Google does: in bytes of UTF-8, and without a 0."""
    first, last = (len(text[:index].encode("utf-8", "surrogatepass")) for index in (start, end))
    return {**({"startIndex": first} if first else {}), "endIndex": last, "text": text[start:end]}


def _usage(turn: Turn, body: Json, *, ended: bool) -> Json:
    spent = turn.spent(len(as_json([body.get("systemInstruction"), body["contents"], body.get("tools")])))
    cached = {"cachedContentTokenCount": spent.cached_tokens} if spent.cached_tokens else {}
    read: Json = {"promptTokenCount": spent.input_tokens, **cached}
    if not ended:
        return {**read, "totalTokenCount": spent.input_tokens}
    thought = {"thoughtsTokenCount": spent.reasoning_tokens} if spent.reasoning_tokens else {}
    return {
        **read,
        # What was thought is counted apart.
        "candidatesTokenCount": spent.output_tokens - spent.reasoning_tokens,
        **thought,
        "totalTokenCount": spent.total_tokens,
        "serviceTier": "standard",
    }
