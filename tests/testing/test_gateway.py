"""What the scripted gateway says, and how it is reached."""

import asyncio
import gc
import json
import socket
import threading
from typing import Any

import httpx
import pytest

from agentloop.errors import RateLimited
from agentloop.messages import Usage
from agentloop.testing import Gateway, HeardRequest, always, calls, cut, fails, raw, refuses, says

HELLO: dict[str, Any] = {"model": "gpt-4o-2024-08-06", "messages": [{"role": "user", "content": "Hello"}]}
STREAMED = {**HELLO, "stream": True, "stream_options": {"include_usage": True}}


def dial(gateway: Gateway) -> socket.socket:
    """Connect to the gateway's port, with no client in between."""
    return socket.create_connection(("127.0.0.1", httpx.URL(gateway.base_url).port), 5)


def chunks(text: str) -> list[Any]:
    """Read the events of a stream."""
    events = [event.removeprefix("data: ") for event in text.split("\n\n") if event]
    assert events.pop() == "[DONE]"
    return [json.loads(event) for event in events]


async def test_a_whole_reply_has_the_shape_of_the_api(way):
    turn = calls("get_weather", city="Paris").spending(Usage(input_tokens=9, output_tokens=4, cached_tokens=2, reasoning_tokens=1))

    async with way.to(Gateway(turn)) as client:
        answer = await client.post("/chat/completions", json=HELLO)

    body = answer.json()
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    assert body == {
        "id": body["id"],
        "object": "chat.completion",
        "created": 1767225600,
        "model": "gpt-4o-2024-08-06",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "id": body["choices"][0]["message"]["tool_calls"][0]["id"],
                            "type": "function",
                            "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'},
                        }
                    ],
                    "refusal": None,
                    "annotations": [],
                },
                "logprobs": None,
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 4,
            "total_tokens": 13,
            "prompt_tokens_details": {"cached_tokens": 2, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 1,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default",
        "system_fingerprint": "fp_scripted",
    }


async def test_a_streamed_reply_comes_in_the_order_of_the_api(way):
    async with way.to(Gateway(says("Hel", "lo"), calls("add", a=1) & calls("sub", "{}"))) as client:
        words = chunks((await client.post("/chat/completions", json=STREAMED)).text)
        called = chunks((await client.post("/chat/completions", json=STREAMED)).text)

    assert [choice["delta"] for chunk in words for choice in chunk["choices"]] == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "Hel"},
        {"content": "lo"},
        {},
    ]
    assert [choice["finish_reason"] for chunk in words for choice in chunk["choices"]] == [None, None, None, "stop"]
    assert [bool(chunk["usage"]) for chunk in words] == [False, False, False, False, True]
    assert words[-1]["choices"] == []
    assert {(chunk["id"], chunk["object"], chunk["model"]) for chunk in words} == {
        (words[0]["id"], "chat.completion.chunk", "gpt-4o-2024-08-06")
    }
    deltas = [chunk["choices"][0]["delta"] for chunk in called[:-1]]
    first, second = deltas[1]["tool_calls"][0], deltas[7]["tool_calls"][0]
    assert deltas[0] == {"role": "assistant", "content": None, "refusal": None}
    assert (first["index"], first["type"], first["function"]) == (0, "function", {"name": "add", "arguments": ""})
    assert (second["index"], second["type"], second["function"]) == (1, "function", {"name": "sub", "arguments": ""})
    assert first["id"] != second["id"]
    assert deltas[2] == {"tool_calls": [{"index": 0, "function": {"arguments": '{"'}}]}
    assert deltas[8] == {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]}
    assert called[-2]["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "tool_calls"}


async def test_tokens_are_streamed_only_where_they_are_asked_for(way):
    async with way.to(Gateway(says("Hi"))) as client:
        answer = await client.post("/chat/completions", json={**HELLO, "stream": True})

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert all("usage" not in chunk and chunk["choices"] for chunk in chunks(answer.text))


async def test_thoughts_refusals_and_odd_characters_arrive(way):
    words = "Zoë\u2028\u0085 你好 \U0001f600"

    async with way.to(Gateway(says(words, thinking="Hm, well."), refuses("I would rather not."))) as client:
        thought = (await client.post("/chat/completions", json=HELLO)).json()["choices"][0]["message"]
        refused = chunks((await client.post("/chat/completions", json=STREAMED)).text)

    assert (thought["content"], thought["reasoning_content"]) == (words, "Hm, well.")
    pieces = [choice["delta"].get("refusal") or "" for chunk in refused for choice in chunk["choices"]]
    assert "".join(pieces) == "I would rather not."
    assert refused[0]["choices"][0]["delta"]["content"] is None


async def test_a_lone_surrogate_goes_out_as_its_escape(way):
    async with way.to(Gateway(says("a\ud800b"))) as client:
        answer = await client.post("/chat/completions", json=HELLO)

    assert b"a\\ud800b" in answer.content


async def test_a_tool_forced_by_its_name_ends_with_stop_as_at_openai(way):
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}]
    forced = {**HELLO, "tools": tools, "tool_choice": {"type": "function", "function": {"name": "add"}}}

    async with way.to(Gateway(calls("add"), calls("add"))) as client:
        named = await client.post("/chat/completions", json=forced)
        required = await client.post("/chat/completions", json={**forced, "tool_choice": "required"})

    assert [answer.json()["choices"][0]["finish_reason"] for answer in (named, required)] == ["stop", "tool_calls"]


