"""Runs against the scripted gateway are recorded; it is closed, and they are replayed from the file alone."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import stat
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pydantic
import pytest

from agentloop import Agent, Limits, Retries, Timeouts, model, tool
from agentloop.deltas import TextDelta
from agentloop.errors import (
    AuthError,
    ConfigurationError,
    LimitReached,
    ModelConnectError,
    ModelTimeout,
    RateLimited,
    ServerError,
    StreamBroken,
)
from agentloop.events import CallEnded, Event, Retrying, RunStarted
from agentloop.models.http import HTTPModel
from agentloop.testing import Cassette, CassetteDiverged, Gateway, calls, cassette_replay, cut, keep_alive, no_answer, raw, says, status
from agentloop.testing.cassette_differences import first_difference
from agentloop.testing.cassette_file import RecordedRequest
from agentloop.tools.hosted import CodeExecution, MCPServer

pytest_plugins = ["pytester"]

KEY = "sk-canary-7f3a"
BODY = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


@tool(effect="read")
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


def asking(gateway: Gateway, **options: Any) -> HTTPModel:
    return model("openai:gpt-4o", base_url=gateway.base_url, key=KEY, **options)


def replaying(**options: Any) -> HTTPModel:
    """Ask OpenAI itself, without a key: what is not replayed cannot succeed."""
    return model("openai:gpt-4o", **options)


async def events_of(agent: Agent, prompt: str) -> tuple[list[Event], Any]:
    async with agent.stream(prompt) as stream:
        heard = [level(event) async for event in stream]
        return heard, stream.result


def level(event: Event) -> Event:
    """Level out what is new in each run: its id, and how long a call took."""
    match event:
        case RunStarted():
            return RunStarted("")
        case CallEnded():
            return replace(event, seconds=0)
        case _:
            return event


def text(path: Path) -> str:
    return path.read_text()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def files_beside(path: Path) -> list[str]:
    return [file.name for file in path.parent.iterdir()]


def write(path: Path, content: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)


def exchanges(path: Path) -> Any:
    return json.loads(text(path))["exchanges"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cassettes" / "sums.json"


async def test_a_run_with_tools_is_replayed_without_a_server_and_without_a_key(path: Path):
    turns = [calls("add", a=1, b=2) & calls("add", a=3, b=4), says("3 and 7.")]
    with Gateway(*turns, key=KEY) as gateway:
        async with Cassette(path, record=True):
            recorded = await Agent(asking(gateway), tools=[add]).run("1+2? 3+4?")

    async with Cassette(path):
        replayed = await Agent("openai:gpt-4o", tools=[add]).run("1+2? 3+4?")

    assert recorded.text == "3 and 7."
    assert replayed.transcript.messages == recorded.transcript.messages
    assert replayed.usage == recorded.usage


async def test_a_streamed_run_is_replayed_event_by_event(path: Path):
    turns = [keep_alive(calls("add", a=1, b=2).saying("Adding.", thinking="Hm.")), says("It ", "is ", "3.")]
    with Gateway(*turns) as gateway, Cassette(path, record=True):
        recorded, result = await events_of(Agent(asking(gateway), tools=[add]), "1+2?")

    with Cassette(path):
        replayed, again = await events_of(Agent(replaying(), tools=[add]), "1+2?")

    assert replayed == recorded
    assert [event.text for event in replayed if isinstance(event, TextDelta)][-3:] == ["It ", "is ", "3."]
    assert again.transcript.messages == result.transcript.messages


def test_run_sync_is_recorded_and_replayed_on_an_event_loop_of_its_own_each_time(path: Path):
    with Gateway(says("One."), says("Two.")) as gateway, Cassette(path, record=True):
        agent = Agent(asking(gateway))
        recorded = [agent.run_sync("1?").text, agent.run_sync("2?").text]

    with Cassette(path):
        agent = Agent(replaying())
        replayed = [agent.run_sync("1?").text, agent.run_sync("2?").text]

    assert recorded == replayed == ["One.", "Two."]


async def test_runs_in_parallel_are_replayed_whichever_asks_first(path: Path):
    def answer(body: Any) -> Any:
        said = body["messages"][-1]
        return says(f"It is {said['content']}.") if said["role"] == "tool" else calls("add", a=int(said["content"]), b=0)

    numbers = [str(number) for number in range(12)]
    with Gateway(*[answer] * 24) as gateway, Cassette(path, record=True):
        agent = Agent(asking(gateway), tools=[add])
        recorded = await asyncio.gather(*(agent.run(number) for number in numbers))

    with Cassette(path):
        agent = Agent(replaying(), tools=[add])
        replayed = await asyncio.gather(*(agent.run(number) for number in reversed(numbers)))

    assert [result.text for result in reversed(replayed)] == [result.text for result in recorded] == [f"It is {n}." for n in numbers]


async def test_a_flow_in_threads_is_recorded_and_replayed(path: Path):
    @tool
    def ask_colleague(question: str) -> str:
        "Ask."
        return Agent(colleague()).run_sync(question).text

    with Gateway(calls("ask_colleague", question="Who?"), says("Me."), says("It was them.")) as gateway, Cassette(path, record=True):
        colleague = lambda: asking(gateway)  # noqa: E731
        recorded = await Agent(asking(gateway), tools=[ask_colleague]).run("Who was it?")

    with Cassette(path):
        colleague = replaying
        replayed = await Agent(replaying(), tools=[ask_colleague]).run("Who was it?")

    assert replayed.transcript.messages == recorded.transcript.messages
    assert [exchange["request"]["body"]["messages"][-1]["content"] for exchange in exchanges(path)] == ["Who was it?", "Who?", "Me."]


async def test_chunks_are_replayed_as_they_came_also_where_they_cut_a_letter(path: Path):
    pieces = ["data: é".encode()[:-1], "é\n\n".encode()[1:], b"\xff\xfe", b"data: [DONE]\n\n"]
    gateway = Gateway(raw(*pieces, headers={"set-cookie": "id=cookie-of-mine", "x-request-id": "req_1", "retry-after": "0"}))

    async def heard(client: httpx.AsyncClient) -> tuple[int, str, list[bytes]]:
        async with client.stream("POST", "http://gateway/v1/chat/completions", json=BODY) as response:
            return response.status_code, response.headers["x-request-id"], [chunk async for chunk in response.aiter_raw()]

    async with httpx.AsyncClient(transport=gateway.transport()) as real:
        with Cassette(path, record=True) as cassette:
            recorded = await heard(cassette.client(real))
    with Cassette(path) as cassette:
        replayed = await heard(cassette.client())

    assert replayed == recorded == (200, "req_1", pieces)
    response = exchanges(path)[0]["response"]
    assert response["headers"] == {"content-type": "text/event-stream", "x-request-id": "req_1", "retry-after": "0"}
    assert response["chunks"][0] == {"base64": base64.b64encode(pieces[0]).decode()}
    assert response["chunks"][3] == "data: [DONE]\n\n"


async def test_any_method_and_any_body_is_replayed(path: Path):
    gateway = Gateway(models=["a-model"])

    async def heard(client: httpx.AsyncClient) -> list[Any]:
        listed = await client.get("http://gateway/v1/models")
        text = await client.post("http://gateway/v1/chat/completions", content="no JSON \ud83d".encode("utf-8", "surrogatepass"))
        return [listed.json(), text.status_code, text.json()]

    async with httpx.AsyncClient(transport=gateway.transport()) as real:
        with Cassette(path, record=True) as cassette:
            recorded = await heard(cassette.client(real))
    with Cassette(path) as cassette:
        replayed = await heard(cassette.client())

    assert replayed == recorded
    assert recorded[1] == 400
    assert [exchange["request"]["body"] for exchange in exchanges(path)] == [None, r"no JSON \xed\xa0\xbd"]


async def test_a_model_with_a_client_of_its_own_takes_the_cassettes(path: Path):
    with Gateway(says("Hi."), key=KEY) as gateway, Cassette(path, record=True) as cassette:
        real = httpx.AsyncClient(base_url=gateway.base_url, headers={"authorization": f"Bearer {KEY}"}, params={"deployment": "eu"})
        client = cassette.client(real)
        recorded = await client.post("chat/completions", json=BODY)
        await real.aclose()

    with Cassette(path) as cassette:
        replayed = await cassette.client().post("https://elsewhere.example/v1/chat/completions?deployment=eu", json=BODY)

    assert recorded.status_code == 200
    assert replayed.content == recorded.content
    assert gateway.requests[0].headers["accept-encoding"] == "identity"


async def test_a_cassette_may_be_made_before_it_is_open_and_asks_nobody_after_it_is_closed(path: Path):
    with Gateway(says("Hi.")) as gateway:
        recording = Cassette(path, record=True)
        agent = Agent(asking(gateway, client=recording.client()))
        with recording:
            await agent.run("Hi")

        with pytest.raises(ConfigurationError, match=r"sums.json' is not open; ask inside its `with` block"):
            await agent.run("Hi")
        with recording, pytest.raises(ConfigurationError, match="is open already"):
            recording.__enter__()

        assert len(gateway.requests) == 1


async def test_after_the_block_models_ask_for_real_again(path: Path):
    with Gateway(says("Hi."), says("Hi again.")) as gateway:
        with Cassette(path, record=True):
            await Agent(asking(gateway)).run("Hi")
        with Cassette(path):
            await Agent(asking(gateway)).run("Hi")
            with Cassette(path.with_name("inner.json"), record=True):
                inner = await Agent(asking(gateway)).run("Hi")

    assert inner.text == "Hi again."
    assert len(gateway.requests) == 2


async def test_a_refusal_is_replayed_with_its_retry_and_without_its_wait(path: Path):
    refusals = [status(429, retry_after=0), status(429, message="Please try again in 1ms."), status(503, headers={"retry-after-ms": "1"})]
    with Gateway(*refusals, says("Hi.")) as gateway, Cassette(path, record=True):
        recorded, _ = await events_of(Agent(asking(gateway)), "Hi")
    kept = exchanges(path)
    for exchange in kept[:3]:
        exchange["response"]["headers"] |= {"retry-after": "30", "retry-after-ms": "30000"}
    write(path, json.dumps({"format": 1, "exchanges": kept}))

    with Cassette(path):
        async with asyncio.timeout(5):
            replayed, result = await events_of(Agent(replaying()), "Hi")
    waits = [event.seconds for event in replayed if isinstance(event, Retrying)]

    assert waits == [0, 0, 0]
    assert [type(event) for event in replayed] == [type(event) for event in recorded]
    assert [type(event.error) for event in replayed if isinstance(event, Retrying)] == [RateLimited, RateLimited, ServerError]
    assert result.text == "Hi."


async def test_a_wait_longer_than_the_models_patience_fails_in_the_replay_too(path: Path):
    date = {"date": "Sun, 06 Nov 1994 08:49:37 GMT", "retry-after": "Sun, 06 Nov 1994 09:49:37 GMT"}
    with Gateway(status(429, headers=date)) as gateway, Cassette(path, record=True), pytest.raises(RateLimited):
        await Agent(asking(gateway, retries=Retries(attempts=1))).run("Hi")

    with Cassette(path), pytest.raises(RateLimited) as limited:
        await Agent(replaying()).run("Hi")

    assert exchanges(path)[0]["response"]["headers"]["retry-after"] == "3600"
    assert (limited.value.retry_after, limited.value.attempts) == (3600, 1)


@pytest.mark.parametrize("end", ["closed", "reset"])
async def test_a_connection_that_breaks_in_the_reply_breaks_in_the_replay(path: Path, end: Any):
    with Gateway(cut(says("Half of ", "it."), after=2, end=end)) as gateway, Cassette(path, record=True):
        with pytest.raises(StreamBroken) as recorded:
            await events_of(Agent(asking(gateway)), "Hi")
        host = gateway.base_url.removeprefix("http://").removesuffix("/v1")

    with Cassette(path), pytest.raises(StreamBroken) as replayed:
        await events_of(Agent(replaying()), "Hi")

    assert str(replayed.value) == str(recorded.value).replace(host, "api.openai.com")
    assert replayed.value.partial == recorded.value.partial
    assert replayed.value.partial.text == "Half of "


async def test_a_connection_that_breaks_before_the_reply_breaks_in_the_replay(path: Path):
    with Gateway(no_answer(), says("Hi.")) as gateway, Cassette(path, record=True):
        recorded, _ = await events_of(Agent(asking(gateway)), "Hi")

    with Cassette(path):
        replayed, result = await events_of(Agent(replaying()), "Hi")

    assert result.text == "Hi."
    assert [type(event) for event in replayed] == [type(event) for event in recorded]
    assert [type(event.error) for event in replayed if isinstance(event, Retrying)] == [ModelConnectError]
    assert exchanges(path)[0]["response"] | {"reason": ""} == {
        "status": None,
        "headers": {},
        "chunks": [],
        "end": "RemoteProtocolError",
        "reason": "",
    }


@pytest.mark.parametrize("turn", [no_answer("silent"), cut(says("Half of ", "it."), end="silent")])
async def test_a_server_that_fell_silent_is_given_up_again_and_nobody_waits_for_it(path: Path, turn: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cassette_replay, "_LEAVING_SECONDS", 60)
    impatient = {"timeouts": Timeouts(attempt=0.8), "retries": Retries(first_wait=0)}
    with Gateway(turn, says("Hi.")) as gateway, Cassette(path, record=True):
        recorded = await Agent(asking(gateway, **impatient)).run("Hi")

    with Cassette(path):
        async with asyncio.timeout(5):
            replayed, result = await events_of_whole(Agent(replaying(retries=Retries(first_wait=0))), "Hi")

    assert result.text == recorded.text == "Hi."
    assert [type(event.error) for event in replayed if isinstance(event, Retrying)] == [ModelTimeout]
    assert [exchange["response"]["end"] for exchange in exchanges(path)] == ["left", "whole"]


async def events_of_whole(agent: Agent, prompt: str) -> tuple[list[Event], Any]:
    stream = agent.stream(prompt, deltas=False)
    return [event async for event in stream], stream.result


async def test_a_run_that_ran_out_of_time_does_so_in_the_replay(path: Path):
    limits = Limits(seconds=0.1)
    with Gateway(no_answer("silent")) as gateway, Cassette(path, record=True), pytest.raises(LimitReached):
        await Agent(asking(gateway), limits=limits).run("Hi")

    with Cassette(path), pytest.raises(LimitReached) as reached:
        await Agent(replaying(), limits=limits).run("Hi")

    assert reached.value.limit == "seconds"


async def test_a_stream_that_is_left_is_left_in_the_replay(path: Path):
    async def first_word(agent: Agent) -> str:
        async with contextlib.aclosing(agent.stream("Hi")) as stream:
            async for event in stream:
                if isinstance(event, TextDelta):
                    return event.text
        raise AssertionError

    with Gateway(cut(says("One ", "two."), after=2, end="silent")) as gateway, Cassette(path, record=True):
        recorded = await first_word(Agent(asking(gateway)))

    with Cassette(path):
        replayed = await first_word(Agent(replaying()))

    assert recorded == replayed == "One "
    assert exchanges(path)[0]["response"]["end"] == "left"


class TestDivergence:
    async def record(self, path: Path, *, streamed: bool = False) -> None:
        with Gateway(calls("add", a=1, b=2), says("It is 3.")) as gateway, Cassette(path, record=True):
            await self.ask(asking(gateway), "What is 1+2?", streamed=streamed)

    async def ask(self, asked: HTTPModel, prompt: str = "What is 1+2?", *, streamed: bool = False) -> None:
        agent = Agent(asked, tools=[add])
        await (events_of(agent, prompt) if streamed else agent.run(prompt))

    @pytest.mark.parametrize("streamed", [False, True])
    async def test_reaches_the_caller_as_it_is_and_says_where(self, path: Path, streamed: bool):
        await self.record(path, streamed=streamed)

        with pytest.raises(CassetteDiverged) as diverged, Cassette(path):
            await self.ask(replaying(), "What is 1+3?", streamed=streamed)

        assert str(diverged.value) == (
            f"the replay of {str(path)!r} diverges from exchange 1 at messages[0].content: "
            'recorded "What is 1+2?", asked "What is 1+3?"; record it again with record=True, or with `pytest --record-cassettes`'
        )
        assert (diverged.value.exchange, diverged.value.path) == (1, "messages[0].content")
        assert diverged.value.__cause__ is None

    async def test_is_told_against_the_nearest_exchange_left(self, path: Path):
        await self.record(path)

        @tool(name="add", effect="read")
        def add_wrong(a: int, b: int) -> int:
            "Add."
            return a + b + 1

        with (
            pytest.raises(CassetteDiverged, match=r'exchange 2 at messages\[2\].content: recorded "3", asked "4"') as diverged,
            Cassette(path),
        ):
            await Agent(replaying(), tools=[add_wrong]).run("What is 1+2?")

        assert (diverged.value.exchange, diverged.value.path) == (2, "messages[2].content")

    async def test_of_two_runs_is_told_against_the_run_that_began_alike(self, path: Path):
        with Gateway(says("Red."), says("Blue.")) as gateway, Cassette(path, record=True):
            await Agent(asking(gateway), instructions="Say red.").run("Go")
            await Agent(asking(gateway), instructions="Say blue.").run("Go")

        with pytest.raises(CassetteDiverged, match=r'exchange 2 at messages\[1\].content: recorded "Go", asked "Stop"'), Cassette(path):
            await Agent(replaying(), instructions="Say blue.").run("Stop")

    async def test_is_told_where_a_request_is_one_too_many(self, path: Path):
        await self.record(path)
        words = r"all 2 exchanges are played, and POST https://api.openai.com/v1/chat/completions is asked once more; record it again"

        async def ask_twice() -> None:
            await self.ask(replaying())
            await self.ask(replaying())

        with pytest.raises(CassetteDiverged, match=words), Cassette(path):
            await ask_twice()

    async def test_of_the_address_is_told_without_the_host(self, path: Path):
        await self.record(path)
        words = 'at the URL: recorded "/v1/chat/completions", asked "/v1/models"'

        with pytest.raises(CassetteDiverged, match=words) as diverged, Cassette(path) as cassette:
            await cassette.client().post("http://anywhere/v1/models", json=BODY)

        assert diverged.value.path == "the URL"

    async def test_of_the_query_is_told(self, path: Path):
        gateway = Gateway()
        async with httpx.AsyncClient(transport=gateway.transport()) as real:
            with Cassette(path, record=True) as cassette:
                await cassette.client(real).get("http://gateway/v1/models?after=a")
        words = r'at the URL: recorded "/v1/models\?after=a", asked "/v1/models\?after=b"'

        with pytest.raises(CassetteDiverged, match=words), Cassette(path) as cassette:
            await cassette.client().get("http://gateway/v1/models?after=b")

    async def test_an_exchange_nobody_asked_for_is_one_at_the_end(self, path: Path):
        await self.record(path)
        words = r"nobody asked for 2 of the 2 exchanges of .*, first exchange 1, POST http.*; record it again .*, or pass strict=False"

        with pytest.raises(CassetteDiverged, match=words) as diverged, Cassette(path):
            pass
        with Cassette(path, strict=False):
            pass

        assert diverged.value.exchange == 1

    async def test_hides_no_error_of_the_block(self, path: Path):
        await self.record(path)

        with pytest.raises(ZeroDivisionError), Cassette(path):
            raise ZeroDivisionError

    async def test_that_a_tool_swallows_is_raised_at_the_end(self, path: Path):
        await self.record(path)

        with pytest.raises(CassetteDiverged, match='asked "Other"'), Cassette(path, strict=False), contextlib.suppress(CassetteDiverged):
            await self.ask(replaying(), "Other")

    @pytest.mark.parametrize(
        ("recorded", "asked", "told"),
        [
            ({"a": 1}, {"a": 1.0}, None),
            ({"a": 1, "b": 2}, {"b": 2, "a": 1}, None),
            ({"a": []}, {"a": []}, None),
            ({"a": 1}, {"a": True}, ("a", "1", "true")),
            ({"a": None}, {}, ("a", "null", "nothing")),
            ({}, {"a": {"b": []}}, ("a", "nothing", '{"b": []}')),
            ({"a": [1, 2]}, {"a": [1]}, ("a[1]", "2", "nothing")),
            ({"a": [{"b": "x"}]}, {"a": [{"b": "y"}]}, ("a[0].b", '"x"', '"y"')),
            ([], {}, ("the body", "[]", "{}")),
            ("text", None, ("the body", '"text"', "null")),
            ({"a": "x" * 200 + "1" + "z" * 200}, {"a": "x" * 200 + "2"}, ("a", f"…{'x' * 20}1{'z' * 59}…", f'…{"x" * 20}2"')),
        ],
    )
    def test_is_the_first_value_that_differs_as_json(self, recorded: Any, asked: Any, told: Any):
        before, now = (RecordedRequest("POST", "http://host/v1", body) for body in (recorded, asked))

        difference = first_difference(before, now)

        assert (difference and (difference.path, difference.recorded, difference.asked)) == told


class TestSecrets:
    @pytest.mark.parametrize("streamed", [False, True])
    async def test_a_key_that_the_server_echoes_is_masked_also_across_chunks(self, path: Path, streamed: bool):
        echo = f'data: {{"error":{{"message":"no key {KEY} here"}}}}\n\ndata: [DONE]\n\n'
        pieces = [echo[:40], echo[40:]] if streamed else [echo]
        assert not streamed or (KEY not in pieces[0] and KEY not in pieces[1])
        gateway = Gateway(raw(*pieces, headers={"x-request-id": KEY}))

        async with httpx.AsyncClient(transport=gateway.transport()) as real:
            with Cassette(path, record=True) as cassette:
                headers = {"authorization": f"Bearer {KEY}"}
                await cassette.client(real).post(f"http://gateway/v1/chat/completions?a={KEY}", json=BODY, headers=headers)

        assert "canary" not in text(path)
        assert exchanges(path)[0]["request"]["url"] == "http://gateway/v1/chat/completions?a=***"
        assert exchanges(path)[0]["response"]["headers"]["x-request-id"] == "***"
        assert exchanges(path)[0]["response"]["chunks"] == ['data: {"error":{"message":"no key *** here"}}\n\n', "data: [DONE]\n\n"]

    @pytest.mark.parametrize("header", ["authorization", "x-api-key", "x-goog-api-key", "api-key"])
    async def test_a_key_in_any_header_is_masked_in_the_request_too(self, path: Path, header: str):
        secret = 'sk/can"ary-7f3a'
        gateway = Gateway(raw(json.dumps({"echo": secret}), r'"sk\/can\"ary-7f3a" "sk/can\u0022ary-7f3a"', " sk%2Fcan%22ary-7f3a"))
        body = BODY | {"messages": [{"role": "user", "content": f"My key is {secret}."}]}

        async with httpx.AsyncClient(transport=gateway.transport()) as real:
            with Cassette(path, record=True) as cassette:
                await cassette.client(real).post("http://gateway/v1/chat/completions", json=body, headers={header: secret})

        assert "ary-7f3a" not in text(path)
        assert exchanges(path)[0]["request"]["body"]["messages"][0]["content"] == "My key is ***."
        assert exchanges(path)[0]["response"]["chunks"] == ['{"echo": "***"}"***" "***" ***']

    async def test_a_key_in_the_address_is_masked_and_not_compared(self, path: Path):
        gateway = Gateway(says("Hi."))

        async with httpx.AsyncClient(transport=gateway.transport()) as real:
            with Cassette(path, record=True) as cassette:
                await cassette.client(real).post(f"http://gateway/v1/chat/completions?alt=sse&key={KEY}", json=BODY)
        with Cassette(path) as cassette:
            replayed = await cassette.client().post("http://gateway/v1/chat/completions?alt=sse", json=BODY)

        assert replayed.status_code == 200
        assert exchanges(path)[0]["request"]["url"] == "http://gateway/v1/chat/completions?alt=sse&key=***"

    async def test_who_asks_and_the_password_in_the_address_are_masked(self, path: Path):
        gateway = Gateway(raw(f"Hello, {KEY}!"))

        async with httpx.AsyncClient(transport=gateway.transport()) as real:
            with Cassette(path, record=True) as cassette:
                await cassette.client(real).post(f"http://me:{KEY}@gateway/v1/chat/completions", json=BODY)

        assert exchanges(path)[0]["request"]["url"] == "http://gateway/v1/chat/completions"
        assert exchanges(path)[0]["response"]["chunks"] == ["Hello, ***!"]

    async def test_a_token_in_the_body_is_masked_and_not_compared(self, path: Path):
        def agent(token: str, asked: HTTPModel) -> Agent:
            return Agent(asked, tools=[MCPServer(name="s", url="https://host", token=pydantic.SecretStr(token))])

        with Gateway(says(f"It is {KEY}.")) as gateway, Cassette(path, record=True):
            await agent(KEY, model("openai/responses:gpt-5", base_url=gateway.base_url, key="k" * 12)).run("Hi")
        with Cassette(path):
            replayed = await agent("another-token", model("openai/responses:gpt-5")).run("Hi")

        assert "canary" not in text(path)
        assert exchanges(path)[0]["request"]["body"]["tools"][0]["authorization"] == "***"
        assert replayed.text == "It is ***."

    async def test_a_short_key_is_a_word_and_no_secret(self, path: Path):
        with Gateway(says("None.")) as gateway, Cassette(path, record=True):
            await Agent(model("openai:m", base_url=gateway.base_url, key="user")).run("Hi")

        assert exchanges(path)[0]["request"]["body"]["messages"] == [{"role": "user", "content": "Hi"}]

    async def test_redact_changes_what_is_kept_and_levels_what_is_asked(self, path: Path):
        def redact(text: str) -> str:
            return text.replace("Monday", "DAY").replace("Tuesday", "DAY")

        with Gateway(says("Yes, ", "Monday.")) as gateway, Cassette(path, record=True, redact=redact):
            recorded, _ = await events_of(Agent(asking(gateway)), "Is it Monday?")
        with Cassette(path, redact=redact):
            replayed, _ = await events_of(Agent(replaying()), "Is it Tuesday?")

        words = [[event.text for event in events if isinstance(event, TextDelta)] for events in (recorded, replayed)]
        assert words == [["Yes, ", "Monday."], ["Yes, ", "DAY."]]
        assert "Monday" not in text(path)


def expire(path: Path) -> None:
    path.write_text(text(path).replace("2999", "2001"))


async def test_a_container_that_has_expired_since_is_not_missed(path: Path):
    def said(text: str) -> Any:
        container = {"id": "container_1", "expires_at": "2999-01-01T00:00:00Z"}
        content = {"type": "text", "text": text}
        return {"type": "message", "id": "m", "model": "c", "content": [content], "stop_reason": "end_turn", "container": container}

    async def asked_twice(name: str, **options: Any) -> str:
        agent = Agent(model(name, **options), tools=[CodeExecution()])
        first = await agent.run("Hi")
        return (await agent.run("And?", transcript=first.transcript)).text

    name = "anthropic:claude-sonnet-4-5"
    answers = [raw(json.dumps(said(text)), content_type="application/json") for text in ("Hi.", "So it is.")]
    with Gateway(*answers) as gateway, Cassette(path, record=True):
        await asked_twice(name, base_url=gateway.base_url, key=KEY)
    assert exchanges(path)[1]["request"]["body"]["container"] == "container_1"
    expire(path)

    with Cassette(path):
        assert await asked_twice(name) == "So it is."


class TestFile:
    async def test_is_the_owners_and_readable(self, path: Path):
        with Gateway(says("Grüße.")) as gateway, Cassette(path, record=True):
            await Agent(asking(gateway)).run("Hallo 👋")

        assert mode(path) == 0o600
        assert files_beside(path) == [path.name]
        assert "Hallo 👋" in text(path)
        assert list(json.loads(text(path))) == ["format", "exchanges"]

    async def test_is_written_when_the_block_fails(self, path: Path):
        with Gateway(status(401)) as gateway, pytest.raises(AuthError), Cassette(path, record=True):
            await Agent(asking(gateway)).run("Hi")

        assert [exchange["response"]["status"] for exchange in exchanges(path)] == [401]

    async def test_stays_as_it_was_when_it_cannot_be_written(self, path: Path):
        write(path, "the old one")

        with Gateway(says("Hi.")) as gateway, pytest.raises(TypeError), Cassette(path, record=True, redact=lambda text: None):
            await Agent(asking(gateway)).run("Hi")

        assert (text(path), files_beside(path)) == ("the old one", [path.name])

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (None, r"there is no cassette '.*sums.json'; record it with record=True, or with `pytest --record-cassettes`"),
            ("not JSON", r"sums.json' is no cassette \(Expecting value.*\); record it again"),
            ('{"format": 2, "exchanges": []}', r"is no cassette \(Input should be 1 at format\); record it again"),
            ('{"format": 1, "exchanges": [{}]}', r"is no cassette \(Field required at exchanges.0.request\); record it again"),
        ],
    )
    def test_that_is_no_cassette_is_one_sentence(self, path: Path, content: str | None, words: str):
        if content is not None:
            write(path, content)

        with pytest.raises(ConfigurationError, match=words), Cassette(path):
            pass


def test_two_threads_never_take_the_same_exchange(path: Path):
    with Gateway(*[says(f"{number}.") for number in range(8)]) as gateway, Cassette(path, record=True):
        agent = Agent(asking(gateway))
        recorded = [agent.run_sync("Next").text for _ in range(8)]
    replayed: list[str] = []

    with Cassette(path) as cassette:
        agent = Agent(replaying(key=KEY, client=cassette.client()))
        threads = [threading.Thread(target=lambda: replayed.append(agent.run_sync("Next").text)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)

    assert sorted(replayed) == sorted(recorded)


USERS_TEST = """
import os

