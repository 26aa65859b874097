"""A model's server that costs next to nothing: it says what the model's name asks for, in four formats, streamed or whole.

| model | says |
|---|---|
| s10p2 | 10 times 2 calls of `look`, with other arguments each time, and then a text |
| n10p8, m10p8 | the same with calls of `nap`, or of `blocking_nap` |
| t20000 | a text in 20,000 deltas |
| a100000 | one call of `save` with 100,000 bytes of arguments in deltas of 5 bytes, and then a text |
| b | a stream whose first delta is the clock's nanoseconds when it was sent, and then 10 words |
| e3 | 3 calls of `look_slowly`, whole after a fifth of a stream of 0.5 s, and words to its end; and then a text |

An f at the end of a name makes the last reply a call of `final_answer`.

Which step it is shows in how many replies, or results of calls, the request says back.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from time import monotonic_ns

from pydantic_core import to_json
from server_formats import FORMATS, Call, Format, Said

WORDS = "I look into this first, and then I tell you what I have found, in a few words and with the source of each.\n"
NOTHING = Said(("The work is done.",))
EAGER_SECONDS = 0.5
PIECE = 5
EVENTS_A_WRITE = 16
END = b"0\r\n\r\n"

_MODEL = re.compile(rb'"model": ?"([^"]+)"')
_MODEL_IN_PATH = re.compile(rb"/models/([^:]+):")
_STEPS = re.compile(r"([snm])(\d+)p(\d+)(f?)")
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_TOOLS = {"s": "look", "n": "nap", "m": "blocking_nap"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request wants."""

    format: Format
    model: str
    streamed: bool
    body: bytes

    def step(self, calls: int) -> int:
        """Count the replies that the request says back."""
        for mark, each in self.format.marks(calls):
            if found := self.body.count(mark):
                return found // each
        return 0


class Connection(asyncio.Protocol):
    """Answers one request after the other."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._received: list[bytes] = []
        self._missing = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # a TCP server makes no other
        transport.set_write_buffer_limits(high=2**26)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Take the next bytes, and answer where they complete a request."""
        self._received.append(data)
        self._missing -= len(data)
        if self._missing > 0:
            return
        received = b"".join(self._received)
        head, ended, body = received.partition(b"\r\n\r\n")
        if not ended:
            self._received, self._missing = [received], 0
            return
        found = _LENGTH.search(head)
        missing = int(found[1]) - len(body) if found else 0
        if missing > 0:
            self._received, self._missing = [received], missing
            return
        self._received, self._missing = [], 0
        self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        path = head.partition(b" ")[2].partition(b" ")[0]
        spoken = next((FORMATS[ending] for ending in FORMATS if ending in path), None)
        named = _MODEL_IN_PATH.search(path) or _MODEL.search(body)
        if spoken is None or named is None:
            self.transport.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
            return
        streamed = b"streamGenerateContent" in path or b'"stream":true' in body or b'"stream": true' in body
        asked = Asked(spoken, named[1].decode(), streamed, body)
        match asked.model[0]:
            case "b":
                self._tell_the_time(asked)
            case "e" if not asked.step(1):
                asyncio.get_running_loop().create_task(self._say_slowly(asked))
            case _:
                self.transport.write(answer(asked))

    def _tell_the_time(self, asked: Asked) -> None:
        events = asked.format.stream(Said(("0", *["word "] * 10)))
        place = next(place for place, event in enumerate(events) if b'"0"' in event)
        before, rest = b"".join(map(chunk, events[:place])), b"".join(map(chunk, events[place + 1 :]))
        now = events[place].replace(b'"0"', f'"{monotonic_ns()} "'.encode())
        self.transport.write(STREAM_HEAD + before + chunk(now))
        self.transport.write(rest + END)

    async def _say_slowly(self, asked: Asked) -> None:
        calls = int(asked.model[1:].removesuffix("f"))
        said = Said(("word ",) * 40, tuple(_call("look_slowly", 0, number) for number in range(calls)), calls_first=True)
        events = asked.format.stream(said)
        self.transport.write(STREAM_HEAD)
        last = max(place for place, event in enumerate(events) if b"look_slowly" in event or b"step 0" in event) + 1
        loop = asyncio.get_running_loop()
        began = loop.time()
        for place, event in enumerate(events):
            self.transport.write(chunk(event))
            share = 0.2 * (place + 1) / last if place < last else 0.2 + 0.8 * (place + 1 - last) / (len(events) - last)
            await asyncio.sleep(began + EAGER_SECONDS * share - loop.time())
        self.transport.write(END)


