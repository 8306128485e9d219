"""The app of the admin port: probes, metrics, the report for other gateways, and the drain. Nothing is recorded."""

from collections.abc import Mapping
from functools import partial

from ai_gateway.catalog.active import CurrentConfig
from ai_gateway.edge.asgi import ASGIApp
from ai_gateway.edge.draining import Drain
from ai_gateway.edge.exchange_middleware import ErrorMiddleware, ExchangeMiddleware, OpenExchange
from ai_gateway.edge.hosts import HostCheck
from ai_gateway.edge.routing import Wrapper, router, unknown_to_admin, wrapped


def admin_app(
    reading: Mapping[str, ASGIApp], drain: Drain, current: CurrentConfig, open_exchange: OpenExchange
) -> ASGIApp:
    """`reading` has the app of each path that is only read."""
    wrappers: list[Wrapper] = [
        partial(ExchangeMiddleware, readers=(), open_exchange=open_exchange),
        ErrorMiddleware,
        # Without `auth`: the check of names holds here whatever callers of the API have to prove.
        partial(HostCheck, current=current),
    ]
    return wrapped(wrappers, router(reading, {"/drain": drain}, others=unknown_to_admin))
