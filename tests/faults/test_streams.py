"""Streams: rows 42 to 61 of the fault catalogue, over HTTP."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest

from agentloop import Agent, Retries, Timeouts, model, tool
from agentloop.deltas import Assembly, TextDelta
from agentloop.errors import (
    BadReply,
    ContextTooLong,
    ModelError,
    ModelTimeout,
    QuotaExceeded,
    RateLimited,
    ReplyTooLarge,
    ServerError,
    StreamBroken,
)
from agentloop.events import Retrying
from agentloop.messages import Reply, Request, user
from agentloop.models.http import HTTPModel
from agentloop.models.providers import PROVIDERS
from agentloop.models.reading import Reading
from agentloop.testing import Gateway, calls, cut, error_inside, keep_alive, malformed, raw, says, slow
from agentloop.testing.answers import Answer, HeardRequest, Piece
from agentloop.testing.faults import compressed
from agentloop.testing.turns import always

AT_ONCE = Retries(first_wait=0)
FORMATS = ["xaix/chat:m", "xaix/responses:m", "xaix/messages:m", "xaix/gemini:m"]
WORD = 'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n'
STOP = 'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = "data: [DONE]\n\n"
_PROPORTIONAL = 8


def asking(gateway: Gateway, name: str = "openai:gpt-4o", **options: Any) -> HTTPModel:
    return model(name, base_url=gateway.base_url, key="sk-canary-7f3a", **({"retries": AT_ONCE} | options))


async def ask(asked: HTTPModel, *, stream: bool = True) -> tuple[Reply, list[Any]]:
    heard: list[Any] = []

    async def hear(delta: Any) -> None:
        heard.append(delta)

    async with asyncio.timeout(5):
        return await asked.ask(Request([user("Hi")], stream=stream), hear), heard


def base_url_of(name: str) -> str:
    """Where a client in the same process finds the format."""
    return "http://gateway/v1beta" if "gemini" in name else "http://gateway/v1"


# Streams that end too early.


@pytest.mark.fault(42, 44)
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("end", ["whole", "closed", "reset"])
async def test_a_cut_stream_is_no_answer_in_any_format_and_its_beginning_is_kept(name: str, end: Any):
    words = says("The ", "answer ", "is ", "four ", "hundred ", "and ", "two.")
    gateway = Gateway(always(cut(words, after=5, end=end)))
    async with httpx.AsyncClient(transport=gateway.transport()) as client:
        agent = Agent(model(name, base_url=base_url_of(name), key="k", client=client, retries=AT_ONCE))

        with pytest.raises((StreamBroken, BadReply)) as failure:
            async for _ in agent.stream("Hi"):
                pass

    assert "The answer is four hundred and two.".startswith(failure.value.partial.text)
    assert failure.value.partial.text
    assert len(failure.value.result.transcript) == 1
    assert len(gateway.requests) == 1


@pytest.mark.fault(42, 44)
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("end", ["whole", "closed", "reset"])
async def test_a_stream_of_which_nothing_was_handed_out_is_asked_for_again(name: str, end: Any):
    gateway = Gateway(cut(says("One.", "Two."), after=1, end=end), says("Hello."))
    async with httpx.AsyncClient(transport=gateway.transport()) as client:
        reply, _ = await ask(model(name, base_url=base_url_of(name), key="k", client=client, retries=AT_ONCE), stream=False)

    assert reply.text == "Hello."


@pytest.mark.fault(43)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("end", ["whole", "closed", "reset"])
async def test_a_call_whose_arguments_were_cut_is_never_run(stream: bool, end: Any):
    paid: list[int] = []

    @tool
    def pay(amount: int) -> str:
        "Pay."
        paid.append(amount)
        return "paid"

    # The cut stands behind the first digits.
    begun = (
        'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"pay","arguments":"{\\"amount\\": 1"}}]}}]}\n\n'
    )
    with Gateway(cut(raw(begun, STOP), after=1, end=end), calls("pay", amount=1000), says("Done.")) as gateway:
        agent = Agent(asking(gateway), tools=[pay])
        if stream:
            with pytest.raises(StreamBroken):
                _ = [event async for event in agent.stream("Pay")]
        else:
            assert (await agent.run("Pay")).text == "Done."

    assert paid == ([] if stream else [1000])


# Streams that do not end.


@pytest.mark.fault(45)
async def test_silence_behind_a_first_event_is_given_up_and_asked_again_where_nothing_was_shown():
    role = 'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
    with Gateway(cut(raw(role, STOP), end="silent"), says("Hello.")) as gateway:
        reply, heard = await ask(asking(gateway, timeouts=Timeouts(idle=0.1)))

    assert reply.text == "Hello."
    assert [str(event.error) for event in heard if isinstance(event, Retrying)] == ["the server sent no event for 0.1 s"]


@pytest.mark.fault(46)
@pytest.mark.parametrize("filler", [": keep-alive\n\n", "event: ping\ndata: {}\n\n", "\n", "id: 1\n\n", 'data: {"x', "\u00e4"])
async def test_nothing_but_a_real_event_counts_as_progress(filler: str):
    gateway = Gateway(slow(raw(WORD % "Hi", *[filler] * 1000), between=0.02))
    async with httpx.AsyncClient(transport=gateway.transport()) as client:
        asked = model("openai:m", base_url="http://gateway/v1", key="k", client=client, timeouts=Timeouts(idle=0.15, attempt=60))

        with pytest.raises(ModelTimeout, match=r"no event for 0\.15 s") as failure:
            await ask(asked)

    assert failure.value.partial.text == "Hi"


async def test_comments_between_events_do_no_harm_to_a_slow_stream():
    with Gateway(keep_alive(says("Hello ", "there."), times=3, pause=0.01)) as gateway:
        reply, _ = await ask(asking(gateway, timeouts=Timeouts(idle=2)))

    assert reply.text == "Hello there."


# How events are written.


@pytest.mark.fault(47, 48, 49, 50, 54, 55, 56)
@pytest.mark.parametrize(
    "body",
    [
        WORD % "Hi" + STOP + DONE,
        (WORD % "Hi" + STOP + DONE).replace("\n", "\r\n"),
        (WORD % "Hi" + STOP + DONE).replace("\n", "\r"),
        (WORD % "Hi" + STOP).replace("data: ", "data:"),
        ("event: x\nid: 7\n: comment\nretry: 10\n" + WORD % "Hi") + STOP,
        (WORD % "Hi").replace('"choices":', '\ndata: "choices":\ndata: ') + STOP,
        "event: ping\ndata: {}\n\n" + WORD % "Hi" + 'event: news\ndata: {"type":"news"}\n\n' + STOP,
        WORD % "Hi" + STOP + 'data: {"choices":[],"usage":{"prompt_tokens":3}}\n\n' + DONE,
        WORD % "Hi" + STOP,
        (WORD % "Hi" + STOP).rstrip(),
    ],
)
async def test_every_way_to_write_events_says_the_same(body: str):
    with Gateway(raw(body)) as gateway:
        reply, _ = await ask(asking(gateway))

    assert (reply.text, reply.finish_reason) == ("Hi", "stop")


@pytest.mark.fault(49, 50)
@pytest.mark.parametrize("packed", [False, True])
async def test_no_character_is_lost_wherever_the_bytes_are_cut(packed: bool):
    words = "a\u2028b\u2029c\u0085d \u00e4\u20ac\U0001f600\u000b\u000c\u001ce"
    body = (WORD % words.replace("\u000b", "\\u000b").replace("\u000c", "\\u000c").replace("\u001c", "\\u001c") + STOP).encode()
    answer = raw(*(body[place : place + 1] for place in range(len(body))))

    gateway = Gateway(compressed(answer) if packed else answer)
    async with httpx.AsyncClient(transport=gateway.transport()) as client:
        reply, _ = await ask(model("openai:m", base_url="http://gateway/v1", key="k", client=client))

    assert reply.text == words


@pytest.mark.fault(51)
async def test_one_line_of_8_megabytes_is_read():
    with Gateway(raw(WORD % ("x" * 8_000_000) + STOP)) as gateway:
        reply, _ = await ask(asking(gateway))

    assert len(reply.text) == 8_000_000


@pytest.mark.fault(51)
async def test_one_line_without_end_is_refused_at_32_mib():
    line = Answer(headers={"content-type": "text/event-stream"}, pieces=_line_without_end())
    gateway = Gateway(line)

    async with httpx.AsyncClient(transport=gateway.transport()) as client:
        with pytest.raises(ReplyTooLarge, match="33,554,432"):
            await ask(model("openai:m", base_url="http://gateway/v1", key="k", client=client))


def _line_without_end() -> Iterator[Piece]:
    yield Piece(b'data: {"choices":[{"delta":{"content":"')
    while True:
        yield Piece(b"x" * 2**20)


@pytest.mark.fault(51)
@pytest.mark.parametrize("piece_bytes", [512, 65_536])
async def test_the_time_for_a_line_grows_with_its_length(piece_bytes: int, record_property: Any):
    async def read(megabytes: int) -> None:
        body = (WORD % ("x" * 1_000_000 * megabytes) + STOP).encode()
        pieces = [Piece(body[place : place + piece_bytes]) for place in range(0, len(body), piece_bytes)]
        await _ask_in_process(Answer(headers={"content-type": "text/event-stream"}, pieces=pieces))

    large, times = await _least_growth(lambda: read(2), lambda: read(8))

    record_property("table", f"a line of 8 MB in pieces of {piece_bytes}: {large:.2f} s, {times:.1f} times that of 2 MB")
    # Four times as much takes four times as long; it would be sixteen times, were each piece to look at all before it.
    assert times < _PROPORTIONAL


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("called", [False, True])
async def test_the_time_for_a_reply_grows_with_its_deltas(name: str, called: bool, record_property: Any):
    provider, _, wire_name = name.partition(":")[0].partition("/")
    wire = PROVIDERS[provider].wires[wire_name](name)

    async def events(deltas: int) -> list[bytes]:
        words = ["word "] * deltas
        asked = wire.encode(Request([user("Hi")], stream=True), model="m")
        path = f"/{'v1beta' if 'gemini' in name else 'v1'}/{asked.path}"
        headers = [("content-type", "application/json"), *wire.headers("k").items(), *asked.headers.items()]
        heard = HeardRequest.read("POST", path, headers=headers, content=asked.body)
        answer = await Gateway(calls("write", text="".join(words)) if called else says(*words)).answer(heard)
        return [piece.data for piece in answer.pieces]

    async def read(pieces: list[bytes]) -> None:
        reading = Reading(wire.decoder())
        assembly = Assembly()
        for piece in pieces:
            for delta in reading.feed(piece):
                assembly.add(delta)
        for delta in reading.end():
            assembly.add(delta)
        reply = assembly.reply()
        assert len(reply.calls[0].arguments if called else reply.text) > 20_000

    few, many = await events(5_000), await events(20_000)
    large, times = await _least_growth(lambda: read(few), lambda: read(many))

    record_property("table", f"20,000 deltas, {name}, {'a call' if called else 'words'}: {large:.2f} s, {times:.1f} times that of 5,000")
    assert times < _PROPORTIONAL


async def _ask_in_process(turn: Any, name: str = "openai:m") -> Reply:
    gateway = Gateway(turn)
    async with httpx.AsyncClient(transport=gateway.transport()) as client:
        return (await ask(model(name, base_url=base_url_of(name), key="k", client=client)))[0]


async def _least_growth(small: Callable[[], Awaitable[None]], large: Callable[[], Awaitable[None]]) -> tuple[float, float]:
    """Give the seconds of this thread's own work on the large one, and how many times those on the small one they are, at best."""
    seconds, times = math.inf, math.inf
    for _ in range(4):
        few, many = await _cpu(small), await _cpu(large)
        seconds, times = min(seconds, many), min(times, many / few)
        # A busy machine may make anything slow once; what is not linear is slow each time.
        if times < _PROPORTIONAL:
            break
    return seconds, times


