"""Each scripted fault, as a client meets it."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from agentloop.testing import (
    Gateway,
    Problem,
    Spoiled,
    calls,
    cut,
    error_inside,
    keep_alive,
    malformed,
    no_answer,
    raw,
    redirect,
    says,
    slow,
    status,
)
from agentloop.testing.answers import Answer

HELLO: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
STREAMED = {**HELLO, "stream": True}
SOON = 0.5


async def test_a_status_carries_its_error_and_its_headers(way):
    turn = status(429, message="Slow down.", retry_after=1, headers={"X-Should-Retry": "true", "x-request-id": "req_1"})

    async with way.to(Gateway(turn)) as client:
        answer = await client.post("/chat/completions", json=STREAMED)

    assert answer.status_code == 429
    assert [answer.headers[name] for name in ("retry-after", "x-should-retry", "x-request-id")] == ["1", "true", "req_1"]
    assert answer.json() == {"error": {"message": "Slow down.", "type": "requests", "param": None, "code": "rate_limit_exceeded"}}


@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [
        (401, "invalid_request_error", "invalid_api_key"),
        (404, "invalid_request_error", "model_not_found"),
        (422, "invalid_request_error", None),
        (503, "server_error", None),
        (529, "server_error", None),
    ],
)
async def test_a_status_alone_has_the_usual_words(way, number, kind, code):
    async with way.to(Gateway(status(number))) as client:
        answer = await client.post("/chat/completions", json=HELLO)

    error = answer.json()["error"]
    assert answer.status_code == number
    assert (error["type"], error["code"]) == (kind, code)
    assert error["message"].endswith(".")


async def test_a_status_may_have_any_code_and_any_body(way):
    turns = [status(429, code="insufficient_quota"), status(502, body="Bad gateway"), status(400, body=[{}]), status(500, body=b"")]

    async with way.to(Gateway(*turns)) as client:
        quota, text, listed, empty = [await client.post("/chat/completions", json=HELLO) for _ in turns]

    assert quota.json()["error"]["code"] == "insufficient_quota"
    assert (text.text, text.headers["content-type"]) == ("Bad gateway", "text/plain; charset=utf-8")
    assert listed.json() == [{}]
    assert empty.content == b""


async def test_a_redirect_leads_elsewhere(way):
    async with way.to(Gateway(redirect("http://elsewhere.test/v1", number=308))) as client:
        answer = await client.post("/chat/completions", json=HELLO)

    assert (answer.status_code, answer.headers["location"], answer.is_redirect) == (308, "http://elsewhere.test/v1", True)


async def test_a_stream_may_end_cleanly_before_its_reply_does(way):
    async with way.to(Gateway(cut(says("Hel", "lo"), after=2))) as client:
        answer = await client.post("/chat/completions", json=STREAMED)

    events = answer.text.split("\n\n")[:-1]
    assert len(events) == 2
    assert "Hel" in events[1]
    assert "[DONE]" not in answer.text


@pytest.mark.parametrize(("end", "error"), [("closed", "RemoteProtocolError"), ("reset", "ReadError"), ("silent", "ReadTimeout")])
async def test_a_stream_may_break_in_the_middle(way, end, error):
    gateway = Gateway(cut(says("Hel", "lo"), after=2, end=end))

    async with way.to(gateway, patience=SOON if end == "silent" else 5.0) as client:
        with pytest.raises(getattr(way.library, error)):
            await client.post("/chat/completions", json=STREAMED)

        assert gateway.requests[0].wait() == ("abandoned" if end == "silent" else "answered")


@pytest.mark.parametrize(("end", "error"), [("closed", "RemoteProtocolError"), ("reset", "ReadError"), ("silent", "ReadTimeout")])
async def test_a_whole_reply_may_break_in_the_middle(way, end, error):
    async with way.to(Gateway(cut(end=end)), patience=SOON if end == "silent" else 5.0) as client:
        with pytest.raises(getattr(way.library, error)):
            await client.post("/chat/completions", json=HELLO)


async def test_a_whole_reply_may_be_cut_although_its_length_fits(way):
    async with way.to(Gateway(cut())) as client:
        answer = await client.post("/chat/completions", json=HELLO)

    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.text.startswith('{"id":')
    with pytest.raises(json.JSONDecodeError):
        answer.json()


@pytest.mark.parametrize(("end", "error"), [("closed", "RemoteProtocolError"), ("reset", "ReadError"), ("silent", "ReadTimeout")])
async def test_the_connection_may_end_before_any_header(way, end, error):
    gateway = Gateway(no_answer(end), says("Hi"))

    async with way.to(gateway, patience=SOON if end == "silent" else 5.0) as client:
        with pytest.raises(getattr(way.library, error)):
            await client.post("/chat/completions", json=HELLO)
        after = await client.post("/chat/completions", json=HELLO)

    assert gateway.requests[0].status is None
    assert after.status_code == 200


@pytest.mark.parametrize("turn", [slow(before=3600), slow(between=3600)])
async def test_a_slow_answer_is_waited_for_no_longer_than_the_client_wants(way, turn):
    gateway = Gateway(turn)

    async with way.to(gateway, patience=SOON) as client:
        with pytest.raises(way.library.ReadTimeout):
            await client.post("/chat/completions", json=STREAMED)

        assert gateway.requests[0].wait() == "abandoned"


async def test_a_slow_answer_arrives_in_the_end(way):
    async with way.to(Gateway(slow(says("Hello there."), before=0.01, between=0.001))) as client:
        whole = await client.post("/chat/completions", json=STREAMED)

    assert whole.text.endswith("data: [DONE]\n\n")


async def test_events_arrive_one_by_one_while_the_rest_is_still_to_come(way):
    gateway = Gateway(cut(says("Hel", "lo"), after=2, end="silent"))

    async with asyncio.timeout(5), way.to(gateway) as client, client.stream("POST", "/chat/completions", json=STREAMED) as answer:
        seen = b""
        async for data in answer.aiter_bytes():
            seen += data
            if b"Hel" in seen:
                break

    assert seen.count(b"data: ") == 2


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_page_of_html_may_come_instead(way, streamed):
    async with way.to(Gateway(malformed("html"))) as client:
        answer = await client.post("/chat/completions", json={**HELLO, "stream": streamed})

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html")
    assert answer.text.startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("how", "events"),
    [
        ("not_json", ["{...}", "upstream said: ok", "{...}", "{...}", "{...}", "[DONE]"]),
        ("cut_json", ["{...}", "{...", "{...}", "{...}", "[DONE]"]),
        ("empty", []),
        ("no_choices", ["{...}", "[DONE]"]),
    ],
)
async def test_a_stream_may_hold_what_cannot_be_read(way, how, events):
    async with way.to(Gateway(malformed(how, says("Hel", "lo")))) as client:
        answer = await client.post("/chat/completions", json=STREAMED)

    said = [event.removeprefix("data: ") for event in answer.text.split("\n\n") if event]
    assert answer.status_code == 200
    assert [f"{{...{'}' if event.endswith('}') else ''}" if event.startswith("{") else event for event in said] == events
    assert all(is_json(event) == expected.endswith("}") for event, expected in zip(said, events, strict=True) if event != "[DONE]")


def is_json(text: str) -> bool:
    """Whether the text parses."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(("how", "start", "parses"), [("not_json", "upstream", False), ("cut_json", '{"id"', False), ("empty", "", False)])
