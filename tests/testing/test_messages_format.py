"""What the scripted gateway says in Anthropic's Messages."""

import copy
import json

from agentloop.messages import Citation, Usage
from agentloop.testing import Gateway, calls, cut, error_inside, malformed, refuses, says, status
from tests.testing.served import asked, events, sent

PATH = "/v1/messages"
HELLO = {"model": "claude-sonnet-4-5", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}
STREAMED = {**HELLO, "stream": True}


async def both(turn):
    """Ask for the same turn whole and streamed, and put the stream together as Anthropic says one must."""
    whole = (await asked(turn, PATH, HELLO)).json()
    streamed = events(await asked(turn, PATH, STREAMED))
    return whole, streamed, assembled(streamed)


def assembled(streamed):
    first, *rest = copy.deepcopy(streamed)
    message, texts = first["message"], {}
    for event in rest:
        match event:
            case {"type": "content_block_start", "index": index, "content_block": block}:
                assert index == len(message["content"])
                message["content"].append(block)
            case {"type": "content_block_delta", "index": index, "delta": {"type": "input_json_delta", "partial_json": piece}}:
                texts[index] = texts.get(index, "") + piece
            case {"type": "content_block_delta", "index": index, "delta": {"type": "citations_delta", "citation": citation}}:
                message["content"][index]["citations"].append(citation)
            case {"type": "content_block_delta", "index": index, "delta": delta}:
                name = delta["type"].removesuffix("_delta")
                message["content"][index][name] += delta[name]
            case {"type": "content_block_stop", "index": index} if index in texts:
                message["content"][index]["input"] = json.loads(texts[index] or "{}")
            case {"type": "message_delta", "delta": delta, "usage": usage}:
                message |= {**delta, "usage": message["usage"] | usage}
    return message


async def test_words_come_in_the_order_of_the_api():
    whole, streamed, put_together = await both(says("Hel", "lo"))

    assert [event["type"] for event in streamed] == [
        "message_start", "ping", "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop",
        "message_delta", "message_stop",
    ]  # fmt: skip
    assert streamed[0]["message"]["content"] == []
    assert streamed[0]["message"]["stop_reason"] is None
    assert whole["content"] == [{"type": "text", "text": "Hello"}]
    assert (whole["type"], whole["role"], whole["model"], whole["stop_reason"]) == ("message", "assistant", "claude-sonnet-4-5", "end_turn")
    assert put_together == whole


async def test_thoughts_come_first_and_are_signed():
    whole, streamed, put_together = await both(calls("add", a=1).saying("I add.", thinking="two and two"))

    assert [block["type"] for block in whole["content"]] == ["thinking", "text", "tool_use"]
    assert whole["content"][0]["thinking"] == "two and two"
    assert whole["content"][0]["signature"]
    signing = next(number for number, event in enumerate(streamed) if event.get("delta", {}).get("type") == "signature_delta")
    assert streamed[signing + 1] == {"type": "content_block_stop", "index": 0}
    assert put_together == whole


async def test_parallel_calls_are_blocks_of_their_own():
    whole, streamed, put_together = await both(calls("add", a=1) & calls("now"))

    first, second = whole["content"]
    assert (first["type"], first["name"], first["input"]) == ("tool_use", "add", {"a": 1})
    assert (second["name"], second["input"]) == ("now", {})
    assert first["id"] != second["id"]
    assert first["id"].startswith("toolu_")
    assert whole["stop_reason"] == "tool_use"
    pieces = [event["delta"]["partial_json"] for event in streamed if event["type"] == "content_block_delta"]
    assert pieces == ["", '{"', "a", '":', "1", "}", ""]
    assert put_together == whole


async def test_arguments_that_do_not_parse_come_through_in_a_stream_only():
    whole = (await asked(calls("add", '{"a":'), PATH, HELLO)).json()
    streamed = events(await asked(calls("add", '{"a":'), PATH, STREAMED))

    assert whole["content"][0]["input"] == {}
    assert "".join(event["delta"]["partial_json"] for event in streamed if event["type"] == "content_block_delta") == '{"a":'


