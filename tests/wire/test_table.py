"""One table of requests through all four wires, bodies compared whole.

The bodies are kept in `bodies/`, a file for each wire. With AGENTLOOP_WRITE_BODIES=1 they are written anew;
read the difference before you keep it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from agentloop.errors import ConfigurationError
from agentloop.messages import Request
from agentloop.testing import Problem
from agentloop.testing.chat_rules import chat_problem
from agentloop.testing.gemini_rules import gemini_problem
from agentloop.testing.messages_rules import messages_problem
from agentloop.testing.responses_rules import responses_problem
from agentloop.wire import Wire
from agentloop.wire.anthropic import AnthropicMessages
from agentloop.wire.gemini import Gemini
from agentloop.wire.openai_chat import OpenAIChat
from agentloop.wire.openai_chat_messages import ChatQuirks
from agentloop.wire.openai_responses import OpenAIResponses
from tests.openapi import needs_openapi, validator
from tests.wire.transcripts import REQUESTS

BODIES = Path(__file__).parent / "bodies"
WIRES: dict[str, tuple[Wire, str]] = {
    "chat": (OpenAIChat(ChatQuirks(max_tokens_field="max_completion_tokens", thinking_field="reasoning_content")), "gpt-4.1"),
    "responses": (OpenAIResponses(), "gpt-5"),
    "messages": (AnthropicMessages(), "claude-sonnet-4-5"),
    "gemini": (Gemini(), "gemini-3-pro"),
}
# Words of no provider's; there to be said as they are.
UNKNOWN = {"a tool in the provider's words", "further fields"}


def said(name: str, request: Request) -> dict[str, Any]:
    """Encode the request, or say why the format cannot."""
    wire, model = WIRES[name]
    try:
        outgoing = wire.encode(request, model=model)
    except ConfigurationError as error:
        return {"refused": str(error)}
    return {"path": outgoing.path, **({"headers": dict(outgoing.headers)} if outgoing.headers else {}), "body": json.loads(outgoing.body)}


@pytest.mark.parametrize("name", WIRES)
def test_every_request_of_the_table_is_said_as_it_should_be(name: str):
    every = {case: said(name, request) for case, request in REQUESTS.items()}
    kept = BODIES / f"{name}.json"
    if os.environ.get("AGENTLOOP_WRITE_BODIES"):
        kept.write_text(json.dumps(every, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    expected = json.loads(kept.read_text(encoding="utf-8"))

    assert {case: body for case, body in every.items() if body != expected.get(case)} == {}
    assert every.keys() == expected.keys()


@needs_openapi
@pytest.mark.parametrize(("name", "schema"), [("chat", "CreateChatCompletionRequest"), ("responses", "CreateResponse")])
def test_every_body_fits_openais_own_schema(name: str, schema: str):
    faults = {
        case: [fault.message[:300] for fault in validator(schema).iter_errors(body["body"])]
        for case, request in REQUESTS.items()
        if case not in UNKNOWN and "body" in (body := said(name, request))
    }

    assert {case: found for case, found in faults.items() if found} == {}


def problem(name: str, outgoing: dict[str, Any]) -> Problem | None:
    """Say why a provider would refuse it, by the rules of the scripted gateway."""
    body = outgoing["body"]
    match name:
        case "chat":
            return chat_problem(body)
        case "responses":
            return responses_problem(body)
        case "messages":
            return messages_problem(body, headers={"anthropic-version": "2023-06-01", **outgoing.get("headers", {})})
        case _:
            return gemini_problem(body, model=outgoing["path"].removeprefix("models/").partition(":")[0])


@pytest.mark.parametrize("name", WIRES)
def test_no_provider_would_refuse_a_body(name: str):
    problems = {
        case: found.message
        for case, request in REQUESTS.items()
        if case not in UNKNOWN and "body" in (outgoing := said(name, request)) and (found := problem(name, outgoing))
    }

    assert problems == {}