async def test_a_whole_reply_may_be_what_cannot_be_read(way, how, start, parses):
    async with way.to(Gateway(malformed(how))) as client:
        answer = await client.post("/chat/completions", json=HELLO)

    assert answer.status_code == 200
    assert answer.text.startswith(start)
    assert is_json(answer.text) is parses


async def test_comments_may_stand_between_the_events(way):
    async with way.to(Gateway(keep_alive(says("Hi"), times=2))) as client:
        answer = await client.post("/chat/completions", json=STREAMED)

    lines = [line for line in answer.text.split("\n\n") if line]
    assert lines[:3] == [": keep-alive", ": keep-alive", lines[2]]
    assert lines.count(": keep-alive") == 2 * sum(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"


async def test_white_space_may_stand_before_a_whole_reply(way):
    async with way.to(Gateway(keep_alive(says("Hi"), times=3))) as client:
        answer = await client.post("/chat/completions", json=HELLO)

    assert answer.text.startswith("\n         \n")
    assert answer.json()["choices"][0]["message"]["content"] == "Hi"


async def test_comments_may_come_for_ever_until_the_client_leaves(way):
    gateway = Gateway(keep_alive(times=None))

    async with way.to(gateway) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SOON):
                await client.post("/chat/completions", json=STREAMED)

        assert gateway.requests[0].wait() == "abandoned"