async def test_a_search_and_its_citations_are_blocks():
    turn = says("Grüße: Ruby 4 is ", "out.").searching("ruby version").citing(Citation("https://ruby-lang.org", "Ruby", start=7, end=13))

    whole, _, put_together = await both(turn)

    use, found, before, cited, after = whole["content"]
    assert (use["type"], use["name"], use["input"]) == ("server_tool_use", "web_search", {"query": "ruby version"})
    assert (found["type"], found["tool_use_id"]) == ("web_search_tool_result", use["id"])
    assert [(page["url"], page["title"]) for page in found["content"]] == [("https://ruby-lang.org", "Ruby")]
    assert before == {"type": "text", "text": "Grüße: "}
    assert cited["text"] == "Ruby 4"
    assert [(each["type"], each["url"], each["title"], each["cited_text"]) for each in cited["citations"]] == [
        ("web_search_result_location", "https://ruby-lang.org", "Ruby", "Ruby 4")
    ]
    assert after == {"type": "text", "text": " is out."}
    assert whole["usage"]["server_tool_use"]["web_search_requests"] == 1
    assert put_together == whole


async def test_a_refusal_has_no_content():
    whole, streamed, put_together = await both(refuses("I must not."))

    assert whole["content"] == []
    assert whole["stop_reason"] == "refusal"
    assert whole["stop_details"]["explanation"] == "I must not."
    assert [event["type"] for event in streamed] == ["message_start", "ping", "message_delta", "message_stop"]
    assert put_together == whole


async def test_a_reply_that_is_cut_says_so():
    whole, _, put_together = await both(says("and then").ending("length"))
    filtered, _, _ = await both(says("and then").ending("content_filter"))

    assert whole["stop_reason"] == "max_tokens"
    assert put_together == whole
    assert filtered["stop_reason"] == "refusal"


async def test_tokens_from_the_cache_are_counted_apart():
    turn = says("Hi").spending(Usage(input_tokens=10, output_tokens=4, cached_tokens=7, reasoning_tokens=1))

    whole, _, put_together = await both(turn)

    assert whole["usage"] == {
        "input_tokens": 3,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 7,
        "output_tokens": 4,
        "output_tokens_details": {"thinking_tokens": 1},
    }
    assert put_together["usage"] == whole["usage"]


async def test_what_was_said_is_taken_back_and_nothing_else():
    turn = says("Ruby 4 is out.", thinking="hm").searching("ruby").citing(Citation("https://ruby-lang.org", "Ruby", start=0, end=6))
    gateway = Gateway(turn, says("Welcome."), says("Welcome."))
    said = (await sent(gateway, PATH, HELLO)).json()["content"]
    answer = {"role": "user", "content": "Thanks"}
    forged = [{**said[0], "thinking": "hmm"}, *said[1:]]
    moved = [*said[:-2], {**said[-2], "citations": [{**said[-2]["citations"][0], "url": "https://else.where"}]}, said[-1]]

    true, *lies = [
        await sent(gateway, PATH, {**HELLO, "messages": [*HELLO["messages"], {"role": "assistant", "content": content}, answer]})
        for content in (said, forged, moved)
    ]

    assert true.status_code == 200, true.text
    assert [lie.status_code for lie in lies] == [400, 400]
    assert "Invalid `signature`" in lies[0].json()["error"]["message"]
    assert "Invalid `encrypted_index`" in lies[1].json()["error"]["message"]


async def test_errors_have_anthropics_shape():
    slow_down = await asked(status(429, retry_after=2), PATH, HELLO)
    overloaded = await asked(status(529), PATH, HELLO)
    inside = events(await asked(error_inside("Overloaded", code="overloaded_error", after=2), PATH, STREAMED))

    assert slow_down.status_code == 429
    assert slow_down.headers["retry-after"] == "2"
    assert slow_down.json()["type"] == "error"
    assert slow_down.json()["error"] == {"type": "rate_limit_error", "message": "Too many requests."}
    assert overloaded.json()["error"]["type"] == "overloaded_error"
    assert [event["type"] for event in inside] == ["message_start", "ping", "error"]
    assert inside[-1]["error"] == {"type": "overloaded_error", "message": "Overloaded"}


async def test_a_stream_can_be_cut_and_malformed():
    short = await asked(cut(says("Hi"), after=3), PATH, STREAMED)
    nothing = await asked(malformed("no_choices"), PATH, STREAMED)
    nothing_whole = await asked(malformed("no_choices"), PATH, HELLO)
    half = await asked(malformed("cut_json", after=1), PATH, STREAMED)

    assert [event["type"] for event in events(short)] == ["message_start", "ping", "content_block_start"]
    assert events(nothing) == [{"type": "message_stop"}]
    assert nothing_whole.json() == {"type": "message"}
    assert half.text.split("\n\n")[1] == 'event: ping\ndata: {"type"'
