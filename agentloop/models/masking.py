"""Keeps keys out of what people read: in headers and bodies by their names, in words by their values."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import cast

from pydantic_core import from_json

from agentloop.errors import AgentLoopError, ModelHTTPError

MASK = "***"
"""What stands for a secret where people read."""

# Servers on one's own machine take keys like "none", which are words and no secrets.
SHORTEST_SECRET = 8
"""How many characters a secret has at the least."""

_TRANSCRIPTS = ("messages", "input", "contents")
_SECRET_NAMES = ("authorization", "key", "secret", "token", "cookie", "password", "credential")


class MaskedHeaders(dict[str, str]):
    """Headers whose secret values are never printed."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr({name: MASK if _is_secret(name) else value for name, value in self.items()})


class Secrets:
    """What a request shows to its server and to nobody else."""

    def __init__(self, headers: Mapping[str, str], body: bytes = b"") -> None:
        """Keep the headers and the body of a request, to find the secrets among them once something must be masked."""
        self._headers = MaskedHeaders(headers)
        self._body = body

    @cached_property
    def _words(self) -> list[str]:
        values = secret_values(self._headers, self._body)
        # The scheme of "Bearer sk-..." is no secret.
        words = {word for value in values for word in (value, *value.split())}
        return sorted((word for word in words if len(word) >= SHORTEST_SECRET), key=len, reverse=True)

    def masked(self, text: str) -> str:
        """Mask what is secret in the text, also where a cut has left only the beginning of it."""
        for word in self._words:
            if word[:SHORTEST_SECRET] in text:
                for length in range(len(word), SHORTEST_SECRET - 1, -1):
                    text = text.replace(word[:length], MASK)
        return text

    def mask(self, error: AgentLoopError, cause: BaseException) -> None:
        """Mask what a server echoes: in the error, in all that it came from, and in the frames in which that was read."""
        if isinstance(error, ModelHTTPError):
            error.body = self.masked(error.body)
            error.code = error.code and self.masked(error.code)
            error.request_id = error.request_id and self.masked(error.request_id)
        for each in _with_causes(error, cause):
            each.args = tuple(self.masked(word) if isinstance(word, str) else word for word in each.args)
            # Tools that show the local variables of a trace would show what came, and what was sent.
            traceback.clear_frames(each.__traceback__)


def secret_values(headers: Mapping[str, str], body: bytes) -> list[str]:
    """Find the headers and the fields of the body that hold keys, each with its scheme where it has one ("Bearer sk-...")."""
    return [*(value for name, value in headers.items() if _is_secret(name)), *authorizations_in(body)]


def authorizations_in(body: bytes) -> list[str]:
    """Find what the body of a request shows to further servers, the keys of MCP servers above all; a body that is no JSON shows nothing."""
    if b"authorization" not in body.lower():
        return []
    try:
        return [*_authorizations(from_json(body))]
    except ValueError:
        return []


def _authorizations(value: object) -> Iterator[str]:
    match value:
        case dict():
            for name, each in cast("dict[str, object]", value).items():
                if isinstance(each, str) and "authorization" in name.lower():
                    yield each
                # What was said is words, whatever it is called there.
                elif name not in _TRANSCRIPTS:
                    yield from _authorizations(each)
        case list():
            for each in cast("list[object]", value):
                yield from _authorizations(each)
        case _:
            return


def _with_causes(*errors: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    left = [*errors]
    while left:
        error = left.pop()
        if error is not None and error not in found:
            found.append(error)
            left += [error.__cause__, error.__context__]
    return found


def _is_secret(name: str) -> bool:
    lowered = name.lower()
    return any(word in lowered for word in _SECRET_NAMES)
