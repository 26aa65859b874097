"""What has been said decides what must happen next."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentloop.errors import BadTranscript
from agentloop.messages import File, Image, Message, Opaque, State, Text, Thinking, ToolCall, ToolResult, user
from agentloop.transcript import Ask, Dispatch, Done, Transcript, Wait

ADD = ToolCall("a", "add", '{"x":1}')
SUB = ToolCall("b", "sub")


def said(*parts: Text | ToolCall) -> Message:
    return Message("assistant", parts)


def test_the_model_must_speak_after_the_user():
    assert Transcript([user("Hi")]).next_move() == Ask()


def test_a_run_is_done_when_the_model_calls_nothing():
    assert Transcript([user("Hi"), said(Text("Hello"))]).next_move() == Done()


def test_calls_without_a_result_are_dispatched():
    transcript = Transcript([user("Hi"), said(ADD, SUB)])
    transcript.add_result(ToolResult("b", "0"))

    assert transcript.next_move() == Dispatch((ADD,))


def test_the_model_speaks_again_once_every_call_is_answered():
    transcript = Transcript([user("Hi"), said(ADD, SUB)])
    transcript.add_result(ToolResult("b", "0"))
    transcript.add_result(ToolResult("a", "1"))

    assert transcript.next_move() == Ask()


def test_results_are_read_in_the_order_of_the_calls_however_they_came():
    transcript = Transcript([user("Hi"), said(ADD, SUB)])
    transcript.add_result(ToolResult("b", "second"))
    transcript.add_result(ToolResult("a", "first"))

    assert [result.content for result in transcript.asked[-1].results] == ["first", "second"]


def test_calls_that_need_no_word_run_before_the_run_waits_for_those_that_do():
    transcript = Transcript([user("Hi"), said(ADD, SUB)])

    def waits(call: ToolCall) -> bool:
        return call.name == "sub"

    assert transcript.next_move(waits) == Dispatch((ADD,))
    transcript.add_result(ToolResult("a", "1"))
    assert transcript.next_move(waits) == Wait((SUB,))


@pytest.mark.parametrize("word", ["approve", "deny"])
def test_a_decided_call_is_dispatched(word: str):
    transcript = Transcript([user("Hi"), said(SUB)])

    getattr(transcript, word)("b")

    assert transcript.next_move(lambda _: True) == Dispatch((SUB,))


def test_a_word_on_a_call_that_does_not_wait_is_refused():
    with pytest.raises(BadTranscript, match="no call 'z' waits; waiting: b"):
        Transcript([user("Hi"), said(SUB)]).approve("z")


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([user("Hi"), said(ADD), user("And?")], "before the results of 'add'"),
        ([user("Hi"), Message("tool", (ToolResult("z", "1"),))], "'z', which was never made"),
        ([user("Hi"), said(ADD), Message("tool", (ToolResult("a", "1"), ToolResult("a", "2")))], "never made|answered twice"),
        ([user("Hi"), said(ADD, SUB), Message("tool", (ToolResult("a", "1"), ToolResult("a", "2")))], "answered twice"),
        ([user("Hi"), said(ADD), Message("tool", (Text("1"),))], "holds no result"),
    ],
)
def test_messages_that_no_model_would_accept_are_refused(messages: list[Message], words: str):
    with pytest.raises(BadTranscript, match=words):
        Transcript(messages)


def test_an_id_that_a_provider_uses_again_is_not_said_back_twice():
    again = ToolCall("call_0_0", "add", provider_id="0")
    transcript = Transcript([user("Hi"), said(again), Message("tool", (ToolResult("call_0_0", "1"),))])

    transcript.add(said(ToolCall("call_1_0", "add", provider_id="0")))

    assert [call.provider_id for message in transcript for call in message.calls] == ["0", None]


def test_a_call_id_that_is_taken_is_replaced():
    transcript = Transcript([user("Hi"), said(ADD), Message("tool", (ToolResult("a", "1"),)), said(ADD)])

    ids = [call.id for message in transcript for call in message.calls]

    assert len(set(ids)) == 2


def test_a_transcript_survives_storage_with_everything_in_it():
    transcript = Transcript(
        [
            user("See", Image(data=b"\x00\xff"), File(url="https://host/a.pdf", name="a.pdf")),
            Message("assistant", (Thinking("hm", State("w", '{"s":1}')), Opaque(State("w", "{}")), Text("Looking."), ADD, SUB)),
            Message("tool", (ToolResult("a", (Text("x"), Image(url="https://host/i.png"))),)),
        ]
    )
    transcript.deny("b", "not today")

    again = Transcript.from_json(transcript.to_json())

    assert again.messages == transcript.messages
    assert again.decisions == transcript.decisions
    assert again.run_id == transcript.run_id
    assert again.next_move() == Dispatch((SUB,))


@pytest.mark.parametrize(
    "data", ["", "[]", '{"format": 2, "run_id": "r", "messages": [], "decisions": {}}', '{"messages": [{"role": "nobody"}]}']
)
def test_what_is_no_stored_transcript_is_refused_with_the_place(data: str):
    with pytest.raises(BadTranscript, match="no stored transcript"):
        Transcript.from_json(data)


def test_a_copy_grows_on_its_own():
    transcript = Transcript([user("Hi")])

    transcript.copy().add(said(Text("Hello")))

    assert len(transcript) == 1


@given(st.lists(st.lists(st.integers(0, 3), max_size=4), max_size=5), st.randoms())
def test_any_order_of_results_leads_to_the_same_transcript(steps: list[list[int]], order):
    def grow(shuffle: bool) -> Transcript:
        transcript = Transcript([user("Hi")], run_id="r")
        for step, count in enumerate(steps):
            calls = [ToolCall(f"c{step}_{index}", "f", json.dumps({"x": x})) for index, x in enumerate(count)]
            transcript.add(said(*calls, Text("t")))
            if shuffle:
                order.shuffle(calls)
            for call in calls:
                transcript.add_result(ToolResult(call.id, call.arguments))
            if not calls:
                transcript.add(user("On"))
        return transcript

    assert grow(shuffle=True).messages == grow(shuffle=False).messages
