"""Connecting and HTTP: rows 1 to 41 of the fault catalogue, over real sockets."""

from __future__ import annotations

import asyncio
import gc
import shlex
import shutil
import socket
import ssl
import subprocess
import threading
import time
import tracemalloc
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx
import pytest

from agentloop import Agent, Retries, Timeouts, model, tool
from agentloop.deltas import TextDelta
from agentloop.errors import (
    AuthError,
    BadReply,
    BadRequest,
    ConfigurationError,
    ContextTooLong,
    ModelConnectError,
    ModelError,
    ModelTimeout,
    QuotaExceeded,
    RateLimited,
    ReplyTooLarge,
    ServerError,
)
from agentloop.events import Retrying
from agentloop.messages import Reply, Request, user
from agentloop.models.http import HTTPModel
from agentloop.models.listing import list_models
from agentloop.models.retries import ending_at, with_retries
from agentloop.models.retry_budget import RetryBudget
from agentloop.testing import Gateway, calls, cut, no_answer, raw, redirect, says, slow, status
from agentloop.testing.answers import Answer, Piece
from agentloop.testing.faults import bomb, compressed
from agentloop.testing.turns import always

KEY = "sk-canary-7f3a"
AT_ONCE = Retries(first_wait=0)
ONCE = Retries(attempts=1)
HI = b'{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}]}'

Converse = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def asking(base_url: str, **options: Any) -> HTTPModel:
    return model("openai:gpt-4o", base_url=base_url, key=KEY, **({"retries": AT_ONCE} | options))


async def ask(asked: HTTPModel, *, stream: bool = False) -> tuple[Reply, list[Any]]:
    heard: list[Any] = []

    async def hear(delta: Any) -> None:
        heard.append(delta)

    async with asyncio.timeout(5):
        return await asked.ask(Request([user("Hi")], stream=stream), hear), heard


@asynccontextmanager
async def server(converse: Converse, *, tls: Path | None = None, port: int = 0) -> AsyncGenerator[str]:
    """Listen, and let `converse` answer each connection; give the base URL."""
    context = None
    if tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(tls)

    async def alone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await converse(reader, writer)
        finally:
            writer.transport.abort()

    listening = await asyncio.start_server(alone, "127.0.0.1", port, ssl=context)
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
    finally:
        listening.close()
        await listening.wait_closed()


def sending(*answers: bytes) -> Converse:
    """Answer each request on a connection with these bytes, and then close it."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
            await reader.readexactly(int(length.partition(b":")[2]))
            writer.write(answer)
            await writer.drain()

    return converse


@contextmanager
def full_port() -> Iterator[int]:
    """Listen without ever accepting, on a port whose queue is full: what is sent to open a connection is dropped."""
    with socket.socket() as listening, socket.socket() as queued:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        queued.connect(listening.getsockname())
        yield listening.getsockname()[1]


def unused_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


# Connecting.


@pytest.mark.fault(1)
async def test_a_server_that_starts_again_is_asked_again():
    port = unused_port()
    starting = asyncio.Event()

    async def hear(event: Any) -> None:
        assert isinstance(event, Retrying)
        starting.set()
        await started.wait()

    started = asyncio.Event()
    asked = asking(f"http://127.0.0.1:{port}/v1")
    running = asyncio.create_task(asked.ask(Request([user("Hi")]), hear))
    await asyncio.wait_for(starting.wait(), 5)
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(HI), HI)

    async with server(sending(answer), port=port):
        started.set()
        reply = await asyncio.wait_for(running, 5)

    assert reply.text == "Hi"


@pytest.mark.fault(3)
async def test_an_unknown_host_is_named_and_asked_for_again(monkeypatch: pytest.MonkeyPatch):
    def unknown(*_: object, **__: object) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    with pytest.raises(ModelConnectError, match=r"cannot connect to api\.nowhere\.example: .*not known") as failure:
        await ask(asking("http://api.nowhere.example/v1"))

    assert failure.value.attempts == 4


@pytest.mark.fault(3)
async def test_a_slow_name_server_counts_as_connecting(monkeypatch: pytest.MonkeyPatch):
    answered = threading.Event()

    def slow_lookup(*_: object, **__: object) -> Any:
        answered.wait(5)
        raise socket.gaierror(socket.EAI_AGAIN, "later")

    monkeypatch.setattr(socket, "getaddrinfo", slow_lookup)

    try:
        with pytest.raises(ModelConnectError, match=r"no connection to api\.slow\.example in 0\.1 s"):
            await ask(asking("http://api.slow.example/v1", timeouts=Timeouts(connect=0.1), retries=ONCE))
    finally:
        answered.set()


@pytest.mark.fault(4)
async def test_a_firewall_that_drops_packets_is_given_up_before_a_reply_would_be_and_asked_again():
    with full_port() as port, pytest.raises(ModelConnectError, match=rf"no connection to 127\.0\.0\.1:{port} in 0\.1 s") as failure:
        await ask(asking(f"http://127.0.0.1:{port}/v1", timeouts=Timeouts(connect=0.1), retries=Retries(attempts=2, first_wait=0)))

    assert failure.value.attempts == 2


def certificate(folder: Path, *, name: str, days: int) -> Path:
    """Write a key and its certificate into one file."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl, which makes the certificates")
    both, request, extensions = (folder / file for file in ("both.pem", "request.pem", "extensions.cnf"))
    extensions.write_text(f"subjectAltName={name}\n")
    for command in (
        f"openssl ecparam -name prime256v1 -genkey -noout -out {both}",
        f"openssl req -new -key {both} -subj /CN=localhost -out {request}",
        f"openssl x509 -req -in {request} -signkey {both} -days {days} -extfile {extensions} -out {folder}/certificate.pem",
    ):
        subprocess.run(shlex.split(command), check=True, capture_output=True, timeout=30)  # noqa: S603 - commands of our own
    both.write_text(both.read_text() + (folder / "certificate.pem").read_text())
    return both


