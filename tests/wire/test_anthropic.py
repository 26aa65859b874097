"""Requests as Anthropic's messages, whole bodies compared; replies streamed and whole alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentloop import Agent, Timeouts, tool
from agentloop.deltas import Assembly, RestartDelta
from agentloop.errors import BadReply, ConfigurationError, ContentFiltered, ModelError, ModelRefused, ServerError, StreamBroken
from agentloop.messages import (
    Citation,
    File,
    Image,
    Message,
    Opaque,
    OutputSchema,
    Reply,
    Request,
    Settings,
    State,
    Text,
    Thinking,
    ToolCall,
    ToolDescription,
    ToolResult,
    Usage,
    user,
)
from agentloop.models.http import HTTPModel
from agentloop.models.reading import Reading
from agentloop.testing import Answer, Gateway, calls, refuses, says
from agentloop.tools.hosted import CodeExecution, FileSearch, Location, MCPServer, ProviderTool, WebSearch
from agentloop.wire.answer_tool import ANSWER
from agentloop.wire.anthropic import AnthropicMessages, MessagesQuirks
from agentloop.wire.anthropic_decoder import MessagesDecoder
from agentloop.wire.anthropic_models import claude_model

ORIGIN = "anthropic/messages"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
LOOK = ToolDescription("look", "Look.", CITY)
LOOK_SAID = {"name": "look", "description": "Look.", "input_schema": CITY}
OLD, OWN, FORCED = "claude-3-haiku-20240307", "claude-sonnet-4-5", "claude-opus-5-5"
PLAIN = MessagesQuirks(cache="none")
MARK = {"cache_control": {"type": "ephemeral"}}


def body(request: Request, quirks: MessagesQuirks | None = PLAIN, *, model: str = OWN) -> dict[str, Any]:
    return json.loads(AnthropicMessages(quirks).encode(request, model=model).body)


def own(data: dict[str, Any], origin: str = ORIGIN) -> State:
    return State(origin, json.dumps(data))


def assistant(*parts: Any) -> Message:
    return Message("assistant", parts)


def results(*given: ToolResult) -> Message:
    return Message("tool", given)


def by_user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": block} if isinstance(block, str) else block for block in blocks]}


HI = by_user("Hi")
LOOKS = {"type": "tool_use", "id": "a", "name": "look", "input": {"city": "Rome"}}
SUN = {"type": "tool_result", "tool_use_id": "a", "content": "sun"}
LOOKING = ToolCall("call_0_0", "look", '{"city":"Rome"}', "a")
SUNNY = results(ToolResult("call_0_0", "sun"))
SEARCH = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "sun"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}


REQUESTS: dict[str, tuple[Request, dict[str, Any]]] = {
    "a question": (Request([user("Hi")]), {"messages": [HI]}),
    # Quirk 84.
    "system messages at the beginning join the instructions, later ones are said as by the user": (
        Request(
            [Message("system", (Text("Be kind."),)), user("Hi"), assistant(Text("Hm")), Message("system", (Text("Hurry."),))],
            instructions="Be brief.",
        ),
        {
            "system": "Be brief.\n\nBe kind.",
            "messages": [HI, {"role": "assistant", "content": [{"type": "text", "text": "Hm"}]}, by_user("Hurry.")],
        },
    ),
    # Quirk 80.
    "the results of a reply stand in one message, before what the user says": (
        Request(
            [
                user("Hi"),
                assistant(Text("Looking."), LOOKING, ToolCall("call_0_1", "look", "{}", "b")),
                SUNNY,
                results(ToolResult("call_0_1", "'city': required", is_error=True)),
                user("Well?"),
            ],
            tools=(LOOK,),
        ),
        {
            "messages": [
                HI,
                {
                    "role": "assistant",
                    "content": [
                        {"type": "text", "text": "Looking."},
                        LOOKS,
                        {"type": "tool_use", "id": "b", "name": "look", "input": {}},
                    ],
                },
                by_user(SUN, {"type": "tool_result", "tool_use_id": "b", "content": "'city': required", "is_error": True}),
                by_user("Well?"),
            ],
            "tools": [LOOK_SAID],
        },
    ),
    "what is empty is not said, or said to be": (
        Request(
            [
                user("", Image(url="https://host/a.png")),
                assistant(Text(" \n"), LOOKING),
                results(ToolResult("call_0_0", (Text(""),), is_error=True)),
                user(" "),
                assistant(Text("")),
                user("Hi"),
            ]
        ),
        {
            "messages": [
                by_user({"type": "image", "source": {"type": "url", "url": "https://host/a.png"}}),
                {"role": "assistant", "content": [LOOKS]},
                by_user({"type": "tool_result", "tool_use_id": "a", "content": "(empty)", "is_error": True}),
                by_user("(empty)"),
                HI,
            ]
        },
    ),
    "a user speaks first, and white space last is not said": (
        Request([assistant(Text("Hm. \n"))]),
        {"messages": [by_user("(empty)"), {"role": "assistant", "content": [{"type": "text", "text": "Hm."}]}]},
    ),
    # Quirk 52.
    "ids that come twice in a transcript are told apart": (
        Request(
            [
                user("Hi"),
                assistant(LOOKING),
                SUNNY,
                assistant(replace(LOOKING, id="call_1_0")),
                results(ToolResult("call_1_0", "rain")),
            ]
        ),
        {
            "messages": [
                HI,
                {"role": "assistant", "content": [LOOKS]},
                by_user(SUN),
                {"role": "assistant", "content": [LOOKS | {"id": "call_1_0_1"}]},
                by_user({"type": "tool_result", "tool_use_id": "call_1_0_1", "content": "rain"}),
            ]
        },
    ),
    # Quirk 89.
    "pictures and files are shown by users and by tools": (
        Request(
            [
                user(File(data=b"pdf", media_type="application/pdf", name="a.pdf"), File(data=b"words", media_type="text/csv", name="b")),
                assistant(LOOKING),
                results(
                    ToolResult("call_0_0", (Text("done"), Image(data=b"png"), File(url="https://host/c.pdf", media_type="application/pdf")))
                ),
                assistant(Text("Seen."), Image(url="data:image/webp;base64,d2VicA==")),
            ]
        ),
        {
            "messages": [
                by_user(
                    {
                        "type": "document",
                        "source": {"type": "base64", "media_type": "application/pdf", "data": "cGRm"},
                        "title": "a.pdf",
                    },
                    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}, "title": "b"},
                ),
                {"role": "assistant", "content": [LOOKS]},
                by_user(
                    {
                        "type": "tool_result",
                        "tool_use_id": "a",
                        "content": [
                            {"type": "text", "text": "done"},
                            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "cG5n"}},
                            {"type": "document", "source": {"type": "url", "url": "https://host/c.pdf"}},
                        ],
                    }
                ),
                {"role": "assistant", "content": [{"type": "text", "text": "Seen."}]},
                by_user(
                    "From your last reply:",
                    {"type": "image", "source": {"type": "base64", "media_type": "image/webp", "data": "d2VicA=="}},
                ),
            ]
        },
    ),
    "what the model made is said back in place, what others made without their marks": (
        Request(
            [
                user("Hi"),
                assistant(
                    Thinking("hm", own({"signature": "sig"})),
                    Thinking("aha", own({"id": "rs_1"}, "openai/responses")),
                    Opaque(own({"type": "redacted_thinking", "data": "x"})),
                    Opaque(own({"type": "web_search_call"}, "openai/responses")),
                    Opaque(own(SEARCH)),
                    Opaque(own(FOUND)),
                    Text("Sun", own({"citations": [{"type": "char_location"}]})),
                    Text(".", own({"phase": "final"}, "openai/responses")),
                    replace(LOOKING, state=own({"caller": {"type": "direct"}})),
                ),
                SUNNY,
            ]
        ),
        {
            "messages": [
                HI,
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "hm", "signature": "sig"},
                        {"type": "redacted_thinking", "data": "x"},
                        SEARCH,
                        FOUND,
                        {"type": "text", "text": "Sun", "citations": [{"type": "char_location"}]},
                        {"type": "text", "text": "."},
                        LOOKS | {"caller": {"type": "direct"}},
                    ],
                },
                by_user(SUN),
            ]
        },
    ),
    # Quirk 81.
    "a hosted tool's call without a result is not said, nor a result without a call": (
        Request(
            [user("Hi"), assistant(Text("Hm"), Opaque(own(SEARCH))), user("Go on"), assistant(Opaque(own(FOUND | {"tool_use_id": "t"})))]
        ),
        {"messages": [HI, {"role": "assistant", "content": [{"type": "text", "text": "Hm"}]}, by_user("Go on")]},
    ),
    "a hosted tool's call and its result with a user between them are said both not": (
        Request(
            [user("Hi"), assistant(Text("Hm"), Opaque(own(SEARCH))), user("Go on"), assistant(Opaque(own(FOUND)), Text("Sun")), user("Hi")]
        ),
        {
            "messages": [
                HI,
                {"role": "assistant", "content": [{"type": "text", "text": "Hm"}]},
                by_user("Go on"),
                {"role": "assistant", "content": [{"type": "text", "text": "Sun"}]},
                HI,
            ]
        },
    ),
    "a thought does not stand last": (
        Request([user("Hi"), assistant(Text("Hm"), Thinking("so", own({"signature": "s"})))]),
        {"messages": [HI, {"role": "assistant", "content": [{"type": "text", "text": "Hm"}]}]},
    ),
    "a thought alone is not said last": (Request([user("Hi"), assistant(Thinking("so", own({"signature": "s"})))]), {"messages": [HI]}),
    "a hosted tool's call that is still at work is said": (
        Request([user("Hi"), assistant(Opaque(own(SEARCH)), LOOKING), SUNNY]),
        {"messages": [HI, {"role": "assistant", "content": [SEARCH, LOOKS]}, by_user(SUN)]},
    ),
    "a result that came a reply later is said there": (
        Request([user("Hi"), assistant(Opaque(own(SEARCH)), LOOKING), SUNNY, assistant(Opaque(own(FOUND)), Text("Sun")), user("Hi")]),
        {
            "messages": [
                HI,
                {"role": "assistant", "content": [SEARCH, LOOKS]},
                by_user(SUN),
                {"role": "assistant", "content": [FOUND, {"type": "text", "text": "Sun"}]},
                HI,
            ]
        },
    ),
    # Quirk 85.
    "settings": (
        Request(
            [user("Hi")],
            tools=(LOOK,),
            settings=Settings(
                temperature=0.5,
                top_p=0.9,
                max_tokens=10,
                stop=("END",),
                seed=7,
                effort="none",
                tool_choice="look",
                parallel_tool_calls=False,
                metadata={"user_id": "u", "a": "b"},
                extra={"top_k": 5},
            ),
            stream=True,
        ),
        {
            "messages": [HI],
            "tools": [LOOK_SAID],
            "temperature": 0.5,
            "max_tokens": 10,
            "stop_sequences": ["END"],
            "thinking": {"type": "disabled"},
            "tool_choice": {"type": "tool", "name": "look", "disable_parallel_tool_use": True},
            "metadata": {"user_id": "u"},
            "stream": True,
            "top_k": 5,
        },
    ),
    "a form for the answer": (
        Request([user("Hi")], output=OutputSchema("city", CITY)),
        {"messages": [HI], "output_config": {"format": {"type": "json_schema", "schema": CITY}}},
    ),
    "a search that leaves domains out": (
        Request([user("Hi")], hosted=(WebSearch(blocked_domains=("b.org",)),)),
        {
            "messages": [HI],
            "tools": [{"type": "web_search_20260318", "name": "web_search", "allowed_callers": ["direct"], "blocked_domains": ["b.org"]}],
        },
    ),
    "hosted tools": (
        Request(
            [user("Hi")],
            hosted=(
                WebSearch(most_uses=2, domains=("a.org",), location=Location(city="Rome"), context="high"),
                CodeExecution(files=("file_1",)),
                MCPServer(name="m", url="https://m", token=pydantic.SecretStr("t"), tools=("x",)),
                MCPServer(name="n", url="https://n"),
                ProviderTool({"type": "web_fetch_20260318", "name": "web_fetch"}),
            ),
        ),
        {
            "messages": [by_user({"type": "container_upload", "file_id": "file_1"}), HI],
            "tools": [
                {
                    "type": "web_search_20260318",
                    "name": "web_search",
                    "allowed_callers": ["direct"],
                    "max_uses": 2,
                    "allowed_domains": ["a.org"],
                    "user_location": {"type": "approximate", "city": "Rome"},
                },
                {"type": "code_execution_20260521", "name": "code_execution"},
                {
                    "type": "mcp_toolset",
                    "mcp_server_name": "m",
                    "default_config": {"enabled": False},
                    "configs": {"x": {"enabled": True}},
                },
                {"type": "mcp_toolset", "mcp_server_name": "n"},
                {"type": "web_fetch_20260318", "name": "web_fetch"},
            ],
            "mcp_servers": [
                {"type": "url", "name": "m", "url": "https://m", "authorization_token": "t"},
                {"type": "url", "name": "n", "url": "https://n"},
            ],
        },
    ),
}


@pytest.mark.parametrize("case", REQUESTS)
def test_a_request_is_said_as_anthropic_says_it(case: str):
    request, expected = REQUESTS[case]

    assert body(request) == {"model": OWN, "max_tokens": 32_000} | expected


LAST_ONLY = (
    "a hosted tool's call that is still at work is said",
    "a user speaks first, and white space last is not said",
    "a thought does not stand last",
    "a thought alone is not said last",
)


@pytest.mark.parametrize("case", sorted(REQUESTS.keys() - LAST_ONLY))
def test_a_longer_transcript_begins_with_the_same_words(case: str):
    request, _ = REQUESTS[case]
    longer = replace(request, messages=[*request.messages, user("And then?")])

    said, more = body(request)["messages"], body(longer)["messages"]

    assert more[:-1] == said


def test_what_is_not_settled_of_the_format_is_announced_in_a_header():
    server = MCPServer(name="m", url="https://m")
    request = Request([user("Hi")], hosted=(server, CodeExecution(files=("f",))))

    sent = AnthropicMessages().encode(request, model=OWN)
    to_gateway = AnthropicMessages(MessagesQuirks(betas=False)).encode(request, model=OWN)
    plain = AnthropicMessages().encode(Request([user("Hi")]), model=OWN)
    called = assistant(Opaque(own({"type": "mcp_tool_use", "id": "m"})), Opaque(own({"type": "mcp_tool_result", "tool_use_id": "m"})))
    later = AnthropicMessages().encode(Request([user("Hi"), called, user("So?")]), model=FORCED)

    assert sent.headers == {"anthropic-beta": "mcp-client-2025-11-20,files-api-2025-04-14"}
    assert later.headers == {"anthropic-beta": "thinking-binding-controls-2026-08-01,mcp-client-2025-11-20"}
    assert (to_gateway.headers, plain.headers) == ({}, {})


def test_the_key_is_shown_as_the_provider_wants_to_see_it():
    assert AnthropicMessages().headers("k") == {"x-api-key": "k", "anthropic-version": "2023-06-01"}
    assert AnthropicMessages(MessagesQuirks(bearer=True)).headers("k") == {"authorization": "Bearer k", "anthropic-version": "2023-06-01"}
    assert AnthropicMessages().headers(None) == {"anthropic-version": "2023-06-01"}


MODELS = {
    "claude-3-opus-20240229": ("opus", (3, 0), 4_096),
    "claude-3-5-sonnet@20240620": ("sonnet", (3, 5), 8_192),
    "us.anthropic.claude-3-7-sonnet-20250219-v1:0": ("sonnet", (3, 7), 32_000),
    "claude-opus-4-20250514": ("opus", (4, 0), 32_000),
    "claude-haiku-4-5-20251001": ("haiku", (4, 5), 32_000),
    "anthropic.claude-opus-5-v1:0": ("opus", (5, 0), 32_000),
    "anthropic/claude-opus-5.5": ("opus", (5, 5), 32_000),
    "claude-mythos-preview": ("mythos", (5, 0), 32_000),
    "claude-2.1": ("", (2, 1), 4_096),
    "claude-opus-latest": ("opus", (0, 0), 32_000),
    "qwen3-coder:30b": ("", (0, 0), 8_192),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_known_by_its_name(name: str):
    claude = claude_model(name)

    assert (claude.family, claude.version, claude.most_tokens) == MODELS[name]


SUMMED = {"type": "adaptive", "display": "summarized"}
DROPS = {"block_binding": {"prefix_mismatch_behavior": "drop_block"}}
THINKING: list[tuple[str, Settings, dict[str, Any]]] = [
    (OLD, Settings(effort="high"), {"max_tokens": 4_096}),
    ("claude-opus-4-1", Settings(effort="max"), {"max_tokens": 32_000, "thinking": {"type": "enabled", "budget_tokens": 30_976}}),
    (OWN, Settings(effort="max"), {"max_tokens": 64_000, "thinking": {"type": "enabled", "budget_tokens": 32_000}}),
    (OWN, Settings(effort="low", max_tokens=1_500), {"max_tokens": 1_500, "thinking": {"type": "enabled", "budget_tokens": 1_024}}),
    (OWN, Settings(effort="low", max_tokens=1_024), {"max_tokens": 1_024}),
    ("qwen3", Settings(effort="minimal"), {"max_tokens": 9_216, "thinking": {"type": "enabled", "budget_tokens": 1_024}}),
    ("claude-sonnet-4-6", Settings(effort="xhigh"), {"max_tokens": 32_000, "thinking": SUMMED, "output_config": {"effort": "high"}}),
    ("claude-opus-4-7", Settings(effort="xhigh"), {"max_tokens": 32_000, "thinking": SUMMED, "output_config": {"effort": "xhigh"}}),
    ("claude-opus-5", Settings(effort="none"), {"max_tokens": 32_000, "thinking": {"type": "disabled"}}),
    ("claude-fable-5", Settings(effort="none"), {"max_tokens": 32_000, "output_config": {"effort": "low"}}),
    ("claude-sonnet-5-5", Settings(effort="none"), {"max_tokens": 32_000, "thinking": {"type": "between_tools"}}),
    (FORCED, Settings(), {"max_tokens": 32_000, "thinking": {"type": "adaptive"} | DROPS}),
    (FORCED, Settings(effort="minimal"), {"max_tokens": 32_000, "thinking": SUMMED | DROPS, "output_config": {"effort": "low"}}),
]


@pytest.mark.parametrize(("model", "settings", "expected"), THINKING)
def test_how_much_to_think_is_said_as_the_model_takes_it(model: str, settings: Settings, expected: dict[str, Any]):
    said = body(Request([user("Hi")], settings=settings), model=model)

    assert {name: said[name] for name in ("max_tokens", "thinking", "output_config") if name in said} == expected


# Quirk 86.
@pytest.mark.parametrize(
    ("model", "effort", "taken"),
    [
        ("claude-sonnet-4-0", None, {"temperature", "top_p"}),
        ("claude-opus-4-1", None, {"temperature"}),
        (OWN, None, {"temperature"}),
        (OWN, "low", set()),
        ("claude-opus-4-7", None, set()),
        ("qwen3", None, {"temperature", "top_p"}),
    ],
)
def test_sampling_is_left_to_models_that_take_none_and_to_those_that_think(model: str, effort: Any, taken: set[str]):
    said = body(Request([user("Hi")], settings=Settings(temperature=0.1, top_p=0.2, effort=effort)), model=model)

    assert said.keys() & {"temperature", "top_p"} == taken


def test_top_p_alone_is_said_to_models_that_take_one_of_the_two():
    said = body(Request([user("Hi")], settings=Settings(top_p=0.2)))

    assert said["top_p"] == 0.2


THOUGHT = Thinking("hm", own({"signature": "s"}))
CHAINS = {
    "with its own thoughts": ([assistant(THOUGHT, LOOKING), SUNNY], True),
    "with hidden thoughts": ([assistant(Opaque(own({"type": "redacted_thinking", "data": "x"})), LOOKING), SUNNY], True),
    "without thoughts": ([assistant(LOOKING), SUNNY], False),
    "with another's thoughts": ([assistant(Thinking("hm", own({}, "openai/chat")), LOOKING), SUNNY], False),
    "without thoughts before the last": ([assistant(LOOKING), SUNNY, assistant(THOUGHT, LOOKING), SUNNY], False),
    "with thoughts, behind an answer without": ([assistant(Text("Hm")), user("So?"), assistant(THOUGHT, LOOKING), SUNNY], True),
    "that has answered": ([assistant(LOOKING), SUNNY, assistant(Text("Sun")), user("Sure?")], True),
    "that paused": ([assistant(THOUGHT, Opaque(own(SEARCH)))], True),
    "that paused without thoughts": ([assistant(Opaque(own(SEARCH)))], False),
}


@pytest.mark.parametrize("case", CHAINS)
def test_a_model_with_a_budget_thinks_on_only_after_a_reply(case: str):
    messages, thinks = CHAINS[case]

    said = body(Request([user("Hi"), *messages], settings=Settings(effort="low")))

    assert ("thinking" in said) is thinks


CHOICES: list[tuple[str, Settings, bool, Any, list[str]]] = [
    # model, settings, whether an answer of a form is asked for, what may be chosen, from which tools
    (OWN, Settings(), False, None, ["look"]),
    (OWN, Settings(tool_choice="auto"), False, {"type": "auto"}, ["look"]),
    (OWN, Settings(tool_choice="none", parallel_tool_calls=False), False, {"type": "none"}, ["look"]),
    (OWN, Settings(tool_choice="required"), False, {"type": "any"}, ["look"]),
    (OWN, Settings(parallel_tool_calls=False), False, {"type": "auto", "disable_parallel_tool_use": True}, ["look"]),
    (FORCED, Settings(tool_choice="required"), False, {"type": "auto"}, ["look"]),
    (FORCED, Settings(tool_choice="look"), False, {"type": "auto"}, ["look"]),
    ("claude-haiku-5-5", Settings(tool_choice="required"), False, {"type": "any"}, ["look"]),
    (OWN, Settings(), True, None, ["look"]),
    (OLD, Settings(), True, {"type": "any"}, ["look", ANSWER]),
    (OLD, Settings(tool_choice="none"), True, {"type": "any"}, [ANSWER]),
    (OLD, Settings(tool_choice="required"), True, {"type": "any"}, ["look"]),
    (OLD, Settings(tool_choice="look"), True, {"type": "tool", "name": "look"}, ["look", ANSWER]),
    ("claude-sonnet-4-0", Settings(effort="low"), True, None, ["look", ANSWER]),
    ("claude-sonnet-4-0", Settings(effort="low", tool_choice="none"), True, {"type": "auto"}, [ANSWER]),
]


@pytest.mark.parametrize(("model", "settings", "formed", "choice", "offered"), CHOICES)
def test_the_model_may_choose_what_the_settings_and_the_form_leave_it(
    model: str, settings: Settings, formed: bool, choice: Any, offered: list[str]
):
    request = Request([user("Hi")], tools=(LOOK,), settings=settings, output=OutputSchema("city", CITY) if formed else None)

    said = body(request, model=model)

    assert said.get("tool_choice") == choice
    assert [tool["name"] for tool in said["tools"]] == offered


@pytest.mark.parametrize("tool_choice", ["required", "look"])
def test_a_model_with_a_budget_does_not_think_where_it_must_call(tool_choice: str):
    request = Request([user("Hi")], tools=(LOOK,), settings=Settings(effort="low", tool_choice=tool_choice))

    manual, adaptive = body(request), body(request, model="claude-opus-5")

    assert "thinking" not in manual
    assert adaptive["thinking"] == SUMMED
    assert manual["tool_choice"] == adaptive["tool_choice"]


def test_a_form_that_cannot_be_said_strictly_is_asked_for_by_a_tool():
    free = OutputSchema("free", {"type": "object", "properties": {}, "additionalProperties": {"type": "integer"}})

    said = body(Request([user("Hi")], output=free))

    assert "output_config" not in said
    assert [tool["name"] for tool in said["tools"]] == [ANSWER]


def test_a_strict_tool_is_said_strictly_where_that_is_understood():
    tools = (replace(LOOK, strict=True),)
    request = Request([user("Hi")], tools=tools)

    wire, lenient = AnthropicMessages(), AnthropicMessages(MessagesQuirks(strict=False))
    sent = [wire.encode(request, model=OWN), wire.encode(request, model=OLD), lenient.encode(request, model=OWN)]

    assert ["strict" in json.loads(outgoing.body)["tools"][0] for outgoing in sent] == [True, False, False]


CACHES: dict[str, tuple[MessagesQuirks, Settings, dict[str, Any]]] = {
    "at the top": (MessagesQuirks(), Settings(), MARK | {"system": [{"type": "text", "text": "Go."} | MARK]}),
    "for an hour": (
        MessagesQuirks(),
        Settings(cache="1h"),
        {
            "cache_control": {"type": "ephemeral", "ttl": "1h"},
            "system": [{"type": "text", "text": "Go.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        },
    ),
    "not at all": (MessagesQuirks(), Settings(cache="off"), {"system": "Go."}),
    "block by block": (
        MessagesQuirks(cache="blocks"),
        Settings(cache="5m"),
        {
            "system": [{"type": "text", "text": "Go."} | MARK],
            "messages": [
                HI,
                {"role": "assistant", "content": [LOOKS]},
                by_user(SUN | MARK),
                by_user("Well?", {"type": "text", "text": "Yes?"} | MARK),
            ],
        },
    ),
}


@pytest.mark.parametrize("case", CACHES)
def test_what_to_cache_is_marked(case: str):
    quirks, settings, expected = CACHES[case]
    request = Request([user("Hi"), assistant(LOOKING), SUNNY, user("Well?", "Yes?")], instructions="Go.", settings=settings)

    said = body(request, quirks)

    plain = body(replace(request, settings=Settings()))
    assert said == plain | expected


def test_without_instructions_the_last_tool_is_marked_and_the_rendered_tools_stay_as_they_are():
    wire, request = AnthropicMessages(), Request([user("Hi")], tools=(LOOK, replace(LOOK, name="see")))

    marked = json.loads(wire.encode(request, model=OWN).body)
    unmarked = json.loads(wire.encode(replace(request, settings=Settings(cache="off")), model=OWN).body)

    assert marked["tools"] == [LOOK_SAID, LOOK_SAID | {"name": "see"} | MARK]
    assert unmarked["tools"] == [LOOK_SAID, LOOK_SAID | {"name": "see"}]


# Quirk 76.
def test_thinking_that_nothing_proves_goes_back_only_to_those_who_want_it():
    request = Request([user("Hi"), assistant(Thinking("hm", own({"signature": ""})), Text("Yes")), user("So?")])

    proved, wanted = body(request), body(request, MessagesQuirks(unsigned_thinking=True))

    assert [block["type"] for block in proved["messages"][1]["content"]] == ["text"]
    assert wanted["messages"][1]["content"][0] == {"type": "thinking", "thinking": "hm", "signature": ""}


REFUSED: list[tuple[Request, str]] = [
    (Request([user(File(data=b"mp3", media_type="audio/mpeg"))]), "take no 'audio/mpeg'"),
    (Request([user(File(url="https://host/a.mp3", media_type="audio/mpeg"))]), "take no 'audio/mpeg'"),
    (Request([user(Image(data=b"<svg>", media_type="image/svg+xml"))]), "give pictures as image/gif"),
    (Request([user("Hi")], hosted=(FileSearch(stores=("s",)),)), "offers no 'file_search'; it offers WebSearch"),
    (Request([user("Hi")], settings=Settings(stop=("\n",))), "stop at no white space"),
]


@pytest.mark.parametrize(("request_", "words"), REFUSED)
def test_what_the_format_cannot_say_is_refused_before_anything_is_sent(request_: Request, words: str):
    with pytest.raises(ConfigurationError, match=words):
        AnthropicMessages().encode(request_, model=OWN)


def decoded(*events: dict[str, Any], whole: bool = False) -> Reply:
    decoder, assembly = MessagesDecoder(), Assembly()
    for event in events:
        for delta in decoder.feed_whole(event) if whole else decoder.feed(event):
            assembly.add(delta)
    for delta in decoder.end():
        assembly.add(delta)
    return assembly.reply()


def message(*content: dict[str, Any], stop_reason: str | None = "end_turn", **rest: Any) -> dict[str, Any]:
    return {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [*content], "stop_reason": stop_reason} | rest


def start(**usage: int) -> dict[str, Any]:
    return {"type": "message_start", "message": message(stop_reason=None, usage=usage)}


def block(index: int, opened: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": opened},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def words(text: str) -> dict[str, Any]:
    return {"type": "text_delta", "text": text}


def piece(text: str) -> dict[str, Any]:
    return {"type": "input_json_delta", "partial_json": text}


def end(stop_reason: str = "end_turn", **usage: int) -> list[dict[str, Any]]:
    return [{"type": "message_delta", "delta": {"stop_reason": stop_reason}, "usage": usage}, {"type": "message_stop"}]


TEXT = {"type": "text", "text": ""}
USE = {"type": "tool_use", "id": "a", "name": "f", "input": {}}

CALL_STREAMS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "in pieces, the first of them empty": (block(0, USE, piece(""), piece('{"x"'), piece(":1}")), '{"x":1}'),
    "with no more than an empty piece": (block(0, USE, piece("")), "{}"),
    "with no piece at all": (block(0, USE), "{}"),
    "whole, where it starts": (block(0, USE | {"input": {"x": 1}}), '{"x": 1}'),
    "as text, where it starts": (block(0, USE | {"input": '{"x":1}'}), '{"x":1}'),
    "without input": (block(0, {"type": "tool_use", "id": "a", "name": "f"}), "{}"),
    "never closed": (block(0, USE, piece('{"x":1}'))[:-1], '{"x":1}'),
    "whole, where it starts, and never closed": (block(0, USE | {"input": {"x": 1}})[:-1], '{"x": 1}'),
}


# Quirks 48, 49 and 50.
@pytest.mark.parametrize("case", CALL_STREAMS)
def test_arguments_come(case: str):
    events, expected = CALL_STREAMS[case]

    reply = decoded(start(), *events, *end("tool_use"))

    assert [(call.provider_id, call.name, call.arguments) for call in reply.calls] == [("a", "f", expected)]
    assert reply.finish_reason == "tool_calls"


# Quirk 29.
def test_a_second_start_begins_the_message_anew():
    decoder = MessagesDecoder()
    first = [start(input_tokens=9), *block(0, TEXT, words("Spark")), *block(1, USE, piece("{"))[:-1]]
    second = [start(input_tokens=3), *block(0, TEXT, words("Hi")), *end(output_tokens=2)]
    assembly, deltas = Assembly(), [delta for event in (*first, *second) for delta in decoder.feed(event)]

    for delta in deltas:
        assembly.add(delta)

    reply = assembly.reply()
    assert deltas.count(RestartDelta()) == 1
    assert (reply.text, reply.calls, reply.usage) == ("Hi", (), Usage(3, 2))


def test_what_comes_behind_the_end_of_a_message_is_none_of_it():
    reply = decoded(start(), *block(0, TEXT, words("Hi")), *end(), start(), *block(0, TEXT, words("Ho")), *end())

    assert reply.text == "Hi"


# Quirk 95.
def test_an_error_event_ends_the_stream_with_the_servers_words():
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}

    with pytest.raises(ServerError, match="Overloaded"):
        decoded(start(), {"type": "ping"}, *block(0, TEXT, words("Hi")), error)


def test_an_error_inside_a_200_is_an_error():
    with pytest.raises(ModelError, match="no such model"):
        decoded({"type": "error", "error": {"type": "not_found_error", "message": "no such model"}}, whole=True)


@pytest.mark.parametrize("cut", range(1, 6))
def test_a_stream_is_broken_unless_its_stop_reason_came(cut: int):
    events = [start(), *block(0, TEXT, words("Hi")), *end()]

    if cut == 5:
        assert decoded(*events[:cut]).text == "Hi"
        return
    with pytest.raises(StreamBroken):
        decoded(*events[:cut])


def test_a_message_that_stops_without_a_reason_has_ended():
    assert decoded(start(), *block(0, TEXT, words("Hi")), {"type": "message_stop"}).finish_reason == "stop"


REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "pause",
    "compaction": "pause",
    "something_new": "stop",
}


@pytest.mark.parametrize("reason", REASONS)
def test_why_a_reply_ended_is_said_in_our_words(reason: str):
    streamed = decoded(start(), *block(0, TEXT, words("Hi")), *end(reason))
    whole = decoded(message({"type": "text", "text": "Hi"}, stop_reason=reason), whole=True)

    assert streamed.finish_reason == whole.finish_reason == REASONS[reason]


# Quirk 74.
def test_a_refusal_says_why_and_runs_nothing():
    details = {"type": "refusal", "explanation": "It is not to be."}
    use = {"type": "tool_use", "id": "a", "name": "f", "input": {}}

    explained = decoded(message(stop_reason="refusal", stop_details=details), whole=True)
    silent = decoded(start(), *end("refusal"))
    late = decoded(message({"type": "text", "text": "Well"}, use, stop_reason="refusal"), whole=True)

    assert (explained.refusal, explained.finish_reason) == ("It is not to be.", "stop")
    assert silent.refusal == "The model declined."
    assert (late.text, late.refusal, late.finish_reason) == ("Well", "The model declined.", "content_filter")


# Quirk 69.
def test_tokens_in_the_cache_are_counted_in_and_later_counts_take_the_place_of_earlier_ones():
    counts = {"input_tokens": 3, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 100}
    details = {
        "cache_creation": {"ephemeral_5m_input_tokens": 20},
        "output_tokens_details": {"thinking_tokens": 4},
        "service_tier": "standard",
    }

    streamed = decoded(
        start(**counts, output_tokens=1, cache_creation=details["cache_creation"]),
        *block(0, TEXT, words("Hi")),
        *end(input_tokens=5, output_tokens=9, cache_read_input_tokens=0, output_tokens_details=details["output_tokens_details"]),
    )
    whole = decoded(message(usage=counts | {"input_tokens": 5, "output_tokens": 9} | details), whole=True)

    assert streamed.usage == whole.usage
    assert streamed.usage == Usage(
        125, 9, 100, 20, 4, {"cache_creation_ephemeral_5m_input_tokens": 20, "output_tokens_details_thinking_tokens": 4}
    )


CITED: list[tuple[dict[str, Any], tuple[str, str]]] = [
    ({"type": "web_search_result_location", "url": "https://w", "title": "W", "encrypted_index": "e"}, ("https://w", "W")),
    ({"type": "search_result_location", "source": "https://s", "title": None, "search_result_index": 0}, ("https://s", "")),
    ({"type": "char_location", "document_title": "a.txt", "document_index": 0}, ("", "a.txt")),
    ({"type": "page_location", "document_title": None, "start_page_number": 1}, ("", "")),
]


# Quirks 67 and 104.
@pytest.mark.parametrize(("cited", "expected"), CITED)
def test_a_citation_covers_the_block_it_stands_in_and_goes_back_with_it(cited: dict[str, Any], expected: tuple[str, str]):
    cited = cited | {"cited_text": "…"}
    streamed = decoded(
        start(),
        *block(0, TEXT, words("In \N{SNOWMAN} "), words("Rome, ")),
        *block(1, TEXT | {"citations": []}, words("it's "), {"type": "citations_delta", "citation": cited}, words("sunny")),
        *block(2, TEXT, words(".")),
        *end(),
    )
    texts = ({"type": "text", "text": "In \N{SNOWMAN} Rome, "}, {"citations": [cited], "type": "text", "text": "it's sunny"})
    whole = decoded(message(*texts, {"type": "text", "text": ".", "citations": None}), whole=True)

    said = body(Request([user("Hi"), streamed.message, user("Sure?")]))

    [citation] = streamed.citations
    assert streamed == whole
    assert citation == Citation(*expected, citation.start, citation.end)
    assert streamed.text[citation.start : citation.end] == "it's sunny"
    assert said["messages"][1]["content"] == [*texts, {"type": "text", "text": "."}]


HOSTED = [
    {"type": "thinking", "thinking": "Let me search.", "signature": "sig"},
    {"type": "redacted_thinking", "data": "x"},
    SEARCH | {"caller": {"type": "direct"}},
    FOUND | {"content": [{"type": "web_search_result", "url": "https://w", "encrypted_content": "e"}]},
    {"type": "text", "text": "Now the code."},
    {"type": "mcp_tool_use", "id": "m", "name": "echo", "server_name": "s", "input": {}},
    {"type": "mcp_tool_result", "tool_use_id": "m", "is_error": False, "content": [{"type": "text", "text": "hi"}]},
    {"type": "something_new", "data": {"a": [1]}},
    {"type": "compaction", "content": "So far: …"},
    {"type": "thinking", "thinking": "", "signature": "sig2"},
    {"type": "tool_use", "id": "a", "name": "look", "input": {"city": "Rome"}, "caller": {"type": "direct"}},
]


# Quirks 59 and 72.
def test_all_that_a_reply_holds_goes_back_as_it_came():
    said_in_pieces = [
        block(
            0,
            {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "thinking_delta", "thinking": "Let me "},
            {"type": "thinking_delta", "thinking": "search."},
            {"type": "signature_delta", "signature": "sig"},
        ),
        block(1, HOSTED[1]),
        block(2, HOSTED[2] | {"input": {}}, piece(""), piece('{"query": '), piece('"sun"}')),
        block(3, HOSTED[3]),
        block(4, TEXT, words("Now the code.")),
        block(5, HOSTED[5], piece("")),
        block(6, HOSTED[6]),
        block(7, HOSTED[7]),
        block(8, HOSTED[8] | {"content": None}, {"type": "compaction_delta", "content": "So far: …"}),
        block(9, HOSTED[9] | {"signature": ""}, {"type": "signature_delta", "signature": "sig2"}),
        block(10, HOSTED[10] | {"input": {}}, piece(""), piece('{"city": "Rome"}')),
    ]

    whole = decoded(message(*HOSTED, stop_reason="tool_use"), whole=True)
    streamed = decoded(start(), *(event for events in said_in_pieces for event in events), *end("tool_use"))

    said = body(Request([user("Hi"), streamed.message, results(ToolResult("call_0_0", "sun"))]))
    assert streamed == whole
    assert said["messages"][1]["content"] == HOSTED


def test_a_hosted_call_that_was_cut_is_not_said_back():
    cut = decoded(start(), *block(0, TEXT, words("Hm")), *block(1, SEARCH | {"input": {}}, piece('{"que'))[:-1], *end("max_tokens"))

    said = body(Request([user("Hi"), cut.message, user("Go on")]))

    assert cut.finish_reason == "length"
    assert said["messages"][1]["content"] == [{"type": "text", "text": "Hm"}]


CONTAINER = {"id": "container_1", "expires_at": "2999-01-01T00:00:00Z"}
RUNS = {"type": "server_tool_use", "id": "c", "name": "code_execution", "input": {"code": "look()"}}
CALLED_BY_CODE = LOOKS | {"caller": {"type": "code_execution_20260521", "tool_id": "c"}}


# inspect_ai#4603: "container_id is required when there are pending tool uses generated by code execution with tools".
def test_the_container_in_which_code_runs_is_named_in_the_next_request():
    begun = message(stop_reason=None, usage={}, container=None)
    streamed = decoded(
        {"type": "message_start", "message": begun},
        *block(0, RUNS | {"input": {}}, piece('{"code": "look()"}')),
        *block(1, CALLED_BY_CODE | {"input": {}}, piece('{"city": "Rome"}')),
        {"type": "message_delta", "delta": {"stop_reason": "tool_use", "container": CONTAINER}},
        {"type": "message_stop"},
    )
    whole = decoded(message(RUNS, CALLED_BY_CODE, stop_reason="tool_use", container=CONTAINER), whole=True)

    said = body(Request([user("Hi"), streamed.message, SUNNY], hosted=(CodeExecution(),)))

    assert streamed == whole
    assert said["container"] == "container_1"
    assert said["messages"][1:] == [{"role": "assistant", "content": [RUNS, CALLED_BY_CODE]}, by_user(SUN)]


def ran_in(name: str, until: str, origin: str = ORIGIN) -> Message:
    return assistant(Text("Done."), Opaque(own({"type": "container", "id": name, "expires_at": until}, origin)))


RAN = [user("Hi"), ran_in("old", "2998-01-01T00:00:00Z"), user("And?"), ran_in("new", "2999-01-01T00:00:00Z"), user("And?")]
CONTAINERS: dict[str, tuple[Request, str | None]] = {
    "the last one": (Request(RAN, hosted=(CodeExecution(),)), "new"),
    "in the provider's words": (Request(RAN, hosted=(ProviderTool({"type": "code_execution_20250825", "name": "code_execution"}),)), "new"),
    "where code was run and its tool is gone": (
        Request([user("Hi"), assistant(Opaque(own(RUNS)), Opaque(own({"type": "x", "tool_use_id": "c"}))), *RAN[1:]]),
        "new",
    ),
    "without code": (Request(RAN, hosted=(WebSearch(),)), None),
    "expired": (Request([user("Hi"), ran_in("old", "2001-01-01T00:00:00Z"), user("And?")], hosted=(CodeExecution(),)), None),
    "expired, behind one that is not": (Request([*RAN, ran_in("x", "2001-01-01T00:00:00Z"), user("?")], hosted=(CodeExecution(),)), "new"),
    "until nobody knows when": (Request([user("Hi"), ran_in("old", "soon"), user("And?")], hosted=(CodeExecution(),)), "old"),
    "until a time of no zone": (Request([user("Hi"), ran_in("old", "2001-01-01"), user("And?")], hosted=(CodeExecution(),)), "old"),
    "of another provider": (Request([user("Hi"), ran_in("x", "2999-01-01T00:00:00Z", "xaix/messages")], hosted=(CodeExecution(),)), None),
    "that the user names": (Request(RAN, hosted=(CodeExecution(),), settings=Settings(extra={"container": "mine"})), "mine"),
}


@pytest.mark.parametrize("case", CONTAINERS)
def test_a_container_is_named_as_long_as_it_is_there(case: str):
    request, expected = CONTAINERS[case]

    assert body(request).get("container") == expected


@pytest.mark.parametrize("pieces", [["", '{"city": ', '"Rome"}'], []])
def test_a_call_of_the_answer_tool_is_the_text_of_the_reply(pieces: list[str]):
    opened = {"type": "tool_use", "id": "a", "name": ANSWER, "input": {}}
    given = json.loads("".join(pieces) or "{}")

    streamed = decoded(start(), *block(0, opened, *map(piece, pieces)), *end("tool_use"))
    whole = decoded(message(opened | {"input": given}, stop_reason="tool_use"), whole=True)

    assert streamed == whole
    assert (json.loads(streamed.text), streamed.calls, streamed.finish_reason) == (given, (), "stop")


def test_of_two_answers_at_once_the_first_counts():
    answer = {"type": "tool_use", "id": "a", "name": ANSWER, "input": {"city": "Rome"}}

    reply = decoded(message(answer, answer | {"id": "b", "input": {"city": "Oslo"}}, stop_reason="tool_use"), whole=True)

    assert json.loads(reply.text) == {"city": "Rome"}


# Quirk 39.
def test_announced_calls_that_never_came_are_a_bad_reply():
    with pytest.raises(BadReply, match="announces tool calls"):
        decoded(start(), *block(0, TEXT, words("Let me look.")), *end("tool_use"))


def test_text_where_no_block_was_opened_is_not_lost():
    reply = decoded(start(), {"type": "content_block_delta", "index": 0, "delta": words("Hi")}, *end())

    assert reply.text == "Hi"


@pytest.mark.parametrize("content", [None, "Hi", {}])
def test_a_whole_reply_without_content_is_a_bad_reply(content: Any):
    with pytest.raises(BadReply, match="no content"):
        decoded({"type": "message", "content": content}, whole=True)


def test_what_else_the_server_says_is_kept_beside_the_reply():
    container = {"id": "c", "expires_at": "2026"}

    reply = decoded(message({"type": "text", "text": "Hi"}, container=container, stop_sequence=None), whole=True)

    assert (reply.model, reply.id, reply.extra) == ("m", "msg_1", {"container": container})


def read_all(chunks: list[bytes], content_type: str) -> Reply:
    assembly, reading = Assembly(), Reading(MessagesDecoder(), content_type=content_type)
    for part in chunks:
        for delta in reading.feed(part):
            assembly.add(delta)
    for delta in reading.end():
        assembly.add(delta)
    return assembly.reply()


def cut(text: str | bytes, cuts: list[int]) -> list[Any]:
    places = sorted({0, len(text), *(place % (len(text) + 1) for place in cuts)})
    return [text[begin:stop] for begin, stop in pairwise(places)]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
INPUTS = st.dictionaries(TEXTS, TEXTS | st.integers(-9, 9), max_size=2)
CITATIONS = st.lists(st.fixed_dictionaries({"type": st.just("char_location"), "cited_text": TEXTS, "document_title": TEXTS}), max_size=2)
BLOCKS = st.lists(
    st.one_of(
        st.fixed_dictionaries({"type": st.just("text"), "text": TEXTS, "citations": CITATIONS}),
        st.fixed_dictionaries({"type": st.just("thinking"), "thinking": TEXTS, "signature": st.text("abc", max_size=3)}),
        st.fixed_dictionaries({"type": st.just("tool_use"), "id": TEXTS, "name": st.sampled_from(["f", "g", ANSWER]), "input": INPUTS}),
        st.fixed_dictionaries({"type": st.just("server_tool_use"), "id": TEXTS, "name": st.just("web_search"), "input": INPUTS}),
        st.fixed_dictionaries({"type": st.just("web_search_tool_result"), "tool_use_id": TEXTS, "content": st.just([])}),
    ),
    max_size=5,
)


def in_pieces(index: int, whole: dict[str, Any], cuts: list[int]) -> list[dict[str, Any]]:
    """Stream a block as Anthropic does, its texts cut into pieces at `cuts`."""
    match whole["type"]:
        case "text":
            cited = [{"type": "citations_delta", "citation": citation} for citation in whole["citations"]]
            return block(index, {"type": "text", "text": "", "citations": []}, *cited, *map(words, cut(whole["text"], cuts)))
        case "thinking":
            thoughts = [{"type": "thinking_delta", "thinking": text} for text in cut(whole["thinking"], cuts)]
            signed = {"type": "signature_delta", "signature": whole["signature"]}
            return block(index, whole | {"thinking": "", "signature": ""}, *thoughts, signed)
        case "tool_use" | "server_tool_use":
            pieces = cut(json.dumps(whole["input"], ensure_ascii=False), cuts) if whole["input"] else []
            return block(index, whole | {"input": {}}, *map(piece, ["", *pieces]))
        case _:
            return block(index, whole)


@given(
    blocks=BLOCKS,
    cuts=st.lists(st.integers(0, 1000), max_size=4),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    chops=st.lists(st.integers(0, 5000), max_size=12),
    first=st.integers(0, 3),
)
def test_the_same_reply_streamed_and_whole_and_chopped_anywhere_is_the_same(
    blocks: list[dict[str, Any]], cuts: list[int], newline: str, chops: list[int], first: int
):
    events = [start(input_tokens=3, output_tokens=1), {"type": "ping"}]
    events += [event for index, whole in enumerate(blocks, first) for event in in_pieces(index, whole, cuts)]
    events += end(output_tokens=2)
    lines = [f"event: {event['type']}{newline}data: {json.dumps(event, ensure_ascii=False)}{newline}{newline}" for event in events]
    stream = "".join(lines).encode()

    from_stream = read_all(cut(stream, chops), "text/event-stream")
    from_whole = read_all([json.dumps(message(*blocks, usage={"input_tokens": 3, "output_tokens": 2})).encode()], "application/json")

    assert from_stream == from_whole
    assert from_stream.usage == Usage(3, 2)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2)
)
EVENTS = st.sampled_from([start(), *block(0, TEXT, words("Hi")), *block(1, USE, piece("{}")), *end()])


@given(st.lists(st.tuples(EVENTS, st.sampled_from(["", "index", "delta", "content_block", "message", "usage", "type"]), JSON), max_size=6))
def test_a_stream_of_any_shape_ends_in_a_reply_or_a_model_error(spoilt: list[tuple[dict[str, Any], str, Any]]):
    events = [start(), *(event | ({field: value} if field else {}) for event, field, value in spoilt), *end()]
    stream = "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode()

    try:
        reply = read_all([stream], "text/event-stream")
    except ModelError:
        return

    assert isinstance(reply.text, str)


@given(JSON, JSON)
def test_a_whole_reply_of_any_shape_ends_in_a_reply_or_a_model_error(content: Any, inner: Any):
    for spoilt in (
        message() | {"content": content},
        message() | {"content": [{"type": "text", "text": inner}, inner]},
        message(usage=inner),
    ):
        try:
            reply = read_all([json.dumps(spoilt).encode()], "application/json")
        except ModelError:
            continue
        assert isinstance(reply.text, str)


def model_at(gateway: Gateway, quirks: MessagesQuirks | None = None, *, name: str = OWN) -> HTTPModel:
    return HTTPModel(
        "anthropic",
        model=name,
        wire=AnthropicMessages(quirks),
        base_url=gateway.base_url,
        key=lambda: pydantic.SecretStr("sk-test"),
        timeouts=Timeouts(attempt=5),
    )


@tool
def add(a: int, b: int) -> int:
    "Add."
    return a + b


async def whole(agent: Agent[Any], prompt: str) -> Any:
    return await agent.run(prompt)


async def streamed(agent: Agent[Any], prompt: str) -> Any:
    stream = agent.stream(prompt)
    async for _ in stream:
        pass
    return stream.result


either_way = pytest.mark.parametrize("way", [whole, streamed])


@either_way
@pytest.mark.parametrize("name", [OWN, "claude-opus-5"])
@pytest.mark.parametrize("cache", ["top", "blocks", "none"])
async def test_an_agent_thinks_calls_tools_and_answers_over_http(way: Callable[..., Any], name: str, cache: Any):
    first = calls("add", a=1, b=2) & calls("add", a=3, b=4)
    with Gateway(first.saying("Adding.", thinking="Sums."), says("3 and 7", thinking="Done."), key="sk-test") as gateway:
        agent = Agent(model_at(gateway, MessagesQuirks(cache=cache), name=name), tools=[add], instructions="Add.", settings=EFFORT)

        result = await way(agent, "1+2? 3+4?")

    assert (result.text, result.steps) == ("3 and 7", 2)
    asked, answered = (request.body for request in gateway.requests)
    assert answered["messages"][1]["content"][0]["thinking"] == "Sums."
    assert [given["content"] for given in answered["messages"][2]["content"]] == ["3", "7"]
    assert (asked["thinking"], asked["tools"]) == (answered["thinking"], answered["tools"])


EFFORT = Settings(effort="medium")


class Sum(pydantic.BaseModel):
    total: int


@either_way
async def test_an_answer_takes_the_form_natively_and_by_a_tool(way: Callable[..., Any]):
    with Gateway(calls("add", a=1, b=2), says('{"total": 3}'), calls("add", a=1, b=2), calls(ANSWER, total=3)) as gateway:
        native = await way(Agent(model_at(gateway), tools=[add], output=Sum), "1+2?")
        by_tool = await way(Agent(model_at(gateway, name=OLD), tools=[add], output=Sum), "1+2?")

    assert native.output == by_tool.output == Sum(total=3)
    assert [request.body.get("tool_choice") for request in gateway.requests] == [None, None, {"type": "any"}, {"type": "any"}]


@either_way
async def test_a_search_is_cited_and_said_back_over_http(way: Callable[..., Any]):
    cited = says("It is sunny.").searching("sun").citing(Citation("https://w", "W", 6, 11))
    with Gateway(cited, says("Yes.")) as gateway:
        agent = Agent(model_at(gateway), tools=[WebSearch()])
        first = await way(agent, "Sunny?")

        await agent.run("Sure?", transcript=first.transcript)

    assert [message.citations for message in first.transcript if message.citations] == [(Citation("https://w", "W", 6, 11),)]
    kinds = [said["type"] for said in gateway.requests[1].body["messages"][1]["content"]]
    assert kinds == ["server_tool_use", "web_search_tool_result", "text", "text", "text"]


@either_way
async def test_a_model_that_declines_ends_the_run_over_http(way: Callable[..., Any]):
    with Gateway(refuses("It is not to be.")) as gateway, pytest.raises(ModelRefused, match="It is not to be"):
        await way(Agent(model_at(gateway)), "Do it!")

    assert len(gateway.requests) == 1


async def test_a_call_before_a_refusal_is_not_run():
    refused = message({"type": "tool_use", "id": "a", "name": "add", "input": {}}, stop_reason="refusal")
    with Gateway(Answer.json(refused)) as gateway, pytest.raises(ContentFiltered):
        await Agent(model_at(gateway), tools=[add]).run("1+2?")

    assert len(gateway.requests) == 1


async def test_a_pause_is_gone_on_from_over_http():
    paused = Answer.json(message(SEARCH, stop_reason="pause_turn"))
    rest = Answer.json(message(FOUND, {"type": "text", "text": "Sun."}))
    with Gateway(paused, rest) as gateway:
        result = await Agent(model_at(gateway), tools=[WebSearch()]).run("Sunny?")

    assert (result.text, result.steps) == ("Sun.", 1)
    assert gateway.requests[1].body["messages"][1:] == [{"role": "assistant", "content": [SEARCH]}]
