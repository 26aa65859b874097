"""What a server says when it refuses, in every shape that was seen."""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import Any

import pytest

from agentloop.errors import AuthError, BadRequest, ContextTooLong, ModelHTTPError, QuotaExceeded, RateLimited, ServerError
from agentloop.wire.error_bodies import error_from, is_error

BODIES: dict[str, tuple[int | None, Any, type[ModelHTTPError], str]] = {
    "OpenAI": (
        400,
        {"error": {"message": "Bad tool", "type": "invalid_request_error", "param": None, "code": None}},
        BadRequest,
        "Bad tool",
    ),
    "Azure, a code and no type": (404, {"error": {"code": "404", "message": "No deployment"}}, BadRequest, "No deployment"),
    "Mistral, a detail": (401, {"detail": "Invalid API Key"}, AuthError, "Invalid API Key"),
    "Mistral, an object": (400, {"object": "error", "message": "Bad id", "type": "x", "code": "1"}, BadRequest, "Bad id"),
    "FastAPI, a list of details": (
        422,
        {"detail": [{"loc": ["body"], "msg": "field required", "type": "missing"}]},
        BadRequest,
        "field required",
    ),
    "xAI, a bad key is 400": (400, {"code": "invalid-argument", "error": "Incorrect API key provided"}, AuthError, "Incorrect API key"),
    "Anthropic": (529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, ServerError, "Overloaded"),
    "Google": (429, {"error": {"code": 429, "message": "Quota", "status": "RESOURCE_EXHAUSTED"}}, RateLimited, "Quota"),
    "Google's compatible path, a list": (
        400,
        [{"error": {"code": 400, "message": "Bad", "status": "INVALID_ARGUMENT"}}],
        BadRequest,
        "Bad",
    ),
    "Google, a bad key is 400": (
        400,
        {"error": {"code": 400, "message": "No", "status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}},
        AuthError,
        "No",
    ),
    "OpenRouter, a number as code": (429, {"error": {"message": "Rate limited", "code": 429, "metadata": {}}}, RateLimited, "Rate limited"),
    "Groq": (400, {"error": {"message": "Failed", "code": "tool_use_failed", "failed_generation": "{"}}, BadRequest, "Failed"),
    "the gateway's tasks": (400, {"code": "task_not_exist", "message": "gone", "data": None}, BadRequest, "gone"),
    "Midjourney": (400, {"code": 4, "description": "banned", "type": "upstream_error"}, BadRequest, "banned"),
    "the gateway, 200 and no success": (None, {"success": False, "message": "no model"}, ServerError, "no model"),
    "the gateway, a malformed request is 500": (500, {"error": {"message": "eof", "code": "invalid_request"}}, BadRequest, "eof"),
    "a quota is a 429": (429, {"error": {"message": "You exceeded", "code": "insufficient_quota"}}, QuotaExceeded, "You exceeded"),
    "402": (402, {"error": {"message": "Pay"}}, QuotaExceeded, "Pay"),
    "context, OpenAI": (400, {"error": {"message": "too much", "code": "context_length_exceeded"}}, ContextTooLong, "too much"),
    "context, Anthropic": (
        400,
        {"error": {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8"}},
        ContextTooLong,
        "9 > 8",
    ),
    "context, Azure says 429": (429, {"error": {"message": "exceeds the maximum context length"}}, ContextTooLong, "maximum"),
    "context, Google": (400, {"error": {"message": "The input token count (9) exceeds the maximum"}}, ContextTooLong, "input token"),
    "context, llama.cpp": (
        400,
        {"error": {"code": 400, "message": "request (9 tokens) exceeds the available context size", "type": "exceed_context_size_error"}},
        ContextTooLong,
        "available",
    ),
    "in a stream, by type": (None, {"error": {"type": "rate_limit_error", "message": "slow"}}, RateLimited, "slow"),
    "in a stream, by a code that is a status": (None, {"error": {"code": 502, "message": "upstream"}}, ServerError, "upstream"),
    "in a stream, unknown": (None, {"error": {"message": "hm"}}, ServerError, "hm"),
    "an error that is a string": (500, {"error": "boom"}, ServerError, "boom"),
    "an error without a message": (500, {"error": {}}, ServerError, "500"),
    "no JSON": (502, None, ServerError, "<html>bad gateway"),
    "forbidden": (403, {"error": {"message": "no"}}, AuthError, "no"),
    "OpenRouter, no key": (401, {"error": {"message": "No cookie auth credentials found", "code": 401}}, AuthError, "No cookie"),
    "OpenRouter, errors of fallbacks": (
        400,
        {
            "error": {
                "message": "This endpoint's maximum context length is 8",
                "code": 400,
                "metadata": {"previous_errors": [{"code": 400}]},
            }
        },
        ContextTooLong,
        "is 8",
    ),
    "OpenRouter, the provider's own words": (
        400,
        {"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": '{"message":"prompt is too long: 9 > 8"}'}}},
        ContextTooLong,
        "9 > 8",
    ),
    "Groq, a choice that the model did not heed": (
        400,
        {"error": {"message": "Tool choice is required, but model did not call a tool", "code": "tool_use_failed"}},
        BadRequest,
        "did not call",
    ),
    "Google, too many tokens a minute": (
        429,
        {"error": {"code": 429, "message": "Quota exceeded for input_token_count, limit: 250000", "status": "RESOURCE_EXHAUSTED"}},
        RateLimited,
        "input_token_count",
    ),
    "Azure, a prompt that is filtered": (400, {"error": {"message": "filtered", "code": "content_filter"}}, BadRequest, "filtered"),
    "no such model, chat": (404, {"error": {"message": "no model x", "code": "model_not_found"}}, BadRequest, "no model x"),
    "no such model, responses": (400, {"error": {"message": "no model x", "code": "model_not_found"}}, BadRequest, "no model x"),
    "a parameter that the model does not take": (
        400,
        {"error": {"message": "Unsupported parameter: 'stop'", "code": "unsupported_parameter", "param": "stop"}},
        BadRequest,
        "'stop'",
    ),
    "a code that is a number, and no message": (400, {"error": {"code": 7, "type": None}}, BadRequest, "7"),
    "a lock": (409, {"error": {"message": "locked"}}, ServerError, "locked"),
}


@pytest.mark.parametrize("case", BODIES)
def test_a_body_becomes_the_error_it_means_with_the_servers_words(case: str):
    status, body, kind, words = BODIES[case]

    error = error_from(body, status=status, text="<html>bad gateway" if body is None else "")

    assert type(error) is kind
    assert words in str(error)


# Quirk 102.
def test_an_empty_refusal_is_said_to_have_no_words():
    error = error_from(None, status=502)

    assert type(error) is ServerError
    assert str(error) == "the server answered 502: no words"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e99"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon, I hope"}, None),
        ({"retry-after": formatdate(time.time() - 60, usegmt=True)}, None),
    ],
)
def test_retry_after_is_read_where_it_is_a_plain_time_and_ignored_elsewhere(headers: dict[str, str], seconds: float | None):
    assert error_from({}, status=429, headers=headers).retry_after == seconds