@pytest.mark.fault(5)
@pytest.mark.parametrize(
    ("name", "days", "trusts", "why"),
    [
        ("IP:127.0.0.1", 1, False, "self.signed certificate"),
        ("IP:127.0.0.1", -1, True, "certificate has expired"),
        ("DNS:example.org", 1, True, "IP address mismatch"),
    ],
)
async def test_a_bad_certificate_is_refused_at_once_and_the_check_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, name: str, days: int, trusts: bool, why: str
):
    tls = certificate(tmp_path, name=name, days=days)
    # None of these switches it off.
    for variable, value in {"PYTHONHTTPSVERIFY": "0", "CURL_CA_BUNDLE": "", "REQUESTS_CA_BUNDLE": "", "SSL_VERIFY": "0"}.items():
        monkeypatch.setenv(variable, value)
    trusted = ssl.create_default_context(cafile=tls) if trusts else True
    async with httpx.AsyncClient(verify=trusted) if trusts else httpx.AsyncClient() as client:
        options = {"client": client} if trusts else {}

        async with server(sending(), tls=tls) as base_url:
            with pytest.raises(ModelConnectError, match=why) as failure:
                await ask(asking(base_url, **options))

    assert failure.value.attempts == 1


@pytest.mark.fault(6)
async def test_a_stalled_handshake_counts_as_connecting():
    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with server(stall) as base_url:
        with pytest.raises(ModelConnectError, match=r"no connection to .* in 0\.2 s") as failure:
            await ask(
                asking(base_url.replace("http:", "https:"), timeouts=Timeouts(connect=0.2), retries=Retries(attempts=2, first_wait=0))
            )

    assert failure.value.attempts == 2


@pytest.mark.fault(7)
async def test_what_is_sent_again_is_the_very_same_request():
    with Gateway(no_answer("reset"), says("Hello.")) as gateway:
        await ask(asking(gateway.base_url))

    first, second = gateway.requests
    assert first.content == second.content


@pytest.mark.fault(8)
async def test_a_tool_runs_once_though_the_request_behind_it_is_sent_twice():
    ran: list[str] = []

    @tool
    def pay(to: str) -> str:
        "Pay."
        ran.append(to)
        return "paid"

    with Gateway(calls("pay", to="Ann"), no_answer("reset"), status(503), says("Done.")) as gateway:
        result = await Agent(asking(gateway.base_url), tools=[pay]).run("Pay Ann")

    assert (result.text, ran, len(gateway.requests)) == ("Done.", ["Ann"], 4)


# HTTP that is not well.


@pytest.mark.fault(10, 11)
@pytest.mark.parametrize("end", ["closed", "reset"])
@pytest.mark.parametrize("body", [HI, HI[:20]])
async def test_a_body_shorter_than_its_length_is_never_read_even_where_it_would_parse(end: Any, body: bytes):
    short = Answer(headers={"content-type": "application/json"}, pieces=[Piece(body)], length=len(HI) + 10, end=end)

    with Gateway(short, says("Hello.")) as gateway:
        reply, _ = await ask(asking(gateway.base_url))

    assert reply.text == "Hello."


