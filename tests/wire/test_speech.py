"""What was said of a transcript is kept: whatever is asked at whichever step, the request is the one that says all from the beginning."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from pydantic import SecretStr

from agentloop.errors import ConfigurationError
from agentloop.messages import Message, Messages, Opaque, Part, Request, Settings, State, Text, ToolCall, ToolResult, user
from agentloop.tools.hosted import MCPServer
from agentloop.wire import Wire
from agentloop.wire.anthropic import AnthropicMessages, MessagesQuirks
from agentloop.wire.anthropic_blocks import Speaker
from agentloop.wire.openai_chat import OpenAIChat
from agentloop.wire.openai_chat_messages import ChatQuirks
from agentloop.wire.openai_responses import OpenAIResponses, ResponsesQuirks
from agentloop.wire.openai_responses_items import InputItems
from tests.storms.random_transcripts import request, transcript
from tests.wire.test_table import WIRES
from tests.wire.transcripts import REQUESTS, WEATHER, state

SPEAKING: dict[str, tuple[Wire, str]] = {
    **WIRES,
    "chat of Mistral": (
        OpenAIChat(ChatQuirks(thinking_field="content", assistant_after_results=True, nine_character_ids=True), origin="openai/chat"),
        "magistral",
    ),
    "responses of Azure": (OpenAIResponses(ResponsesQuirks(ids=False, encrypted_thinking=False)), "gpt-5"),
    "messages with marks": (AnthropicMessages(MessagesQuirks(cache="blocks", unsigned_thinking=True)), "claude-opus-4-8"),
    "gemini of the second generation": (WIRES["gemini"][0], "gemini-2.5-pro"),
}


def said(name: str, asked: Request) -> tuple[object, ...] | str:
    wire, model = SPEAKING[name]
    try:
        outgoing = wire.encode(asked, model=model)
    except ConfigurationError as error:
        return str(error)
    return outgoing.path, outgoing.headers, outgoing.body


def differing(name: str, steps: list[Request], messages: list[Message]) -> list[int]:
    """Ask after each message, and name those after which the request is another than one that keeps nothing."""
    growing = Messages()
    differing: list[int] = []
    for number, message in enumerate(messages):
        growing.append(message)
        asked = steps[number % len(steps)]
        if said(name, replace(asked, messages=growing)) != said(name, replace(asked, messages=[*growing])):
            differing.append(number)
    return differing


@pytest.mark.parametrize("name", SPEAKING)
def test_each_request_of_a_growing_transcript_says_what_one_from_scratch_says(name: str):
    random = Random(6)  # noqa: S311  # the same transcripts each time
    for _ in range(60):
        long = transcript(random)
        steps = [request(random, long) for _ in range(2)]

        assert differing(name, [steps[0], steps[0], steps[1]], [*long.asked]) == []


@pytest.mark.parametrize("name", SPEAKING)
def test_each_request_of_the_table_grows_to_what_it_is(name: str):
    wrong = {case: found for case, asked in REQUESTS.items() if (found := differing(name, [asked], [*asked.messages]))}

    assert wrong == {}


SEARCH = state("anthropic/messages", type="server_tool_use", id="srvtoolu_1", name="web_search", input={})
FOUND = state("anthropic/messages", type="web_search_tool_result", tool_use_id="srvtoolu_1", content=[])
PATCH = state("openai/responses", type="apply_patch_call", id="ap_1", call_id="p1", status="completed", operation={})
PATCHED = state("openai/responses", type="apply_patch_call_output", call_id="p1", status="completed")


def test_a_hosted_call_is_taken_back_once_it_is_clear_that_it_has_no_result():
    asked, searching = user("What is new?"), Message("assistant", (Opaque(SEARCH), ToolCall("c", "look")))
    rest = [Message("tool", (ToolResult("c", "sun"),)), Message("assistant", (Text("Nothing."),)), user("And now?")]
    messages = Messages()
    wire, model = WIRES["messages"]

    bodies: list[bytes] = []
    for message in (asked, searching, *rest):
        messages.append(message)
        bodies.append(wire.encode(Request(messages), model=model).body)

    assert [b"srvtoolu_1" in body for body in bodies] == [False, True, True, False, False]
    assert differing("messages", [Request(())], [asked, searching, rest[0], Message("assistant", (Opaque(FOUND),)), user("?")]) == []


def test_a_call_that_we_must_answer_is_said_once_its_output_is_there():
    messages = Messages()
    wire, model = WIRES["responses"]

    bodies: list[bytes] = []
    for message in (user("Mend it."), Message("assistant", (Opaque(PATCH),)), Message("user", (Opaque(PATCHED),)), user("Well?")):
        messages.append(message)
        bodies.append(wire.encode(Request(messages), model=model).body)

    assert [b'"apply_patch_call"' in body for body in bodies] == [False, False, True, True]


@pytest.mark.parametrize("name", WIRES)
def test_what_was_said_is_not_looked_at_again(name: str):
    wire, model = WIRES[name]
    messages = Messages([user("Where is it warm?"), Message("assistant", (ToolCall("c0", "get_weather"),))])
    messages.append(Message("tool", (ToolResult("c0", "sun"),)))
    asked = Request(messages, instructions="Be brief.", tools=(WEATHER,), settings=Settings(max_tokens=9_000))
    wire.encode(asked, model=model)
    messages += [Message("assistant", (ToolCall("c1", "get_weather"),)), Message("tool", (ToolResult("c1", "rain"),))]
    before = wire.encode(asked, model=model).body

    # No transcript does this, and nothing else shows it.
    messages[0] = user("Where is it cold?")

    assert wire.encode(asked, model=model).body == before
    assert b"cold" in wire.encode(replace(asked, messages=[*messages]), model=model).body


@pytest.mark.parametrize(
    ("name", "call", "rest"),
    [
        ("responses", PATCH, [Message("user", (Opaque(PATCHED),))]),
        ("messages", SEARCH, [user("And?")]),
    ],
)
def test_a_long_transcript_is_said_anew_at_most_once(name: str, call: State, rest: list[Message], monkeypatch: pytest.MonkeyPatch):
    wire, model = WIRES[name]
    said: list[Message] = []
    for number in range(50):
        known = replace(call, data=call.data.replace("p1", f"p{number}_").replace("srvtoolu_1", f"srvtoolu_{number}_"))
        answers = [Message(each.role, tuple(_renamed(part, number) for part in each.parts)) for each in rest]
        said += [user("Go on."), Message("assistant", (Text("So."), Opaque(known))), *answers]
    begun: list[object] = []
    for speaker in (InputItems, Speaker):

        def foresee(self: Any, messages: list[Message], asked: Any = speaker.foresee) -> object:
            if (found := asked(self, messages)) is not self:
                begun.append(found)
            return found

        monkeypatch.setattr(speaker, "foresee", foresee)

    wire.encode(Request([*said, user("Well?")]), model=model)

    assert len(begun) <= 1


def _renamed(part: Part, number: int) -> Part:
    return Opaque(replace(part.state, data=part.state.data.replace("p1", f"p{number}_"))) if isinstance(part, Opaque) else part


def test_further_fields_that_are_changed_in_a_run_are_said():
    extra = {"user": "one"}
    messages = Messages([user("Hi")])
    wire, model = WIRES["chat"]
    asked = Request(messages, settings=Settings(extra=extra))
    before = wire.encode(asked, model=model).body

    extra["user"] = "two"

    assert (b'"one"' in before, b'"two"' in wire.encode(asked, model=model).body) == (True, True)


def test_a_copy_of_messages_has_nothing_of_what_was_said_of_them():
    server = MCPServer(name="docs", url="https://example.org/mcp", token=SecretStr("CANARY"))
    messages = Messages([user("Hi")])
    wire, model = WIRES["responses"]
    wire.encode(Request(messages, hosted=(server,)), model=model)
    kept = pickle.dumps(messages)

    again = copy.copy(messages)

    assert b"CANARY" not in kept
    assert "CANARY" not in repr(vars(next(iter(messages.said.values()))))
    assert (again, again.said, messages.said == {}) == ([user("Hi")], {}, False)


def test_where_a_format_has_no_words_for_a_message_the_next_request_says_all_from_the_beginning():
    messages = Messages()
    wire, model = WIRES["messages"]
    messages.append(user("Listen."))
    before = wire.encode(Request(messages), model=model).body
    sound = next(iter(REQUESTS["a sound"].messages))
    messages.append(sound)
    with pytest.raises(ConfigurationError, match="audio/wav"):
        wire.encode(Request(messages), model=model)

    messages.remove(sound)

    assert wire.encode(Request(messages), model=model).body == before


def test_further_fields_may_say_other_messages():
    other = [{"role": "user", "content": "Something else."}]
    wire, model = WIRES["chat"]

    body = wire.encode(Request([user("Hi")], settings=Settings(extra={"messages": other})), model=model).body

    assert body == b'{"model":"gpt-4.1","messages":[{"role":"user","content":"Something else."}]}'
