"""A model behind HTTP, asked over real sockets; every failure is one typed error."""

from __future__ import annotations

import asyncio
import json
import socket
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest

from agentloop import Agent, Retries, Timeouts, model, tool
from agentloop.errors import (
    AgentLoopError,
    AuthError,
    BadReply,
    BadRequest,
    ConfigurationError,
    ContentFiltered,
    EmptyReply,
    LengthLimit,
    ModelConnectError,
    ModelError,
    ModelTimeout,
    RateLimited,
    ReplyTooLarge,
    ServerError,
    StreamBroken,
)
from agentloop.events import Event, Retrying
from agentloop.messages import Request, user
from agentloop.models import clients
from agentloop.models.http import HTTPModel
from agentloop.testing import (
    Gateway,
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

KEY = "sk-canary-7f3a"
AT_ONCE = Retries(first_wait=0)


def asking(gateway: Gateway, **options: Any) -> HTTPModel:
    return model("openai:gpt-4o", base_url=gateway.base_url, key=KEY, **({"retries": AT_ONCE} | options))


async def ask(asked: HTTPModel, *, stream: bool = False) -> tuple[Any, list[Any]]:
    heard: list[Any] = []

    async def hear(delta: Any) -> None:
        heard.append(delta)

    return await asked.ask(Request([user("Hi")], stream=stream), hear), heard


@tool(effect="read")
def add(a: int, b: int) -> int:
    "Add."
    return a + b


@pytest.mark.parametrize("library", [httpx, httpx2])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_agent_works_over_http_with_a_client_of_either_library(library: ModuleType, stream: bool):
    events: list[Event] = []

    with Gateway(calls("add", a=1, b=2) & calls("add", a=3, b=4), says("3 and 7."), key=KEY) as gateway:
        async with library.AsyncClient() as client:
            agent = Agent(asking(gateway, client=client), tools=[add], instructions="Be brief.")
            if stream:
                running = agent.stream("1+2? 3+4?")
                events += [event async for event in running]
                result = running.result
            else:
                result = await agent.run("1+2? 3+4?")

    assert result.text == "3 and 7."
    assert [message["content"] for message in gateway.requests[1].body["messages"][-2:]] == ["3", "7"]
    assert gateway.requests[1].body.get("stream", False) is stream
    assert bool(events) is stream


async def test_a_stream_and_a_whole_reply_are_the_same_reply():
    turn = calls("add", a=1, b=2).saying("Adding.", thinking="Hm.")
    with Gateway(turn, turn) as gateway:
        streamed, heard = await ask(asking(gateway), stream=True)
        whole, unheard = await ask(asking(gateway))

    # The gateway makes up new ids for each request.
    assert [getattr(part, "arguments", None) or part for part in streamed.parts] == [
        getattr(part, "arguments", None) or part for part in whole.parts
    ]
    assert streamed.usage == whole.usage
    assert len(heard) > 3
    assert unheard == []


@pytest.mark.fault(7, 9, 10, 14, 15, 16, 29, 42, 44, 52)
@pytest.mark.parametrize(
    "fault",
    [
        status(500),
        status(503),
        status(429),
        status(429, retry_after=0),
        status(408),
        no_answer("closed"),
        no_answer("reset"),
        cut(),
        cut(end="closed"),
        cut(end="reset"),
        malformed("empty"),
        malformed("not_json"),
        malformed("cut_json"),
        malformed("html"),
        malformed("no_choices"),
        error_inside(),
        raw('{"choices":[{"message":{"content":""},"finish_reason":"stop"}]}', content_type="application/json"),
    ],
)
async def test_a_passing_fault_is_not_noticed(fault: Any):
    with Gateway(fault, says("Hello.")) as gateway:
        reply, heard = await ask(asking(gateway))

    assert reply.text == "Hello."
    assert [type(event) for event in heard] == [Retrying]
    assert len(gateway.requests) == 2


@pytest.mark.fault(42, 44)
@pytest.mark.parametrize("fault", [cut(after=3), cut(after=3, end="closed"), cut(after=3, end="reset")])
async def test_a_stream_that_breaks_after_words_were_shown_is_an_error_with_what_came(fault: Any):
    with Gateway(fault, says("Never asked.")) as gateway, pytest.raises(StreamBroken) as broken:
        await ask(asking(gateway), stream=True)

    assert broken.value.partial.text.startswith("These words")
    assert len(gateway.requests) == 1


@pytest.mark.fault(15, 16, 30, 32, 33, 36, 42)
@pytest.mark.parametrize(
    ("fault", "error", "attempts"),
    [
        (status(500, message="on fire"), ServerError, 4),
        (status(429), RateLimited, 4),
        (status(429, retry_after=61), RateLimited, 1),
        (status(400, message="bad tool"), BadRequest, 1),
        (status(401), AuthError, 1),
        (status(404), BadRequest, 1),
        (status(500, headers={"x-should-retry": "false"}), ServerError, 1),
        (no_answer("closed"), ModelConnectError, 4),
        (raw('data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n'), StreamBroken, 4),
        (malformed("html"), BadReply, 3),
        (malformed("empty"), BadReply, 3),
        (raw('{"choices":[{"message":{"content":""},"finish_reason":"stop"}]}', content_type="application/json"), EmptyReply, 2),
        (redirect("http://elsewhere.example/v1"), BadReply, 1),
        (raw(b"\x1f\x8b", content_type="application/json", headers={"content-encoding": "gzip"}), BadReply, 3),
    ],
)
async def test_a_lasting_fault_ends_in_one_typed_error_after_so_many_attempts(fault: Any, error: type[ModelError], attempts: int):
    with Gateway(*[fault] * 4) as gateway, pytest.raises(error) as failure:
        await ask(asking(gateway))

    assert failure.value.attempts == attempts
    assert str(failure.value).startswith("openai:gpt-4o: ")
    assert len(gateway.requests) == failure.value.attempts


async def test_the_wait_that_a_server_asks_for_is_said_and_kept():
    heard: list[Any] = []

    async def hear(delta: Any) -> None:
        heard.append(delta)

    with Gateway(status(429, headers={"retry-after-ms": "20"}), says("Hello.")) as gateway:
        await asking(gateway).ask(Request([user("Hi")]), hear)

    assert [(event.attempt, event.seconds) for event in heard] == [(1, 0.02)]


@pytest.mark.fault(9)
async def test_a_connection_that_died_is_replaced_at_once():
    with Gateway(no_answer("closed"), says("Hello.")) as gateway:
        _, heard = await ask(asking(gateway, retries=Retries(first_wait=60)))

    assert [event.seconds for event in heard] == [0]


@pytest.mark.parametrize(("reason", "error"), [("length", LengthLimit), ("content_filter", ContentFiltered)])
async def test_a_reply_that_was_cut_before_its_first_word_says_why(reason: Any, error: type[ModelError]):
    with Gateway(says("").ending(reason)) as gateway, pytest.raises(error):
        await Agent(asking(gateway)).run("Hi")


@pytest.mark.fault(37)
async def test_a_redirect_is_not_followed_and_its_host_is_named():
    with (
        Gateway(redirect("http://elsewhere.example/v1/chat")) as gateway,
        pytest.raises(BadReply, match=r"redirects to elsewhere\.example"),
    ):
        await ask(asking(gateway))


@pytest.mark.fault(15)
async def test_a_page_instead_of_json_is_shown_by_its_first_words():
    with Gateway(*[malformed("html")] * 3) as gateway, pytest.raises(BadReply, match=r"text/html.*<!DOCTYPE html>"):
        await ask(asking(gateway))


@pytest.mark.fault(45)
async def test_a_silent_stream_is_given_up():
    with Gateway(cut(after=2, end="silent")) as gateway, pytest.raises(ModelTimeout, match=r"sent no event for 0\.1 s"):
        await ask(asking(gateway, timeouts=Timeouts(idle=0.1)), stream=True)


@pytest.mark.fault(46)
async def test_comments_do_not_keep_a_stream_alive():
    with Gateway(keep_alive(times=None, pause=0.02)) as gateway, pytest.raises(ModelTimeout, match=r"sent no event for 0\.1 s"):
        await ask(asking(gateway, timeouts=Timeouts(idle=0.1), retries=Retries(attempts=1)), stream=True)


@pytest.mark.fault(20)
async def test_a_server_that_never_answers_is_given_up():
    options = {"timeouts": Timeouts(attempt=0.1), "retries": Retries(attempts=1)}
    with Gateway(no_answer("silent")) as gateway, pytest.raises(ModelTimeout, match=r"no whole answer in 0\.1 s"):
        await ask(asking(gateway, **options))


async def test_the_time_that_a_reader_takes_is_not_the_servers():
    pauses = iter([1.2])

    async def hear(_: Any) -> None:
        # Longer than the attempt may take.
        await asyncio.sleep(next(pauses, 0))

    with Gateway(says("Hello ", "there.")) as gateway:
        reply = await asking(gateway, timeouts=Timeouts(attempt=1, idle=1)).ask(Request([user("Hi")], stream=True), hear)

    assert reply.text == "Hello there."


async def test_a_slow_stream_is_read_whole():
    with Gateway(slow(says("Hello ", "there."), between=0.01)) as gateway:
        reply, _ = await ask(asking(gateway), stream=True)

    assert reply.text == "Hello there."


@pytest.mark.fault(2)
async def test_a_refused_connection_names_the_host():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

    with pytest.raises(ModelConnectError, match=f"127.0.0.1:{port}") as refused:
        await ask(model("openai:gpt-4o", base_url=f"http://127.0.0.1:{port}/v1", retries=Retries(attempts=2, first_wait=0)))

    assert refused.value.attempts == 2


@pytest.mark.parametrize("address", ["no-scheme/v1", "ftp://host/v1"])
async def test_what_is_no_base_url_is_a_mistake_of_configuration(address: str):
    with pytest.raises(ConfigurationError, match="no base URL"):
        await ask(model("openai:gpt-4o", base_url=address, key=KEY))


@pytest.mark.fault(59)
async def test_plain_json_is_read_although_a_stream_was_asked_for():
    with Gateway(raw('{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}]}', content_type="application/json")) as gateway:
        reply, heard = await ask(asking(gateway), stream=True)

    assert reply.text == "Hi"
    assert "Hi" in [getattr(delta, "text", "") for delta in heard]


async def test_a_stream_is_read_although_a_whole_reply_was_asked_for():
    body = 'data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    with Gateway(raw(body, content_type="text/plain")) as gateway:
        reply, _ = await ask(asking(gateway))

    assert reply.text == "Hi"


async def test_an_error_that_a_gateway_writes_bare_into_its_stream_is_read():
    body = ': PING\n\n: PING\n\n{"error":{"message":"no channel for gpt-4o","type":"new_api_error","code":"invalid_request"}}'
    with Gateway(raw(body)) as gateway, pytest.raises(BadRequest, match="no channel for gpt-4o"):
        await ask(asking(gateway), stream=True)


@pytest.mark.fault(51)
async def test_a_reply_without_end_is_cut_off():
    piece = 'data: {"choices":[{"delta":{"content":"' + "x" * 2**20 + '"}}]}\n\n'
    with Gateway(raw(*[piece] * 40)) as gateway, pytest.raises(ReplyTooLarge, match="33,554,432"):
        await ask(asking(gateway), stream=True)


@pytest.mark.fault(49)
async def test_line_separators_of_unicode_do_not_end_a_line():
    body = 'data: {"choices":[{"delta":{"content":"a\u2028b\u2029c\u0085d"},"finish_reason":"stop"}]}\r\n\r\n'
    with Gateway(raw(body)) as gateway:
        reply, _ = await ask(asking(gateway), stream=True)

    assert reply.text == "a\u2028b\u2029c\u0085d"


@pytest.mark.fault(33)
async def test_a_key_that_a_server_echoes_is_masked():
    with Gateway(status(401, message=f"Incorrect API key: {KEY}")) as gateway, pytest.raises(AuthError) as refused:
        await ask(asking(gateway))

    assert KEY not in f"{refused.value!r} {refused.value} {refused.value.body}"
    assert "***" in str(refused.value)


async def test_a_key_that_a_server_echoes_is_masked_where_a_retry_is_told():
    with Gateway(status(500, message=f"Bad key {KEY}"), says("Hi")) as gateway:
        _, heard = await ask(asking(gateway))

    assert KEY not in f"{heard[0]!r} {heard[0].error.body}"
    assert "***" in str(heard[0].error)


async def test_a_stream_that_breaks_before_anything_was_shown_is_asked_for_again():
    role = 'data: {"id":"x","model":"m","choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
    with Gateway(raw(role), says("Hello.")) as gateway:
        reply, _ = await ask(asking(gateway), stream=True)

    assert reply.text == "Hello."


@pytest.mark.parametrize("reason", ["error", "abort"])
async def test_a_reply_that_ended_with_a_failure_is_none(reason: str):
    body = f'{{"choices":[{{"message":{{"content":"Half a"}},"finish_reason":"{reason}"}}]}}'
    with Gateway(raw(body, content_type="application/json"), says("Whole.")) as gateway:
        reply, _ = await ask(asking(gateway))

    assert reply.text == "Whole."


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", 'data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n'),
        ("text/event-stream", '{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}]}'),
        ("text/event-stream", '\ufeffdata: {"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n'),
    ],
)
async def test_the_first_bytes_tell_a_stream_from_a_whole_reply(content_type: str, body: str):
    with Gateway(raw(body, content_type=content_type)) as gateway:
        reply, _ = await ask(asking(gateway), stream=True)

    assert reply.text == "Hi"


