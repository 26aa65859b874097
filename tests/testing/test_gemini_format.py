"""What the scripted gateway says in Gemini's generateContent."""

from agentloop.messages import Citation, Usage
from agentloop.testing import Gateway, calls, cut, error_inside, malformed, refuses, says, status
from tests.testing.served import asked, events, sent

MODEL = "/v1beta/models/gemini-3-flash"
WHOLE, STREAM = f"{MODEL}:generateContent", f"{MODEL}:streamGenerateContent?alt=sse"
HELLO = {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}


async def both(turn):
    """Ask for the same turn whole and streamed; apart from the cuts in the words, both must say the same."""
    whole = (await asked(turn, WHOLE, HELLO)).json()
    streamed = events(await asked(turn, STREAM, HELLO))
    first, last = whole["candidates"][0], streamed[-1]["candidates"][0]
    assert joined(said(streamed)) == joined(said([whole]))
    assert last["finishReason"] == first["finishReason"]
    assert last.get("groundingMetadata") == first.get("groundingMetadata")
    assert streamed[-1]["usageMetadata"] == whole["usageMetadata"]
    assert all("finishReason" not in chunk["candidates"][0] for chunk in streamed[:-1])
    return whole, streamed


def said(chunks):
    return [part for chunk in chunks for part in chunk["candidates"][0].get("content", {}).get("parts", [])]


def joined(parts):
    """Join pieces of text as a reader of a stream does; a signature counts for the words it stands behind."""
    whole = []
    for part in parts:
        if whole and "text" in part and "text" in whole[-1] and part.get("thought") == whole[-1].get("thought"):
            whole[-1] = {**whole[-1], **part, "text": whole[-1]["text"] + part["text"]}
        elif part != {"text": ""}:
            whole.append(part)
    return whole


async def test_words_come_in_chunks():
    whole, streamed = await both(says("Hel", "lo"))

    assert whole["candidates"] == [{"content": {"parts": [{"text": "Hello"}], "role": "model"}, "finishReason": "STOP", "index": 0}]
    assert whole["modelVersion"] == "gemini-3-flash"
    assert said(streamed) == [{"text": "Hel"}, {"text": "lo"}, {"text": ""}]
    assert {chunk["responseId"] for chunk in streamed} == {whole["responseId"]}


async def test_a_stream_without_alt_sse_is_one_array():
    answer = await asked(says("Hel", "lo"), f"{MODEL}:streamGenerateContent", HELLO)

    assert answer.headers["content-type"].startswith("application/json")
    assert said(answer.json()) == [{"text": "Hel"}, {"text": "lo"}, {"text": ""}]


async def test_thoughts_are_parts_and_the_words_behind_them_are_signed():
    whole, streamed = await both(says("It is 4.", thinking="two and two"))

    thought, words = said([whole])
    assert thought == {"text": "two and two", "thought": True}
    assert words["text"] == "It is 4."
    assert said(streamed)[-1] == {"text": "", "thoughtSignature": words["thoughtSignature"]}


async def test_of_parallel_calls_only_the_first_is_signed():
    whole, streamed = await both((calls("add", a=1) & calls("now")).saying("I add.", thinking="hm"))

    thought, words, first, second = said([whole])
    assert thought["thought"]
    assert words == {"text": "I add."}
    assert (first["functionCall"]["name"], first["functionCall"]["args"]) == ("add", {"a": 1})
    assert (second["functionCall"]["name"], second["functionCall"]["args"]) == ("now", {})
    assert first["functionCall"]["id"] != second["functionCall"]["id"]
    assert "thoughtSignature" in first
    assert "thoughtSignature" not in second
    assert whole["candidates"][0]["finishReason"] == "STOP"
    assert [part["functionCall"]["name"] for part in said(streamed) if "functionCall" in part] == ["add", "now"]


async def test_older_models_give_calls_no_id():
    answer = await asked(calls("add", a=1), "/v1/models/gemini-2.5-flash:generateContent", HELLO)

    assert said([answer.json()])[0]["functionCall"] == {"name": "add", "args": {"a": 1}}


async def test_arguments_that_do_not_parse_become_an_empty_object():
    whole, _ = await both(calls("add", '{"a":'))

    assert said([whole])[0]["functionCall"]["args"] == {}


