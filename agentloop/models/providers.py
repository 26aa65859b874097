"""Where models are served: a row for each provider."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import pydantic

from agentloop.errors import ProviderError
from agentloop.models.clients import Client, key_needed
from agentloop.models.http import HTTPModel
from agentloop.models.retries import Retries
from agentloop.models.server import Server, Timeouts
from agentloop.wire import Wire
from agentloop.wire.anthropic import AnthropicMessages, MessagesQuirks
from agentloop.wire.gemini import Gemini, GeminiQuirks
from agentloop.wire.openai_chat import OpenAIChat
from agentloop.wire.openai_chat_messages import ChatQuirks, Form
from agentloop.wire.openai_responses import OpenAIResponses, ResponsesQuirks


@dataclass(frozen=True, slots=True)
class Provider:
    """Where models are served, and in which formats."""

    base_url: str
    wires: Mapping[str, Callable[[str], Wire]]
    """The formats it speaks, by name; the first is used where none is named. Each is made for an origin, "openai/chat"."""
    key_variable: str | None = None
    """The environment variable with the key; None where none is needed."""


Wires = dict[str, Callable[[str], Wire]]


def _chat(quirks: ChatQuirks | None = None) -> Wires:
    return {"chat": lambda origin: OpenAIChat(quirks, origin=origin)}


def _responses(quirks: ResponsesQuirks | None = None) -> Wires:
    return {"responses": lambda origin: OpenAIResponses(quirks, origin=origin)}


def _messages(quirks: MessagesQuirks | None = None) -> Wires:
    return {"messages": lambda origin: AnthropicMessages(quirks, origin=origin)}


def _gemini(quirks: GeminiQuirks | None = None) -> Wires:
    return {"gemini": lambda origin: Gemini(quirks, origin=origin)}


def _relayed_form(model: str) -> Form:
    # new-api never tells Claude's models the form, and Google refuses it beside tools before Gemini 3.
    return "words" if "claude" in model else "alone" if re.search(r"gemini-[12]\b", model) else "field"


# Servers on one's own machine keep nothing between requests, and take keys as bearer tokens whatever the format. They have one
# grammar for a reply: a form for the answer would take the place of the tools.
_OWN = ResponsesQuirks(encrypted_thinking=False, strict=False, ids=False, form_beside_tools=False)
_OWN_CHAT = ChatQuirks(empty_content="", strict=False, form="alone")
_OWN_MESSAGES = _messages(MessagesQuirks(bearer=True, native_output=False, strict=False, cache="none", betas=False, unsigned_thinking=True))
_OWN_SERVER = _responses(_OWN) | _OWN_MESSAGES

# An app may add rows of its own; a package offers one by an entry point in the group agentloop.providers.
# The base URLs are complete: some hold /v1, some do not, and nothing is ever appended but the format's path.
PROVIDERS: dict[str, Provider] = {
    "openai": Provider(
        "https://api.openai.com/v1",
        _chat(ChatQuirks(max_tokens_field="max_completion_tokens")) | _responses(),
        "OPENAI_API_KEY",
    ),
    "anthropic": Provider("https://api.anthropic.com/v1", _messages(), "ANTHROPIC_API_KEY"),
    "gemini": Provider("https://generativelanguage.googleapis.com/v1beta", _gemini(), "GEMINI_API_KEY"),
    # new-api re-serialises requests: `strict` is lost on the way, its Claude path refuses the role developer, and it takes turns
    # between accounts, so that no id and no encrypted thought of an earlier reply is known. It takes the key as a bearer token in
    # every format, and Gemini's paths under /v1 as well.
    "xaix": Provider(
        "https://api.xaix.me/v1",
        _chat(ChatQuirks(strict=False, gemini_schemas=True, form=_relayed_form))
        | _responses(ResponsesQuirks(web_search_type="web_search_preview", ids=False, encrypted_thinking=False))
        | _messages(MessagesQuirks(bearer=True, native_output=False, strict=False, cache="blocks", betas=False))
        | _gemini(GeminiQuirks(bearer=True)),
        "XAIX_API_KEY",
    ),
    "openrouter": Provider(
        "https://openrouter.ai/api/v1",
        _chat(ChatQuirks(thinking_field="reasoning_details")) | _responses() | _messages(MessagesQuirks(bearer=True, cache="blocks")),
        "OPENROUTER_API_KEY",
    ),
    # Groq refuses a form for the answer beside tools.
    "groq": Provider(
        "https://api.groq.com/openai/v1",
        _chat(ChatQuirks(form="alone")) | _responses(ResponsesQuirks(encrypted_thinking=False)),
        "GROQ_API_KEY",
    ),
    # Mistral says "any" for required, takes ids of exactly nine letters or digits, refuses null content and stream_options, and lets
    # nobody but the assistant speak behind results.
    "mistral": Provider(
        "https://api.mistral.ai/v1",
        _chat(
            ChatQuirks(
                required_word="any",
                nine_character_ids=True,
                empty_content="",
                stream_usage=False,
                thinking_field="content",
                assistant_after_results=True,
            )
        ),
        "MISTRAL_API_KEY",
    ),
    # DeepSeek answers 400 when the reasoning of a tool run is not said back, and to a schema for the answer.
    "deepseek": Provider(
        "https://api.deepseek.com/v1",
        _chat(ChatQuirks(empty_content="", thinking_field="reasoning_content", strict=False, form="words", thinks_unless_told=True))
        | _responses(ResponsesQuirks(encrypted_thinking=False, strict=False)),
        "DEEPSEEK_API_KEY",
    ),
    "together": Provider("https://api.together.xyz/v1", _chat(ChatQuirks(strict=False)), "TOGETHER_API_KEY"),
    "xai": Provider("https://api.x.ai/v1", _chat() | _responses(), "XAI_API_KEY"),
    "ollama": Provider("http://127.0.0.1:11434/v1", _chat(_OWN_CHAT) | _OWN_SERVER),
    "vllm": Provider("http://127.0.0.1:8000/v1", _chat(replace(_OWN_CHAT, empty_content=None)) | _OWN_SERVER),
    "lmstudio": Provider("http://127.0.0.1:1234/v1", _chat(_OWN_CHAT) | _OWN_SERVER),
    "llamacpp": Provider(
        "http://127.0.0.1:8080/v1",
        _chat(_OWN_CHAT) | _responses(replace(_OWN, form="response_format")) | _OWN_MESSAGES,
    ),
}


def model(
    name: str,
    *,
    base_url: str | None = None,
    key: str | pydantic.SecretStr | None = None,
    client: Client | None = None,
    timeouts: Timeouts | None = None,
    retries: Retries | None = None,
    headers: Mapping[str, str] | None = None,
) -> HTTPModel:
    """Choose a model: "openai:gpt-4o", "ollama:qwen3", or with the format named, "xaix/chat:gpt-4.1".

    Where they are not given, the key and the base URL are read from the environment: `OPENAI_API_KEY` and `OPENAI_BASE_URL` for openai,
    and so on for each provider.

    Args:
        name: The provider, a colon, and what the provider calls the model.
        base_url: Where to ask instead, up to and with the version: "http://127.0.0.1:8080/v1".
        key: The provider's key; never shown in a repr, log or error.
        client: An `httpx.AsyncClient` or `httpx2.AsyncClient` of your own, with its proxies and certificates. It is not closed.
        timeouts: How long each attempt may take.
        retries: How often and how patiently the model is asked again.
        headers: Further headers of each request.

    Raises:
        ProviderError: The provider or the format is unknown, or the name has no colon.
    """
    place, colon, model_name = name.partition(":")
    if not colon or not model_name:
        raise ProviderError(f"{name!r} names no provider; write it like 'openai:{name.strip(':') or 'gpt-4o'}'")
    wire, chosen_url, find_key = _chosen(place, base_url, key)
    return HTTPModel(
        name,
        model=model_name,
        wire=wire,
        base_url=chosen_url,
        key=find_key,
        client=client,
        timeouts=timeouts,
        retries=retries,
        headers=headers,
    )


def server(place: str, *, base_url: str | None = None, key: str | pydantic.SecretStr | None = None, client: Client | None = None) -> Server:
    """Find the server of a provider, "openai" or with the format named "xaix/messages"; the arguments are those of `model`.

    Raises:
        ProviderError: The provider or the format is unknown.
    """
    wire, chosen_url, find_key = _chosen(place, base_url, key)
    return Server(chosen_url, key=find_key, shown=wire.headers, client=client)


def _chosen(
    place: str, base_url: str | None, key: str | pydantic.SecretStr | None
) -> tuple[Wire, str, Callable[[], pydantic.SecretStr | None]]:
    provider_name, _, wire_name = place.partition("/")
    provider = _provider(provider_name)
    chosen_url = base_url or os.environ.get(f"{provider_name.upper()}_BASE_URL") or provider.base_url
    wire = _wire(provider_name, provider, wire_name)
    return wire, chosen_url, _key_finder(provider_name, provider, key, own_server=chosen_url != provider.base_url)


def _provider(name: str) -> Provider:
    if name in PROVIDERS:
        return PROVIDERS[name]
    # Reading what packages offer costs as much to import as all formats; few need it.
    from agentloop import plugins  # noqa: PLC0415 - the reason is above

    offered = [plugin.name for plugin in plugins.installed("agentloop.providers")]
    if name in offered:
        return _checked(plugins.load("agentloop.providers", name), name)
    known = sorted((*PROVIDERS, *offered))
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ProviderError(f"no provider {name!r}; {hint}known: {', '.join(known)}")


def _checked(offered: object, name: str) -> Provider:
    if not isinstance(offered, Provider):
        raise ProviderError(
            f"the plugin {name!r} offers {offered!r:.100} as a provider; it must be a Provider(base_url, wires, key_variable)"
        )
    return offered


def _wire(provider_name: str, provider: Provider, wire_name: str) -> Wire:
    wire_name = wire_name or next(iter(provider.wires))
    if wire_name not in provider.wires:
        raise ProviderError(f"{provider_name} does not speak {wire_name!r}; it speaks: {', '.join(provider.wires)}")
    return provider.wires[wire_name](f"{provider_name}/{wire_name}")


def _key_finder(
    provider_name: str, provider: Provider, given: str | pydantic.SecretStr | None, *, own_server: bool
) -> Callable[[], pydantic.SecretStr | None]:
    variable = provider.key_variable or f"{provider_name.upper()}_API_KEY"

    def find() -> pydantic.SecretStr | None:
        found = given.get_secret_value() if isinstance(given, pydantic.SecretStr) else given or os.environ.get(variable)
        if not found and provider.key_variable and not own_server and key_needed():
            raise ProviderError(
                f"{provider_name} needs a key; set {variable}, or try `agentloop demo`, which needs none",
            )
        if found and not (found.isascii() and found.isprintable() and " " not in found):
            raise ProviderError(f"the key of {provider_name} holds characters that no header can carry; check {variable} for a line break")
        return pydantic.SecretStr(found) if found else None

    return find
