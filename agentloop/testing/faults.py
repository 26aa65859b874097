"""What can go wrong between a model and its client, to be scripted: `Gateway(status(429), cut(says("Hello"), after=2))`."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice, repeat
from typing import Any, Literal

from agentloop.testing.answers import Answer, End, Format, Piece, Problem, Spoil, as_json, event
from agentloop.testing.turns import Failure, Turn, says

_SPOILED = says("These words are spoiled on their way.")
_GZIP = 16 + zlib.MAX_WBITS
_PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Sign in to the network</h1></body></html>"


@dataclass(frozen=True, slots=True)
class Spoiled:
    """A turn whose answer is changed on its way; made by the functions of this module, or by hand."""

    turn: GatewayAnswer
    spoil: Spoil


GatewayTurn = Turn | Failure | Problem | Answer | Spoiled
"""What a gateway can play; the functions of this module make the last three."""
GatewayAnswer = GatewayTurn | Callable[[Any], GatewayTurn | Awaitable[GatewayTurn]]
"""The same, or a function of the request's body that gives it."""


def status(
    number: int,
    *,
    message: str = "",
    code: str | None = None,
    retry_after: float | str | None = None,
    headers: Mapping[str, str] | None = None,
    body: Any = None,
) -> Problem | Answer:
    """Answer with this HTTP status, and an error in the words of the format.

    Args:
        number: The status, such as 429.
        message: The server's words.
        code: The server's code, such as "insufficient_quota".
        retry_after: What the Retry-After header says: seconds, or any text.
        headers: Further headers.
        body: What stands there instead of the error: text, bytes, or a value that becomes JSON.
    """
    said = {name.lower(): value for name, value in (headers or {}).items()}
    if retry_after is not None:
        said["retry-after"] = str(retry_after)
    if body is None:
        kind, usual_code, words = _usual_words(number)
        return Problem(status=number, message=message or words, type=kind, code=code or usual_code, headers=said)
    match body:
        case bytes():
            kind, data = "application/octet-stream", body
        case str():
            kind, data = "text/plain; charset=utf-8", body.encode()
        case _:
            kind, data = "application/json", as_json(body)
    return Answer.whole(data, status=number, headers={"content-type": kind, **said})


def redirect(url: str, *, number: int = 307) -> Answer:
    """Answer with a redirect to `url`."""
    return Answer.whole(b"", status=number, headers={"location": url})


def no_answer(end: Literal["closed", "reset", "silent"] = "closed") -> Answer:
    """Take the request and send nothing: close the connection, reset it, or keep silent for ever."""
    return Answer(end=end, headless=True)