def one_of_each() -> list[Any]:
    """Write a script anew."""
    return [
        says("Hello there.", thinking="Hm"),
        calls("add", a=1, b=2) & calls("sub", '{"a":'),
        refuses("No."),
        fails("down"),
        cut(says("Hello there."), after=2),
        raw("data: {}\r\n\r\n", ": note\n\n"),
    ]


@pytest.mark.parametrize("body", [HELLO, STREAMED], ids=["whole", "streamed"])
async def test_every_way_to_the_gateway_gives_the_same_bytes(all_ways, body):
    async def answers(way: Any) -> list[tuple[int, bytes]]:
        async with way.to(Gateway(*one_of_each())) as client:
            heard = [await client.post("/chat/completions", json=body) for _ in one_of_each()]
        return [(answer.status_code, answer.content) for answer in heard]

    first, *others = [await answers(way) for way in all_ways]

    assert all(content for _, content in first)
    assert others == [first] * 3


async def test_requests_are_written_down_and_their_keys_are_not_printed(way):
    gateway = Gateway(says("Hi"))
    secrets = {"Authorization": "Bearer sk-canary", "X-Api-Key": "sk-canary", "x-goog-api-key": "sk-canary", "Cookie": "a=sk-canary"}

    async with way.to(gateway) as client:
        await client.post("/chat/completions?key=sk-canary", json=HELLO, headers=secrets)

    request = gateway.requests[0]
    assert (request.method, request.path, request.query, request.body) == ("POST", "/v1/chat/completions", "key=sk-canary", HELLO)
    assert request.headers["authorization"] == "Bearer sk-canary"
    assert "sk-canary" not in f"{request!r}{request.headers!r}{request.headers}{gateway!r}"
    assert (request.status, request.refused, request.wait()) == (200, "", "answered")


async def test_a_key_is_asked_for_where_one_is_set(way):
    gateway = Gateway(says("Hi"), key="sk-test")

    async with way.to(gateway) as client:
        without = await client.post("/chat/completions", json=HELLO)
        wrong = await client.post("/chat/completions", json=HELLO, headers={"authorization": "Bearer sk-other"})
        right = await client.post("/chat/completions", json=HELLO, headers={"authorization": "Bearer sk-test"})

    assert [without.status_code, wrong.status_code, right.status_code] == [401, 401, 200]
    assert wrong.json()["error"]["code"] == "invalid_api_key"
    assert "sk-" not in wrong.text + repr(gateway)


async def test_models_are_listed(way):
    async with way.to(Gateway(models=("one", "two"))) as client:
        listed = await client.get("/models")
        one = await client.get("/models/one")
        none = await client.get("/models/three")

    assert [model["id"] for model in listed.json()["data"]] == ["one", "two"]
    assert one.json()["id"] == "one"
    assert none.status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", "/chat", 404), ("GET", "/", 404), ("GET", "/chat/completions", 405), ("POST", "/models", 405)],
)
async def test_what_is_not_there_is_said_to_be_missing(way, method, path, status):
    async with way.to(Gateway(says("Hi"))) as client:
        answer = await client.request(method, path, json=HELLO)

    assert answer.status_code == status
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_a_script_that_ran_out_says_so_and_asks_for_no_retry(way):
    gateway = Gateway(says("Hi"))

    async with way.to(gateway) as client:
        await client.post("/chat/completions", json=HELLO)
        answer = await client.post("/chat/completions", json=HELLO)

    assert answer.status_code == 500
    assert answer.headers["x-should-retry"] == "false"
    assert "1 turn and all were taken" in answer.json()["error"]["message"]
    assert "'Hello'" in gateway.requests[1].refused


async def test_a_turn_may_depend_on_the_request_and_may_be_played_for_ever(way):
    def echo(body: Any) -> Any:
        return says(f"You said {body['messages'][-1]['content']}.")

    async with way.to(Gateway(always(echo))) as client:
        answers = [await client.post("/chat/completions", json=HELLO) for _ in range(3)]

    assert [answer.json()["choices"][0]["message"]["content"] for answer in answers] == ["You said Hello."] * 3
    assert len({answer.json()["id"] for answer in answers}) == 3


async def test_a_turn_that_raises_says_so_to_the_client(way):
    def broken(body: Any) -> Any:
        return says(body["massages"])

    async with way.to(Gateway(broken)) as client:
        answer = await client.post("/chat/completions", json=HELLO)

    assert answer.status_code == 500
    assert "KeyError: 'massages'" in answer.json()["error"]["message"]


