"""What was said of a transcript is kept: whatever is asked at whichever step, the request is the one that says all from the beginning."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from agentloop.errors import ConfigurationError
from agentloop.messages import Message, Messages, Opaque, Request, Settings, Text, ToolCall, ToolResult, user
from agentloop.wire import Wire
from agentloop.wire.anthropic import AnthropicMessages, MessagesQuirks
from agentloop.wire.openai_chat import OpenAIChat
from agentloop.wire.openai_chat_messages import ChatQuirks
from agentloop.wire.openai_responses import OpenAIResponses, ResponsesQuirks
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
def test_a_message_is_said_once_however_often_the_model_is_asked(name: str, monkeypatch: pytest.MonkeyPatch):
    wire, model = WIRES[name]
    messages = Messages()
    messages.append(user("Where is it warm?"))
    asked = Request(messages, instructions="Be brief.", tools=(WEATHER,), settings=Settings(max_tokens=9_000))
    looked: list[int] = []
    monkeypatch.setattr(Messages, "__getitem__", lambda self, place: looked.append(place) or list.__getitem__(self, place))

    for step in range(8):
        wire.encode(asked, model=model)
        messages.append(Message("assistant", (ToolCall(f"c{step}", "get_weather", '{"city":"Rome"}'),)))
        messages.append(Message("tool", (ToolResult(f"c{step}", "sun"),)))

    assert [place for place in looked if not isinstance(place, slice)] == list(range(15))


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
