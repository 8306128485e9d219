"""The fleets and gateways of `tests/ollama`, for client libraries."""

from tests.ollama.fixtures import fleet, fragile_fleet, fragile_gateway, gateway

__all__ = ["fleet", "fragile_fleet", "fragile_gateway", "gateway"]
