"""The client that models share, and the one that stands in its place."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from agentloop import Agent, model
from agentloop.errors import ProviderError
from agentloop.models.clients import client_instead, key_needed, shared_client
from agentloop.testing import Gateway, says


async def test_one_client_is_shared_on_an_event_loop():
    first, second = await asyncio.gather(shared_client(), shared_client())

    assert first is second


async def test_a_client_stands_instead_in_the_block_and_in_its_tasks_alone():
    shared, other = await shared_client(), httpx.AsyncClient()
    outside = asyncio.Event()

    async def ask_later() -> object:
        await outside.wait()
        return await shared_client()

    begun_before = asyncio.create_task(ask_later())
    with client_instead(other):
        begun_inside = asyncio.create_task(ask_later())
        inside = await shared_client()
        with client_instead(None):
            restored = await shared_client()
    outside.set()
    after = await shared_client()

    assert (inside, await begun_inside) == (other, other)
    assert (restored, after, await begun_before) == (shared, shared, shared)


def test_a_client_stands_instead_on_every_event_loop_begun_in_the_block():
    gateway = Gateway(says("One."), says("Two."))
    agent = Agent(model("openai:gpt-4o", base_url="http://gateway/v1"))

    with client_instead(httpx.AsyncClient(transport=gateway.transport())):
        words = [agent.run_sync("Hi").text for _ in range(2)]

    assert words == ["One.", "Two."]


async def test_it_stands_instead_of_no_client_that_was_given():
    given, instead = Gateway(says("Given.")), Gateway(says("Instead."))
    async with httpx.AsyncClient(transport=given.transport()) as client:
        agent = Agent(model("openai:gpt-4o", base_url="http://gateway/v1", client=client))

        with client_instead(httpx.AsyncClient(transport=instead.transport())):
            result = await agent.run("Hi")

    assert result.text == "Given."


async def test_a_missing_key_is_an_error_unless_none_is_needed():
    gateway = Gateway(says("Hi."))
    client = httpx.AsyncClient(transport=gateway.transport())

    with client_instead(client, needs_key=False):
        needed_inside = key_needed()
        result = await Agent("openai:gpt-4o").run("Hi")
    with client_instead(client), pytest.raises(ProviderError, match="openai needs a key"):
        await Agent("openai:gpt-4o").run("Hi")

    assert (needed_inside, key_needed()) == (False, True)
    assert result.text == "Hi."
    assert "authorization" not in gateway.requests[0].headers


async def test_a_key_that_is_there_is_sent_also_where_none_is_needed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-7f3a")
    gateway = Gateway(says("Hi."), key="sk-canary-7f3a")

    with client_instead(httpx.AsyncClient(transport=gateway.transport()), needs_key=False):
        result = await Agent("openai:gpt-4o").run("Hi")

    assert result.text == "Hi."