async def test_an_error_may_come_although_the_status_was_200(way):
    async with way.to(Gateway(error_inside("Overloaded.", turn=says("Hel", "lo"), after=2), error_inside(code="overloaded"))) as client:
        streamed = await client.post("/chat/completions", json=STREAMED)
        whole = await client.post("/chat/completions", json=HELLO)

    events = [event.removeprefix("data: ") for event in streamed.text.split("\n\n") if event]
    assert [streamed.status_code, whole.status_code] == [200, 200]
    assert len(events) == 3
    assert json.loads(events[-1])["error"]["message"] == "Overloaded."
    assert whole.json()["error"]["code"] == "overloaded"


async def test_any_bytes_may_be_sent_in_any_pieces(way):
    pieces = [b"event: ping\r\n\r\n", "data:{}\n\n", b"data: \xe2\x80", b"\xa8\n\n"]

    async with way.to(Gateway(raw(*pieces), raw("{}", status=503, content_type="application/json", headers={"Server": "x"}))) as client:
        stream = await client.post("/chat/completions", json=STREAMED)
        body = await client.post("/chat/completions", json=HELLO)

    assert stream.content == b"event: ping\r\n\r\ndata:{}\n\ndata: \xe2\x80\xa8\n\n"
    assert (body.status_code, body.headers["server"], body.headers["content-length"], body.text) == (503, "x", "2", "{}")


async def test_faults_add_up_and_may_be_written_by_hand(way):
    def louder(answer: Answer, _: Any) -> Answer:
        return Answer.whole(b"".join(piece.data for piece in answer.pieces).upper(), headers=answer.headers)

    def depends(body: Any) -> Problem | Spoiled:
        assert body["model"] == "m"
        return cut(keep_alive(says("Hi")), after=2)

    async with way.to(Gateway(Spoiled(says("Hi"), louder), slow(depends, between=0.001))) as client:
        shouted = await client.post("/chat/completions", json=HELLO)
        spoiled = await client.post("/chat/completions", json=STREAMED)

    assert '"CONTENT":"HI"' in shouted.text
    assert spoiled.text.startswith(": keep-alive\n\ndata: ")
    assert spoiled.text.count("\n\n") == 2


async def test_a_fault_hits_one_request_and_the_next_is_answered(way):
    gateway = Gateway(cut(calls("add", a=1), after=3, end="reset"), status(500), no_answer("reset"), calls("add", a=1))

    async with way.to(gateway) as client:
        with pytest.raises(way.library.ReadError):
            await client.post("/chat/completions", json=STREAMED)
        failed = await client.post("/chat/completions", json=STREAMED)
        with pytest.raises(way.library.ReadError):
            await client.post("/chat/completions", json=STREAMED)
        answered = await client.post("/chat/completions", json=STREAMED)

    assert [failed.status_code, answered.status_code] == [500, 200]
    assert [request.status for request in gateway.requests] == [200, 500, None, 200]


async def test_a_client_deadline_holds_in_process_as_it_does_over_a_port():
    gateway = Gateway(no_answer("silent"))

    async with httpx.AsyncClient(transport=gateway.transport(), timeout=None) as client:  # noqa: S113 - the deadline is asyncio's here
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SOON):
                await client.post("http://gateway/v1/chat/completions", json=HELLO)

    assert gateway.requests[0].outcome == "abandoned"