def test_what_a_gateway_cannot_play_is_refused_before_it_opens():
    with pytest.raises(TypeError, match="a gateway cannot play 'Hello'; give it calls"):
        Gateway(says("Hi"), always("Hello"))


async def test_a_function_that_gives_no_turn_is_told_so(way):
    async with way.to(Gateway(lambda _: "Hello")) as client:
        answer = await client.post("/chat/completions", json=HELLO)

    assert answer.status_code == 500
    assert "a gateway cannot play 'Hello'" in answer.json()["error"]["message"]


def test_waiting_for_an_exchange_has_an_end():
    request = HeardRequest.read("GET", "/", headers=[], content=b"")

    with pytest.raises(TimeoutError, match="still open"):
        request.wait(0.01)


async def test_an_error_of_ours_is_said_in_the_words_of_the_api(way):
    error = RateLimited("Slow down.", status=429, code="rate_limit_exceeded")
    error.retry_after = 1.5

    async with way.to(Gateway(fails(error))) as client:
        answer = await client.post("/chat/completions", json=HELLO)

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1.5")
    assert answer.json()["error"]["message"] == "Slow down."


async def test_many_clients_are_answered_at_once(way):
    everybody = asyncio.Barrier(20)

    async def meet(body: Any) -> Any:
        await everybody.wait()
        return says(body["messages"][-1]["content"])

    def asking(number: int) -> dict[str, Any]:
        return {**HELLO, "messages": [{"role": "user", "content": f"client-{number};"}], "stream": bool(number % 2)}

    gateway = Gateway(always(meet))
    async with asyncio.timeout(5), way.to(gateway) as client:
        answers = await asyncio.gather(*(client.post("/chat/completions", json=asking(number)) for number in range(20)))

    assert [f"client-{number};" in answer.text for number, answer in enumerate(answers)] == [True] * 20
    assert len(gateway.requests) == 20


def test_code_without_an_event_loop_can_use_the_port():
    with Gateway(says("Hi"), pace=0.001) as gateway, httpx.Client(base_url=gateway.base_url, trust_env=False) as client:
        answer = client.post("/chat/completions", json=STREAMED)

    assert answer.status_code == 200
    assert len(chunks(answer.text)) == 4


def test_a_gateway_that_does_not_listen_says_what_to_do():
    with pytest.raises(RuntimeError, match="`with` block"):
        _ = Gateway(says("Hi")).base_url


def test_only_this_machine_is_listened_to():
    with Gateway() as gateway:
        assert gateway.base_url.startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: many\r\n\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
    ],
)
def test_what_is_no_http_is_refused(request_bytes):
    with Gateway() as gateway, dial(gateway) as connection:
        connection.sendall(request_bytes)

        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")
        assert connection.recv(1000) == b""


def test_a_body_in_chunks_and_a_second_request_in_one_packet_are_read():
    body = json.dumps(HELLO).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\ncontent-type: application/json\r\n"
    chunks_of_one = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    chunked = head + b"transfer-encoding: chunked\r\n\r\n" + chunks_of_one + b"0\r\n\r\n"
    last = head + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body

    with Gateway(says("One."), says("Two.")) as gateway, dial(gateway) as connection:
        connection.sendall(chunked + last)
        answers = b"".join(iter(lambda: connection.recv(65536), b""))

    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert answers.index(b"One.") < answers.index(b"Two.")


async def test_nothing_is_left_when_the_gateway_closes():
    threads = set(threading.enumerate())
    gateway = Gateway(cut(after=1, end="silent"), says("Hi"))

    async with httpx.AsyncClient(trust_env=False) as client:
        async with gateway:
            url = f"{gateway.base_url}/chat/completions"
            async with client.stream("POST", url, json=STREAMED) as answer:
                data = answer.aiter_bytes()
                first = await anext(data)
                idle = await client.post(url, json=HELLO)
                gateway.close()
                with pytest.raises(httpx.TransportError):
                    await anext(data)
        with pytest.raises(httpx.ConnectError):
            await client.post(url, json=HELLO)

    assert first.startswith(b"data: ")
    assert idle.status_code == 200
    assert gateway.requests[0].outcome == "abandoned"
    assert set(threading.enumerate()) == threads
    gc.collect()


async def test_the_gateway_sees_a_client_that_leaves(way):
    gateway = Gateway(cut(says("Hello there."), after=1, end="silent"), says("Hi"))

    async with way.to(gateway) as client:
        async with client.stream("POST", "/chat/completions", json=STREAMED) as answer:
            await anext(answer.aiter_bytes())
        outcome = await asyncio.to_thread(gateway.requests[0].wait)
        after = await client.post("/chat/completions", json=HELLO)

    assert outcome == "abandoned"
    assert after.status_code == 200


async def test_a_client_that_stops_at_the_last_event_has_been_answered(way):
    gateway = Gateway(says("Hi"))

    async with way.to(gateway) as client, client.stream("POST", "/chat/completions", json=STREAMED) as answer:
        async for data in answer.aiter_bytes():
            if b"[DONE]" in data:
                break

    assert gateway.requests[0].wait() == "answered"