@pytest.mark.fault(12)
async def test_a_connection_on_which_more_comes_than_was_said_is_not_used_again():
    connections = 0
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%bHTTP/1.1 200 OK\r\n" % (len(HI), HI)

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await sending(answer, answer)(reader, writer)

    async with server(converse) as base_url:
        asked = asking(base_url)
        replies = [(await ask(asked))[0].text for _ in range(2)]

    assert (replies, connections) == (["Hi", "Hi"], 2)


@pytest.mark.fault(12, 13)
@pytest.mark.parametrize(
    "head",
    [
        b"content-length: 5\r\ncontent-length: 66\r\n\r\n",
        b"transfer-encoding: chunked\r\n\r\nnothing\r\n",
        b"transfer-encoding: chunked\r\n\r\nfffffffffffffffffffffff\r\n",
        b"transfer-encoding: gzip\r\n\r\n",
    ],
)
async def test_bad_framing_is_asked_again_on_a_new_connection_and_ends_in_a_bad_reply(head: bytes):
    connections = 0

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await sending(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n" + head + HI)(reader, writer)

    async with server(converse) as base_url:
        with pytest.raises(BadReply, match="is no HTTP") as failure:
            await ask(asking(base_url))

    assert (failure.value.attempts, connections) == (3, 3)


@pytest.mark.fault(12)
async def test_chunks_count_where_a_length_is_given_too():
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(HI), HI)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n"

    async with server(sending(head + chunks)) as base_url:
        reply, _ = await ask(asking(base_url))

    assert reply.text == "Hi"


@pytest.mark.fault(14)
async def test_json_that_was_cut_is_shown_by_its_first_200_bytes():
    body = '{"choices":[{"message":{"content":"' + "x" * 1000
    with (
        Gateway(always(raw(body, content_type="application/json"))) as gateway,
        pytest.raises(BadReply, match=r'no JSON .*"choices"') as failure,
    ):
        await ask(asking(gateway.base_url))

    assert failure.value.attempts == 3
    assert "x" * 150 in str(failure.value)
    assert "x" * 200 not in str(failure.value)


@pytest.mark.fault(22)
@pytest.mark.parametrize("headers", [{"x-big": "x" * 2**20}, {f"x-{number}": "x" * 20 for number in range(10_000)}])
async def test_headers_without_measure_are_a_bad_reply(headers: dict[str, str]):
    with Gateway(always(raw(HI, content_type="application/json", headers=headers))) as gateway:
        with pytest.raises(BadReply, match="is no HTTP") as failure:
            await ask(asking(gateway.base_url))

        assert failure.value.attempts == 3


@pytest.mark.fault(22)
async def test_a_hundred_interim_answers_are_skipped():
    interim = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" * 100
    whole = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(HI), HI)

    async with server(sending(interim + whole)) as base_url:
        reply, _ = await ask(asking(base_url))

    assert reply.text == "Hi"


@pytest.mark.fault(22)
async def test_interim_answers_for_ever_end_with_the_attempt():
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            await writer.drain()

    async with server(converse) as base_url:
        with pytest.raises(ModelTimeout, match=r"no whole answer in 0\.2 s"):
            await ask(asking(base_url, timeouts=Timeouts(attempt=0.2), retries=ONCE))


# Compression.


@pytest.mark.fault(19)
@pytest.mark.parametrize("stream", [False, True])
async def test_good_gzip_is_read(stream: bool):
    turn = calls("add", a=1, b=2).saying("Adding \u2028.", thinking="Hm.")
    with Gateway(compressed(turn), turn) as gateway:
        packed, _ = await ask(asking(gateway.base_url), stream=stream)
        plain, _ = await ask(asking(gateway.base_url), stream=stream)

    assert packed.text == plain.text
    assert packed.calls[0].arguments == plain.calls[0].arguments
    # Whoever compresses a stream may hold it back.
    assert gateway.requests[0].headers["accept-encoding"] == ("identity" if stream else "gzip")


@pytest.mark.fault(19)
async def test_each_event_of_a_gzipped_stream_is_heard_when_it_comes():
    # Nothing follows the third event.
    with Gateway(compressed(cut(says("Hello ", "there."), after=3, end="silent"))) as gateway:
        heard: asyncio.Queue[Any] = asyncio.Queue()
        running = asyncio.create_task(asking(gateway.base_url).ask(Request([user("Hi")], stream=True), heard.put))

        words: list[str] = []
        while len(words) < 2:
            delta = await asyncio.wait_for(heard.get(), 5)
            words += [delta.text] if isinstance(delta, TextDelta) else []

        running.cancel()
        await asyncio.wait([running])
    assert words == ["Hello ", "there."]


