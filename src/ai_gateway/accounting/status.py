"""Whether the gateway can serve, whether it is ready, and the sources of health and metrics."""

from collections.abc import Callable

import msgspec

from ai_gateway.accounting.audit import Audit
from ai_gateway.accounting.audit_status import unready_reason
from ai_gateway.auth.state import AuthState
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.catalog.active import CurrentConfig
from ai_gateway.cluster.events import Events
from ai_gateway.cluster.gateways import Gateways
from ai_gateway.config.state import ConfigState
from ai_gateway.discovery.runner import DiscoveryRunner
from ai_gateway.limits.limiter import Limiter
from ai_gateway.reconcile.reconciler import Reconciler
from ai_gateway.upstream.reports import Reports


class Readiness:
    """Why the gateway is not ready, if it is not. Changed by start-up and by leaving."""

    def __init__(self) -> None:
        self.is_starting = True  # until the first discovery list and poll round
        self.is_draining = False


class StatusSources(msgspec.Struct, frozen=True):
    """The sources of health and metrics. `clock` is monotonic seconds."""

    fleet: Fleet
    reconciler: Reconciler
    current: CurrentConfig
    live: ConfigState
    discovery: DiscoveryRunner
    events: Events | None
    auth_state: AuthState
    limiter: Limiter
    readiness: Readiness
    clock: Callable[[], float]
    opened_at: float
    audit: Audit
    gateways: Gateways
    reports: Reports

    def failure(self) -> str | None:
        """Why the gateway cannot serve, None if it can. Never says that an Ollama is down."""
        if self.live.config is None:
            why = "; ".join(filter(None, (*map(str, self.live.reasons), self.live.unseen_reason)))
            return f"no valid config: {why or 'it is still being read'}"
        return "draining" if self.readiness.is_draining else None

    def reason(self) -> str | None:
        """Why the gateway is not ready, None if it is."""
        return (
            self.failure()
            or ("looking for endpoints" if self.readiness.is_starting else None)
            or unready_reason(self.audit)
        )
