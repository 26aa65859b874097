"""Responses, spoken by the server's side: turns into replies, streamed and whole, as OpenAI sends them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic_core import from_json

from agentloop.messages import Citation
from agentloop.testing.answers import Answer, HeardRequest, Problem, as_json, digest, event, seal
from agentloop.testing.responses_rules import responses_problem
from agentloop.testing.turns import ScriptedCall, Turn

Json = Mapping[str, Any]

# A fixed hour keeps two runs of one script byte for byte alike.
_CREATED = 1_767_225_600
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
# What a response says of its request, and what it says where the request was silent.
_ECHOED: Json = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
    "metadata": {},
}


def problem(request: HeardRequest) -> Problem | None:
    """Say why a provider would refuse the request, or None."""
    return responses_problem(request.body)


def reply(turn: Turn, *, request: HeardRequest, number: int) -> Answer:
    """Say the turn, streamed or whole as the request asks; `number` makes the ids."""
    body: Json = request.body
    headers = {"x-request-id": f"req_{digest('request', number)}"}
    if not body.get("stream"):
        return Answer.json(_response(turn, body, number), headers=headers)
    numbered = ({**said, "sequence_number": place} for place, said in enumerate(_events(turn, body, number)))
    return Answer.stream([event(as_json(said), str(said["type"])) for said in numbered], headers=headers)


def refusal(problem: Problem) -> Answer:
    """Say no."""
    return Answer.json({"error": _error(problem)}, status=problem.status, headers=problem.headers)


def broken_off(problem: Problem, *, sent: Sequence[bytes]) -> bytes:
    """Say no in the middle of a stream, with the two events that OpenAI has for it."""
    begun = from_json(sent[0].partition(b"data: ")[2])["response"] if sent else _head({"model": ""}, 0)
    error = {"code": problem.code or problem.type, "message": problem.message}
    failed = {**begun, "status": "failed", "error": error}
    place = len(sent)
    first = {"type": "error", "sequence_number": place, "error": _error(problem)}
    second = {"type": "response.failed", "sequence_number": place + 1, "response": failed}
    return event(as_json(first), "error") + event(as_json(second), "response.failed")


def nothing(*, streamed: bool) -> bytes:
    """Say, in JSON, nothing."""
    return event(b'{"type":"response.completed"}', "response.completed") if streamed else b'{"object":"response"}'


def last_words(body: Json) -> str:
    """Say what the request ends with, for errors."""
    words = body.get("input")
    if isinstance(words, str) or not words:
        return f"the input {str(words)[:200]!r}"
    last = words[-1]
    return f"the {last.get('role') or last.get('type')} item {str(last.get('content') or last.get('output'))[:200]!r}"


def _error(problem: Problem) -> Json:
    return {"message": problem.message, "type": problem.type, "param": problem.param, "code": problem.code}


def _response(turn: Turn, body: Json, number: int) -> Json:
    """Make the whole reply."""
    reason = _INCOMPLETE.get(turn.finish)
    items = [item for item, _ in _items(turn, body, number)]
    if reason and items and "status" in items[-1]:
        items[-1] = {**items[-1], "status": "incomplete"}
    return {
        **_head(body, number),
        "status": "incomplete" if reason else "completed",
        "incomplete_details": {"reason": reason} if reason else None,
        "output": items,
        "usage": _usage(turn, body),
    }


def _events(turn: Turn, body: Json, number: int) -> Iterator[Json]:
    """Make the stream; its last event is the whole reply."""
    begun = _head(body, number)
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    whole = _response(turn, body, number)
    for index, (item, (opened, steps)) in enumerate(zip(whole["output"], (way for _, way in _items(turn, body, number)), strict=True)):
        yield {"type": "response.output_item.added", "output_index": index, "item": opened}
        for step in steps:
            yield {**step, "type": f"response.{step['type']}", "item_id": item["id"], "output_index": index}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": f"response.{whole['status']}", "response": whole}


def _items(turn: Turn, body: Json, number: int) -> Iterator[tuple[Json, tuple[Json, Iterator[Json]]]]:
    """Make the output items in their order: each whole, and as it is opened and filled in a stream."""
    if turn.thinking:
        yield _reasoning(turn, body, number)
    for index, query in enumerate(turn.searches):
        yield _search(query, f"ws_{digest('search', number, index)}")
    if turn.text or turn.refusal or not turn.calls:
        yield _message(turn, number)
    for index, call in enumerate(turn.calls):
        yield _call(call, digest("call", number, index))


def _reasoning(turn: Turn, body: Json, number: int) -> tuple[Json, tuple[Json, Iterator[Json]]]:
    text = "".join(turn.thinking)
    part = {"type": "summary_text", "text": text}
    opened: Json = {"id": f"rs_{digest('reasoning', number)}", "type": "reasoning", "summary": []}
    item: Json = {**opened, "summary": [part]}
    if "reasoning.encrypted_content" in (body.get("include") or ()):
        # OpenAI opens the item with other content than it closes it with; only the last is good.
        opened = {**opened, "encrypted_content": seal(number, "reasoning", [])}
        item = {**item, "encrypted_content": seal(number, "reasoning", [text])}

    def steps() -> Iterator[Json]:
        place = {"summary_index": 0}
        yield {"type": "reasoning_summary_part.added", **place, "part": {"type": "summary_text", "text": ""}}
        yield from ({"type": "reasoning_summary_text.delta", **place, "delta": piece} for piece in turn.thinking)
        yield {"type": "reasoning_summary_text.done", **place, "text": text}
        yield {"type": "reasoning_summary_part.done", **place, "part": part}

    return item, (opened, steps())


def _search(query: str, item_id: str) -> tuple[Json, tuple[Json, Iterator[Json]]]:
    opened = {"id": item_id, "type": "web_search_call", "status": "in_progress", "action": {"type": "search"}}
    item = {**opened, "status": "completed", "action": {"type": "search", "queries": [query], "query": query}}
    return item, (opened, ({"type": f"web_search_call.{step}"} for step in ("in_progress", "searching", "completed")))


def _message(turn: Turn, number: int) -> tuple[Json, tuple[Json, Iterator[Json]]]:
    opened: Json = {
        "id": f"msg_{digest('message', number)}",
        "type": "message",
        "status": "in_progress",
        "content": [],
        "role": "assistant",
    }
    text, refused = "".join(turn.text), "".join(turn.refusal)
    annotations = [_annotation(citation) for citation in turn.citations]
    parts: list[Json] = []
    if turn.text or not turn.refusal:
        parts.append({"type": "output_text", "annotations": annotations, "logprobs": [], "text": text})
    if turn.refusal:
        parts.append({"type": "refusal", "refusal": refused})

    def steps() -> Iterator[Json]:
        for index, part in enumerate(parts):
            is_text = part["type"] == "output_text"
            empty: Json = {**part, "text": "", "annotations": []} if is_text else {**part, "refusal": ""}
            place = {"content_index": index}
            yield {"type": "content_part.added", **place, "part": empty}
            yield from ({**step, **place} for step in (_text_steps(turn) if is_text else _refusal_steps(turn)))
            yield {"type": "content_part.done", **place, "part": part}

    return {**opened, "status": "completed", "content": parts}, (opened, steps())


def _text_steps(turn: Turn) -> Iterator[Json]:
    """Stream the text; each citation comes as soon as its last word is said."""
    said, waiting = 0, list(enumerate(turn.citations))
    for piece in turn.text:
        yield {"type": "output_text.delta", "delta": piece, "logprobs": []}
        said += len(piece)
        while waiting and waiting[0][1].end <= said:
            index, citation = waiting.pop(0)
            yield {"type": "output_text.annotation.added", "annotation_index": index, "annotation": _annotation(citation)}
    yield {"type": "output_text.done", "text": "".join(turn.text), "logprobs": []}


def _refusal_steps(turn: Turn) -> Iterator[Json]:
    yield from ({"type": "refusal.delta", "delta": piece} for piece in turn.refusal)
    yield {"type": "refusal.done", "refusal": "".join(turn.refusal)}


def _annotation(citation: Citation) -> Json:
    place = {"start_index": citation.start, "end_index": citation.end}
    return {"type": "url_citation", **place, "title": citation.title, "url": citation.url}


def _call(call: ScriptedCall, mark: str) -> tuple[Json, tuple[Json, Iterator[Json]]]:
    said = {"type": "function_call", "call_id": f"call_{mark}", "name": call.name}
    opened = {"id": f"fc_{mark}", **said, "status": "in_progress", "arguments": ""}

    def steps() -> Iterator[Json]:
        yield from ({"type": "function_call_arguments.delta", "delta": piece} for piece in call.pieces)
        yield {"type": "function_call_arguments.done", "arguments": call.arguments}

    return {**opened, "status": "completed", "arguments": call.arguments}, (opened, steps())


def _head(body: Json, number: int) -> Json:
    reasoning: Json = body.get("reasoning") or {}
    said = {name: usual if body.get(name) is None else body[name] for name, usual in _ECHOED.items()}
    return {
        "id": f"resp_{digest('reply', number)}",
        "object": "response",
        "created_at": _CREATED,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "model": body["model"],
        "output": [],
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        **said,
        "usage": None,
    }


def _usage(turn: Turn, body: Json) -> Json:
    spent = turn.spent(len(as_json([body.get("instructions"), body.get("input"), body.get("tools")])))
    return {
        "input_tokens": spent.input_tokens,
        "input_tokens_details": {"cached_tokens": spent.cached_tokens},
        "output_tokens": spent.output_tokens,
        "output_tokens_details": {"reasoning_tokens": spent.reasoning_tokens},
        "total_tokens": spent.total_tokens,
    }