@pytest.mark.fault(17)
@pytest.mark.parametrize("start", ['{"choices":[{"message":{"content":"', 'data: {"choices":[{"delta":{"content":"', ""])
@pytest.mark.parametrize("number", [200, 500])
async def test_a_gzip_bomb_is_refused_at_32_mib_and_costs_at_most_64(start: str, number: int, record_property: Any):
    gateway = Gateway(replace(bomb(1024, start=start), status=number))
    async with httpx.AsyncClient(transport=gateway.transport()) as client:
        asked = asking("http://gateway/v1", client=client, retries=ONCE)
        tracemalloc.start()
        try:
            with pytest.raises(ReplyTooLarge if number == 200 else ServerError):
                await ask(asked, stream=start.startswith("data"))
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    record_property("table", f"gzip bomb of 1 GiB ({number}, {start[:6]!r}): {most / 2**20:.1f} MiB")
    assert most < 64 * 2**20


@pytest.mark.fault(17)
async def test_a_list_of_models_that_is_a_bomb_is_refused_too():
    gateway = Gateway(bomb(1024, start='{"data":["'))

    async def answer(request: httpx.Request) -> httpx.Response:
        heard = httpx.Request(
            "POST", "http://gateway/v1/chat/completions", json={"model": "m", "messages": [{"role": "user", "content": "x"}]}
        )
        return await gateway.transport().handle_async_request(heard)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        with pytest.raises(ReplyTooLarge, match="33,554,432"):
            await list_models("ollama", client=client, retries=ONCE)


@pytest.mark.fault(18)
@pytest.mark.parametrize(("how", "attempts"), [("as_br", 1), ("badly", 3), ("cut", 3)])
async def test_gzip_that_is_broken_and_encodings_nobody_asked_for_are_bad_replies(how: Any, attempts: int):
    with Gateway(always(compressed(how=how))) as gateway, pytest.raises(BadReply) as failure:
        await ask(asking(gateway.base_url))

    assert failure.value.attempts == attempts
    assert ("'br'" if how == "as_br" else "gzip") in str(failure.value)


@pytest.mark.fault(18)
async def test_bytes_behind_a_gzip_file_are_not_swallowed():
    with Gateway(compressed(raw(HI, content_type="application/json"))) as gateway:
        whole = await gateway.answer(_heard())
    body = b"".join(piece.data for piece in whole.pieces)
    longer = replace(whole, pieces=[Piece(body), Piece(body)], length=2 * len(body))

    with Gateway(longer) as gateway, pytest.raises(BadReply, match="behind the end"):
        await ask(asking(gateway.base_url, retries=ONCE))


def _heard() -> Any:
    from agentloop.testing.answers import HeardRequest  # noqa: PLC0415  # one test needs it

    body = b'{"model":"m","messages":[{"role":"user","content":"Hi"}]}'
    return HeardRequest.read("POST", "/v1/chat/completions", headers=[("content-type", "application/json")], content=body)


async def test_a_body_that_a_clients_hook_has_read_is_not_unpacked_twice():
    async def log(response: httpx.Response) -> None:
        await response.aread()

    with Gateway(compressed(says("Hello."))) as gateway:
        async with httpx.AsyncClient(event_hooks={"response": [log]}) as client:
            reply, _ = await ask(asking(gateway.base_url, client=client))

    assert reply.text == "Hello."


async def test_the_words_of_a_compressed_refusal_are_read():
    with Gateway(compressed(status(400, message="No such tool."))) as gateway, pytest.raises(BadRequest, match="No such tool"):
        await ask(asking(gateway.base_url))


# Time.


@pytest.mark.fault(20)
async def test_no_answer_at_all_ends_after_all_attempts():
    with Gateway(always(no_answer("silent"))) as gateway, pytest.raises(ModelTimeout) as failure:
        await ask(asking(gateway.base_url, timeouts=Timeouts(attempt=0.1)))

    assert failure.value.attempts == 4


@pytest.mark.fault(21)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_body_that_trickles_without_end_is_ended_by_the_attempts_deadline(stream: bool):
    event = 'data: {"choices":[{"delta":{"reasoning_content":""}}]}\n\n'
    trickle = raw(*[event if stream else " "] * 1000, content_type="text/event-stream" if stream else "application/json")

    with Gateway(always(slow(trickle, between=0.02))) as gateway:
        with pytest.raises(ModelTimeout, match=r"no whole answer in 0\.2 s") as failure:
            await ask(
                asking(gateway.base_url, timeouts=Timeouts(attempt=0.2, idle=60), retries=Retries(attempts=2, first_wait=0)), stream=stream
            )

        assert failure.value.attempts == 2


