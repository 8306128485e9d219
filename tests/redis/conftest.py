"""A Redis for each test, and stores that count in it."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.flow.conftest import pytest_asyncio_loop_factories, world
from tests.flow.waiting import until
from tests.redis.server import Server, running

from ai_gateway.limits import shared
from ai_gateway.limits.shared import Shared

__all__ = ["pytest_asyncio_loop_factories", "world"]

Open = Callable[..., Coroutine[Any, Any, Shared]]


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a connection, and an answer that nobody waits for any more, may take longer than a second."""
    monkeypatch.setattr(shared, "CONNECT_SECONDS", 60.0)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Server]:
    """It runs."""
    with running(tmp_path) as server:
        yield server


@pytest.fixture
async def opened(redis: Server) -> AsyncIterator[Open]:
    """Opens stores at it, as many gateways would; they are closed at the end."""
    async with AsyncExitStack() as stack:

        async def open_one(**settings: Any) -> Shared:
            made = Shared(redis.settings(**settings))
            stack.push_async_callback(made.close)
            made.start()
            await until(lambda: not made.is_unavailable, "Redis is found")
            return made

        yield open_one