def raw(
    *pieces: bytes | str,
    status: int = 200,
    content_type: str = "text/event-stream",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Answer with these very bytes, each piece sent at once; an event stream goes in chunks, all else with its length."""
    encoded = [Piece(piece.encode() if isinstance(piece, str) else piece) for piece in pieces]
    said = {"content-type": content_type, **{name.lower(): value for name, value in (headers or {}).items()}}
    length = None if content_type.startswith("text/event-stream") else sum(len(piece.data) for piece in encoded)
    return Answer(status=status, headers=said, pieces=encoded, length=length)


def cut(turn: GatewayAnswer = _SPOILED, *, after: int = 1, end: End = "whole") -> Spoiled:
    """Stop after this many events of a stream, or in the middle of a reply that comes whole.

    Args:
        turn: What is cut.
        after: The events that still come.
        end: What follows: "whole" ends the HTTP answer as if all was well, "closed" closes the connection in the middle of it,
            "reset" resets it, "silent" keeps it open for ever and sends nothing.
    """

    def spoil(answer: Answer, _: Format) -> Answer:
        if answer.streams:
            return replace(answer, pieces=[*islice(answer.pieces, after)], end=end)
        body = _joined(answer.pieces)
        half = _halved(body)
        return replace(answer, pieces=[Piece(half)], length=len(half) if end == "whole" else len(body), end=end)

    return Spoiled(turn, spoil)


def slow(turn: GatewayAnswer = _SPOILED, *, before: float = 0.0, between: float = 0.0) -> Spoiled:
    """Wait this many seconds before the first header, and before each piece of the body."""

    def spoil(answer: Answer, _: Format) -> Answer:
        return replace(answer, wait=answer.wait + before, pieces=_delayed(answer.pieces, between))

    return Spoiled(turn, spoil)


Malformed = Literal["not_json", "cut_json", "html", "empty", "no_choices"]


def malformed(how: Malformed, turn: GatewayAnswer = _SPOILED, *, after: int = 1) -> Spoiled:
    """Send with status 200 what cannot be read.

    Args:
        how: "not_json" puts in an event that is no JSON, or sends such a body; "cut_json" cuts an event in half, or the body;
            "html" sends the page of a network that wants a sign-in; "empty" an empty body; "no_choices" JSON that says nothing.
        turn: What is spoiled.
        after: How many events of a stream come first.
    """

    def spoil(answer: Answer, format_: Format) -> Answer:
        if how == "html":
            return Answer.whole(_PAGE, headers={"content-type": "text/html"})
        if how == "no_choices" and answer.streams:
            return replace(answer, pieces=[Piece(format_.nothing(streamed=True))])
        if answer.streams:
            return replace(answer, pieces=_malformed_events(how, iter(answer.pieces), after))
        body = format_.nothing(streamed=False) if how == "no_choices" else _malformed_body(how, _joined(answer.pieces))
        return replace(answer, pieces=[Piece(body)], length=len(body))

    return Spoiled(turn, spoil)


def keep_alive(turn: GatewayAnswer = _SPOILED, *, times: int | None = 1, pause: float = 0.0) -> Spoiled:
    """Send comments before each event of a stream, or white space before a reply that comes whole, as gateways do while they wait.

    Args:
        turn: What comes between the comments.
        times: How many comments before each event; None sends them for ever, and never the turn.
        pause: Seconds before each comment.
    """

    def spoil(answer: Answer, _: Format) -> Answer:
        if not answer.streams:
            space = [Piece(b"\n         ", pause)] * (times or 1)
            pieces = [*space, *answer.pieces]
            return replace(answer, pieces=pieces, length=sum(len(piece.data) for piece in pieces))
        comment = Piece(b": keep-alive\n\n", pause)
        if times is None:
            return replace(answer, pieces=repeat(comment))
        return replace(answer, pieces=chain.from_iterable((*repeat(comment, times), piece) for piece in answer.pieces))

    return Spoiled(turn, spoil)


def error_inside(
    message: str = "The server had an error.",
    *,
    turn: GatewayAnswer = _SPOILED,
    after: int = 1,
    code: str | None = None,
) -> Spoiled:
    """Send an error object although the status is 200: behind this many events of a stream, or as the whole body."""
    problem = Problem(message=message, status=200, type="server_error", code=code)

    def spoil(answer: Answer, format_: Format) -> Answer:
        if not answer.streams:
            return replace(format_.refusal(problem), headers=answer.headers)
        sent = [*islice(answer.pieces, after)]
        return replace(answer, pieces=[*sent, Piece(format_.broken_off(problem, sent=[piece.data for piece in sent]))])

    return Spoiled(turn, spoil)


Compressed = Literal["well", "badly", "cut", "as_br"]


def compressed(turn: GatewayAnswer = _SPOILED, *, how: Compressed = "well") -> Spoiled:
    """Compress the answer with gzip, each piece so that it can be read at once.

    Args:
        turn: What is compressed.
        how: "badly" damages the file behind its first piece, "cut" leaves out its end, "as_br" says that it is br.
    """

    def spoil(answer: Answer, _: Format) -> Answer:
        pieces = [*_compressed(answer.pieces, end=how != "cut")]
        if how == "badly":
            pieces = [pieces[0], *(Piece(bytes(255 - byte for byte in piece.data), piece.wait) for piece in pieces[1:])]
        headers = {**answer.headers, "content-encoding": "br" if how == "as_br" else "gzip"}
        length = None if answer.length is None else sum(len(piece.data) for piece in pieces)
        return replace(answer, headers=headers, pieces=pieces, length=length)

    return Spoiled(turn, spoil)


def bomb(mebibytes: int = 1024, *, start: str = '{"choices":[{"message":{"content":"') -> Answer:
    """Answer with a gzip file that is a thousand times larger than it looks: `start`, and then the letter x without end."""
    file = zlib.compressobj(9, wbits=_GZIP)
    head = file.compress(start.encode()) + file.flush(zlib.Z_FULL_FLUSH)
    # Behind a full flush nothing refers back, so that the same bytes may follow any number of times.
    block = file.compress(b"x" * 2**20) + file.flush(zlib.Z_FULL_FLUSH)
    kind = "text/event-stream" if start.startswith("data:") else "application/json"
    return Answer(headers={"content-type": kind, "content-encoding": "gzip"}, pieces=[Piece(head + block * mebibytes)])


def paced(answer: Answer, seconds: float) -> Answer:
    """Let a person see a stream come."""
    return replace(answer, pieces=_delayed(answer.pieces, seconds)) if seconds and answer.streams else answer


def _delayed(pieces: Iterable[Piece], seconds: float) -> Iterator[Piece]:
    return (replace(piece, wait=piece.wait + seconds) for piece in pieces)


def _compressed(pieces: Iterable[Piece], *, end: bool) -> Iterator[Piece]:
    file = zlib.compressobj(wbits=_GZIP)
    for piece in pieces:
        yield replace(piece, data=file.compress(piece.data) + file.flush(zlib.Z_SYNC_FLUSH))
    if end:
        yield Piece(file.flush())


def _malformed_events(how: Malformed, pieces: Iterator[Piece], after: int) -> Iterator[Piece]:
    if how == "empty":
        return
    yield from islice(pieces, after)
    if how == "not_json":
        yield Piece(event(b"upstream said: ok"))
    else:
        yield from (Piece(_halved_event(piece.data)) for piece in islice(pieces, 1))
    yield from pieces


def _malformed_body(how: Malformed, body: bytes) -> bytes:
    match how:
        case "empty":
            return b""
        case "not_json":
            return b"upstream said: ok"
        case _:
            return _halved(body)


def _usual_words(number: int) -> tuple[str, str | None, str]:
    match number:
        case 401:
            return "invalid_request_error", "invalid_api_key", "The API key is not known."
        case 404:
            return "invalid_request_error", "model_not_found", "The model does not exist."
        case 429:
            return "requests", "rate_limit_exceeded", "Too many requests."
        case _ if number >= 500:  # noqa: PLR2004 - where the server's own faults begin
            return "server_error", None, "The server had an error."
        case _:
            return "invalid_request_error", None, "The request is refused."


def _joined(pieces: Iterable[Piece]) -> bytes:
    return b"".join(piece.data for piece in pieces)


def _halved_event(data: bytes) -> bytes:
    head, mark, content = data.partition(b"data: ")
    return head + mark + _halved(content.strip()) + b"\n\n"


def _halved(data: bytes) -> bytes:
    return data[: len(data) // 2]