# Retrying.


async def retried(failure: Answer | Any, **options: Any) -> Any:
    """Meet the failure once, and give the wait before the next attempt."""
    with Gateway(failure, says("Hello.")) as gateway:
        # No test waits so long: what is said of the wait comes before it.
        heard: asyncio.Queue[Any] = asyncio.Queue()
        running = asyncio.create_task(asking(gateway.base_url, **options).ask(Request([user("Hi")]), heard.put))
        event = await asyncio.wait_for(heard.get(), 5)
        running.cancel()
        await asyncio.wait([running])
        return event.seconds


@pytest.mark.fault(23)
async def test_the_seconds_that_a_server_asks_for_are_waited():
    assert await retried(status(429, retry_after=17)) == 17


@pytest.mark.fault(24)
async def test_the_date_that_a_server_names_is_waited_for():
    seconds = await retried(status(429, retry_after=formatdate(time.time() + 30, usegmt=True)))

    assert 25 < seconds <= 30


@pytest.mark.fault(25)
async def test_milliseconds_are_waited_and_count_before_seconds():
    assert await retried(status(429, retry_after=17, headers={"retry-after-ms": "2500"})) == 2.5


@pytest.mark.fault(26)
@pytest.mark.parametrize("wait", ["61", "3600", pytest.param(formatdate(time.time() + 86_400, usegmt=True), id="a date")])
async def test_a_wait_beyond_patience_ends_the_run_at_once_with_what_was_done(wait: str):
    @tool
    def look() -> str:
        "Look."
        return "sun"

    with Gateway(calls("look"), status(429, retry_after=wait)) as gateway:
        with pytest.raises(RateLimited, match=r"asks to wait \d.* allows 60 s") as failure:
            await Agent(asking(gateway.base_url), tools=[look]).run("Sun?")

        assert len(gateway.requests) == 2
    assert failure.value.retry_after is not None
    assert failure.value.retry_after > 60
    assert failure.value.result.transcript.messages[-1].results[0].content == "sun"


@pytest.mark.fault(26)
async def test_a_wait_beyond_the_end_of_the_run_ends_it_at_once():
    with Gateway(always(status(429, retry_after=30))) as gateway:
        now = asyncio.get_running_loop().time()

        with ending_at(now + 20), pytest.raises(RateLimited, match=r"asks to wait 30 s, and the run has (20\.0|19\.\d) s left"):
            await ask(asking(gateway.base_url))

        assert len(gateway.requests) == 1


async def test_the_end_of_the_outer_run_counts_for_the_inner_one():
    now = asyncio.get_running_loop().time()

    with Gateway(status(429, retry_after=30)) as gateway, ending_at(now + 20), ending_at(now + 100), ending_at(None):
        asked = asking(gateway.base_url)
        with pytest.raises(RateLimited, match="the run has"):
            await ask(asked)


@pytest.mark.fault(27)
@pytest.mark.parametrize(
    "wait",
    [
        "-5",
        "NaN",
        "inf",
        "1e99",
        "",
        " ",
        "soon",
        "99999999999999",
        pytest.param(formatdate(time.time() - 60, usegmt=True), id="a date gone by"),
        "Sun, 99 Foo 2026 00:00:00 GMT",
    ],
)
@pytest.mark.parametrize("name", ["retry-after", "retry-after-ms"])
async def test_a_wait_that_is_none_leaves_our_own(wait: str, name: str):
    seconds = await retried(status(429, headers={name: wait}), retries=Retries(first_wait=0.25))

    assert 0 <= seconds <= 0.25


@pytest.mark.fault(28)
async def test_waits_are_drawn_from_nothing_to_twice_as_much_each_time():
    waits: list[list[float]] = [[], [], []]

    async def say(event: Retrying) -> None:
        waits[event.attempt - 1].append(event.seconds)

    async def fail() -> Reply:
        raise ServerError("down")

    async def one_run() -> None:
        with pytest.raises(ServerError):
            await with_retries(fail, Retries(first_wait=0.02, longest_wait=0.06, share=9), may_repeat=lambda: True, say=say, budget=budget)

    budget = RetryBudget()
    await asyncio.gather(*(one_run() for _ in range(200)))

    for drawn, longest in zip(waits, (0.02, 0.04, 0.06), strict=True):
        assert 0 <= min(drawn) < 0.2 * longest
        assert 0.8 * longest < max(drawn) <= longest