def answer(asked: Asked) -> bytes:
    """Say what the model's name asks for at this step."""
    kind, model = asked.model[0], asked.model
    if found := _STEPS.fullmatch(model):
        steps, calls = int(found[2]), int(found[3])
        step = asked.step(calls)
        if step < steps:
            return step_answer(asked.format, asked.streamed, _TOOLS[kind], step, calls)
        return last_answer(asked.format, asked.streamed, bool(found[4]))
    size = int(model[1:].removesuffix("f"))
    if kind == "t":
        return text_answer(asked.format, asked.streamed, size)
    if kind == "a" and not asked.step(1):
        return arguments_answer(asked.format, asked.streamed, size)
    return last_answer(asked.format, asked.streamed, model.endswith("f"))


@cache
def step_answer(spoken: Format, streamed: bool, tool: str, step: int, calls: int) -> bytes:  # noqa: FBT001  # cached by it
    """Say some words, and calls of the tool."""
    return _encoded(spoken, streamed, Said((WORDS,), tuple(_call(tool, step, number) for number in range(calls))))


@cache
def text_answer(spoken: Format, streamed: bool, deltas: int) -> bytes:  # noqa: FBT001  # cached by it
    """Say a text in so many deltas."""
    return _encoded(spoken, streamed, Said(("word ",) * deltas))


@cache
def arguments_answer(spoken: Format, streamed: bool, size: int) -> bytes:  # noqa: FBT001  # cached by it
    """Call a tool with so many bytes of arguments."""
    return _encoded(spoken, streamed, Said((), (Call("call_0_0", "save", f'{{"text": "{"x" * size}"}}', PIECE),)))


@cache
def last_answer(spoken: Format, streamed: bool, as_call: bool) -> bytes:  # noqa: FBT001  # cached by it
    """End the run."""
    ends = Call("call_last", "final_answer", '{"answer": "The work is done."}')
    return _encoded(spoken, streamed, Said((), (ends,)) if as_call else NOTHING)


def _call(tool: str, step: int, number: int) -> Call:
    return Call(f"call_{step}_{number}", tool, f'{{"query": "step {step}, call {number}: {"what is known of this " * 4}", "limit": 10}}')


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def _encoded(spoken: Format, streamed: bool, said: Said) -> bytes:  # noqa: FBT001  # one of two ways to say it
    if not streamed:
        body = to_json(spoken.whole(said))
        return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    return STREAM_HEAD + b"".join(chunk(b"".join(events)) for events in _together(spoken.stream(said))) + END


def chunk(data: bytes) -> bytes:
    """Frame what is written at once."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _together(events: list[bytes]) -> Iterator[list[bytes]]:
    """Take several events at a time, as a fast model's come."""
    for start in range(0, len(events), EVENTS_A_WRITE):
        yield events[start : start + EVENTS_A_WRITE]


async def main() -> None:
    """Serve on a free port, which is printed, until the input ends."""
    with suppress(AttributeError, OSError):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    loop = asyncio.get_running_loop()
    serving = await loop.create_server(Connection, "127.0.0.1", 0, backlog=2048)
    print(serving.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    serving.close()


if __name__ == "__main__":
    asyncio.run(main())
