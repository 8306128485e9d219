"""The status of the audit: for health, readiness and metrics."""

from collections.abc import Iterator
from typing import Any

from ai_gateway.accounting.audit import Audit
from ai_gateway.telemetry import names
from ai_gateway.telemetry.sample import Sample


def audit_status(audit: Audit) -> dict[str, Any]:
    """For health: where entries go, and why they cannot."""
    opened, writer = audit.opened, audit.opened.writer
    return {
        "store": opened.section.store,
        "mode": opened.section.mode,
        "writer": opened.name or None,
        "queued": 0 if writer is None else writer.queued,
        "complaint": None if writer is None else writer.failure,
        "loss": None if writer is None else writer.losses.last,
    }


def unready_reason(audit: Audit) -> str | None:
    """Why the gateway is not ready: it cannot write entries that answers need, or the store is too new for it."""
    writer = audit.opened.writer
    if writer is None or writer.failure is None or not (audit.holds or writer.is_outdated):
        return None
    return f"the audit cannot be written: {writer.failure}"


def audit_samples(audit: Audit) -> Iterator[Sample]:
    """The metrics of the audit."""
    writer, bytes_waiting = audit.opened.writer, audit.opened.bytes_waiting
    if writer is None:
        return
    for result in ("stored", "dropped", "failed"):
        yield Sample(names.AUDIT_ENTRIES, writer.results[result], (result,))
    yield Sample(names.AUDIT_QUEUED, writer.queued)
    yield Sample(names.AUDIT_LAG, writer.lag_seconds())
    yield Sample(names.AUDIT_FAILING, writer.failure is not None)
    yield Sample(names.AUDIT_LOSSES, writer.losses.count)
    if bytes_waiting is not None:
        yield Sample(names.AUDIT_SPOOL, bytes_waiting())
