"""What the scripted gateway does alike for all formats: its paths, its keys, its lists of models, its turns."""

import httpx
import pytest

from agentloop.deltas import PartDelta
from agentloop.messages import Citation
from agentloop.testing import Gateway, says
from tests.testing.served import asked, sent

HELLO = [{"role": "user", "content": "Hello"}]
BODIES = {
    "/v1/chat/completions": {"model": "m", "messages": HELLO},
    "/v1/responses": {"model": "m", "input": "Hello"},
    "/v1/messages": {"model": "m", "max_tokens": 9, "messages": HELLO},
    "/v1beta/models/m:generateContent": {"contents": [{"parts": [{"text": "Hello"}]}]},
    "/v1/models/m:generateContent": {"contents": [{"parts": [{"text": "Hello"}]}]},
}
SHOWN = {
    "authorization": {
        "/v1/chat/completions",
        "/v1/responses",
        "/v1/messages",
        "/v1beta/models/m:generateContent",
        "/v1/models/m:generateContent",
    },
    "x_api_key": {"/v1/messages", "/v1/models/m:generateContent"},
    "x_goog_api_key": {"/v1beta/models/m:generateContent", "/v1/models/m:generateContent"},
}
RUBY = Citation("https://ruby-lang.org", "Ruby", start=0, end=4)


async def listed(gateway, url, **headers):
    async with httpx.AsyncClient(transport=gateway.transport(), base_url="http://gateway", timeout=5) as client:
        answer = await client.get(url, headers={name.replace("_", "-"): value for name, value in headers.items()})
    return answer.json()


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("header", SHOWN)
async def test_a_key_is_taken_from_where_the_provider_takes_it(header, path):
    gateway = Gateway(says("Hi"), key="secret")
    shown = {header: "Bearer secret" if header == "authorization" else "secret"}

    answer = await sent(gateway, path, BODIES[path], **shown)

    assert (answer.status_code == 200) is (path in SHOWN[header])


async def test_google_also_takes_a_key_in_the_address_and_calls_a_wrong_one_an_invalid_argument():
    path = "/v1beta/models/m:generateContent"
    gateway = Gateway(says("Hi"), key="secret")

    right = await sent(gateway, f"{path}?key=secret", BODIES[path])
    wrong = await sent(gateway, f"{path}?key=public", BODIES[path])

    assert (right.status_code, wrong.status_code) == (200, 400)
    assert wrong.json()["error"]["details"][0]["reason"] == "API_KEY_INVALID"


async def test_anthropics_words_for_a_wrong_key():
    answer = await sent(Gateway(says("Hi"), key="secret"), "/v1/messages", BODIES["/v1/messages"], x_api_key="public")

    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "authentication_error"


async def test_models_are_listed_the_way_of_whoever_asks():
    gateway = Gateway(models=("a", "b"))

    openai = await listed(gateway, "/v1/models")
    anthropic = await listed(gateway, "/v1/models", x_api_key="any", anthropic_version="2023-06-01")
    google = await listed(gateway, "/v1beta/models")

    assert [model["id"] for model in openai["data"]] == ["a", "b"]
    assert [(model["type"], model["id"]) for model in anthropic["data"]] == [("model", "a"), ("model", "b")]
    assert (anthropic["has_more"], anthropic["first_id"], anthropic["last_id"]) == (False, "a", "b")
    assert [model["name"] for model in google["models"]] == ["models/a", "models/b"]
    assert google["models"][0]["supportedGenerationMethods"] == ["generateContent", "countTokens"]
    assert "nextPageToken" not in google


async def test_lists_of_models_have_pages():
    gateway = Gateway(models=("a", "b", "c"))
    version = {"x_api_key": "any", "anthropic_version": "2023-06-01"}

    first = await listed(gateway, "/v1/models?limit=2", **version)
    second = await listed(gateway, f"/v1/models?limit=2&after_id={first['last_id']}", **version)
    third = await listed(gateway, "/v1beta/models?pageSize=2")
    odd = await listed(gateway, "/v1/models?limit=many", **version)
    fourth = await listed(gateway, f"/v1beta/models?pageSize=2&pageToken={third['nextPageToken']}")

    assert ([model["id"] for model in first["data"]], first["has_more"]) == (["a", "b"], True)
    assert ([model["id"] for model in second["data"]], second["has_more"]) == (["c"], False)
    assert [model["name"] for model in third["models"]] == ["models/a", "models/b"]
    assert [model["name"] for model in fourth["models"]] == ["models/c"]
    assert "nextPageToken" not in fourth
    assert len(odd["data"]) == 3


async def test_one_model_is_described_the_way_of_whoever_asks():
    gateway = Gateway(models=("a",))

    anthropic = await listed(gateway, "/v1/models/a", x_api_key="any", anthropic_version="2023-06-01")
    google = await listed(gateway, "/v1beta/models/a")
    unknown = await listed(gateway, "/v1beta/models/b")

    assert (anthropic["type"], anthropic["id"]) == ("model", "a")
    assert google["name"] == "models/a"
    assert unknown["error"]["status"] == "NOT_FOUND"


async def test_citations_come_with_a_chat_message_and_in_its_stream():
    turn = says("Ruby is out.").searching("ruby").citing(RUBY)
    annotation = {
        "type": "url_citation",
        "url_citation": {"start_index": 0, "end_index": 4, "title": "Ruby", "url": "https://ruby-lang.org"},
    }

    whole = (await asked(turn, "/v1/chat/completions", BODIES["/v1/chat/completions"])).json()
    streamed = (await asked(turn, "/v1/chat/completions", {**BODIES["/v1/chat/completions"], "stream": True})).text

    assert whole["choices"][0]["message"]["annotations"] == [annotation]
    assert streamed.count('"url_citation":{') == 1
    assert streamed.index('"out."') < streamed.index('"annotations"') < streamed.index('"finish_reason":"stop"')


def test_citations_move_with_their_words_when_turns_are_joined():
    joined = says("Look: ") & says("Ruby is out.").citing(RUBY, Citation("https://all.of.it"))

    first, second = joined.citations
    assert "".join(joined.text)[first.start : first.end] == "Ruby"
    assert (second.start, second.end) == (0, 0)


def test_a_citation_of_words_that_are_not_said_is_refused():
    with pytest.raises(ValueError, match="cites \\[0:4\\] of 2 characters of text; say the text first"):
        says("Hi").citing(RUBY)


def test_a_scripted_model_cites_behind_its_words():
    deltas = [*says("Ruby is out.").citing(RUBY).deltas()]

    assert deltas[-2] == PartDelta(RUBY)


def test_passages_are_cut_where_citations_begin_and_end():
    turn = says("Ruby is ", "out.").citing(RUBY, Citation("https://all.of.it"))

    passages = [(passage.pieces, [citation.url for citation in passage.citations]) for passage in turn.passages]

    assert passages == [
        (("Ruby",), ["https://ruby-lang.org", "https://all.of.it"]),
        ((" is ", "out."), ["https://all.of.it"]),
    ]


async def test_two_runs_of_a_script_are_alike_in_every_format():
    for path, body in BODIES.items():
        first = await asked(says("Hi", thinking="hm"), path, body)
        second = await asked(says("Hi", thinking="hm"), path, body)

        assert first.content == second.content
