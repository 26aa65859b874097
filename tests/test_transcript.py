"""What has been said decides what must happen next."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentloop.errors import BadTranscript, ConfigurationError
from agentloop.messages import File, Image, Message, Opaque, State, Text, Thinking, ToolCall, ToolResult, user
from agentloop.transcript import Ask, Decision, Dispatch, Done, Question, Transcript, Wait

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


ASKED = Question("approval", "f1")


def test_calls_that_were_asked_about_wait_until_somebody_has_spoken():
    transcript = Transcript([user("Hi"), said(ADD, SUB)])

    assert transcript.waiting == ()
    transcript.pose("b", ASKED)
    assert transcript.waiting == (SUB,)
    transcript.deny("b")
    assert transcript.waiting == ()


def test_an_approval_holds_for_what_was_asked_when_it_was_given():
    transcript = Transcript([user("Hi"), said(SUB)])
    transcript.pose("b", ASKED)

    transcript.approve("b")

    assert transcript.decisions == {"b": Decision("approved", fingerprint="f1")}


def test_asking_again_voids_what_was_decided():
    transcript = Transcript([user("Hi"), said(SUB)])
    transcript.pose("b", ASKED)
    transcript.approve("b")

    transcript.pose("b", Question("approval", "f2"))

    assert transcript.decisions == {}
    assert transcript.waiting == (SUB,)


def test_a_call_that_no_run_has_asked_about_cannot_be_approved():
    transcript = Transcript([user("Hi"), said(SUB)])

    with pytest.raises(BadTranscript, match="no run has asked about the call 'b' yet; resume the run"):
        transcript.approve("b")

    assert transcript.decisions == {}


@pytest.mark.parametrize("word", ["approve", "deny", "answer"])
@pytest.mark.parametrize("call_id", ["z", "a"])
def test_a_word_on_a_call_that_does_not_wait_is_refused(word: str, call_id: str):
    transcript = Transcript([user("Hi"), said(ADD, SUB)])
    transcript.pose("a", ASKED)
    transcript.add_result(ToolResult("a", "1"))

    with pytest.raises(BadTranscript, match=f"no call '{call_id}' waits; waiting: a, b"):
        getattr(transcript, word)(call_id, *["1"] * (word == "answer"))


@pytest.mark.parametrize(
    ("result", "content"),
    [
        ("word", "word"),
        ("", ""),
        ([], "[]"),
        (None, "null"),
        ({"a": [1, 2.5, True]}, '{"a":[1,2.5,true]}'),
        (Text("word"), (Text("word"),)),
        ([Text("word"), Image(url="https://host/i.png")], (Text("word"), Image(url="https://host/i.png"))),
        (ToolResult("other", "failed", is_error=True), "failed"),
        ("half \ud800 pair", "half \ufffd pair"),
        ("\ud83d\ude00", "\U0001f600"),
    ],
)
def test_an_answer_is_written_down_when_it_is_given(result: object, content: object):
    transcript = Transcript([user("Hi"), said(SUB)])

    transcript.answer("b", result)
    again = Transcript.from_json(transcript.to_json())

    written = again.decisions["b"].result
    assert written is not None
    assert (written.call_id, written.content) == ("b", content)


def test_what_happens_to_an_answer_later_changes_nothing():
    transcript = Transcript([user("Hi"), said(SUB)])
    answer = {"price": 1}

    transcript.answer("b", answer)
    answer["price"] = 2

    assert transcript.decisions["b"].result == ToolResult("b", '{"price":1}')


def test_an_answer_that_json_cannot_say_is_refused_at_once():
    with pytest.raises(ConfigurationError, match="the result of the call 'b' cannot be written as JSON"):
        Transcript([user("Hi"), said(SUB)]).answer("b", object())


@pytest.mark.parametrize(
    ("arguments", "written"),
    [({"x": 2}, '{"x":2}'), ({"x": 1}, None), ({"x": True}, '{"x":true}'), ({}, "{}"), (None, None)],
)
def test_other_arguments_are_written_down_with_the_approval(arguments: dict[str, int] | None, written: str | None):
    transcript = Transcript([user("Hi"), said(ADD)])
    transcript.pose("a", ASKED)

    transcript.approve("a", arguments=arguments)

    assert transcript.decisions["a"].arguments == written
    assert transcript.messages[-1].calls == (ADD,)


def test_arguments_that_json_cannot_say_are_refused_at_once():
    transcript = Transcript([user("Hi"), said(ADD)])
    transcript.pose("a", ASKED)

    with pytest.raises(ConfigurationError, match="the arguments for the call 'a' cannot be written as JSON"):
        transcript.approve("a", arguments={"x": object()})


@pytest.mark.fault(146)
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


@pytest.mark.fault(68)
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
    transcript.pose("b", Question("approval", "f1", "Changed."))
    transcript.approve("b", arguments={"x": 7})

    again = Transcript.from_json(transcript.to_json())

    assert again.messages == transcript.messages
    assert again.decisions == transcript.decisions == {"b": Decision("approved", arguments='{"x":7}', fingerprint="f1")}
    assert again.questions == transcript.questions == {"b": Question("approval", "f1", "Changed.")}
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


def test_a_copy_is_decided_on_its_own():
    transcript = Transcript([user("Hi"), said(SUB)])
    transcript.pose("b", ASKED)

    copy = transcript.copy()
    copy.approve("b")

    assert copy.waiting == ()
    assert transcript.waiting == (SUB,)


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