async def _cpu(work: Callable[[], Awaitable[None]]) -> float:
    since = time.thread_time()
    await work()
    return time.thread_time() - since


# Events that are not well.


@pytest.mark.fault(52)
@pytest.mark.parametrize("how", ["not_json", "cut_json"])
async def test_an_event_that_is_no_json_leaves_no_hole_in_the_text(how: Any):
    turn = malformed(how, says("One ", "two ", "three."), after=3)
    with Gateway(turn, turn) as gateway:
        with pytest.raises(BadReply, match="an event of the stream is no JSON") as failure:
            await ask(asking(gateway))
        assert len(gateway.requests) == 1

    assert failure.value.partial.text == "One two "


@pytest.mark.fault(52, 58)
@pytest.mark.parametrize(
    "bad",
    [
        "data: upstream said: ok\n\n",
        'data: {"choices":[{"delta":{"tool_calls":[{"index":3,"function":{"arguments":"{}"}}]}}]}\n\n',
        'data: "a word"\n\n',
        'data: {"choices":{"delta":1}}\n\ndata: {"choices":[7]}\n\n',
    ],
)
async def test_events_that_make_no_sense_are_asked_for_again_and_end_in_a_bad_reply(bad: str):
    with Gateway(raw(bad + STOP), says("Hello.")) as once, Gateway(always(raw(bad + STOP))) as for_ever:
        reply, _ = await ask(asking(once), stream=False)
        with pytest.raises(BadReply) as failure:
            await ask(asking(for_ever), stream=False)

    assert reply.text == "Hello."
    assert failure.value.attempts <= 3


