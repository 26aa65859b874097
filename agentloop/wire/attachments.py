"""Moves pictures and files to where a format takes them: into a user message behind the words they belong to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from agentloop.messages import File, Image, Message, Part, Text, ToolResult

_SHOWN_NEXT = "See the next message."
_SPOKEN = "(a spoken reply)"
_HEARD = "I have the results."


def attachments_moved(messages: Iterable[Message], *, from_results: bool, left_to: str = "") -> Iterator[Message]:
    """Move what a model made, and on demand what tools returned, into user messages; of its own voice only the words are said.

    Args:
        messages: The transcript.
        from_results: Whether the format's tool results hold text only.
        left_to: An origin that takes back what it made, as it came; that stays where it is.
    """
    waiting: list[Part] = []
    for message in messages:
        shown, attached = _apart(message, from_results=from_results, left_to=left_to)
        waiting += attached
        yield shown
        # Nothing may come between calls and their results.
        if waiting and not shown.calls:
            yield Message("user", tuple(waiting))
            waiting = []


def answered_before_users(messages: Iterable[Message]) -> Iterator[Message]:
    """Let the model answer between results and what somebody else says, for formats in which results are followed by its words only."""
    before = ""
    for message in messages:
        if before == "tool" and message.role in {"user", "system"}:
            yield Message("assistant", (Text(_HEARD),))
        yield message
        before = message.role


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
