"""What servers and gateways do to streams and bodies on their way, read over HTTP."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from agentloop import Agent, Retries, model, tool
from agentloop.errors import BadRequest, StreamBroken
from agentloop.events import Retrying
from agentloop.messages import Reply, Request, Settings, user
from agentloop.models.http import HTTPModel
from agentloop.testing import Gateway, calls, raw, says

HI = 'data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":%s}]}\n\n'
USAGE = 'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
DONE = "data: [DONE]\n\n"


def asking(gateway: Gateway, attempts: int = 1) -> HTTPModel:
    return model("xaix:gpt-4o", base_url=gateway.base_url, retries=Retries(attempts=attempts, first_wait=0))


async def ask(asked: HTTPModel, *, stream: bool = True) -> tuple[Reply, list[Any]]:
    heard: list[Any] = []

    async def hear(delta: Any) -> None:
        heard.append(delta)

    return await asked.ask(Request([user("Hi")], stream=stream), hear), heard


# Quirk 2.
async def test_a_stream_of_comments_alone_is_a_broken_one():
    with Gateway(raw(": PING\n\n" * 3)) as gateway, pytest.raises(StreamBroken):
        await ask(asking(gateway))


# Quirk 3.
@pytest.mark.fault(42)
async def test_usage_and_done_are_no_end_without_a_finish_reason():
    with Gateway(raw(HI % "null" + USAGE + DONE)) as gateway, pytest.raises(StreamBroken) as broken:
        await ask(asking(gateway))

    assert broken.value.partial.text == "Hi"


# Quirk 4.
async def test_comments_between_the_events_say_nothing():
    with Gateway(raw(": OPENROUTER PROCESSING\n\n" + HI % "null" + ": OPENROUTER PROCESSING\n\n" + HI % '"stop"' + DONE)) as gateway:
        reply, _ = await ask(asking(gateway))

    assert reply.text == "HiHi"


# Quirk 5.
@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
async def test_blank_lines_before_a_whole_reply_are_skipped(content_type: str):
    body = '{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}]}'
    with Gateway(raw("\n         \n", "\n         \n", body, content_type=content_type)) as gateway:
        reply, _ = await ask(asking(gateway), stream=False)

    assert reply.text == "Hi"


# Quirk 6.
@pytest.mark.fault(55, 56)
async def test_a_finish_reason_is_an_end_without_done():
    with Gateway(raw(HI % '"stop"' + USAGE)) as gateway:
        reply, _ = await ask(asking(gateway))

    assert (reply.text, reply.usage.total_tokens) == ("Hi", 5)


# Quirk 10.
@pytest.mark.fault(47)
async def test_lines_may_end_with_cr_and_lf_and_data_needs_no_blank():
    body = (HI % '"stop"' + DONE).replace("data: ", "data:").replace("\n", "\r\n")
    with Gateway(raw(body)) as gateway:
        reply, _ = await ask(asking(gateway))

    assert reply.text == "Hi"


# Quirk 25.
@pytest.mark.fault(53, 54)
@pytest.mark.parametrize("event", ["", "event: error\n"])
async def test_an_error_behind_words_that_were_shown_ends_the_reply_with_what_came(event: str):
    failed = event + 'data: {"error":{"message":"no such argument","code":"tool_use_failed","status_code":400}}\n\n'
    with Gateway(raw(HI % "null" + failed)) as gateway, pytest.raises(BadRequest, match="no such argument") as failure:
        await ask(asking(gateway, attempts=4))

    assert failure.value.partial is not None
    assert failure.value.partial.text == "Hi"
    assert len(gateway.requests) == 1


# Quirk 37.
async def test_a_call_that_was_cut_though_the_reason_denies_it_is_not_run():
    ran: list[str] = []

    @tool
    def look(city: str) -> str:
        "Look."
        ran.append(city)
        return "sun"

    piece = (
        'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"look","arguments":"{\\"city\\": \\"Ro"}}]},'
        '"finish_reason":"tool_calls"}]}\n\n'
    )
    with Gateway(raw(piece + DONE), says("Sorry.")) as gateway:
        await Agent(asking(gateway), tools=[look]).run("Rome?")

    assert ran == []
    assert "The arguments are not JSON" in gateway.requests[1].body["messages"][-1]["content"]


# Quirk 58.
async def test_calls_side_by_side_are_all_answered_though_one_at_a_time_was_asked_for():
    @tool(effect="read")
    def double(a: int) -> int:
        "Double."
        return 2 * a

    with Gateway(calls("double", a=1) & calls("double", a=2), says("2 and 4")) as gateway:
        await Agent(asking(gateway), tools=[double], settings=Settings(parallel_tool_calls=False)).run("Go")

    assert gateway.requests[0].body["parallel_tool_calls"] is False
    assert [message["content"] for message in gateway.requests[1].body["messages"][-2:]] == ["2", "4"]


# Quirk 93.
async def test_retry_after_beside_a_200_is_no_wait():
    failed = raw('{"error":{"code":502,"message":"upstream"}}', content_type="application/json", headers={"retry-after": "61"})
    with Gateway(failed, says("Hi")) as gateway:
        reply, heard = await ask(asking(gateway, attempts=2), stream=False)

    assert reply.text == "Hi"
    assert [(type(event), event.seconds) for event in heard] == [(Retrying, 0)]


# Quirks 70 and 105.
@pytest.mark.parametrize("base_url", ["http://host/v1", "http://host/api/v2/cortex/v1", "http://host/openai/", "http://host"])
async def test_nothing_is_put_between_the_base_url_and_the_path_and_any_model_may_answer(base_url: str):
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200, json={"model": "gpt-4o-mini", "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        reply, _ = await ask(model("openai:gpt-4.1", base_url=base_url, client=client), stream=False)

    assert asked == [f"{base_url.rstrip('/')}/chat/completions"]
    assert reply.model == "gpt-4o-mini"