@pytest.mark.fault(28)
@pytest.mark.parametrize("answers", [{}, {"retry_after": 0}])
async def test_a_hundred_runs_in_a_storm_send_a_tenth_more_than_they_need(answers: dict[str, Any], record_property: Any):
    with Gateway(always(status(429, **answers))) as gateway:
        asked = [asking(gateway.base_url) for _ in range(100)]

        failures = await asyncio.gather(*(Agent(each).run("Hi") for each in asked), return_exceptions=True)

    sent = len(gateway.requests)
    record_property("table", f"100 runs in a storm of 429: {sent} requests, where the runs need 100")
    assert {type(failure) for failure in failures} == {RateLimited}
    assert any("Retries(share=...)" in str(failure) for failure in failures)
    assert 100 < sent <= 110


@pytest.mark.fault(28)
async def test_a_short_storm_costs_a_tenth_and_what_could_be_asked_again_is_answered():
    with Gateway(*[status(429)] * 100, always(says("Hello."))) as gateway:
        asked = asking(gateway.base_url)

        answers = await asyncio.gather(*(ask(asked) for _ in range(100)), return_exceptions=True)

        assert len(gateway.requests) == 110
    assert sum(not isinstance(answer, BaseException) for answer in answers) >= 1


@pytest.mark.fault(28)
async def test_runs_that_fail_now_and_then_are_all_asked_again():
    turns = [status(503) if number % 11 == 10 else says("Hello.") for number in range(330)]
    with Gateway(*turns) as gateway:
        asked = asking(gateway.base_url)

        replies = [(await ask(asked))[0].text for _ in range(300)]

    assert replies == ["Hello."] * 300


def test_the_budget_fills_up_again_with_time():
    now = 0.0
    budget = RetryBudget(clock=lambda: now)
    assert sum(budget.take(0.1) for _ in range(100)) == 10

    now = 60.0

    assert sum(budget.take(0.1) for _ in range(100)) == 5


async def test_each_server_and_each_client_has_a_budget_of_its_own():
    with Gateway(always(status(503))) as down, Gateway(status(503), says("Hello.")) as other, Gateway(status(503), says("Hello.")) as up:
        async with httpx.AsyncClient() as client:
            await asyncio.gather(*(ask(asking(down.base_url, client=client)) for _ in range(20)), return_exceptions=True)
            assert len(down.requests) == 30

            here, _ = await ask(asking(other.base_url, client=client))
            there, _ = await ask(asking(up.base_url))

    assert (here.text, there.text) == ("Hello.", "Hello.")


@pytest.mark.fault(9, 28)
async def test_connections_that_the_server_has_closed_cost_no_retries():
    known: set[str] = set()

    def first_closed(body: Any) -> Any:
        prompt = body["messages"][-1]["content"]
        if prompt in known:
            return says("Hello.")
        known.add(prompt)
        return no_answer("closed")

    with Gateway(always(first_closed)) as gateway:
        agent = Agent(asking(gateway.base_url, retries=Retries(first_wait=60)))

        results = await asyncio.gather(*(agent.run(f"Run {number}") for number in range(50)))

        assert len(gateway.requests) == 100
    assert {result.text for result in results} == {"Hello."}


@pytest.mark.fault(29, 30)
@pytest.mark.parametrize("number", [500, 502, 503, 504, 529])
async def test_a_server_that_fails_for_ever_ends_in_an_error_that_says_all(number: int):
    refusal = status(number, message="The kitchen is on fire.", headers={"x-request-id": "req-77"})
    with Gateway(always(refusal)) as gateway, pytest.raises(ServerError) as failure:
        await ask(asking(gateway.base_url))

    for words in (str(number), "The kitchen is on fire.", "req-77", "after 4 attempts"):
        assert words in str(failure.value)
    assert (failure.value.status, failure.value.request_id, failure.value.attempts) == (number, "req-77", 4)


@pytest.mark.fault(31)
@pytest.mark.parametrize(("number", "word", "requests"), [(503, "false", 1), (429, "false", 1), (400, "true", 2), (409, "true", 2)])
async def test_a_server_that_knows_whether_to_ask_again_is_obeyed(number: int, word: str, requests: int):
    with Gateway(status(number, headers={"x-should-retry": word}), says("Hello.")) as gateway:
        if requests == 1:
            with pytest.raises(ModelError):
                await ask(asking(gateway.base_url))
        else:
            await ask(asking(gateway.base_url))

        assert len(gateway.requests) == requests


