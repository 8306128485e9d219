"""How long a check may wait for Redis; tests/redis asks a real one."""

import pytest

from ai_gateway.config.limits import Redis
from ai_gateway.config.units import Seconds
from ai_gateway.limits.shared import CONNECT_SECONDS, Shared


@pytest.mark.parametrize(("timeout", "expected"), [(0.05, CONNECT_SECONDS), (3.0, 3.0)])
async def test_the_socket_waits_as_long_as_the_config_says(timeout: float, expected: float) -> None:
    """Formerly a timeout above a second was cut by the socket's own."""
    client = Shared(Redis("redis://127.0.0.1:1/0", timeout=Seconds(timeout)))._connect()
    assert client.connection_pool.connection_kwargs["socket_timeout"] == expected
    await client.aclose()
