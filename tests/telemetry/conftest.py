"""Fixtures for tests of exports."""

from collections.abc import AsyncIterator

import pytest
from tests.telemetry.collecting import Collector
from tests.tracing.threads import wait_for_exports


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    """A collector that takes all it gets."""
    made = Collector()
    await made.start()
    yield made
    await made.stop()
    wait_for_exports()
