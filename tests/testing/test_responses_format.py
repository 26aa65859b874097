"""What the scripted gateway says in Responses."""

from agentloop.messages import Citation, Usage
from agentloop.testing import Gateway, calls, cut, error_inside, malformed, refuses, says, status
from tests.testing.served import asked, events, sent

PATH = "/v1/responses"
HELLO = {"model": "gpt-5", "input": "Hello"}
STREAMED = {**HELLO, "stream": True}
SEALED = {"include": ["reasoning.encrypted_content"], "store": False}


async def both(turn, **settings):
    """Ask for the same turn whole and streamed; the last event must be the whole, and the items on the way its items."""
    whole = (await asked(turn, PATH, {**HELLO, **settings})).json()
    streamed = events(await asked(turn, PATH, {**STREAMED, **settings}))
    assert [event["sequence_number"] for event in streamed] == [*range(len(streamed))]
    assert streamed[-1]["response"] == whole
    assert [event["item"] for event in streamed if event["type"] == "response.output_item.done"] == whole["output"]
    return whole, streamed


def kinds(streamed):
    return [event["type"].removeprefix("response.") for event in streamed]


def spoken(streamed, kind):
    return "".join(event["delta"] for event in streamed if event["type"] == f"response.{kind}.delta")


async def test_words_come_in_the_order_of_the_api():
    whole, streamed = await both(says("Hel", "lo"))

    assert kinds(streamed) == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.delta", "output_text.done",
        "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert streamed[0]["response"]["status"] == "in_progress"
    assert streamed[0]["response"]["output"] == []
    assert streamed[0]["response"]["id"] == whole["id"]
    assert streamed[2]["item"]["content"] == []
    assert spoken(streamed, "output_text") == "Hello"
    assert whole["status"] == "completed"
    assert [(item["type"], item["role"], item["status"]) for item in whole["output"]] == [("message", "assistant", "completed")]
    assert whole["output"][0]["content"] == [{"type": "output_text", "annotations": [], "logprobs": [], "text": "Hello"}]


async def test_thoughts_are_an_item_of_their_own_and_sealed_only_where_that_is_asked_for():
    open_, streamed = await both(says("4.", thinking="two and two"))
    sealed, sealing = await both(says("4.", thinking="two and two"), **SEALED)

    assert [item["type"] for item in open_["output"]] == ["reasoning", "message"]
    assert open_["output"][0]["summary"] == [{"type": "summary_text", "text": "two and two"}]
    assert open_["output"][0]["id"].startswith("rs_")
    assert "encrypted_content" not in open_["output"][0]
    assert spoken(streamed, "reasoning_summary_text") == "two and two"
    assert kinds(streamed)[2:9] == [
        "output_item.added", "reasoning_summary_part.added", *["reasoning_summary_text.delta"] * 3, "reasoning_summary_text.done",
        "reasoning_summary_part.done",
    ]  # fmt: skip
    added = next(event["item"] for event in sealing if event["type"] == "response.output_item.added")
    assert sealed["output"][0]["encrypted_content"] != added["encrypted_content"]


async def test_parallel_calls_are_items_with_two_ids_each():
    whole, streamed = await both(calls("add", a=1) & calls("now"))

    first, second = whole["output"]
    assert (first["type"], first["name"], first["arguments"], first["status"]) == ("function_call", "add", '{"a":1}', "completed")
    assert (second["name"], second["arguments"]) == ("now", "{}")
    assert len({first["id"], first["call_id"], second["id"], second["call_id"]}) == 4
    assert first["id"].startswith("fc_")
    assert first["call_id"].startswith("call_")
    assert whole["status"] == "completed"
    added = [event["item"] for event in streamed if event["type"] == "response.output_item.added"]
    assert [(item["name"], item["arguments"], item["status"]) for item in added] == [("add", "", "in_progress"), ("now", "", "in_progress")]
    deltas = [(event["output_index"], event["delta"]) for event in streamed if event["type"] == "response.function_call_arguments.delta"]
    assert deltas == [(0, '{"'), (0, "a"), (0, '":'), (0, "1"), (0, "}"), (1, "{}")]


async def test_arguments_that_do_not_parse_come_through():
    whole, streamed = await both(calls("add", '{"a":'))

    assert whole["output"][0]["arguments"] == '{"a":'
    assert spoken(streamed, "function_call_arguments") == '{"a":'