import pytest

from agentloop import Agent

class TestWords:
    @pytest.mark.parametrize("word", ["Hi", "a/b ü"])
    async def test_async(self, cassette, word):
        assert (await Agent("openai:gpt-4o").run(word)).text == "Hello."

def test_sync(cassette):
    assert Agent("openai:gpt-4o").run_sync(os.environ["WORD"]).text == "Hello."
"""


@pytest.fixture
def users_project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.Pytester]:
    # The plugins are named, so that the test is the same whether or not the package is installed.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("WORD", "Sync")
    pytester.makepyfile(test_words=USERS_TEST)
    pytester.makeini("[pytest]\nasyncio_mode=auto\nasyncio_default_fixture_loop_scope=function\nfilterwarnings=error")
    return pytester


PLUGINS = ("-p", "agentloop.testing.pytest_plugin", "-p", "pytest_asyncio.plugin")


def test_the_fixture_records_with_the_option_and_replays_without(users_project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    with Gateway(says("Hello."), says("Hello."), says("Hello."), key=KEY) as gateway, monkeypatch.context() as there:
        there.setenv("OPENAI_BASE_URL", gateway.base_url)
        there.setenv("OPENAI_API_KEY", KEY)
        recorded = users_project.runpytest_inprocess(*PLUGINS, "--record-cassettes")

    replayed = users_project.runpytest_inprocess(*PLUGINS)

    recorded.assert_outcomes(passed=3)
    replayed.assert_outcomes(passed=3)
    assert gateway.turns_left == 0
    names = {path.name for path in (users_project.path / "cassettes" / "test_words").iterdir()}
    assert names == {"TestWords.test_async[Hi].json", "TestWords.test_async[a-b--xfc]-55ff3e44.json", "test_sync.json"}


def test_the_fixture_says_how_to_record_what_is_missing(users_project: pytest.Pytester):
    missing = users_project.runpytest_inprocess(*PLUGINS, "-k", "test_sync")

    missing.assert_outcomes(errors=1)
    missing.stdout.fnmatch_lines(
        ["the test has no cassette '*cassettes/test_words/test_sync.json'; record it with `pytest --record-cassettes`"]
    )


def test_the_fixture_fails_a_test_that_diverges_once(users_project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    with Gateway(says("Hello.")) as gateway, monkeypatch.context() as there:
        there.setenv("OPENAI_BASE_URL", gateway.base_url)
        users_project.runpytest_inprocess(*PLUGINS, "--record-cassettes", "-k", "test_sync").assert_outcomes(passed=1)
    monkeypatch.setenv("WORD", "Other")

    diverged = users_project.runpytest_inprocess(*PLUGINS, "-k", "test_sync")

    diverged.assert_outcomes(failed=1)
    diverged.stdout.fnmatch_lines(['*CassetteDiverged: *at messages[[]0].content: recorded "Sync", asked "Other"*'])


def test_the_fixture_fails_a_test_that_asks_less_than_was_recorded(users_project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    with Gateway(says("Hello.")) as gateway, monkeypatch.context() as there:
        there.setenv("OPENAI_BASE_URL", gateway.base_url)
        users_project.runpytest_inprocess(*PLUGINS, "--record-cassettes", "-k", "test_sync").assert_outcomes(passed=1)
    users_project.makepyfile(test_words="def test_sync(cassette): pass")

    less = users_project.runpytest_inprocess(*PLUGINS)

    less.assert_outcomes(passed=1, errors=1)
    less.stdout.fnmatch_lines(["*CassetteDiverged: nobody asked for 1 of the 1 exchanges*"])
