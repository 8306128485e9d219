"""The paths of the API that read."""

import time
from collections.abc import Mapping
from functools import partial

from ai_gateway.accounting.status import StatusSources
from ai_gateway.catalog.permissions import may_read_audit
from ai_gateway.edge.asgi import ASGIApp
from ai_gateway.edge.audit_routes import AuditLogs
from ai_gateway.edge.catalog_routes import ListModels, ShowModel
from ai_gateway.edge.health import Health
from ai_gateway.edge.routing import greet, router
from ai_gateway.telemetry.tracing import Tracing
from ai_gateway.upstream.client import Client
from ai_gateway.upstream.details import ModelDetails


def reading(status: StatusSources, client: Client, tracing: Tracing | None, signs: Mapping[str, ASGIApp]) -> ASGIApp:
    """All of them, and the signs of life."""
    details = ModelDetails(client, tracing.wrap if tracing else None)
    current, fleet, started_at = status.current, status.fleet, int(time.time())
    return router(
        {
            "/v1/models": ListModels(current, fleet, started_at),
            "/v1/models/{model}": ShowModel(status, details, started_at),
            "/v1/audit/logs": AuditLogs(status.audit, partial(may_read_audit, current), status.gateways.ready),
            "/v1/health": Health(status),
            "/": greet,
            **signs,
        }
    )