@pytest.mark.fault(32, 33, 34, 35)
@pytest.mark.parametrize(
    ("refusal", "error", "words"),
    [
        (status(400, message="Bad tool."), BadRequest, "Bad tool."),
        (status(404), BadRequest, "The model does not exist."),
        (status(413, body="Too big"), BadRequest, "Too big"),
        (status(422, body={"detail": [{"loc": ["body"], "msg": "field required"}]}), BadRequest, "field required"),
        (status(401, message=f"Wrong key {KEY}."), AuthError, "Wrong key ***."),
        (status(403), AuthError, "403"),
        (status(402, message="Pay first."), QuotaExceeded, "Pay first."),
        (status(429, code="insufficient_quota", retry_after=1), QuotaExceeded, "429"),
        (status(400, code="context_length_exceeded"), ContextTooLong, "400"),
        (status(429, message="The input token count (9) exceeds the maximum"), ContextTooLong, "exceeds"),
    ],
)
async def test_what_asking_again_would_not_mend_ends_at_once_with_the_servers_words(refusal: Any, error: type[ModelError], words: str):
    with Gateway(refusal, says("Never.")) as gateway:
        with pytest.raises(error) as failure:
            await ask(asking(gateway.base_url))

        assert len(gateway.requests) == 1
    assert type(failure.value) is error
    assert words in str(failure.value)
    assert KEY not in f"{failure.value!r} {failure.value.body}"  # type: ignore[attr-defined]


# Where requests go, and what goes with them.


@pytest.mark.fault(36, 37)
@pytest.mark.parametrize("number", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed_not_even_by_a_client_that_would(number: int):
    with (
        Gateway() as elsewhere,
        Gateway(redirect(f"http://me:{KEY}@localhost:{elsewhere.base_url[17:22]}/v1?key={KEY}", number=number)) as gateway,
    ):
        async with httpx.AsyncClient(follow_redirects=True) as client:
            with pytest.raises(BadReply, match=r"redirects to localhost:\d+, which") as failure:
                await ask(asking(gateway.base_url, client=client))

        assert (len(gateway.requests), elsewhere.requests) == (1, [])
    assert KEY not in str(failure.value)


@pytest.mark.fault(38)
async def test_a_netrc_never_overrides_the_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login me password netrc-password\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))

    with Gateway(says("Hi")) as gateway:
        await ask(asking(gateway.base_url))

    assert gateway.requests[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.fault(39)
async def test_no_cookie_is_kept():
    cookie = raw(HI, content_type="application/json", headers={"set-cookie": "session=abc; Path=/"})
    with Gateway(cookie, says("Hi")) as gateway:
        asked = asking(gateway.base_url)
        await ask(asked)
        await ask(asked)

    assert "cookie" not in gateway.requests[1].headers


@pytest.mark.fault(40)
async def test_waiting_for_a_connection_ends_and_is_named():
    with Gateway(always(no_answer("silent"))) as gateway:
        async with httpx.AsyncClient(limits=httpx.Limits(max_connections=1)) as client:
            patient = asyncio.create_task(ask(asking(gateway.base_url, client=client, retries=ONCE)))
            while not gateway.requests:  # noqa: ASYNC110  # the gateway fills it from its own thread
                await asyncio.sleep(0)

            with pytest.raises(ModelTimeout, match=r"no free connection to 127\.0\.0\.1:\d+ in 0\.18 s; .*pool"):
                await ask(asking(gateway.base_url, client=client, retries=ONCE, timeouts=Timeouts(attempt=0.2)))

            patient.cancel()
            await asyncio.wait([patient])


@pytest.mark.fault(40)
async def test_a_hundred_runs_wait_for_the_few_connections_of_a_client():
    with Gateway(always(says("Hi"))) as gateway:
        async with httpx.AsyncClient(limits=httpx.Limits(max_connections=3)) as client:
            replies = await asyncio.gather(*(ask(asking(gateway.base_url, client=client)) for _ in range(100)))

    assert [reply.text for reply, _ in replies] == ["Hi"] * 100


@pytest.mark.fault(41, 145)
def test_a_client_of_ones_own_on_a_second_event_loop_serves_or_says_what_is_wrong():
    client = httpx.AsyncClient()
    with Gateway(always(says("Hi"))) as gateway:
        asked = asking(gateway.base_url, client=client)
        asyncio.run(ask(asked))

        # The connection that was kept belongs to the loop that is gone.
        with pytest.raises(ConfigurationError, match="belongs to another event loop; give each loop its own"):
            asyncio.run(ask(asked))

        # What was left open on it is closed here, where nobody minds.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            del client, asked
            gc.collect()


@pytest.mark.fault(41, 145)
def test_one_agent_serves_event_loops_side_by_side_and_one_after_another():
    with Gateway(always(says("Hi"))) as gateway:
        agent = Agent(asking(gateway.base_url))
        words: list[str] = []
        threads = [threading.Thread(target=lambda: words.extend(agent.run_sync("Hi").text for _ in range(5))) for _ in range(4)]

        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)

    assert words == ["Hi"] * 20


