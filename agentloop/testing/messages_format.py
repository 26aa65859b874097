"""Anthropic's Messages, spoken by the server's side: turns into replies, streamed and whole, as Anthropic sends them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentloop.testing.answers import Answer, HeardRequest, Problem, as_json, digest, event, seal
from agentloop.testing.messages_rules import messages_problem
from agentloop.testing.turns import Passage, ScriptedCall, Turn

Json = Mapping[str, Any]

_STOP_REASONS = {"stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens", "content_filter": "refusal"}
# https://docs.anthropic.com/en/api/errors
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}


def problem(request: HeardRequest) -> Problem | None:
    """Say why a provider would refuse the request, or None."""
    return messages_problem(request.body, headers=request.headers)


def reply(turn: Turn, *, request: HeardRequest, number: int) -> Answer:
    """Say the turn, streamed or whole as the request asks; `number` makes the ids."""
    body: Json = request.body
    headers = {"request-id": f"req_{digest('request', number)}"}
    if not body.get("stream"):
        return Answer.json(_message(turn, body, number), headers=headers)
    return Answer.stream([event(as_json(said), said["type"]) for said in _events(turn, body, number)], headers=headers)


def refusal(problem: Problem) -> Answer:
    """Say no."""
    request_id = f"req_{digest('refused', problem.message)}"
    return Answer.json(
        {**_error(problem), "request_id": request_id}, status=problem.status, headers={"request-id": request_id, **problem.headers}
    )


def broken_off(problem: Problem, *, sent: Sequence[bytes]) -> bytes:  # noqa: ARG001 - other formats number their events
    """Say no in the middle of a stream."""
    return event(as_json(_error(problem)), "error")


def nothing(*, streamed: bool) -> bytes:
    """Say, in JSON, nothing."""
    return event(b'{"type":"message_stop"}', "message_stop") if streamed else b'{"type":"message"}'


def last_words(body: Json) -> str:
    """Say what the request ends with, for errors."""
    last = body["messages"][-1]
    return f"the {last['role']} message {str(last['content'])[:200]!r}"


def listed(models: Sequence[str], query: Mapping[str, str]) -> Json:
    """List a page of the models, as `limit` and `after_id` ask."""
    start = models.index(query["after_id"]) + 1 if query.get("after_id") in models else 0
    most = query.get("limit", "")
    end = start + (int(most) if most.isdecimal() else 20)
    page = [described(model) for model in models[start:end]]
    ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
    return {"data": page, "has_more": end < len(models), **ends}


def described(model: str) -> Json:
    """Describe a model the way Anthropic does."""
    return {"type": "model", "id": model, "display_name": model, "created_at": "2026-01-01T00:00:00Z"}


def _error(problem: Problem) -> Json:
    by_status = _ERROR_TYPES.get(problem.status, "invalid_request_error" if 400 <= problem.status < 500 else "api_error")  # noqa: PLR2004
    # "invalid_request_error" is also what a Problem says that says nothing.
    own = set(_ERROR_TYPES.values()) - {"invalid_request_error"}
    kind = next((kind for kind in (problem.code, problem.type) if kind in own), by_status)
    return {"type": "error", "error": {"type": kind, "message": problem.message}}


@dataclass(frozen=True, slots=True)
class _Block:
    """A content block, whole, and as it is opened and filled in a stream."""

    whole: Json
    opened: Json
    deltas: tuple[Json, ...] = ()


def _message(turn: Turn, body: Json, number: int) -> Json:
    """Make the whole reply."""
    return {
        **_head(body, number),
        "content": [block.whole for block in _blocks(turn, number)],
        **_end(turn),
        "usage": _usage(turn, body),
    }


def _events(turn: Turn, body: Json, number: int) -> Iterator[Json]:
    usage = _usage(turn, body)
    unended: Json = dict.fromkeys(_end(turn))
    begun: Json = {**_head(body, number), "content": [], **unended, "usage": {**usage, "output_tokens": 1}}
    yield {"type": "message_start", "message": begun}
    yield {"type": "ping"}
    for index, block in enumerate(_blocks(turn, number)):
        yield {"type": "content_block_start", "index": index, "content_block": block.opened}
        yield from ({"type": "content_block_delta", "index": index, "delta": delta} for delta in block.deltas)
        yield {"type": "content_block_stop", "index": index}
    yield {"type": "message_delta", "delta": _end(turn), "usage": usage}
    yield {"type": "message_stop"}


def _head(body: Json, number: int) -> Json:
    return {"model": body["model"], "id": f"msg_{digest('reply', number)}", "type": "message", "role": "assistant"}


def _end(turn: Turn) -> Json:
    if turn.refusal:
        details = {"type": "refusal", "category": "general_harms", "explanation": "".join(turn.refusal)}
        return {"stop_reason": "refusal", "stop_sequence": None, "stop_details": details}
    return {"stop_reason": _STOP_REASONS[turn.finish], "stop_sequence": None, "stop_details": None}


def _blocks(turn: Turn, number: int) -> Iterator[_Block]:
    if turn.refusal:
        return  # Anthropic says nothing where it declines; the words stand in stop_details.
    if turn.thinking:
        yield _thinking(turn.thinking, number)
    for index, query in enumerate(turn.searches):
        yield from _search(turn, query, f"srvtoolu_{digest('search', number, index)}")
    for passage in turn.passages:
        yield _text(passage)
    for index, call in enumerate(turn.calls):
        yield _call(call, f"toolu_{digest('call', number, index)}")


def _thinking(pieces: tuple[str, ...], number: int) -> _Block:
    text = "".join(pieces)
    signature = seal(number, "thinking", text)
    deltas = ({"type": "thinking_delta", "thinking": piece} for piece in pieces)
    return _Block(
        whole={"type": "thinking", "thinking": text, "signature": signature},
        opened={"type": "thinking", "thinking": "", "signature": ""},
        deltas=(*deltas, {"type": "signature_delta", "signature": signature}),
    )


def _search(turn: Turn, query: str, use_id: str) -> Iterator[_Block]:
    """Search the web: the search, and then its results, which come in one piece."""
    opened = {"type": "server_tool_use", "id": use_id, "name": "web_search", "input": {}, "caller": {"type": "direct"}}
    asked = ScriptedCall("web_search", as_json({"query": query}).decode())
    yield _Block(whole={**opened, "input": {"query": query}}, opened=opened, deltas=_argument_deltas(asked))
    found = {citation.url: citation.title for citation in turn.citations}
    results = [
        {"type": "web_search_result", "title": title, "url": url, "encrypted_content": seal(0, "found", url), "page_age": None}
        for url, title in found.items()
    ]
    result = {"type": "web_search_tool_result", "tool_use_id": use_id, "content": results, "caller": {"type": "direct"}}
    yield _Block(whole=result, opened=result)


def _text(passage: Passage) -> _Block:
    opened: Json = {"type": "text", "text": ""}
    deltas = tuple({"type": "text_delta", "text": piece} for piece in passage.pieces)
    if not passage.citations:
        return _Block(whole={**opened, "text": passage.text}, opened=opened, deltas=deltas)
    citations = [
        {
            "type": "web_search_result_location",
            "cited_text": passage.text,
            "url": citation.url,
            "title": citation.title,
            "encrypted_index": seal(0, "cited", citation.url),
        }
        for citation in passage.citations
    ]
    cited = tuple({"type": "citations_delta", "citation": citation} for citation in citations)
    return _Block(
        whole={"citations": citations, **opened, "text": passage.text},
        opened={"citations": [], **opened},
        deltas=(*cited, *deltas),
    )


def _call(call: ScriptedCall, use_id: str) -> _Block:
    opened = {"type": "tool_use", "id": use_id, "name": call.name, "input": {}, "caller": {"type": "direct"}}
    # Only a stream can carry text that does not parse; a whole reply has no nearer form of it than {}.
    return _Block(whole={**opened, "input": call.object}, opened=opened, deltas=_argument_deltas(call))


def _argument_deltas(call: ScriptedCall) -> tuple[Json, ...]:
    # Anthropic begins with an empty piece, and says no more than that where there are no arguments.
    pieces = ("",) if call.arguments == "{}" else ("", *call.pieces)
    return tuple({"type": "input_json_delta", "partial_json": piece} for piece in pieces)


def _usage(turn: Turn, body: Json) -> Json:
    spent = turn.spent(len(as_json([body.get("system"), body["messages"], body.get("tools")])))
    usage: Json = {
        # What was read from the cache is counted apart.
        "input_tokens": spent.input_tokens - spent.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": spent.cached_tokens,
        "output_tokens": spent.output_tokens,
    }
    if spent.reasoning_tokens:
        usage = {**usage, "output_tokens_details": {"thinking_tokens": spent.reasoning_tokens}}
    if turn.searches:
        usage = {**usage, "server_tool_use": {"web_search_requests": len(turn.searches), "web_fetch_requests": 0}}
    return usage
