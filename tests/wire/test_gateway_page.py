"""The second page of the gateway's documents: web search over Responses, its request and its reply."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from agentloop import Agent, model
from agentloop.messages import Opaque, Text
from agentloop.tools.hosted import WebSearch

PAGE = Path(os.environ.get("AGENTLOOP_GATEWAY") or Path(__file__).parents[3] / "shared" / "gateway") / "responses-web-search.txt"

needs_page = pytest.mark.skipif(not PAGE.exists(), reason=f"no page at {PAGE}; set AGENTLOOP_GATEWAY")


def documented() -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the page's request and reply."""
    page = PAGE.read_text(encoding="utf-8")
    found = [json.loads(text) for text in re.findall(r"^\{\n.*?^\}$", page, re.MULTILINE | re.DOTALL)]
    return next(each for each in found if "input" in each), next(each for each in found if "output" in each)


@needs_page
async def test_the_pages_request_is_sent_and_its_reply_read_whole():
    request, reply = documented()
    asked: list[httpx.Request] = []

    def answer(sent: httpx.Request) -> httpx.Response:
        asked.append(sent)
        return httpx.Response(200, json=reply)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        agent = Agent(model("xaix/responses:gpt-4.1", key="sk-any", client=client), tools=[WebSearch()])
        result = await agent.run("What was a positive news story from today?")

    said = reply["output"][1]["content"][0]
    search, words, *citations = result.transcript.messages[-1].parts
    assert str(asked[0].url) == "https://api.xaix.me/v1/responses"
    assert json.loads(asked[0].content) == request
    assert isinstance(search, Opaque)
    assert json.loads(search.state.data) == reply["output"][0]
    assert isinstance(words, Text)
    assert result.text == said["text"]
    assert tuple(citations) == result.citations
    assert [(each.url, each.title, each.start, each.end) for each in result.citations] == [
        (each["url"], each["title"], each["start_index"], each["end_index"]) for each in said["annotations"]
    ]
    assert all(each.url in result.text[each.start : each.end] for each in result.citations)
    assert (result.usage.input_tokens, result.usage.output_tokens) == (304, 795)
