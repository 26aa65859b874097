"""Whatever a server sends, there is a whole reply or an error of ours."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial
from random import Random

import httpx
import pytest
from pydantic import SecretStr

from agentloop.errors import AgentLoopError, ConfigurationError
from agentloop.messages import Citation, Reply, Request, ToolResult, Usage, user
from agentloop.models.http import HTTPModel
from agentloop.models.retries import Retries
from agentloop.testing import Turn
from agentloop.testing.turns import ScriptedCall
from agentloop.transcript import Ask, Dispatch, Transcript
from tests.exchanges import exchanges
from tests.storms.mutations import Sent, cut, mutated
from tests.storms.storm import dice, many
from tests.wire.test_streamed_and_whole import FORMATS, sent
from tests.wire.test_table import WIRES

WORDS = ["Hello", " wörld", "🏔", "\n", " a\u2028b", "{}", "It is 4."]


def turn(random: Random) -> Turn:
    """Make a reply of words, thoughts, searches and calls."""
    text = tuple(random.choice(WORDS) for _ in range(random.randrange(4)))
    whole = "".join(text)
    calls = [
        ScriptedCall(random.choice(["look", "now"]), json.dumps({"place": random.choice(WORDS), "n": [1, None]}))
        for _ in range(random.choice([0, 0, 1, 2]))
    ]
    return Turn(
        text=text,
        thinking=tuple(random.choice(WORDS) for _ in range(random.choice([0, 0, 2]))),
        calls=tuple(calls),
        searches=("sun",) if random.random() < 0.2 else (),
        citations=(Citation("https://example.org/", "Sun", 0, len(whole)),) if whole and random.random() < 0.3 else (),
        refusal=("No.",) if not whole and not calls and random.random() < 0.2 else (),
        finish_reason=random.choice([None, None, None, "length"]),
        usage=Usage(9, 9, cached_tokens=3, reasoning_tokens=2),
    )


RECORDED = {
    name: [Sent(each.body, each.content_type) for each in exchanges(name) if each.status == 200 and 0 < len(each.body) < 20_000]
    for name in FORMATS
}


def original(name: str, random: Random) -> Sent:
    """Say what a server sends when all is well: scripted, or recorded where recordings are at hand."""
    if RECORDED[name] and random.random() < 0.5:
        return random.choice(RECORDED[name])
    return Sent(*sent(name, turn(random), streamed=random.random() < 0.6))


async def in_chunks(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


class Server(httpx.AsyncBaseTransport):
    """Sends what it is told to."""

    def __init__(self) -> None:
        self.sends = Sent(b"", "")
        self.size = 1

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        headers = {"content-type": self.sends.content_type} if self.sends.content_type else {}
        return httpx.Response(200, headers=headers, content=in_chunks(self.sends.body, self.size))


class Asked:
    """A model that is asked over HTTP, and a server that sends what it is told to."""

    def __init__(self, name: str) -> None:
        self.server = Server()
        self.client = httpx.AsyncClient(transport=self.server)
        wire, _, model = FORMATS[name]
        self.model = HTTPModel(
            name,
            model=model,
            wire=wire,
            base_url="http://server/v1",
            key=partial(SecretStr, "any-key-at-all"),
            client=self.client,
            retries=Retries(attempts=1),
        )

    async def __call__(self, sends: Sent, *, size: int) -> Reply | AgentLoopError:
        """Ask for the reply; any error that is none of ours comes out."""
        self.server.sends, self.server.size = sends, size

        async def hear(_: object) -> None:
            pass

        try:
            return await self.model.ask(Request([user("Hi")], stream=sends.streams), hear)
        except AgentLoopError as error:
            return error


def said_back(reply: Reply) -> None:
    """Store the reply, answer its calls, and say it back in every format, as strict JSON."""
    transcript = Transcript([user("Hi")])
    transcript.add_reply(reply)
    transcript = Transcript.from_json(transcript.to_json())
    match transcript.next_move():
        case Dispatch(calls):
            for call in calls:
                transcript.add_result(ToolResult(call.id, "fine", name=call.name))
        case _:
            transcript.add(user("And?"))
    assert isinstance(transcript.next_move(), Ask)
    for wire, model in WIRES.values():
        try:
            body = wire.encode(Request(transcript.asked), model=model).body
        except ConfigurationError:
            continue
        json.loads(body.decode("utf-8", "strict"), parse_constant=_refused)


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


@pytest.mark.parametrize("name", FORMATS)
async def test_a_mutated_reply_is_a_reply_or_an_error_of_ours(name: str, record_property: Callable[[str, object], None]):
    asked = Asked(name)
    outcomes: Counter[str] = Counter()
    wrong: dict[int, str] = {}
    seeds = many(5_000, usual=300)

    async with asked.client:
        for seed in seeds:
            random = dice(seed)
            try:
                came = await asked(mutated(random, original(name, random)), size=random.choice([70, 700, 10**6]))
                if isinstance(came, Reply):
                    said_back(came)
                outcomes[type(came).__name__] += 1
            except Exception as error:  # noqa: BLE001 - the very thing that is looked for
                wrong[seed] = f"{type(error).__name__}: {error}"

    record_property("table", f"{name}: {len(seeds)} mutated replies, {len(wrong)} of them no reply and no error of ours: {dict(outcomes)}")
    assert wrong == {}
    assert outcomes["Reply"] < len(seeds)


@pytest.mark.parametrize("name", FORMATS)
async def test_a_reply_that_was_cut_is_never_taken_for_whole(name: str, record_property: Callable[[str, object], None]):
    asked = Asked(name)
    wrong: dict[int, str] = {}
    whole = 0
    seeds = many(5_000, usual=300)

    async with asked.client:
        for seed in seeds:
            random = dice(seed)
            complete = original(name, random)
            expected = await asked(complete, size=10**6)
            if not isinstance(expected, Reply):
                continue
            came = await asked(cut(random, complete), size=random.choice([70, 700, 10**6]))
            if isinstance(came, Reply):
                whole += 1
                if (came.parts, came.finish_reason) != (expected.parts, expected.finish_reason):
                    wrong[seed] = f"{came} instead of {expected!r}"

    record_property(
        "table", f"{name}: {len(seeds)} replies cut anywhere: {len(wrong)} parts taken for a whole; {whole} had lost nothing but their end"
    )
    assert wrong == {}
