"""A key goes to its server and nowhere else: not into words, logs, traces, events or files, whatever goes wrong."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import pydantic
import pytest
from pydantic_core import to_json

from agentloop import Agent, Retries, Timeouts, model, tool
from agentloop.errors import AgentLoopError, BadReply, ConfigurationError, ProviderError
from agentloop.models.listing import list_models
from agentloop.models.masking import MaskedHeaders, Secrets
from agentloop.testing import Gateway, calls, cut, error_inside, malformed, no_answer, raw, redirect, says, status
from agentloop.testing.faults import compressed
from agentloop.testing.turns import always

CANARY = "sk-canary-7f3a9c51e0d24b68"
HEADER_CANARY = "canary-of-a-header-51e0d24b68"
FORMATS = ["xaix/chat:m", "xaix/responses:m", "xaix/messages:m", "xaix/gemini:m"]
ECHO = f"Incorrect API key provided: {CANARY} ({HEADER_CANARY})."

FAULTS: dict[str, Callable[[], Any]] = {
    "nothing goes wrong": lambda: says("Hi"),
    "401": lambda: status(401, message=ECHO, code=CANARY, headers={"x-request-id": CANARY}),
    "400, cut in the middle of the key": lambda: status(400, message="x" * 480 + ECHO, body={"error": {"message": "x" * 480 + ECHO}}),
    "500, in plain text": lambda: status(500, body="x" * 1_980 + ECHO),
    "429": lambda: status(429, message=ECHO),
    "compressed": lambda: compressed(status(403, message=ECHO)),
    "an error inside": lambda: error_inside(ECHO, code=CANARY, after=0),
    "an error behind words": lambda: error_inside(ECHO, after=4),
    "no JSON": lambda: raw(ECHO, content_type="text/plain"),
    "no JSON in a stream": lambda: raw(f"data: {ECHO}\n\n"),
    "another shape": lambda: raw(json.dumps([ECHO]), content_type="application/json"),
    "a redirect": lambda: redirect(f"http://{CANARY}@elsewhere.example?key={CANARY}"),
    "silence": lambda: no_answer("silent"),
    "a reset": lambda: no_answer("reset"),
    "closed": lambda: no_answer("closed"),
    "no stream's end": lambda: cut(after=2),
    "an unknown encoding": lambda: compressed(how="as_br"),
    "broken gzip": lambda: compressed(how="badly"),
    "a page": lambda: malformed("html"),
    "no HTTP": lambda: raw("x", headers={"content-length": "5"}),
    "a header without measure": lambda: raw("x", headers={"x-echo": ECHO, "x-big": "x" * 2**20}),
}


@tool
def add(a: int, b: int) -> int:
    "Add."
    return a + b


@pytest.fixture
def everything(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """Let every logger tell all; give what was logged."""
    for name in (None, "asyncio", "httpx", "httpcore", "agentloop", *logging.root.manager.loggerDict):
        caplog.set_level(logging.DEBUG, logger=name)
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    # What a server sends in its headers is logged by httpcore as it came; those who turn that on see what servers say.
    return lambda: "\n".join(
        record.getMessage() + str(record.exc_text or "")
        for record in caplog.records
        if "receive_response_headers" not in record.getMessage()
    )


def shown(thing: Any) -> str:
    """Show it in every way that people and programs have."""
    words = [repr(thing), str(thing), f"{thing!r:.1000}", repr(getattr(thing, "__dict__", ""))]
    for way in (pickle.dumps, to_json, copy.copy):
        try:
            words.append(repr(way(thing)))
        except Exception as error:  # noqa: BLE001  # any may refuse it; what it says then must not show the key either
            words.append(_told(error))
    return "\n".join(words)


def _told(error: BaseException) -> str:
    whole = traceback.TracebackException.from_exception(error, capture_locals=True, lookup_lines=False)
    # What stands in the frames of this file is the test's own.
    for each in _with_causes(whole):
        each.stack = traceback.StackSummary.from_list([frame for frame in each.stack if frame.filename != __file__])
    return "".join(whole.format())


def _with_causes(error: traceback.TracebackException | None) -> list[traceback.TracebackException]:
    return [] if error is None else [error, *_with_causes(error.__cause__), *_with_causes(error.__context__)]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_key_is_nowhere_to_be_seen(name: str, fault: str, streamed: bool, everything: Callable[[], str]):
    said: list[str] = []
    with Gateway(calls("add", a=1, b=2), always(FAULTS[fault]())) as gateway:
        base_url = gateway.base_url.replace("/v1", "/v1beta") if "gemini" in name else gateway.base_url
        asked = model(
            name,
            base_url=base_url,
            key=CANARY,
            headers={"x-gateway-token": HEADER_CANARY},
            retries=Retries(attempts=2, first_wait=0),
            timeouts=Timeouts(attempt=0.5),
        )
        agent = Agent(asked, tools=[add])
        try:
            async with asyncio.timeout(5):
                if streamed:
                    async for event in agent.stream("1+2?"):
                        said.append(shown(event))  # noqa: PERF401  # what comes before a failure counts, too
                else:
                    said.append(shown(await agent.run("1+2?")))
        except AgentLoopError as error:
            said += [_told(error), shown(error), shown(error.result), shown(vars(error))]
        said += [shown(each) for each in (asked, agent, vars(asked), vars(vars(asked)["_server"]), gateway.requests)]
        sent = gateway.requests[0].headers

    # It did go to its server.
    assert CANARY in "".join(sent.values())
    assert HEADER_CANARY in sent.values()
    found = "\n".join([*said, everything()])
    for secret in (CANARY, HEADER_CANARY):
        # Neither whole nor as far as a cut leaves it.
        assert secret[:12] not in found, found[max(0, found.index(secret[:12]) - 2_000) :][:2_500]


@pytest.mark.parametrize("base_url", [f"https://me:{CANARY}@host/v1", f"https://host/v1?key={CANARY}"])
def test_a_base_url_with_a_key_is_refused_without_being_shown(base_url: str):
    with pytest.raises(ConfigurationError, match="the base URL of host holds a password or a query") as refused:
        model("openai:m", base_url=base_url)

    assert CANARY not in shown(refused.value)


@pytest.mark.parametrize("address", ["no-scheme/v1", "ftp://host/v1", "http://[::1", "http://host:port/v1"])
async def test_a_base_url_that_is_none_shows_no_key(address: str):
    with pytest.raises(ConfigurationError) as failure:
        await Agent(model("openai:m", base_url=address, key=CANARY)).run("Hi")

    assert CANARY not in _told(failure.value) + shown(failure.value)


async def test_a_list_of_models_shows_no_key_either():
    with Gateway(key="sk-another-key") as gateway, pytest.raises(AgentLoopError) as failure:
        await list_models("openai", base_url=gateway.base_url, key=pydantic.SecretStr(CANARY))

    assert CANARY not in _told(failure.value) + shown(failure.value)


async def test_a_trace_still_names_the_place_where_a_reply_could_not_be_read():
    with (
        Gateway(raw('{"choices":[{"finish_reason":["stop"]}]}', content_type="application/json")) as gateway,
        pytest.raises(BadReply) as failure,
    ):
        await Agent(model("openai:m", base_url=gateway.base_url, key=CANARY, retries=Retries(attempts=1))).run("Hi")

    assert "openai_chat_decoder.py" in "".join(traceback.format_exception(failure.value))


async def test_a_key_that_no_header_can_carry_is_not_shown():
    with pytest.raises(ProviderError) as failure:
        await Agent(model("openai:m", key=f"{CANARY}\n")).run("Hi")

    assert CANARY not in "".join(traceback.format_exception(failure.value)) + shown(failure.value)


def test_headers_hide_what_their_names_say_is_secret():
    headers = MaskedHeaders(
        {"Authorization": CANARY, "x-api-key": CANARY, "X-Goog-Api-Key": CANARY, "cookie": CANARY, "accept": "text/html"}
    )

    assert CANARY not in repr(headers)
    assert "text/html" in repr(headers)


@pytest.mark.parametrize("text", [CANARY, f"({CANARY})", CANARY[:8], f"x{CANARY[:-1]}", f"{CANARY}{CANARY}"])
def test_a_secret_is_masked_whole_and_cut(text: str):
    secrets = Secrets({"authorization": f"Bearer {CANARY}"})

    assert CANARY[:8] not in secrets.masked(text)
    assert secrets.masked("Bearer of good news") == "Bearer of good news"


def test_a_short_word_is_no_secret():
    assert Secrets({"authorization": "Bearer none"}).masked("There is none.") == "There is none."