async def test_citations_are_counted_in_bytes():
    turn = says("Grüße: Ruby 4 is out.").searching("ruby version")
    url = "https://ruby-lang.org"

    whole, _ = await both(turn.citing(Citation(url, "Ruby", start=7, end=13), Citation(url, "Ruby", start=0, end=5)))

    grounding = whole["candidates"][0]["groundingMetadata"]
    assert grounding["webSearchQueries"] == ["ruby version"]
    assert grounding["groundingChunks"] == [{"web": {"uri": url, "title": "Ruby"}}]
    assert grounding["groundingSupports"] == [
        {"segment": {"startIndex": 9, "endIndex": 15, "text": "Ruby 4"}, "groundingChunkIndices": [0]},
        {"segment": {"endIndex": 7, "text": "Grüße"}, "groundingChunkIndices": [0]},
    ]


async def test_a_refusal_has_no_content():
    whole, streamed = await both(refuses("I must not."))

    assert whole["candidates"][0]["finishReason"] == "SAFETY"
    assert "content" not in whole["candidates"][0]
    assert len(streamed) == 1


async def test_a_reply_that_is_cut_says_so():
    whole, _ = await both(says("and then").ending("length"))
    filtered, _ = await both(says("and then").ending("content_filter"))

    assert whole["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert said([whole]) == [{"text": "and then"}]
    assert filtered["candidates"][0]["finishReason"] == "SAFETY"


async def test_tokens_of_thoughts_are_counted_apart():
    turn = says("Hi").spending(Usage(input_tokens=10, output_tokens=4, cached_tokens=7, reasoning_tokens=1))

    whole, _ = await both(turn)

    assert whole["usageMetadata"] == {
        "promptTokenCount": 10,
        "cachedContentTokenCount": 7,
        "candidatesTokenCount": 3,
        "thoughtsTokenCount": 1,
        "totalTokenCount": 14,
        "serviceTier": "standard",
    }


async def test_what_was_said_is_taken_back_and_nothing_else():
    gateway = Gateway(calls("add", a=1, b=2).saying("I add.", thinking="hm"), says("3"), says("3"))
    said_ = (await sent(gateway, WHOLE, HELLO)).json()["candidates"][0]["content"]
    *before, call = said_["parts"]
    answer = {"role": "user", "parts": [{"functionResponse": {"name": "add", "response": {"result": 3}}}]}
    turned = {**call, "functionCall": {**call["functionCall"], "args": {"b": 2, "a": 1}}}
    forged = {**call, "functionCall": {**call["functionCall"], "args": {"a": 1}}}

    true, also_true, lie = [
        await sent(gateway, WHOLE, {"contents": [*HELLO["contents"], {"role": "model", "parts": [*before, part]}, answer]})
        for part in (call, turned, forged)
    ]

    assert true.status_code == 200, true.text
    assert also_true.status_code == 200, also_true.text
    assert lie.status_code == 400
    assert "Thought signature is not valid" in lie.json()["error"]["message"]


async def test_errors_have_googles_shape():
    slow_down = await asked(status(429, retry_after=2), WHOLE, HELLO)
    inside = events(await asked(error_inside("Broken."), STREAM, HELLO))

    assert slow_down.status_code == 429
    error = slow_down.json()["error"]
    assert (error["code"], error["status"], error["message"]) == (429, "RESOURCE_EXHAUSTED", "Too many requests.")
    assert error["details"][0]["retryDelay"] == "2s"
    assert inside[-1] == {"error": {"code": 500, "message": "Broken.", "status": "INTERNAL"}}
    assert len(inside) == 2


async def test_a_stream_can_be_cut_and_malformed():
    short = events(await asked(cut(says("Hel", "lo"), after=2), STREAM, HELLO))
    nothing = await asked(malformed("no_choices"), STREAM, HELLO)
    half = await asked(cut(says("Hel", "lo")), f"{MODEL}:streamGenerateContent", HELLO)

    assert said(short) == [{"text": "Hel"}, {"text": "lo"}]
    assert events(nothing) == [{}]
    assert half.text.startswith('[{"candidates":')
    assert not half.text.endswith("]")
