"""What a cassette holds, and the file it is kept in."""

from __future__ import annotations

import json
import os
import tempfile
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import pydantic

from agentloop.errors import ConfigurationError

RECORD_AGAIN = "record it again with record=True, or with `pytest --record-cassettes`"


def _bytes_of(kept: Any) -> Any:
    match kept:
        case str():
            return kept.encode()
        case {"base64": str(text)}:
            return b64decode(text, validate=True)
        case _:
            return kept


def _readable(chunk: bytes) -> str | dict[str, str]:
    try:
        return chunk.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(chunk).decode()}


Chunk = Annotated[bytes, pydantic.BeforeValidator(_bytes_of), pydantic.PlainSerializer(_readable)]
"""Bytes that came at once; text in the file, or {"base64": ...} where they are no text of their own."""


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """What was asked, without its headers."""

    method: str
    url: str
    body: Any
    """A JSON object or list as a value, anything else as text; None where there was none."""


@dataclass(frozen=True, slots=True)
class RecordedResponse:
    """What came back, piece by piece."""

    status: int | None
    """None where the end came before it."""
    headers: Mapping[str, str]
    """Those that say how the body is read, when to ask again, and what to quote to the provider."""
    chunks: tuple[Chunk, ...]
    end: str
    """"whole"; "left" where the one who asked took no more, or ran out of patience; or the name of httpx's error."""
    reason: str = ""
    """The words of that error."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its response."""

    request: RecordedRequest
    response: RecordedResponse


@dataclass(frozen=True, slots=True)
class _Document:
    format: Literal[1]
    exchanges: tuple[Exchange, ...]


_DOCUMENT = pydantic.TypeAdapter(_Document)


def load(path: Path) -> Sequence[Exchange]:
    """Read the exchanges of a cassette.

    Raises:
        ConfigurationError: There is no such file, or it is no cassette.
    """
    try:
        return _DOCUMENT.validate_python(json.loads(path.read_bytes())).exchanges
    except FileNotFoundError as error:
        raise ConfigurationError(f"there is no cassette {str(path)!r}; {RECORD_AGAIN.replace(' again', '')}") from error
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "its top"
        raise ConfigurationError(f"{str(path)!r} is no cassette ({first['msg']} at {place}); {RECORD_AGAIN}") from error
    except ValueError as error:
        raise ConfigurationError(f"{str(path)!r} is no cassette ({error}); {RECORD_AGAIN}") from error


def save(path: Path, exchanges: Sequence[Exchange]) -> None:
    """Write the cassette for its owner alone, whole or not at all."""
    document = _DOCUMENT.dump_python(_Document(1, tuple(exchanges)), exclude_defaults=True)
    text = json.dumps(document, ensure_ascii=False, indent=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Nobody but the owner may read what mkstemp makes.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            # Half a surrogate pair has no UTF-8; with a backslash it is JSON.
            file.write(f"{text}\n".encode("utf-8", "backslashreplace"))
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def as_value(body: str) -> Any:
    """Read a body as JSON if it is an object or a list; anything else stays text, and nothing is None."""
    try:
        value: Any = json.loads(body)
    except ValueError:
        return body or None
    return cast("object", value) if isinstance(value, dict | list) else body
