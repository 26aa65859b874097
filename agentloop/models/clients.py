"""HTTP clients: the one that all models of an event loop share, and what is asked of one that a user brings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from http.cookiejar import DefaultCookiePolicy
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    import httpx

    from agentloop.models.transport import PooledClient

_OWN_MACHINE = ("127.0.0.1", "localhost", "::1")


class Client(Protocol):
    """What a model asks of an HTTP client; `httpx.AsyncClient` and `httpx2.AsyncClient` both have it."""

    def build_request(self, method: str, url: str, *, content: Any, headers: Any, timeout: Any) -> Any:
        """Prepare a request."""
        ...

    async def send(self, request: Any, *, stream: bool, follow_redirects: bool) -> Any:
        """Send it, and come back with the headers of the answer."""
        ...


@dataclass(slots=True)
class _Shared:
    """What all models of an event loop share."""

    pooled: PooledClient
    proxied: bool
    """Whether the environment names a proxy."""
    closing: AsyncGenerator[None]
    other: httpx.AsyncClient | None = None


_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, _Shared] = WeakKeyDictionary()
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


async def client_for(base_url: str) -> Client:
    """Give the client that stands instead, or what the event loop has for this address: connections of our own, or httpx for a proxy."""
    instead, _ = _instead.get()
    if instead is not None:
        return instead
    shared = await _of_loop()
    return _httpx_of(shared) if shared.proxied and not _is_own_machine(base_url) else shared.pooled


def is_ours(client: Client) -> bool:
    """Whether this is no stranger's client: ours takes a body in pieces, and never waits when an answer is closed."""
    return getattr(client, "is_ours", False) is True


async def shared_client() -> Client:
    """Give the client that stands instead, or the `httpx.AsyncClient` of the event loop, which is closed when the loop shuts down."""
    instead, _ = _instead.get()
    return instead if instead is not None else _httpx_of(await _of_loop())


async def _of_loop() -> _Shared:
    loop = asyncio.get_running_loop()
    shared = _shared.get(loop)
    if shared is None:
        # httpx is half of what all our dependencies cost to import; it waits for the first request.
        from agentloop.models.transport import PooledClient  # noqa: PLC0415

        closing = _close_with_loop()
        shared = _shared[loop] = _Shared(PooledClient(), bool(getproxies().keys() & {"http", "https", "all"}), closing)
        await anext(closing)
    return shared


def _httpx_of(shared: _Shared) -> httpx.AsyncClient:
    if shared.other is None:
        import httpx  # noqa: PLC0415  # the same

        # A proxy of the environment would be asked for an address that only this machine has.
        own_machine: dict[str, None] = dict.fromkeys(f"all://{f'[{host}]' if ':' in host else host}" for host in _OWN_MACHINE)
        shared.other = httpx.AsyncClient(limits=httpx.Limits(max_connections=1000, max_keepalive_connections=100), mounts=own_machine)
        # A cookie from one conversation has no business in the next.
        shared.other.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return shared.other


async def _close_with_loop() -> AsyncGenerator[None]:
    # asyncio.run closes suspended async generators before it closes the loop; nothing else tells us that the loop ends.
    try:
        yield
    finally:
        # What the entry holds holds the loop, so it would never go by itself.
        shared = _shared.pop(asyncio.get_running_loop(), None)
        if shared is not None:
            await shared.pooled.aclose()
            if shared.other is not None:
                await shared.other.aclose()


@lru_cache(maxsize=256)
def _is_own_machine(url: str) -> bool:
    return urlsplit(url).hostname in _OWN_MACHINE


def library_of(client: Client) -> ModuleType:
    """Find the library whose exceptions the client raises: httpx, or its fork httpx2."""
    modules = (kind.__module__.partition(".")[0] for kind in type(client).__mro__)
    return import_module(next((name for name in modules if name in {"httpx", "httpx2"}), "httpx"))