async def test_a_client_over_a_mock_transport_serves():
    said = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}

    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200, json=said))) as client:
        reply, _ = await ask(model("openai:m", base_url="http://host/v1", client=client))

    assert reply.text == "Hi"


async def test_a_closed_client_is_a_mistake_of_configuration():
    client = httpx.AsyncClient()
    await client.aclose()

    with pytest.raises(ConfigurationError, match="the client is closed"):
        await ask(model("openai:m", base_url="http://127.0.0.1:9/v1", client=client))


def test_a_client_goes_with_its_event_loop():
    with Gateway(says("One."), says("Two.")) as gateway:
        for _ in range(2):
            asyncio.run(ask(asking(gateway)))

    assert len(clients._shared) == 0  # noqa: SLF001  # nothing else tells what is kept


@pytest.mark.parametrize("value", ["canary\nx", "caf\u00e9"])
def test_a_header_that_cannot_be_sent_is_refused_without_its_value(value: str):
    with pytest.raises(ConfigurationError, match="'x-secret'") as refused:
        model("openai:m", headers={"x-secret": value})

    assert value not in str(refused.value)


async def test_a_key_shows_in_no_repr_and_no_log(caplog: pytest.LogCaptureFixture):
    caplog.set_level("DEBUG")
    with Gateway(says("Hi")) as gateway:
        asked = asking(gateway)
        await ask(asked)

    shown = f"{asked!r} {Agent(asked)!r} {vars(asked)!r} {gateway.requests!r} {caplog.text}"
    assert KEY not in shown
    assert gateway.requests[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.fault(120)
async def test_cancelling_closes_the_connection_at_once():
    with Gateway(no_answer("silent")) as gateway:
        running = asyncio.create_task(ask(asking(gateway)))
        while not gateway.requests:  # noqa: ASYNC110  # the gateway fills it from its own thread
            await asyncio.sleep(0)
        started = asyncio.get_running_loop().time()

        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

        assert asyncio.get_running_loop().time() - started < 1


@pytest.mark.fault(41, 145)
def test_one_model_serves_one_event_loop_after_the_other():
    with Gateway(says("One."), says("Two.")) as gateway:
        asked = asking(gateway)

        replies = [asyncio.run(ask(asked))[0].text for _ in range(2)]

    assert replies == ["One.", "Two."]


@pytest.mark.fault(38)
async def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")

    with Gateway(says("Hi")) as gateway:
        reply, _ = await ask(asking(gateway))

    assert reply.text == "Hi"


@pytest.mark.fault(40)
async def test_a_hundred_runs_at_once_share_one_client():
    with Gateway(*[says("Hi")] * 100) as gateway:
        asked = asking(gateway)

        replies = await asyncio.gather(*(ask(asked) for _ in range(100)))

    assert len(replies) == 100


@pytest.mark.fault(128)
async def test_an_errors_transcript_goes_on_where_it_broke():
    with Gateway(calls("add", a=1, b=2), status(400), says("3")) as gateway:
        agent = Agent(asking(gateway), tools=[add])
        with pytest.raises(AgentLoopError) as failure:
            await agent.run("1+2?")

        result = await agent.resume(failure.value.result)

    assert result.text == "3"
    assert len(gateway.requests) == 3


def paused(*blocks: dict[str, Any], reason: str) -> httpx.Response:
    said = {"id": "msg", "type": "message", "role": "assistant", "model": "claude", "content": list(blocks), "stop_reason": reason}
    return httpx.Response(200, json={**said, "usage": {"input_tokens": 10, "output_tokens": 5}})


SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
CITED = {
    "type": "text",
    "text": "It shines.",
    "citations": [{"type": "web_search_result_location", "url": "https://e.org", "title": "E", "encrypted_index": "i", "cited_text": "x"}],
}


async def test_a_paused_reply_is_asked_to_go_on_and_is_one_reply():
    asked: list[dict[str, Any]] = []
    answers = [paused({"type": "text", "text": "One moment. "}, SEARCH, reason="pause_turn"), paused(FOUND, CITED, reason="end_turn")]

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content))
        return answers.pop(0)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        result = await Agent(model("anthropic:claude-sonnet-4-5", key="k", client=client)).run("Sun?")

    [citation] = result.citations
    assert result.text == "One moment. It shines."
    assert result.text[citation.start : citation.end] == "It shines."
    assert asked[1]["messages"][1] == {"role": "assistant", "content": [{"type": "text", "text": "One moment. "}, SEARCH]}
    assert (result.usage.total_tokens, result.steps) == (30, 1)


async def test_what_came_before_a_pause_is_not_lost_when_the_rest_says_nothing_or_fails():
    begun = paused({"type": "text", "text": "All said."}, SEARCH, reason="pause_turn")
    for rest, is_fine in ((paused(FOUND, reason="end_turn"), True), (httpx.Response(400, json={"error": {"message": "no"}}), False)):
        answers = [begun, rest]
        async with httpx.AsyncClient(transport=httpx.MockTransport(lambda request, left=answers: left.pop(0))) as client:
            agent = Agent(model("anthropic:claude-sonnet-4-5", key="k", client=client))
            if is_fine:
                assert (await agent.run("Sun?")).text == "All said."
                continue
            with pytest.raises(BadRequest) as failed:
                await agent.run("Sun?")
            assert failed.value.partial.text == "All said."
            assert failed.value.result.usage.total_tokens == 15
