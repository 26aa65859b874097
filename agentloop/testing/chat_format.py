"""Chat completions, spoken by the server's side: turns into replies, streamed and whole, as OpenAI sends them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

from agentloop.messages import Usage
from agentloop.testing.answers import Answer, Piece, Problem
from agentloop.testing.chat_rules import chat_problem
from agentloop.testing.turns import ScriptedCall, Turn

Json = Mapping[str, Any]

# A fixed hour keeps two runs of one script byte for byte alike.
_CREATED = 1_767_225_600


def problem(body: Any) -> Problem | None:
    """Say why a provider would refuse the request, or None."""
    return chat_problem(body)


def reply(turn: Turn, *, body: Json, number: int) -> Answer:
    """Say the turn, streamed or whole as the request asks; `number` makes the ids."""
    headers = {"x-request-id": f"req_{_digest('request', number)}"}
    if not body.get("stream"):
        return Answer.whole(as_json(_completion(turn, body, number)), headers={"content-type": "application/json", **headers})
    events = [*(event(as_json(chunk)) for chunk in _chunks(turn, body, number)), event(b"[DONE]")]
    return Answer(
        headers={"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache", **headers},
        pieces=[Piece(data) for data in events],
    )


def refusal(problem: Problem) -> Answer:
    """Say no."""
    headers = {"content-type": "application/json", **problem.headers}
    return Answer.whole(as_json(_error(problem)), status=problem.status, headers=headers)


def broken_off(problem: Problem) -> bytes:
    """Say no in the middle of a stream."""
    return event(as_json(_error(problem)))


def last_words(body: Json) -> str:
    """Say what the request ends with, for errors."""
    last = body["messages"][-1]
    return f"the {last['role']} message {str(last.get('content'))[:200]!r}"


def event(data: bytes) -> bytes:
    """Make an event of a stream."""
    return b"data: " + data + b"\n\n"


def as_json(value: Any) -> bytes:
    """Write JSON the way servers do: compact, in UTF-8."""
    # A lone surrogate has no UTF-8; backslashreplace makes it the very escape that JSON has for it.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def _error(problem: Problem) -> Json:
    return {"error": {"message": problem.message, "type": problem.type, "param": problem.param, "code": problem.code}}


def _completion(turn: Turn, body: Json, number: int) -> Json:
    message: dict[str, Any] = {"role": "assistant", "content": _content(turn)}
    if turn.thinking:
        message["reasoning_content"] = "".join(turn.thinking)
    if turn.calls:
        message["tool_calls"] = [_call(call, number, index) for index, call in enumerate(turn.calls)]
    message |= {"refusal": "".join(turn.refusal) or None, "annotations": []}
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


def _call_deltas(call: ScriptedCall, number: int, index: int) -> Iterator[Json]:
    whole = _call(call, number, index)
    yield {"tool_calls": [{"index": index, **whole, "function": {"name": call.name, "arguments": ""}}]}
    yield from ({"tool_calls": [{"index": index, "function": {"arguments": piece}}]} for piece in call.pieces)


def _call(call: ScriptedCall, number: int, index: int) -> Json:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": f"call_{_digest('call', number, index)}", "type": "function", "function": function}


def _content(turn: Turn) -> str | None:
    return None if not turn.text and (turn.calls or turn.refusal) else "".join(turn.text)


def _finish_reason(turn: Turn, body: Json) -> str:
    # OpenAI says "stop" beside the calls when the request forced a tool by its name.
    forced = isinstance(body.get("tool_choice"), dict) and cast("Json", body["tool_choice"]).get("type") == "function"
    return "stop" if forced and turn.finish == "tool_calls" else turn.finish


def _head(kind: str, body: Json, number: int) -> Json:
    return {"id": f"chatcmpl-{_digest('reply', number)}", "object": kind, "created": _CREATED, "model": body["model"]}


def _tail() -> Json:
    return {"service_tier": "default", "system_fingerprint": "fp_scripted"}


def _usage(turn: Turn, body: Json) -> Json:
    spent = turn.usage or _estimate(turn, body)
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


def _estimate(turn: Turn, body: Json) -> Usage:
    """Guess at tokens: some four characters each."""
    read = len(as_json([body["messages"], body.get("tools")]))
    thought = len("".join(turn.thinking))
    written = len("".join((*turn.text, *turn.refusal))) + sum(len(call.name) + len(call.arguments) for call in turn.calls)
    return Usage(input_tokens=-(-read // 4), output_tokens=-(-(thought + written) // 4), reasoning_tokens=-(-thought // 4))


def _digest(*what: object) -> str:
    """Make an id that looks like OpenAI's, and is the same in each run of a script."""
    return hashlib.sha256(repr(what).encode()).hexdigest()[:24]
