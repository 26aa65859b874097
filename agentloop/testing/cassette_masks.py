"""Keeps keys out of what is recorded."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

import httpx

from agentloop.models.masking import MASK, SHORTEST_SECRET, secret_values

Redact = Callable[[str], str]
"""Changes the text of a body before it is kept, and of each request before it is compared with what was kept."""

KEY_PARAMETERS = frozenset({"access_token", "api_key", "key"})
"""The names under which a key stands in a URL."""

_END_OF_EVENT = re.compile(r"(?<=\n\n)|(?<=\r\n\r\n)")


def secrets_of(request: httpx.Request) -> Sequence[str]:
    """Find the keys that the request shows in its headers, its address and its body, the longest first."""
    found = {secret for secret in _shown(request) if len(secret) >= SHORTEST_SECRET}
    return sorted(found, key=len, reverse=True)


def masked(text: str, secrets: Iterable[str]) -> str:
    """Mask each secret, however it is escaped."""
    for secret in secrets:
        text = re.sub("".join(map(_spellings, secret)), MASK, text)
    return text


def masked_url(url: httpx.URL, secrets: Iterable[str]) -> str:
    """Mask the keys of an address; who asks is left out."""
    names = "|".join(sorted(KEY_PARAMETERS))
    return masked(re.sub(f"([?&](?:{names})=)[^&#]*", rf"\1{MASK}", str(url.copy_with(userinfo=b""))), secrets)


def masked_chunks(chunks: Sequence[bytes], secrets: Iterable[str], *, redact: Redact) -> Sequence[bytes]:
    """Mask a body as a whole, so that no secret hides across two chunks; one that holds none keeps its chunks.

    Where something was masked, each event of the body is a chunk.
    """
    text = b"".join(chunks).decode("utf-8", "surrogateescape")
    clean = redact(masked(text, secrets))
    if clean == text:
        return chunks
    return [event.encode("utf-8", "surrogateescape") for event in _END_OF_EVENT.split(clean) if event]


def _spellings(character: str) -> str:
    """Match the character as it is, and as JSON and URLs escape it."""
    code = ord(character)
    escaped = "" if character.isalnum() else rf"\\{re.escape(character)}|"
    return rf"(?:{re.escape(character)}|{escaped}(?i:\\u{code:04x}|%{code:02x}))"


def _shown(request: httpx.Request) -> Iterator[str]:
    for value in secret_values(request.headers, request.content):
        yield value
        # Behind the scheme, as in "Bearer sk-...".
        yield value.partition(" ")[2]
    for name, value in request.url.params.multi_items():
        if name in KEY_PARAMETERS:
            yield value
    yield request.url.password
