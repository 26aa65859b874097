"""A key of another server's that stands in the body of a request is shown to nobody, whatever a server echoes."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest

from agentloop import Agent, Retries, model
from agentloop.errors import BadRequest
from agentloop.models.masking import Secrets, authorizations_in
from agentloop.testing import Gateway, HeardRequest, status
from agentloop.tools.hosted import MCPServer

TOKEN = "canary-of-a-tool-server"


@pytest.mark.parametrize("name", ["openai/responses:gpt-5", "anthropic:claude-sonnet-4-5", "gemini:gemini-3-pro"])
async def test_the_token_of_an_mcp_server_is_masked_where_a_provider_echoes_the_request(name: str):
    heard: list[HeardRequest] = []

    def echo(body: Any) -> Any:
        return status(400, message=f"bad request: {body}")

    with Gateway(echo) as gateway:
        base_url = gateway.base_url.replace("/v1", "/v1beta") if "gemini" in name else gateway.base_url
        agent = Agent(
            model(name, base_url=base_url, key="k" * 12, retries=Retries(attempts=1)),
            tools=[MCPServer(name="s", url="https://host", token=pydantic.SecretStr(TOKEN))],
        )
        with pytest.raises(BadRequest) as refused:
            await agent.run("Hi")
        heard = gateway.requests

    assert TOKEN in str(heard[0].body)
    assert "***" in str(refused.value)
    assert TOKEN not in f"{refused.value!r} {refused.value} {refused.value.body}"


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"tools":[{"type":"mcp","authorization":"a"}]}', ["a"]),
        (b'{"mcp_servers":[{"authorization_token":"a"},{"authorization_token":"b"}]}', ["a", "b"]),
        (b'{"tools":[{"mcpServers":[{"streamableHttpTransport":{"headers":{"Authorization":"Bearer a"}}}]}]}', ["Bearer a"]),
        (b'{"properties":{"authorization":{"type":"string"}}}', []),
        (b'{"messages":[{"content":[{"type":"tool_use","input":{"authorization":"said"}}]}]}', []),
        (b'{"authorization":', []),
        (b"", []),
    ],
)
def test_keys_are_found_by_their_names_and_not_in_what_was_said(body: bytes, found: list[str]):
    assert authorizations_in(body) == found


def test_a_key_behind_its_scheme_is_masked_without_it():
    secrets = Secrets({}, b'{"headers":{"Authorization":"Bearer canary-of-a-tool"}}')

    assert secrets.masked("no canary-of-a-tool here, Bearer of news") == "no *** here, Bearer of news"
