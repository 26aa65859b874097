"""Which models a provider serves, in its three shapes."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from agentloop.errors import AgentLoopError, AuthError, BadReply, ModelHTTPError, ProviderError
from agentloop.models.listing import list_models
from agentloop.models.retries import Retries

ONCE = Retries(attempts=1)
OPENAI = {"object": "list", "data": [{"id": "gpt-4.1", "object": "model", "created": 1, "owned_by": "openai"}]}


def client(*answers: Any, asked: list[httpx.Request] | None = None) -> httpx.AsyncClient:
    left = list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        if asked is not None:
            asked.append(request)
        said = left.pop(0)
        return said if isinstance(said, httpx.Response) else httpx.Response(200, json=said)

    return httpx.AsyncClient(transport=httpx.MockTransport(answer))


async def test_openais_list_is_read():
    asked: list[httpx.Request] = []

    found = await list_models("openai", key="sk-secret-key", client=client(OPENAI, asked=asked))

    assert [each.name for each in found] == ["gpt-4.1"]
    assert found[0].data["owned_by"] == "openai"
    assert (asked[0].method, str(asked[0].url)) == ("GET", "https://api.openai.com/v1/models")
    assert asked[0].headers["authorization"] == "Bearer sk-secret-key"


async def test_anthropics_pages_are_read_to_the_last():
    asked: list[httpx.Request] = []
    pages = [
        {"data": [{"type": "model", "id": "claude-a", "display_name": "Claude A"}], "has_more": True, "last_id": "claude-a"},
        {"data": [{"type": "model", "id": "claude-b", "display_name": "Claude B"}], "has_more": False, "last_id": "claude-b"},
    ]

    found = await list_models("anthropic", key="k", client=client(*pages, asked=asked))

    assert [(each.name, each.title) for each in found] == [("claude-a", "Claude A"), ("claude-b", "Claude B")]
    assert asked[0].headers["x-api-key"] == "k"
    assert asked[1].url.params["after_id"] == "claude-a"


async def test_geminis_names_lose_their_folder_and_its_limits_are_read():
    asked: list[httpx.Request] = []
    pages = [
        {
            "models": [{"name": "models/gemini-a", "displayName": "A", "inputTokenLimit": 1048576, "outputTokenLimit": 65536}],
            "nextPageToken": "p/2",
        },
        {"models": [{"name": "models/gemini-b"}]},
    ]

    found = await list_models("gemini", key="k", client=client(*pages, asked=asked))

    assert [(each.name, each.context_tokens, each.output_tokens) for each in found] == [
        ("gemini-a", 1048576, 65536),
        ("gemini-b", None, None),
    ]
    assert asked[1].url.params["pageToken"] == "p/2"


# Quirk 98.
async def test_a_gateway_that_says_no_with_200_is_heard():
    with pytest.raises(ModelHTTPError, match="no such token"):
        await list_models("xaix", key="k", client=client({"success": False, "message": "no such token"}), retries=ONCE)


async def test_a_refused_key_is_an_auth_error_that_does_not_show_it():
    refused = httpx.Response(401, json={"error": {"message": "Incorrect API key provided: sk-secret-key"}})

    with pytest.raises(AuthError) as failed:
        await list_models("openai", key="sk-secret-key", client=client(refused))

    assert "sk-secret-key" not in f"{failed.value} {failed.value.body}"


@pytest.mark.parametrize("body", ["<html>", json.dumps({"hello": 1})])
async def test_what_is_no_list_is_said_with_its_start(body: str):
    with pytest.raises(BadReply, match="check the base URL"):
        await list_models("ollama", client=client(httpx.Response(200, text=body)), retries=ONCE)


async def test_an_unknown_provider_is_named():
    with pytest.raises(ProviderError, match="did you mean 'openai'"):
        await list_models("opnai")


async def test_a_dead_server_is_one_of_our_errors():
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(AgentLoopError, match="cannot connect to"):
        await list_models("ollama", client=httpx.AsyncClient(transport=httpx.MockTransport(refuse)), retries=ONCE)


async def test_a_bare_list_is_read():
    found = await list_models("together", key="k", client=client([{"id": "a/b"}, {"id": "c"}]))

    assert [each.name for each in found] == ["a/b", "c"]


async def test_a_server_that_repeats_its_page_is_asked_no_further():
    asked: list[httpx.Request] = []
    page = {"data": [{"id": "a"}], "has_more": True, "last_id": "a"}

    await list_models("anthropic", key="k", client=client(*[page] * 9, asked=asked))

    assert len(asked) == 2
