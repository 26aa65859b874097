"""HTTP clients: the one that all models of an event loop share, and what is asked of one that a user brings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from http.cookiejar import DefaultCookiePolicy
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    import httpx


class Client(Protocol):
    """What a model asks of an HTTP client; `httpx.AsyncClient` and `httpx2.AsyncClient` both have it."""

    def build_request(self, method: str, url: str, *, content: Any, headers: Any, timeout: Any) -> Any:
        """Prepare a request."""
        ...

    async def send(self, request: Any, *, stream: bool, follow_redirects: bool) -> Any:
        """Send it, and come back with the headers of the answer."""
        ...


_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[httpx.AsyncClient, AsyncGenerator[None]]] = WeakKeyDictionary()
_instead: ContextVar[tuple[Client | None, bool]] = ContextVar("_instead", default=(None, True))


@contextmanager
def client_instead(client: Client | None, *, needs_key: bool = True) -> Generator[None]:
    """Let models that were given no client ask this one, in the block and in the tasks begun there.

    Args:
        client: It is asked on any event loop; None asks the shared one again.
        needs_key: Whether a provider's key must be there; without it, one that is missing is no error.
    """
    before = _instead.get()
    _instead.set((client, needs_key))
    try:
        yield
    finally:
        # A fixture may end in another context than it began in, where a token would not be taken.
        _instead.set(before)


def key_needed() -> bool:
    """Whether a request may go where a key is asked for."""
    return _instead.get()[1]


async def shared_client() -> Client:
    """Give the client of the running event loop, or the one that stands instead; the loop's is closed when the loop shuts down."""
    instead, _ = _instead.get()
    if instead is not None:
        return instead
    loop = asyncio.get_running_loop()
    known = _shared.get(loop)
    if known is not None and not known[0].is_closed:
        return known[0]
    # httpx is half of what all our dependencies cost to import; it waits for the first request.
    import httpx  # noqa: PLC0415

    # A proxy of the environment would be asked for an address that only this machine has.
    own_machine: dict[str, None] = dict.fromkeys(("all://127.0.0.1", "all://localhost", "all://[::1]"))
    client = httpx.AsyncClient(limits=httpx.Limits(max_connections=1000, max_keepalive_connections=100), mounts=own_machine)
    # A cookie from one conversation has no business in the next.
    client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    closing = _close_with_loop(client)
    _shared[loop] = (client, closing)
    await anext(closing)
    return client


async def _close_with_loop(client: httpx.AsyncClient) -> AsyncGenerator[None]:
    # asyncio.run closes suspended async generators before it closes the loop; nothing else tells us that the loop ends.
    loop = asyncio.get_running_loop()
    try:
        yield
    finally:
        # What the entry holds holds the loop, so it would never go by itself.
        _shared.pop(loop, None)
        await client.aclose()


def library_of(client: Client) -> ModuleType:
    """Find the library whose exceptions the client raises: httpx, or its fork httpx2."""
    modules = (kind.__module__.partition(".")[0] for kind in type(client).__mro__)
    return import_module(next((name for name in modules if name in {"httpx", "httpx2"}), "httpx"))
