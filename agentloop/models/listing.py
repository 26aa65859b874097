"""Which models a provider serves: GET /models, in the three shapes that it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pydantic
from pydantic_core import from_json

from agentloop.errors import BadReply
from agentloop.models.clients import Client
from agentloop.models.decompression import whole
from agentloop.models.patience import Patience
from agentloop.models.providers import server
from agentloop.models.retries import Retries, with_retries
from agentloop.wire import Outgoing
from agentloop.wire.error_bodies import error_from, is_error
from agentloop.wire.lenient import as_list, as_object, as_text

_MOST_PAGES = 100


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model as its provider lists it."""

    name: str
    """What it is asked by, behind the colon of "provider:name"."""
    title: str = ""
    """What people call it, where the provider says."""
    context_tokens: int | None = None
    """The most that it reads, where the provider says."""
    output_tokens: int | None = None
    """The most that it writes, where the provider says."""
    data: Mapping[str, Any] = field(default_factory=dict[str, Any], compare=False, repr=False)
    """The whole entry, as the provider wrote it."""


async def list_models(
    provider: str,
    *,
    base_url: str | None = None,
    key: str | pydantic.SecretStr | None = None,
    client: Client | None = None,
    retries: Retries | None = None,
) -> tuple[ListedModel, ...]:
    """Ask a provider what it serves.

    Args:
        provider: Its name, "openai"; with a format, "xaix/messages", it is asked as that format asks.
        base_url: Where to ask instead.
        key: The provider's key; read from the environment where it is not given.
        client: An `httpx.AsyncClient` or `httpx2.AsyncClient` of your own.
        retries: How often and how patiently it is asked again.

    Raises:
        ProviderError: The provider is unknown, or its key is missing.
        ModelError: It does not answer, or says no.
    """
    place = server(provider, base_url=base_url, key=key, client=client)
    found: list[ListedModel] = []
    page: str | None = ""
    for _ in range(_MOST_PAGES):

        async def attempt(path: str = f"models{page}") -> Mapping[str, Any]:
            return await place.exchange(Outgoing(path, method="GET"), _read)

        budget = await place.retry_budget()
        body = await with_retries(attempt, retries or Retries(), may_repeat=lambda: True, say=_unheard, budget=budget)
        found += _models(body)
        before, page = page, _next_page(body)
        if page in {None, before}:
            break
    return tuple(found)


async def _unheard(_: object) -> None:
    pass


async def _read(response: Any, patience: Patience) -> Mapping[str, Any]:
    content = await patience.wait(whole(response))
    try:
        said = from_json(content)
    except ValueError as error:
        raise BadReply(f"the list of models is no JSON ({error}); check the base URL") from error
    # Together sends the bare list.
    body = {"data": as_list(said)} if as_list(said) else as_object(said)
    # new-api says no with the status 200 and {"success": false}.
    if is_error(body):
        raise error_from(body)
    if "data" not in body and "models" not in body:
        raise BadReply(f"this is no list of models: {content[:200]!r}; check the base URL")
    return body


def _models(body: Mapping[str, Any]) -> Iterator[ListedModel]:
    for entry in as_list(body.get("data") or body.get("models")):
        said = as_object(entry)
        # Gemini names them "models/gemini-...", and OpenAI's field is "id".
        name = as_text(said.get("id") or said.get("name")).removeprefix("models/")
        if name:
            title = as_text(said.get("display_name") or said.get("displayName"))
            yield ListedModel(name, title, _count(said, "context"), _count(said, "output"), said)


def _count(said: Mapping[str, Any], which: str) -> int | None:
    names = {
        "context": ("inputTokenLimit", "max_input_tokens", "context_length", "context_window", "max_context_length", "max_model_len"),
        "output": ("outputTokenLimit", "max_tokens", "max_completion_tokens"),
    }[which]
    return next((said[name] for name in names if isinstance(said.get(name), int)), None)


def _next_page(body: Mapping[str, Any]) -> str | None:
    if body.get("has_more") and body.get("last_id"):
        return f"?after_id={quote(as_text(body['last_id']), safe='')}"
    if token := as_text(body.get("nextPageToken")):
        return f"?pageToken={quote(token, safe='')}"
    return None