# Cancelling.


async def tasks_beside(before: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """Give the tasks that are left behind; those in which asyncio itself closes a generator of httpx end in the next turns of the loop."""
    for _ in range(5):
        await asyncio.sleep(0)
    return asyncio.all_tasks() - before


async def cancelled(running: asyncio.Task[Any]) -> float:
    """Cancel it, and give the seconds until it is gone."""
    since = time.perf_counter()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 5)
    return time.perf_counter() - since


@pytest.mark.fault(120)
@pytest.mark.parametrize("point", ["headers", "body", "stream"])
async def test_cancelling_closes_the_connection_and_is_back_at_once(point: str, record_property: Any):
    answer = {"headers": no_answer("silent"), "body": cut(end="silent"), "stream": cut(after=3, end="silent")}[point]
    with Gateway(answer) as gateway:
        before = asyncio.all_tasks()
        running = asyncio.create_task(ask(asking(gateway.base_url), stream=point == "stream"))
        while not (gateway.requests and (point == "headers" or gateway.requests[0].status)):  # noqa: ASYNC110  # filled by another thread
            await asyncio.sleep(0)

        seconds = await cancelled(running)

        assert gateway.requests[0].wait() == "abandoned"
    record_property("table", f"cancelled while waiting for {point}: back in {seconds * 1000:.1f} ms")
    assert seconds < 0.1
    assert await tasks_beside(before) == set()


@pytest.mark.fault(60, 120)
@pytest.mark.parametrize("point", ["headers", "stream", "heard"])
async def test_cancelling_twice_closes_the_connection_all_the_same(point: str):
    heard = asyncio.Event()

    async def hear(_: Any) -> None:
        heard.set()
        if point == "heard":
            await asyncio.Event().wait()

    answer = no_answer("silent") if point == "headers" else cut(says("Hello ", "there."), after=3, end="silent")
    with Gateway(answer) as gateway:
        before = asyncio.all_tasks()
        running = asyncio.create_task(asking(gateway.base_url).ask(Request([user("Hi")], stream=True), hear))
        while not (gateway.requests and (point == "headers" or heard.is_set())):  # noqa: ASYNC110  # filled by another thread
            await asyncio.sleep(0)

        for _ in range(5):
            running.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(running, 5)

        assert await asyncio.to_thread(gateway.requests[0].wait) == "abandoned"
    assert await tasks_beside(before) == set()


@pytest.mark.fault(120)
async def test_cancelling_while_connecting_is_back_at_once(record_property: Any):
    with full_port() as port:
        before = asyncio.all_tasks()
        running = asyncio.create_task(ask(asking(f"http://127.0.0.1:{port}/v1")))
        # The client is made, and its socket waits for the answer that does not come.
        while not _connecting(port):  # noqa: ASYNC110  # only the kernel knows
            await asyncio.sleep(0)

        seconds = await cancelled(running)

    record_property("table", f"cancelled while connecting: back in {seconds * 1000:.1f} ms")
    assert seconds < 0.1
    assert await tasks_beside(before) == set()


def _connecting(port: int) -> bool:
    # A line of this file has the remote address and the state, where 02 is SYN_SENT (proc(5)).
    lines = Path("/proc/net/tcp").read_text().splitlines()
    return any(line.split()[2].endswith(f":{port:04X}") and line.split()[3] == "02" for line in lines[1:])


@pytest.mark.fault(123)
async def test_cancelling_the_wait_before_a_retry_is_back_at_once(record_property: Any):
    with Gateway(status(429, retry_after=50)) as gateway:
        before = asyncio.all_tasks()
        waiting = asyncio.Event()

        async def hear(_: Any) -> None:
            waiting.set()

        running = asyncio.create_task(asking(gateway.base_url).ask(Request([user("Hi")]), hear))
        await asyncio.wait_for(waiting.wait(), 5)
        await asyncio.sleep(0)

        seconds = await cancelled(running)

        assert gateway.requests[0].wait() == "answered"
    record_property("table", f"cancelled in the wait before a retry: back in {seconds * 1000:.1f} ms")
    assert seconds < 0.1
    assert await tasks_beside(before) == set()
