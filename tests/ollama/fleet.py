"""Two Ollamas, real or simulated: what the tests ask of either, in the same words."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Protocol

import httpx

_PATIENCE_SECONDS = 30.0
_LOAD_SECONDS = 120.0  # from a cold disk, beside other work
_IDLE_SECONDS = 10.0
_POLL_SECONDS = 0.05  # work inside another process announces itself by nothing


class Endpoint(Protocol):
    """An Ollama that can be hurt."""

    url: str

    @property
    def is_up(self) -> bool:
        """Whether its process lives."""
        ...

    def start(self) -> None:
        """Starts it, on the same port each time, and waits until it answers."""
        ...

    def stop(self) -> None:
        """Ends it."""
        ...

    def kill(self) -> None:
        """Gone at once, without a word to anybody."""
        ...

    def pause(self) -> None:
        """Stays connected and does nothing: a node that hangs."""
        ...

    def resume(self) -> None:
        """Goes on where it was paused."""
        ...

    async def is_computing(self) -> bool:
        """Whether a model is at work there now."""
        ...

    def truncating(self) -> AbstractAsyncContextManager[None]:
        """Within the block a stream of `slow` ends early as Ollama's do: no finish_reason, no [DONE], no error."""
        ...


class Fleet:
    """The endpoints of a test run. They are up at the start of each test; a test may hurt them."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self.endpoints = endpoints

    @property
    def urls(self) -> list[str]:
        """Where they listen."""
        return [endpoint.url for endpoint in self.endpoints]

    def mend(self) -> None:
        """Starts again what was killed."""
        for endpoint in self.endpoints:
            if not endpoint.is_up:
                endpoint.start()

    def load(self, model: str) -> None:
        """Makes a model resident on every endpoint, so that a test need not wait for it."""
        with httpx.Client(trust_env=False, timeout=_LOAD_SECONDS) as client:
            for url in self.urls:
                client.post(f"{url}/api/generate", json={"model": model}).raise_for_status()

    async def busy_endpoint(self) -> Endpoint:
        """The one at work; waits until there is one."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            for endpoint in self.endpoints:
                if endpoint.is_up and await endpoint.is_computing():
                    return endpoint
            await asyncio.sleep(_POLL_SECONDS)
        raise AssertionError("nobody computes")

    async def until_idle(self) -> None:
        """Waits until nobody is at work. Fails soon: `slow` would go on writing for a minute and more."""
        deadline = time.monotonic() + _IDLE_SECONDS
        while any([await endpoint.is_computing() for endpoint in self.endpoints if endpoint.is_up]):
            assert time.monotonic() < deadline, "somebody still computes"
            await asyncio.sleep(_POLL_SECONDS)

    @asynccontextmanager
    async def truncating(self) -> AsyncIterator[None]:
        """Within the block, whoever streams `slow` ends the stream early and without a word."""
        async with AsyncExitStack() as stack:
            for endpoint in self.endpoints:
                await stack.enter_async_context(endpoint.truncating())
            yield
