"""The fixtures of these tests; they are shared with `tests/clients`."""

from tests.ollama.fixtures import client, fleet, fragile_client, fragile_fleet, fragile_gateway, gateway

__all__ = ["client", "fleet", "fragile_client", "fragile_fleet", "fragile_gateway", "gateway"]