def test_retry_after_may_be_a_date():
    error = error_from({}, status=429, headers={"retry-after": formatdate(time.time() + 30, usegmt=True)})

    assert error.retry_after == pytest.approx(30, abs=2)


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        ({"error": {"code": 429, "details": [{"@type": "RetryInfo", "retryDelay": "34.4s"}]}}, 34.4),
        ({"error": {"message": "Please try again in 1.2s."}}, 1.2),
        ({"error": {"message": "Please try again in 500ms."}}, 0.5),
    ],
)
def test_the_wait_may_stand_in_the_body(body: Any, seconds: float):
    assert error_from(body, status=429).retry_after == pytest.approx(seconds)


def test_a_server_that_says_whether_to_retry_is_obeyed():
    assert error_from({}, status=400, headers={"x-should-retry": "true"}).retryable
    assert not error_from({}, status=500, headers={"x-should-retry": "false"}).retryable


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"code": 400, "type": "exceed_context_size_error"}, "exceed_context_size_error"),
        ({"code": "x", "type": "y"}, "x"),
        ({"code": 429}, "429"),
    ],
)
def test_the_servers_own_word_is_the_code(error: Any, code: str):
    assert error_from({"error": error}, status=400).code == code


def test_the_request_id_is_kept():
    error = error_from({}, status=500, headers={"x-request-id": "req_1"})

    assert error.request_id == "req_1"
    assert "req_1" in str(error)


@pytest.mark.parametrize(
    ("body", "failed"),
    [
        ({"error": {"message": "x"}}, True),
        ({"success": False}, True),
        ({"type": "error"}, True),
        ({"choices": [], "error": None}, False),
        ({"success": True, "data": []}, False),
    ],
)
def test_a_body_says_itself_whether_it_is_an_error(body: dict[str, Any], failed: bool):
    assert is_error(body) is failed
