"""Records what models answer over HTTP, and replays it without a network: `with Cassette("weather.json"): agent.run_sync("...")`."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import httpx

from agentloop.errors import ConfigurationError
from agentloop.models.clients import client_instead
from agentloop.testing.cassette_masks import Redact
from agentloop.testing.cassette_recording import Recording
from agentloop.testing.cassette_replay import Replay


class Cassette:
    """A file of recorded exchanges with models: `with Cassette("tests/cassettes/weather.json"): ...` replays it, offline and without keys.

    With `record=True` the models are asked for real, and the file is written at the end of the block, also when it fails.

    Models that were given no client are recorded and replayed without any change, on any event loop, as long as their runs begin in the
    block; a model with a client of its own takes `cassette.client()` for it.

    What is kept: the requests without their headers, and the responses in the chunks in which they came. Keys are masked by their value.

    A request takes the first exchange left whose method, path, query and body are equal to its own. Nobody waits in a replay for what a
    server asked to wait; where a recorded request was given up, the replay breaks off too.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        record: bool = False,
        redact: Redact | None = None,
        strict: bool = True,
    ) -> None:
        """Choose the file; nothing is read or written yet.

        Args:
            path: The file, JSON; its folders are made when it is written.
            record: Whether to ask for real, and write the file anew.
            redact: Changes the text of each body before it is kept; in a replay, of each request before it is compared, so it can also
                level out what is different each time, such as dates. A response it changes is replayed event by event.
            strict: Whether an exchange nobody has asked for is an error at the end of a replay.
        """
        self._path = Path(path)
        self._record = record
        self._redact = redact or str
        self._strict = strict
        self._tape: _Tape | None = None
        self._instead = ExitStack()

    def __repr__(self) -> str:
        return f"<Cassette {str(self._path)!r}, {'recording' if self._record else 'replay'}{'' if self._tape else ', not open'}>"

    def client(self, real: httpx.AsyncClient | None = None) -> httpx.AsyncClient:
        """Make a client for models that take one; it can be used while the block lasts, and need not be closed.

        Args:
            real: Whom to ask while recording, with its own proxies and certificates; the event loop's shared client by default.
        """

        async def answer(request: httpx.Request) -> httpx.Response:
            if self._tape is None:
                raise ConfigurationError(f"the cassette {str(self._path)!r} is not open; ask inside its `with` block")
            return await self._tape.answer(request, real)

        transport = _Transport(answer)
        if real is None:
            return httpx.AsyncClient(transport=transport)
        return httpx.AsyncClient(
            transport=transport, headers=real.headers, params=real.params, base_url=real.base_url, timeout=real.timeout
        )

    def __enter__(self) -> Self:
        if self._tape is not None:
            raise ConfigurationError(f"the cassette {str(self._path)!r} is open already; make another Cassette for another block")
        tape: _Tape = (
            Recording(self._path, redact=self._redact) if self._record else Replay(self._path, redact=self._redact, strict=self._strict)
        )
        self._instead.enter_context(client_instead(self.client(), needs_key=self._record))
        self._tape = tape
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        tape, self._tape = self._tape, None
        self._instead.close()
        if tape is not None:
            tape.end(failed=error is not None)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.__exit__(kind, error, trace)


class _Tape(Protocol):
    """What is in a cassette while it is open."""

    async def answer(self, request: httpx.Request, real: httpx.AsyncClient | None) -> httpx.Response: ...

    def end(self, *, failed: bool) -> None: ...


class _Transport(httpx.AsyncBaseTransport):
    def __init__(self, answer: Callable[[httpx.Request], Awaitable[httpx.Response]]) -> None:
        self._answer = answer

    async def answer(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        return await self._answer(request)

    handle_async_request = answer  # The name is httpx's.
