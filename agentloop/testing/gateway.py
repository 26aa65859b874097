"""A server that plays a script and checks what it is sent, over real HTTP or in process."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import ModuleType, TracebackType
from typing import Any, Self, overload

import httpx

from agentloop.errors import ModelError
from agentloop.testing import chat_format, gemini_format, messages_format, responses_format
from agentloop.testing.answers import Answer, Format, HeardRequest, Lister, Problem
from agentloop.testing.faults import GatewayAnswer, GatewayTurn, Spoiled, paced
from agentloop.testing.in_process import InProcess
from agentloop.testing.loopback import Loopback
from agentloop.testing.turns import Always, Failure, Script, ScriptExhausted, Turn, check_playable, played

_FORMATS: Mapping[str, Format] = {
    "/v1/chat/completions": chat_format,
    "/v1/responses": responses_format,
    "/v1/messages": messages_format,
}
_GEMINI = re.compile(r"/v1(?:beta)?/models/[^:]+:(?:generateContent|streamGenerateContent)")
_LISTS = re.compile(r"(/v1|/v1beta)/models(?:/([^:]+))?")
_PLAYABLE = (Turn, Failure, Problem, Answer, Spoiled)
_NO_RETRY = {"x-should-retry": "false"}


class Gateway:
    """A scripted gateway: `with Gateway(calls("add", a=1, b=2), says("3")) as gateway: ... gateway.base_url ...`.

    It speaks chat completions, Responses, Anthropic's Messages and Gemini's generateContent, each at its provider's path.

    It listens on a loopback port while the `with` block lasts, in a thread of its own; `transport()` needs no port and no block.
    Turns are played in the order of the requests. A turn may also be a function of the request's body that gives one.
    Requests that no provider would take are refused as a provider does, and cost no turn.
    """

    requests: list[HeardRequest]
    """What the gateway was sent, in order."""

    def __init__(
        self,
        *turns: GatewayAnswer | Always[GatewayAnswer],
        key: str | None = None,
        pace: float = 0.0,
        models: Sequence[str] = ("gpt-4o-2024-08-06",),
    ) -> None:
        """Prepare to play the turns.

        Args:
            turns: What is said, or goes wrong, in order.
            key: The API key that requests must show, in any header that the path's provider takes; None takes any.
            pace: Seconds before each event of a stream, so that a person sees it come.
            models: What `GET /v1/models` lists; requests may name any.
        """
        for turn in turns:
            check_playable(turn, _PLAYABLE, player="a gateway")
        self._script = Script[GatewayAnswer](turns)
        self._key = key
        self._pace = pace
        self._models = tuple(models)
        self._replies = 0
        self._loopback: Loopback | None = None
        self.requests = []

    def __repr__(self) -> str:
        place = self.base_url if self._loopback else "no port"
        return f"<Gateway at {place}, {self.turns_left} turns left, {len(self.requests)} requests>"

    @property
    def turns_left(self) -> int:
        """How many turns nobody has asked for yet."""
        return self._script.left

    @property
    def base_url(self) -> str:
        """Where the gateway listens, as clients want it: `http://127.0.0.1:<port>/v1`.

        Raises:
            RuntimeError: It does not listen.
        """
        if self._loopback is None:
            raise RuntimeError("this gateway does not listen; use it in a `with` block, or give its transport() to a client")
        return f"http://127.0.0.1:{self._loopback.port}/v1"

    @overload
    def transport(self) -> httpx.AsyncBaseTransport: ...
    @overload
    def transport(self, library: ModuleType) -> Any: ...
    def transport(self, library: ModuleType = httpx) -> Any:
        """Make a transport that reaches the gateway without a socket: `httpx.AsyncClient(transport=gateway.transport())`.

        Args:
            library: Whose client will use it: `httpx`, or `httpx2`.
        """
        return InProcess(self.answer, library)

    def start(self) -> None:
        """Listen on a port of this machine. A `with` block does it for you."""
        if self._loopback is None:
            self._loopback = Loopback(self.answer)

    def close(self) -> None:
        """Close all connections and the port; open requests are given up."""
        loopback, self._loopback = self._loopback, None
        if loopback is not None:
            loopback.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        # Both take a millisecond; a thread to wait in would outlive the gateway.
        self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    async def answer(self, request: HeardRequest) -> Answer:
        """Take a request, write it down, and say what is sent back; the one door for the port and for transports."""
        self.requests.append(request)
        format_ = _format(request) or _lister(request)
        problem = self._unauthorized(request) or self._misdirected(request) or _unreadable(request)
        if problem is None and request.method == "GET":
            answer = Answer.json(self._listed(request))
        else:
            problem = problem or format_.problem(request)
            if problem is None:
                answer = await self._played(request, format_)
            else:
                request.refused = problem.message
                answer = format_.refusal(problem)
        request.status = None if answer.headless else answer.status
        return answer

    async def _played(self, request: HeardRequest, format_: Format) -> Answer:
        number, self._replies = self._replies, self._replies + 1
        try:
            turn = self._script.take(format_.last_words(request.body))
        except ScriptExhausted as error:
            request.refused = str(error)
            return format_.refusal(Problem(message=str(error), status=500, type="server_error", code="script_exhausted", headers=_NO_RETRY))
        try:
            return await self._said(turn, request, number=number, format_=format_)
        except Exception as error:  # noqa: BLE001 - the turn is a function of the test's
            words = f"a turn of the script raised {type(error).__name__}: {error}"
            request.refused = words
            return format_.refusal(Problem(message=words, status=500, type="server_error", code="script_failed", headers=_NO_RETRY))

    async def _said(self, turn: GatewayAnswer, request: HeardRequest, *, number: int, format_: Format) -> Answer:
        said: GatewayTurn = await played(turn, request.body)
        check_playable(said, _PLAYABLE, player="a gateway")
        match said:
            case Turn():
                return paced(format_.reply(said, request=request, number=number), self._pace)
            case Failure(error):
                return format_.refusal(_problem_of(error))
            case Problem():
                return format_.refusal(said)
            case Answer():
                return said
            case Spoiled(inner, spoil):
                return spoil(await self._said(inner, request, number=number, format_=format_), format_)

    def _unauthorized(self, request: HeardRequest) -> Problem | None:
        if self._key is None or self._key in _shown_keys(request):
            return None
        return Problem(message="The API key is missing or not known.", status=401, code="invalid_api_key")

    def _misdirected(self, request: HeardRequest) -> Problem | None:
        found = _LISTS.fullmatch(request.path)
        is_known = found is not None and (found[2] is None or found[2] in self._models)
        expected = "POST" if _format(request) else "GET" if is_known else None
        if expected is None:
            return Problem(message=f"There is nothing at {request.method} {request.path}.", status=404, code="unknown_url")
        if request.method != expected:
            return Problem(message=f"{request.path} takes {expected}, not {request.method}.", status=405, code="method_not_allowed")
        return None

    def _listed(self, request: HeardRequest) -> Mapping[str, Any]:
        lister = _lister(request)
        found = _LISTS.fullmatch(request.path)
        if found is not None and found[2]:
            return lister.described(found[2])
        return lister.listed(self._models, request.named)


def _format(request: HeardRequest) -> Format | None:
    return gemini_format if _GEMINI.fullmatch(request.path) else _FORMATS.get(request.path)


def _lister(request: HeardRequest) -> Lister:
    if request.path.startswith("/v1beta/"):
        return gemini_format
    if request.path.startswith("/v1/models") and {"anthropic-version", "x-api-key"} <= request.headers.keys():
        return messages_format
    return chat_format


def _shown_keys(request: HeardRequest) -> list[str]:
    """Read the keys from where the path's provider takes one."""
    headers = request.headers
    shown = [headers.get("authorization", "").removeprefix("Bearer ")]
    if request.path.startswith(("/v1/messages", "/v1/models")):
        shown.append(headers.get("x-api-key", ""))
    if request.path.startswith("/v1beta/") or _GEMINI.fullmatch(request.path):
        shown += [headers.get("x-goog-api-key", ""), request.named.get("key", "")]
    return shown


def _unreadable(request: HeardRequest) -> Problem | None:
    if request.method == "GET":
        return None
    if not request.content:
        return Problem(message="The body is empty; it must be a JSON object.")
    if not request.headers.get("content-type", "").startswith("application/json"):
        return Problem(message="The content-type must be application/json.")
    return Problem(message=f"The body is no JSON: {request.not_json}.") if request.not_json else None


def _problem_of(error: Exception) -> Problem:
    status = getattr(error, "status", None)
    wait = error.retry_after if isinstance(error, ModelError) else None
    return Problem(
        message=str(error),
        status=status if isinstance(status, int) else 500,
        type="server_error",
        code=getattr(error, "code", None),
        headers={"retry-after": f"{wait:g}"} if wait is not None else {},
    )
