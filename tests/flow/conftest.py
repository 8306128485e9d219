"""Whole-program tests: a gateway with its server, real sockets on loopback, and endpoints that may misbehave."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import uvloop
from tests.flow.world import World


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that the gateway runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Makes what a test needs; at its end no call may hold anything any more."""
    async with AsyncExitStack() as stack:
        yield World(tmp_path, stack)