@pytest.mark.fault(53, 54)
@pytest.mark.parametrize("event", ["", "event: error\n"])
@pytest.mark.parametrize(
    ("said", "error", "attempts"),
    [
        ('{"error":{"message":"Overloaded now.","type":"overloaded_error"}}', ServerError, 4),
        ('{"type":"error","error":{"message":"Slow down now.","type":"rate_limit_error"}}', RateLimited, 4),
        ('{"error":{"message":"Pay now.","code":"insufficient_quota"}}', QuotaExceeded, 1),
        ('{"error":{"message":"prompt is too long: 9 tokens > 8 maximum now."}}', ContextTooLong, 1),
        ('{"error":"It broke now."}', ServerError, 4),
        ('{"error":{"message":"Gone now.","code":502}}', ServerError, 4),
    ],
)
async def test_an_error_inside_a_stream_is_told_apart_by_what_it_says(event: str, said: str, error: type[ModelError], attempts: int):
    with Gateway(always(raw(f"{event}data: {said}\n\n"))) as gateway, pytest.raises(error, match=r"now\.") as failure:
        await ask(asking(gateway))

    assert type(failure.value) is error
    assert failure.value.attempts == attempts


@pytest.mark.fault(53)
@pytest.mark.parametrize("name", FORMATS)
async def test_an_error_behind_shown_words_ends_the_reply_in_every_format(name: str):
    gateway = Gateway(always(error_inside("The kitchen burns.", turn=says("One ", "two ", "three."), after=5)))
    async with httpx.AsyncClient(transport=gateway.transport()) as client:
        with pytest.raises(ServerError, match=r"The kitchen burns\.") as failure:
            await ask(model(name, base_url=base_url_of(name), key="k", client=client, retries=AT_ONCE))

    assert len(gateway.requests) == 1
    assert failure.value.partial.text.startswith("One")


