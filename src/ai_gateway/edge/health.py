"""GET /v1/health for people and dashboards, /health for tools; /livez and /readyz for the platform's probes."""

from typing import Any

from ai_gateway.accounting.audit_status import audit_status
from ai_gateway.accounting.status import StatusSources
from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.catalog.catalog import ServedModel
from ai_gateway.catalog.states import model_state, ollama_state
from ai_gateway.config.state import ConfigState
from ai_gateway.discovery.runner import DiscoveryRunner
from ai_gateway.edge.asgi import Receive, Scope, Send, exchange_of, reply_json
from ai_gateway.edge.load_status import load_status
from ai_gateway.edge.rollout_status import reconcile_status
from ai_gateway.limits.limiter import Limiter


class Health:
    """Three fields for everyone. With authentication, the details are for admins alone."""

    def __init__(self, sources: StatusSources) -> None:
        self._sources = sources

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sources = self._sources
        failure = sources.failure()
        now = sources.clock()
        auth_state = sources.auth_state
        is_shown = auth_state.authenticator is None or exchange_of(scope).caller.is_admin
        content: dict[str, Any] = {
            "gateway": (failure if is_shown else _in_short(failure)) or "ok",
            "ollama": ollama_state(sources.fleet, sources.current.now.catalog),
            "uptime_seconds": int(now - sources.opened_at),
        }
        if is_shown:
            content |= self._detail(now)
        await reply_json(scope, send, content, 503 if failure else 200)

    def _detail(self, now: float) -> dict[str, Any]:
        sources = self._sources
        return {
            "discovery": _discovery(sources.discovery),
            "endpoints": [_endpoint(endpoint, now) for endpoint in sources.fleet.endpoints.values()],
            "models": _models(sources),
            "loads": load_status(sources.fleet, now),
            "reconcile": reconcile_status(sources.reconciler, sources.fleet, now),
            "config": _config(sources.live),
            "auth": sources.auth_state.status(),
            "limits": _limits(sources.limiter),
            "audit": audit_status(sources.audit),
            "gateways": _gateways(sources),
        }


class Sign:
    """/health and /healthz on the API's port: the status of /v1/health and one word, for tools that use them."""

    def __init__(self, sources: StatusSources) -> None:
        self._sources = sources

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_well = self._sources.failure() is None
        await reply_json(scope, send, {"status": "ok" if is_well else "unavailable"}, 200 if is_well else 503)


def _limits(limiter: Limiter) -> dict[str, Any]:
    return {
        "counted_in": "redis" if limiter.is_shared else "memory",
        "gateways": limiter.gateways,
        "complaint": limiter.reason,
    }


def _gateways(sources: StatusSources) -> dict[str, Any]:
    present = sources.reports.presence()
    peers = [
        {
            "uid": peer.member.uid,
            "address": peer.address.authority,
            "state": state,
            "report_age_seconds": None if age is None else round(age, 1),
            "config": peer.report.config if peer.report is not None else None,
            "failures": peer.failures,
            "complaint": peer.reason,
        }
        for peer, state, age in sources.reports.peers()
    ]
    return {
        "uid": present.own or None,
        "count": present.count,
        "are_known": present.is_known,
        "complaint": sources.gateways.peers_reason,
        "others": peers,
    }


def _in_short(failure: str | None) -> str | None:
    """A failure without its details, which may quote the config."""
    return None if failure is None else failure.partition(":")[0]


def _discovery(discovery: DiscoveryRunner) -> dict[str, Any]:
    status = discovery.status()
    age = status.age_seconds
    return {
        "source": discovery.source_name,
        "selector": status.selector,
        "namespaces": status.namespaces,
        "seen": status.seen,
        "left_out": status.left_out,
        "age_seconds": None if age is None else round(age, 1),
        "complaint": status.reason,
        "hint": status.hint,
    }


def _endpoint(endpoint: Endpoint, now: float) -> dict[str, Any]:
    seen_at, pod = endpoint.seen_at, endpoint.pod
    return {
        "address": endpoint.address.url,
        "pod": None if pod is None else f"{pod.namespace}/{pod.name}",
        "node": None if pod is None else pod.node,
        "state": endpoint.state,
        "complaint": "; ".join(filter(None, (endpoint.reason, *endpoint.check_reasons.values()))) or None,
        "version": endpoint.version,
        "models": None if endpoint.held is None else sorted(model.name for model in endpoint.held.values()),
        "loaded": None if endpoint.resident is None else sorted(endpoint.resident),
        "runners": _runners(endpoint),
        "speed": round(endpoint.speed, 2),
        "in_flight": endpoint.total_in_flight,
        "failures": endpoint.health.failures,
        "seen_seconds_ago": None if seen_at is None else round(now - seen_at, 1),
    }


def _runners(endpoint: Endpoint) -> list[dict[str, Any]] | None:
    loaded = endpoint.residency.loaded
    if loaded is None:
        return None
    return [{"model": one.entry.name, "context": one.entry.context_length or None} for one in loaded.values()]


def _models(sources: StatusSources) -> dict[str, Any]:
    return {entry.id: _model(sources.fleet, entry) for entry in sources.current.now.catalog.models(sources.fleet)}


def _model(fleet: Fleet, entry: ServedModel) -> dict[str, Any]:
    name = entry.key
    learned, endpoints = fleet.learned, fleet.endpoints.values()
    return {
        "state": model_state(fleet, entry),
        "in_flight": fleet.peek(name).in_flight,
        "waiting": fleet.peek(name).waiting,
        "policy": entry.pool.policy,
        "loaded_on": sum(endpoint.is_resident(name) for endpoint in endpoints),
        "load_seconds": _rounded(learned.load_seconds.get(fleet.runner_of(name))),
        "call_seconds": _rounded(learned.call_seconds.get(name)),
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _config(live: ConfigState) -> dict[str, Any]:
    reasons = [{"path": reason.path, "message": reason.message} for reason in live.reasons]
    if live.unseen_reason is not None:
        reasons.append({"path": "", "message": live.unseen_reason})
    return {
        "source": live.source,
        "hash": live.digest,
        "loaded_at": None if live.loaded_at is None else int(live.loaded_at),
        "last_reload": "refused" if live.reasons else "ok",
        "complaints": reasons,
        "refused_hash": live.refused_digest,
        "restart_required": live.restart_required,
    }


class Liveness:
    """/livez: the event loop answers."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await reply_json(scope, send, {"live": True})


class Ready:
    """/readyz: whether this gateway takes requests. It does not depend on any Ollama."""

    def __init__(self, sources: StatusSources) -> None:
        self._sources = sources

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reason = self._sources.reason()
        await reply_json(scope, send, {"ready": reason is None, "reason": reason}, 200 if reason is None else 503)
