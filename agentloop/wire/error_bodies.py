"""Reads what a server says when it refuses: ten shapes of error bodies, one typed error."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, cast

from agentloop.errors import AuthError, BadRequest, ContextTooLong, ModelHTTPError, QuotaExceeded, RateLimited, ServerError
from agentloop.wire.lenient import as_list, as_object

_BODY_CHARACTERS = 2_000
_REQUEST_ID_HEADERS = ("x-request-id", "request-id", "apim-request-id", "x-ds-trace-id")

# Context too long is a 400 at most providers, but Azure and Gemini say 429, where asking again would never end.
_CONTEXT = (
    "context_length_exceeded|prompt is too long|prompt too long|maximum context length|exceeded max context length"
    "|input token count .{0,40}exceeds|too_many_prompt_tokens|context window|model_context_window_exceeded"
    "|exceed_context_size|available context size"
)
_QUOTA = "insufficient_quota|insufficient_user_quota|pre_consume_token_quota_failed|billing_|credit balance|insufficient balance"
_AUTH = "api_key_invalid|(incorrect|invalid|missing) api key|api key not valid|invalid_api_key|authentication_error|permission_error"
_RATE = "rate_limit|rate limit|too_many_requests|resource_exhausted"
_REQUEST = "invalid_request|invalid-argument|invalid_argument|bad_request|tool_use_failed|not_found"

_MEANT_AT_ANY_STATUS: tuple[tuple[str, type[ModelHTTPError]], ...] = ((_CONTEXT, ContextTooLong), (_QUOTA, QuotaExceeded))
_NO_FAILURE = range(400)
_SERVER_FAILURE = 500

_SECONDS = r"\d{1,9}(\.\d+)?"
_WORDED_WAIT = r"try again in (\d{1,6}(?:\.\d+)?)\s*(ms|s)\b"


@dataclass(frozen=True, slots=True)
class _Words:
    message: str
    code: str
    retry_delay: str = ""


def error_from(
    body: object,
    *,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    text: str = "",
) -> ModelHTTPError:
    """Make the typed error of a server's answer.

    Args:
        body: The answer as JSON, or None where it is none.
        status: The HTTP status, or None for an error inside a stream or a 200.
        headers: The answer's headers, by lower-case name.
        text: The answer as text.
    """
    headers = headers or {}
    words = _words(body) or _Words(text.strip()[:500], "")
    kind, status_said = _kind(words, status)
    request_id = next((headers[name] for name in _REQUEST_ID_HEADERS if name in headers), None)
    error = kind(
        _sentence(words, status_said, request_id),
        status=status_said,
        code=next((code for code in words.code.split() if not code.isdigit()), words.code) or None,
        request_id=request_id,
        retry_after=_retry_after(headers, words),
        body=(text or str(body))[:_BODY_CHARACTERS],
    )
    _heed_server(error, headers, words)
    return error


def is_error(body: Mapping[str, Any]) -> bool:
    """Whether a JSON object says that the request failed, whatever the status was."""
    return bool(body.get("error")) or body.get("success") is False or body.get("type") == "error" or body.get("object") == "error"


def _words(body: object) -> _Words | None:
    # Google's OpenAI-compatible path sends a list of one.
    listed = cast("list[object]", body) if isinstance(body, list) else [body]
    outer: Mapping[str, Any] = as_object(listed[0]) if listed else {}
    if not outer:
        return None
    inner = outer.get("error") or outer.get("detail") or outer
    match inner:
        case list():
            # FastAPI lists what is wrong with the request.
            return _Words("; ".join(str(as_object(item).get("msg", item)) for item in cast("list[object]", inner)), "")
        case dict():
            return _words_of(as_object(cast("object", inner)))
        case _:
            # xAI puts the words straight into "error", and the code beside it.
            return _Words(str(inner), str(outer.get("code") or outer.get("type") or ""))


def _words_of(error: Mapping[str, Any]) -> _Words:
    message = error.get("message") or error.get("description") or error.get("msg") or error
    # OpenRouter passes the provider's own words on beside "Provider returned error".
    if isinstance(raw := as_object(error.get("metadata")).get("raw"), str):
        message = f"{message}: {raw}"
    codes = [str(error[name]) for name in ("code", "status", "type") if error.get(name) not in (None, "")]
    details = [as_object(detail) for detail in as_list(error.get("details"))]
    codes += [str(detail["reason"]) for detail in details if "reason" in detail]
    delay = next((str(detail["retryDelay"]) for detail in details if "retryDelay" in detail), "")
    return _Words(str(message), " ".join(codes), delay)


def _kind(words: _Words, status: int | None) -> tuple[type[ModelHTTPError], int | None]:
    said = f"{words.code} {words.message}".lower()
    if status is None or status in _NO_FAILURE:
        # An error inside a 200 may carry a status of its own as its code.
        number = re.search(r"\b[45]\d\d\b", words.code)
        status = int(number.group()) if number else None
    meant = next((kind for pattern, kind in _MEANT_AT_ANY_STATUS if re.search(pattern, said)), None)
    return meant or (_kind_by_words(said) if status is None else _kind_by_status(status, words, said)), status


def _kind_by_status(status: int, words: _Words, said: str) -> type[ModelHTTPError]:
    # 408 is a time-out on the server's side, 409 a lock at OpenAI: both pass.
    # new-api answers a malformed request with 500 and the code invalid_request.
    if status in {408, 409} or (status >= _SERVER_FAILURE and not (status == _SERVER_FAILURE and "invalid_request" in words.code)):
        return ServerError
    by_status: dict[int, type[ModelHTTPError]] = {401: AuthError, 402: QuotaExceeded, 403: AuthError, 429: RateLimited}
    return by_status.get(status) or (AuthError if re.search(_AUTH, said) else BadRequest)


def _kind_by_words(said: str) -> type[ModelHTTPError]:
    kinds = ((_AUTH, AuthError), (_RATE, RateLimited), (_REQUEST, BadRequest))
    return next((kind for pattern, kind in kinds if re.search(pattern, said)), ServerError)


def _sentence(words: _Words, status: int | None, request_id: str | None) -> str:
    head = f"the server answered {status}" if status else "the server sent an error"
    tail = f" (request id {request_id})" if request_id else ""
    return f"{head}: {words.message[:500] or words.code or 'no words'}{tail}"


def _heed_server(error: ModelHTTPError, headers: Mapping[str, str], words: _Words) -> None:
    should_retry = headers.get("x-should-retry")
    if should_retry in {"true", "false"}:
        error.retryable = should_retry == "true"
    if error.retry_after is None and error.retryable and (worded := re.search(_WORDED_WAIT, words.message)):
        error.retry_after = float(worded.group(1)) / (1000 if worded.group(2) == "ms" else 1)


def _retry_after(headers: Mapping[str, str], words: _Words) -> float | None:
    """Read how long to wait, in seconds; what is no plain time is ignored."""
    milliseconds = headers.get("retry-after-ms", "").strip()
    if re.fullmatch(_SECONDS, milliseconds):
        return float(milliseconds) / 1000
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(_SECONDS, value):
        return float(value)
    if value and not value[0].isdigit() and "," in value:
        return _until(value)
    delay = words.retry_delay.removesuffix("s")
    return float(delay) if re.fullmatch(_SECONDS, delay) else None


def _until(date: str) -> float | None:
    """Count the seconds until an HTTP date (RFC 9110, 5.6.7); a date that is past says nothing."""
    try:
        seconds = parsedate_to_datetime(date).timestamp() - time.time()
    except (OverflowError, ValueError):
        return None
    return seconds if seconds > 0 else None
