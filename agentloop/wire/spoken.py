"""A reply that is spoken: its sound comes in pieces of base64, its words beside it."""

from __future__ import annotations

import base64
import binascii

from agentloop.messages import File

# The first bytes of the formats in which providers speak; streamed sound is bare PCM and has none.
_BEGINNINGS = {
    b"RIFF": "audio/wav",
    b"ID3": "audio/mpeg",
    b"\xff\xfb": "audio/mpeg",
    b"\xff\xf3": "audio/mpeg",
    b"OggS": "audio/ogg",
    b"fLaC": "audio/flac",
}


class Sound:
    """Joins the pieces of a sound."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def feed(self, piece: str) -> None:
        """Take the next piece, which is base64 by itself; what is none is left out."""
        try:
            self._pieces.append(base64.b64decode(piece, validate=True))
        except binascii.Error:
            return

    def whole(self) -> File | None:
        """Make a file of what came; None where nothing did."""
        data = b"".join(self._pieces)
        kind = next((kind for beginning, kind in _BEGINNINGS.items() if data.startswith(beginning)), "audio/pcm")
        return File(data=data, media_type=kind, name="reply") if data else None
