"""Where models are served, and how they are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentloop import Agent, model
from agentloop.errors import ProviderError
from agentloop.messages import Request, user
from agentloop.models.providers import PROVIDERS
from agentloop.testing import Gateway, says


async def unheard(_: object) -> None:
    pass


@pytest.mark.parametrize(("name", "wire"), [(name, wire) for name, provider in PROVIDERS.items() for wire in provider.wires])
def test_every_provider_encodes_a_request_in_each_of_its_formats(name: str, wire: str):
    outgoing = PROVIDERS[name].wires[wire](f"{name}/{wire}").encode(Request([user("Hello?")]), model="m")

    assert b'"Hello?"' in outgoing.body
    assert json.loads(outgoing.body)
    assert not outgoing.path.startswith("/")
    assert not PROVIDERS[name].base_url.endswith("/")


def test_the_providers_of_the_first_version_are_there():
    named = {
        *[
            "openai",
            "xaix",
            "openrouter",
            "groq",
            "mistral",
            "deepseek",
            "together",
            "xai",
            "ollama",
            "vllm",
            "lmstudio",
            "llamacpp",
            "anthropic",
            "gemini",
        ]
    }

    assert set(named) <= set(PROVIDERS)


async def test_key_and_base_url_come_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    with Gateway(says("Hi"), key="sk-env") as gateway:
        monkeypatch.setenv("OPENAI_BASE_URL", gateway.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-env")

        result = await Agent("openai:gpt-4o").run("Hi")

    assert result.text == "Hi"


async def test_what_is_given_in_code_counts_more_than_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GROQ_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("GROQ_API_KEY", "sk-env")

    with Gateway(says("Hi"), key="sk-code") as gateway:
        result = await Agent(model("groq:llama", base_url=gateway.base_url, key="sk-code")).run("Hi")

    assert result.text == "Hi"


async def test_the_format_may_be_named():
    with Gateway(says("Hi")) as gateway:
        reply = await model("xaix/chat:gpt-4.1", base_url=gateway.base_url).ask(Request([user("Hi")]), unheard)

    assert reply.text == "Hi"
    assert gateway.requests[0].body["model"] == "gpt-4.1"


async def test_a_server_of_ones_own_needs_no_key(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    with Gateway(says("Hi")) as gateway:
        result = await Agent(model("openai:local", base_url=gateway.base_url)).run("Hi")

    assert result.text == "Hi"
    assert "authorization" not in gateway.requests[0].headers


async def test_a_missing_key_is_one_sentence_with_the_variable_and_the_demo(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)

    with pytest.raises(ProviderError, match=r"openai needs a key; set OPENAI_API_KEY, or try `agentloop demo`"):
        await Agent("openai:gpt-4o").run("Hi")


async def test_a_key_with_a_line_break_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary\n")

    with pytest.raises(ProviderError, match="line break") as refused:
        await Agent("openai:gpt-4o").run("Hi")

    assert "canary" not in str(refused.value)


async def test_an_empty_key_is_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "")

    with pytest.raises(ProviderError, match="needs a key"):
        await Agent("openai:gpt-4o").run("Hi")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gpt-4o", "names no provider; write it like 'openai:gpt-4o'"),
        ("openai:", "names no provider"),
        ("opnai:gpt-4o", "did you mean 'openai'"),
        ("nobody:m", "no provider 'nobody'; known: anthropic"),
        ("openai/morse:gpt-4o", "does not speak 'morse'; it speaks: chat, responses"),
    ],
)
def test_a_wrong_name_says_what_would_be_right(name: str, words: str):
    with pytest.raises(ProviderError, match=words):
        Agent(name)


def offer(folder: Path, value: str) -> None:
    about = folder / "acme-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[agentloop.providers]\nacme = {value}\n")


async def test_a_package_offers_a_provider_by_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "acme_row.py").write_text(
        "from agentloop.models.providers import Provider\n"
        "from agentloop.wire.openai_chat import OpenAIChat\n"
        "ROW = Provider('http://acme.invalid/v1', {'chat': lambda origin: OpenAIChat(origin=origin)})\n"
    )
    offer(tmp_path, "acme_row:ROW")

    with Gateway(says("Hello.")) as gateway:
        result = await Agent(model("acme/chat:m", base_url=gateway.base_url)).run("Hi")

    assert result.text == "Hello."


def test_a_package_that_offers_something_else_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(tmp_path)
    offer(tmp_path, "json:dumps")

    with pytest.raises(ProviderError, match="the plugin 'acme' offers <function dumps"):
        model("acme:m")
