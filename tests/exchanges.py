"""The recorded exchanges with real providers, read where they lie beside the project."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ.get("AGENTLOOP_EXCHANGES") or Path(__file__).parents[2] / "shared" / "exchanges")

FORMATS = ("chat", "responses", "messages", "gemini")


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer, and what a client should read from the answer."""

    file: str
    index: int
    status: int
    content_type: str
    body: bytes
    expected: dict[str, Any]

    @property
    def name(self) -> str:
        """The place in the folder."""
        return f"{self.file}[{self.index}]"


def exchanges(spoken: str) -> Iterator[Exchange]:
    """Read the exchanges in one format, of all files but those of media."""
    if not (FOLDER / "INDEX.json").exists():
        return
    expected = json.loads((FOLDER / "EXPECTED.json").read_text())
    for entry in json.loads((FOLDER / "INDEX.json").read_text()):
        if entry["format"] not in FORMATS:
            continue
        interactions = json.loads((FOLDER / entry["file"]).read_text())
        for index, (interaction, key) in enumerate(zip(interactions, expected[entry["file"]], strict=True)):
            if key is not None and key["format"] == spoken:
                body = _body(interaction)
                content_type = interaction["content_type"] or ""
                yield Exchange(entry["file"], index, interaction["status"], content_type, body, key)


def _body(interaction: dict[str, Any]) -> bytes:
    if "response_body_base64" in interaction:
        return base64.b64decode(interaction["response_body_base64"])
    body = interaction["response_body"]
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()
