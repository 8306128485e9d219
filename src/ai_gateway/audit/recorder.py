"""A finished exchange as an entry of the audit."""

from typing import Final

from ai_gateway.audit.entry import AuditEntry, EntryKind, EntryOutcome
from ai_gateway.exchange import Exchange

MAX_REASON: Final = 500  # characters

_OUTCOMES: Final[dict[str, EntryOutcome]] = {
    "ok": "ok",
    "denied": "denied",
    "client_left": "client_left",
    "client_stalled": "client_left",
    "upstream_broke": "upstream_broke",
    "timeout": "timeout",
    "failed": "failed",
    "shutdown": "shed",
}
_MOST: Final = 2**63
_NOT_REACHED: Final = frozenset(("upstream_unreachable", "upstream_disconnected"))


def record(exchange: Exchange, kind: EntryKind, now: float) -> AuditEntry:
    """The entry of an exchange that ends at `now`, its writer and sequence still to be filled in.

    `now` is in seconds on the exchange's clock.
    """
    caller = exchange.caller
    call = exchange.call
    asked = exchange.ids.asked_model if call is None else call.model
    usage = exchange.tokens.usage
    last = exchange.attempts[-1] if exchange.attempts else None
    first_byte_at = exchange.times.first_byte_at
    queued, loading = exchange.times.waits(now)
    evidence = exchange.kept.evidence
    return AuditEntry(
        writer="",
        sequence=0,
        kind=kind,
        at_ns=exchange.times.started_ns + int((now - exchange.times.opened_at) * 1e9),
        started_ns=exchange.times.started_ns,
        request_id=exchange.ids.request_id,
        trace_id=exchange.ids.trace.trace_id,
        actor=caller.name,
        auth_method=caller.method,
        client_address=caller.address,
        method=exchange.method,
        route=exchange.route or "",
        outcome=outcome_of(exchange),
        stream=call is not None and call.stream,
        attempts=len(exchange.attempts),
        bytes_in=exchange.body_bytes,
        bytes_out=exchange.outcome.sent_bytes,
        tenant=caller.tenant,
        key_id=caller.key_id,
        user_agent=exchange.client_name,
        model_asked=None if asked is None else _text(asked),
        model_served=exchange.ids.model,
        endpoint=None if last is None else last.endpoint,
        pod=None if last is None else last.pod,
        status=exchange.outcome.status,
        error_type=exchange.outcome.error_type,
        error_code=exchange.outcome.error_code,
        tokens_in=None if usage is None else _count(usage.input_tokens),
        tokens_out=None if usage is None else _count(usage.output_tokens),
        queue_ms=_ms(0.0, queued),
        load_ms=_load_ms(exchange, loading),
        first_byte_ms=_ms(exchange.times.opened_at, first_byte_at),
        total_ms=None if kind == "intent" else _ms(exchange.times.opened_at, now),
        reason=_reason(exchange, None if last is None else last.reason),
        intent=exchange.ids.intent,
        prompt_hash=exchange.kept.prompt_hash,
        request_content=None if evidence is None else evidence.asked(),
        answer_content=None if evidence is None or kind == "intent" else evidence.answered(),
        tokens_counted=exchange.tokens.counted,
    )


def outcome_of(exchange: Exchange) -> EntryOutcome:
    """How it ended, in the audit's words: `shed` is what the gateway had no room or no endpoint for."""
    if exchange.outcome.error_type == "unauthorized":
        return "denied"
    if exchange.outcome.kind != "refused":
        return _OUTCOMES[exchange.outcome.kind]
    if exchange.outcome.error_code in _NOT_REACHED:
        return "upstream_broke"
    return "shed" if exchange.outcome.error_type == "backend_unavailable" else "refused"


def _load_ms(exchange: Exchange, waited: float) -> int | None:
    """The wait for a load, and the time to the first byte where the model was not resident: that has a load in it."""
    last, first_byte_at = exchange.attempts[-1] if exchange.attempts else None, exchange.times.first_byte_at
    if last is not None and not last.is_warm and first_byte_at is not None:
        waited += max(0.0, first_byte_at - last.started_at)
    elif not waited:
        return None
    return _ms(0.0, waited)


def _ms(since: float | None, until: float | None) -> int | None:
    if since is None or until is None:
        return None
    return max(0, round((until - since) * 1000))


def _reason(exchange: Exchange, picked: str | None) -> str | None:
    """What went wrong, else why the endpoint was picked, else what was read of the audit itself."""
    if exchange.outcome.reason is not None and (exchange.outcome.kind != "ok" or picked is None):
        return _text(exchange.outcome.reason[:MAX_REASON])
    return picked


def _count(tokens: int) -> int | None:
    """What is no count, or larger than any store's column, is Ollama's mistake."""
    return tokens if 0 <= tokens < _MOST else None


def _text(text: str) -> str:
    """What every store can hold: no NUL, no half of a surrogate pair."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()