@pytest.mark.fault(57)
async def test_two_calls_on_one_index_with_ids_of_their_own_are_both_made():
    added: list[int] = []

    @tool
    def add(a: int) -> str:
        "Add."
        added.append(a)
        return "added"

    piece = 'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"1","function":{"name":"add","arguments":"{\\"a\\": 1}"}}]}}]}\n\n'
    pieces = [piece, piece.replace("1", "2")]
    with Gateway(raw(*pieces, STOP), says("Done.")) as gateway:
        await Agent(asking(gateway), tools=[add]).run("Add")

    assert sorted(added) == [1, 2]


@pytest.mark.fault(59)
@pytest.mark.parametrize("name", FORMATS)
async def test_a_whole_reply_is_read_where_a_stream_was_asked_for(name: str):
    said = Gateway(says("Hello."))
    async with httpx.AsyncClient(transport=said.transport()) as client:
        whole: list[bytes] = []
        client.event_hooks = {"response": [_keeping(whole)]}
        await ask(model(name, base_url=base_url_of(name), key="k", client=client), stream=False)
    gateway = Gateway(raw(*whole, content_type="application/json"))

    async with httpx.AsyncClient(transport=gateway.transport()) as client:
        reply, heard = await ask(model(name, base_url=base_url_of(name), key="k", client=client))

    assert reply.text == "Hello."
    assert "Hello." in [delta.text for delta in heard if isinstance(delta, TextDelta)]


def _keeping(bodies: list[bytes]) -> Callable[[httpx.Response], Awaitable[None]]:
    async def keep(response: httpx.Response) -> None:
        bodies.append(await response.aread())

    return keep


# Whoever reads our stream.


@pytest.mark.fault(60)
@pytest.mark.parametrize("leaving", ["break", "cancel", "error"])
async def test_leaving_a_stream_closes_the_connection_and_leaves_no_task(leaving: str):
    before = asyncio.all_tasks()
    with Gateway(cut(says("Hello ", "there."), after=3, end="silent")) as gateway:

        async def read() -> None:
            async with Agent(asking(gateway)).stream("Hi") as stream:
                async for event in stream:
                    if isinstance(event, TextDelta):
                        if leaving == "break":
                            break
                        if leaving == "error":
                            raise LookupError("enough")
                        if leaving == "cancel":
                            task.cancel()

        task = asyncio.create_task(read())
        await asyncio.wait([task], timeout=5)

        assert await asyncio.to_thread(gateway.requests[0].wait) == "abandoned"
    assert (task.cancelled(), None if task.cancelled() else type(task.exception())) == {
        "break": (False, type(None)),
        "cancel": (True, None),
        "error": (False, LookupError),
    }[leaving]
    # asyncio itself closes a generator of httpx, in the next turns of the loop.
    for _ in range(5):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


@pytest.mark.fault(61)
async def test_a_reader_that_stops_reading_stops_the_server():
    sent = 0

    def pieces() -> Iterator[Piece]:
        nonlocal sent
        for _ in range(20_000):
            sent += 1
            yield Piece((WORD % "word").encode())

    gateway = Gateway(Answer(headers={"content-type": "text/event-stream"}, pieces=pieces()))
    async with httpx.AsyncClient(transport=gateway.transport()) as client:
        events = aiter(Agent(model("openai:m", base_url="http://gateway/v1", key="k", client=client)).stream("Hi"))
        while not isinstance(await anext(events), TextDelta):
            pass
        # Whoever could go on has every chance to.
        for _ in range(2_000):
            await asyncio.sleep(0)
        await events.aclose()

    assert 0 < sent < 300
