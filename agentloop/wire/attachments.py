"""Moves pictures and files to where a format takes them: into a user message behind the words they belong to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from agentloop.messages import File, Image, Message, Part, Text, ToolResult

_SHOWN_NEXT = "See the next message."
_SPOKEN = "(a spoken reply)"
_HEARD = "I have the results."


@dataclass(slots=True, kw_only=True)
class Moving:
    """Moves what a model made, and on demand what tools returned, into user messages; of its own voice only the words are said."""

    from_results: bool
    """Whether the format's tool results hold text only."""
    left_to: str = ""
    """An origin that takes back what it made, as it came; that stays where it is."""
    _waiting: list[Part] = field(default_factory=list[Part])

    def moved(self, message: Message) -> Iterator[Message]:
        """Give the next message of the transcript, and behind it what was moved."""
        shown, attached = _apart(message, from_results=self.from_results, left_to=self.left_to)
        self._waiting += attached
        yield shown
        # Nothing may come between calls and their results.
        if self._waiting and not shown.calls:
            yield Message("user", tuple(self._waiting))
            self._waiting = []


@dataclass(slots=True)
class Answering:
    """Lets the model answer between results and what somebody else says, for formats in which results are followed by its words only."""

    _before: str = ""

    def answered(self, message: Message) -> Iterator[Message]:
        """Give the next message, and before it the answer that it needs."""
        if self._before == "tool" and message.role in {"user", "system"}:
            yield Message("assistant", (Text(_HEARD),))
        yield message
        self._before = message.role


def _apart(message: Message, *, from_results: bool, left_to: str) -> tuple[Message, list[Part]]:
    match message.role:
        case "assistant":
            made = [part for part in message.parts if isinstance(part, Image | File) and not (part.state and part.state.origin == left_to)]
            if not made:
                return message, []
            # Providers speak in formats that they do not listen to, and some listen to none.
            moved = [replace(part, state=None) for part in made if not part.media_type.startswith("audio/")]
            kept = tuple(part for part in message.parts if not any(part is one for one in made))
            if len(moved) < len(made) and not message.text:
                kept = (Text(_SPOKEN), *kept)
            return Message("assistant", kept), [Text("From your last reply:"), *moved] if moved else []
        case "tool" if from_results:
            results = [_result_apart(result) for result in message.results]
            return Message("tool", tuple(result for result, _ in results)), [part for _, attached in results for part in attached]
        case _:
            return message, []


def _result_apart(result: ToolResult) -> tuple[ToolResult, list[Part]]:
    if isinstance(result.content, str):
        return result, []
    attached: list[Part] = [part for part in result.content if not isinstance(part, Text)]
    text = result.text or (_SHOWN_NEXT if attached else "")
    return replace(result, content=text), [Text(f"From the result of {result.name or result.call_id}:"), *attached] if attached else []
