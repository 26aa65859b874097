"""Chat completions, spoken by the server's side: turns into replies, streamed and whole, as OpenAI sends them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from agentloop.messages import Citation
from agentloop.testing.answers import Answer, HeardRequest, Problem, as_json, digest, event
from agentloop.testing.chat_rules import chat_problem
from agentloop.testing.turns import ScriptedCall, Turn

Json = Mapping[str, Any]

# A fixed hour keeps two runs of one script byte for byte alike.
_CREATED = 1_767_225_600


def problem(request: HeardRequest) -> Problem | None:
    """Say why a provider would refuse the request, or None."""
    return chat_problem(request.body)


def reply(turn: Turn, *, request: HeardRequest, number: int) -> Answer:
    """Say the turn, streamed or whole as the request asks; `number` makes the ids."""
    body: Json = request.body
    headers = {"x-request-id": f"req_{digest('request', number)}"}
    if not body.get("stream"):
        return Answer.json(_completion(turn, body, number), headers=headers)
    return Answer.stream([*(event(as_json(chunk)) for chunk in _chunks(turn, body, number)), event(b"[DONE]")], headers=headers)


def refusal(problem: Problem) -> Answer:
    """Say no."""
    return Answer.json(_error(problem), status=problem.status, headers=problem.headers)


def broken_off(problem: Problem, *, sent: Sequence[bytes]) -> bytes:  # noqa: ARG001 - other formats number their events
    """Say no in the middle of a stream."""
    return event(as_json(_error(problem)))


def nothing(*, streamed: bool) -> bytes:
    """Say, in JSON, nothing."""
    return event(b'{"object":"chat.completion.chunk"}') + event(b"[DONE]") if streamed else b'{"object":"chat.completion"}'


def last_words(body: Json) -> str:
    """Say what the request ends with, for errors."""
    last = body["messages"][-1]
    return f"the {last['role']} message {str(last.get('content'))[:200]!r}"


def listed(models: Sequence[str], query: Mapping[str, str]) -> Json:  # noqa: ARG001 - OpenAI's list has no pages
    """List the models the way OpenAI does, all at once."""
    return {"object": "list", "data": [described(model) for model in models]}


def described(model: str) -> Json:
    """Describe a model the way OpenAI does."""
    return {"id": model, "object": "model", "created": 0, "owned_by": "agentloop"}


def _error(problem: Problem) -> Json:
    return {"error": {"message": problem.message, "type": problem.type, "param": problem.param, "code": problem.code}}


def _completion(turn: Turn, body: Json, number: int) -> Json:
    message: dict[str, Any] = {"role": "assistant", "content": _content(turn)}
    if turn.thinking:
        message["reasoning_content"] = "".join(turn.thinking)
    if turn.calls:
        message["tool_calls"] = [_call(call, number, index) for index, call in enumerate(turn.calls)]
    message |= {"refusal": "".join(turn.refusal) or None, "annotations": [_annotation(citation) for citation in turn.citations]}
    return {
        **_head("chat.completion", body, number),
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": _finish_reason(turn, body)}],
        "usage": _usage(turn, body),
        **_tail(),
    }


def _chunks(turn: Turn, body: Json, number: int) -> Iterator[Json]:
    options: Json = body.get("stream_options") or {}
    counted = bool(options.get("include_usage"))
    head = {**_head("chat.completion.chunk", body, number), **_tail()}
    uncounted = {"usage": None} if counted else {}

    def chunk(delta: Json, finish_reason: str | None = None) -> Json:
        return {**head, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}], **uncounted}

    yield from map(chunk, _message_deltas(turn))
    for index, call in enumerate(turn.calls):
        yield from map(chunk, _call_deltas(call, number, index))
    yield chunk({}, _finish_reason(turn, body))
    if counted:
        yield {**head, "choices": [], "usage": _usage(turn, body)}


def _message_deltas(turn: Turn) -> Iterator[Json]:
    yield {"role": "assistant", "content": None if _content(turn) is None else "", "refusal": None}
    yield from ({"reasoning_content": piece} for piece in turn.thinking)
    yield from ({"refusal": piece} for piece in turn.refusal)
    yield from ({"content": piece} for piece in turn.text)
    if turn.citations:
        yield {"annotations": [_annotation(citation) for citation in turn.citations]}


def _call_deltas(call: ScriptedCall, number: int, index: int) -> Iterator[Json]:
    whole = _call(call, number, index)
    yield {"tool_calls": [{"index": index, **whole, "function": {"name": call.name, "arguments": ""}}]}
    yield from ({"tool_calls": [{"index": index, "function": {"arguments": piece}}]} for piece in call.pieces)


def _call(call: ScriptedCall, number: int, index: int) -> Json:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": f"call_{digest('call', number, index)}", "type": "function", "function": function}


def _annotation(citation: Citation) -> Json:
    place = {"start_index": citation.start, "end_index": citation.end}
    return {"type": "url_citation", "url_citation": {**place, "title": citation.title, "url": citation.url}}


def _content(turn: Turn) -> str | None:
    return None if not turn.text and (turn.calls or turn.refusal) else "".join(turn.text)


def _finish_reason(turn: Turn, body: Json) -> str:
    # OpenAI says "stop" beside the calls when the request forced a tool by its name.
    forced = isinstance(body.get("tool_choice"), dict) and cast("Json", body["tool_choice"]).get("type") == "function"
    return "stop" if forced and turn.finish == "tool_calls" else turn.finish


def _head(kind: str, body: Json, number: int) -> Json:
    return {"id": f"chatcmpl-{digest('reply', number)}", "object": kind, "created": _CREATED, "model": body["model"]}


def _tail() -> Json:
    return {"service_tier": "default", "system_fingerprint": "fp_scripted"}


def _usage(turn: Turn, body: Json) -> Json:
    spent = turn.spent(len(as_json([body["messages"], body.get("tools")])))
    return {
        "prompt_tokens": spent.input_tokens,
        "completion_tokens": spent.output_tokens,
        "total_tokens": spent.total_tokens,
        "prompt_tokens_details": {"cached_tokens": spent.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": spent.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
