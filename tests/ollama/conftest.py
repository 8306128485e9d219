"""The fixtures of these tests; the first ones are shared with `tests/clients`."""

from tests.ollama.fixtures import client, fleet, fragile_client, fragile_fleet, fragile_gateway, gateway
from tests.ollama.rollout_fixtures import count, publisher, rollouts, rooms

__all__ = [
    "client",
    "count",
    "fleet",
    "fragile_client",
    "fragile_fleet",
    "fragile_gateway",
    "gateway",
    "publisher",
    "rollouts",
    "rooms",
]