async def test_a_search_comes_before_the_words_and_citations_when_their_words_are_said():
    turn = says("Grüße: Ruby 4", " is out.").searching("ruby version").citing(Citation("https://ruby-lang.org", "Ruby", start=7, end=13))

    whole, streamed = await both(turn)

    search, message = whole["output"]
    assert (search["type"], search["status"], search["action"]["query"]) == ("web_search_call", "completed", "ruby version")
    citation = {"type": "url_citation", "start_index": 7, "end_index": 13, "title": "Ruby", "url": "https://ruby-lang.org"}
    assert message["content"][0]["annotations"] == [citation]
    assert kinds(streamed)[3:6] == ["web_search_call.in_progress", "web_search_call.searching", "web_search_call.completed"]
    added = kinds(streamed).index("output_text.annotation.added")
    assert streamed[added]["annotation"] == citation
    assert [streamed[place]["delta"] for place in (added - 1, added + 1)] == ["Grüße: Ruby 4", " is out."]


async def test_a_refusal_is_a_part():
    whole, streamed = await both(refuses("I must not."))

    assert whole["output"][0]["content"] == [{"type": "refusal", "refusal": "I must not."}]
    assert spoken(streamed, "refusal") == "I must not."
    assert "refusal.done" in kinds(streamed)


async def test_a_reply_that_is_cut_says_so():
    whole, streamed = await both(says("and then").ending("length"))
    filtered, _ = await both(says("and then").ending("content_filter"))

    assert kinds(streamed)[-1] == "incomplete"
    assert (whole["status"], whole["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert whole["output"][-1]["status"] == "incomplete"
    assert filtered["incomplete_details"] == {"reason": "content_filter"}


async def test_tokens_are_counted_as_openai_does():
    turn = says("Hi").spending(Usage(input_tokens=10, output_tokens=4, cached_tokens=7, reasoning_tokens=1))

    whole, _ = await both(turn)

    assert whole["usage"] == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 7},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 14,
    }


async def test_what_was_said_is_taken_back_and_nothing_else():
    gateway = Gateway(calls("add", a=1).saying("I add.", thinking="hm"), says("Welcome."))
    asking = {**HELLO, **SEALED, "tools": [{"type": "function", "name": "add", "parameters": {"type": "object", "properties": {}}}]}
    said = (await sent(gateway, PATH, asking)).json()["output"]
    answer = {"type": "function_call_output", "call_id": said[-1]["call_id"], "output": "2"}
    forged = [{**said[0], "summary": [{"type": "summary_text", "text": "hmm"}]}, *said[1:]]

    true, lie = [
        await sent(gateway, PATH, {**asking, "input": [{"role": "user", "content": "1+1?"}, *items, answer]}) for items in (said, forged)
    ]

    assert true.status_code == 200, true.text
    assert lie.status_code == 400
    assert "could not be verified" in lie.json()["error"]["message"]


async def test_what_an_opened_item_shows_is_not_yet_what_can_be_said_back():
    gateway = Gateway(says("4.", thinking="hm"), says("Welcome."))
    streamed = events(await sent(gateway, PATH, {**STREAMED, **SEALED}))
    added, done = [event["item"] for event in streamed if event.get("output_index") == 0 and "item" in event]
    thought = {**done, "encrypted_content": added["encrypted_content"]}
    words = streamed[-1]["response"]["output"][1]

    lie = await sent(gateway, PATH, {**HELLO, "input": [thought, words, {"role": "user", "content": "Thanks"}]})

    assert lie.status_code == 400
    assert lie.json()["error"]["code"] == "invalid_encrypted_content"


async def test_errors_have_openais_shape():
    slow_down = await asked(status(429, retry_after=2), PATH, HELLO)
    inside = events(await asked(error_inside("Broken.", after=2, code="server_error"), PATH, STREAMED))

    assert slow_down.status_code == 429
    assert slow_down.json()["error"]["code"] == "rate_limit_exceeded"
    assert kinds(inside) == ["created", "in_progress", "error", "failed"]
    assert [event["sequence_number"] for event in inside] == [0, 1, 2, 3]
    assert inside[2]["error"]["message"] == "Broken."
    assert inside[3]["response"]["status"] == "failed"
    assert inside[3]["response"]["id"] == inside[0]["response"]["id"]
    assert inside[3]["response"]["error"] == {"code": "server_error", "message": "Broken."}


async def test_an_error_may_come_before_the_first_event():
    inside = events(await asked(error_inside("Broken.", after=0), PATH, STREAMED))

    assert kinds(inside) == ["error", "failed"]


async def test_a_stream_can_be_cut_and_malformed():
    short = await asked(cut(says("Hi"), after=3), PATH, STREAMED)
    nothing = await asked(malformed("no_choices"), PATH, STREAMED)
    nothing_whole = await asked(malformed("no_choices"), PATH, HELLO)

    assert kinds(events(short)) == ["created", "in_progress", "output_item.added"]
    assert events(nothing) == [{"type": "response.completed"}]
    assert nothing_whole.json() == {"object": "response"}
