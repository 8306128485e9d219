"""The attributes of each kind of span, from a finished exchange: names and values, without the SDK."""

import re
from typing import Any, Final
from urllib.parse import urlsplit

from ai_gateway.exchange import Caller, Exchange, Heads
from ai_gateway.telemetry import names
from ai_gateway.telemetry.settings import HeaderPatterns

Attributes = dict[str, Any]

METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"))
_NUMBERS: Final = {
    "temperature": names.REQUEST_TEMPERATURE,
    "top_p": names.REQUEST_TOP_P,
    "frequency_penalty": names.REQUEST_FREQUENCY_PENALTY,
    "presence_penalty": names.REQUEST_PRESENCE_PENALTY,
}
_WHOLE_NUMBERS: Final = {
    "top_k": names.REQUEST_TOP_K,
    "max_tokens": names.REQUEST_MAX_TOKENS,
    "seed": names.REQUEST_SEED,
    "dimensions": names.EMBEDDING_DIMENSIONS,
}
_OUTPUT_TYPES: Final = {"json_object": "json", "json_schema": "json", "text": "text"}
MAX_TEXT: Final = 1024  # characters of values from a request's head, and of the reason of a failure
_WHOLE: Final = range(-(2**63), 2**63)  # the numbers that an attribute can hold


def operation(exchange: Exchange) -> str:
    """gen_ai.operation.name of a call."""
    assert exchange.call is not None
    return exchange.call.operation.convention


def error_type(exchange: Exchange) -> str | None:
    """The kind of error: the error's code, or how the exchange ended."""
    if exchange.outcome.kind == "ok":
        return None
    return exchange.outcome.error_code or exchange.outcome.kind


def of_server(exchange: Exchange, headers: HeaderPatterns) -> Attributes:
    """The attributes of the SERVER span, with the values of configured headers."""
    method = exchange.method if exchange.method in METHODS else "_OTHER"
    found: Attributes = {
        names.METHOD: method,
        names.URL_PATH: exchange.path[:MAX_TEXT],
        names.URL_SCHEME: exchange.scheme,
        names.REQUEST_ID: exchange.ids.request_id,
        names.CALLER: exchange.caller.name,
        names.OUTCOME: exchange.outcome.kind,
    }
    if exchange.caller.method != "none":
        _add_caller(found, exchange.caller)
    if method == "_OTHER":
        found[names.METHOD_ORIGINAL] = exchange.method[:MAX_TEXT]
    if exchange.route is not None:
        found[names.ROUTE] = exchange.route
    if exchange.outcome.sent_status is not None:
        found[names.STATUS] = exchange.outcome.sent_status
    error = error_type(exchange)
    if error is not None:
        found[names.ERROR_TYPE] = error
    if exchange.caller.address:
        found[names.CLIENT_ADDRESS] = exchange.caller.address
    if exchange.kept.heads is not None:
        _add_heads(found, exchange.kept.heads)
        for prefix, shown, listed in (
            (names.REQUEST_HEADER, headers.request, exchange.kept.heads.asked),
            (names.RESPONSE_HEADER, headers.response, exchange.kept.heads.answered),
        ):
            if shown is not None:
                _add_headers(found, prefix, listed, shown, headers.secret)
    return found


def _add_caller(found: Attributes, caller: Caller) -> None:
    found[names.CALLER_METHOD] = caller.method
    if caller.tenant is not None:
        found[names.CALLER_TENANT] = caller.tenant
    if caller.groups:
        found[names.CALLER_GROUPS] = caller.groups


def _add_heads(found: Attributes, heads: Heads) -> None:
    found[names.PROTOCOL_VERSION] = heads.protocol
    if heads.query:
        found[names.URL_QUERY] = heads.query.decode("latin-1")[:MAX_TEXT]
    if heads.peer is not None and heads.peer[0] != found.get(names.CLIENT_ADDRESS):  # a proxy stands between
        found[names.PEER_ADDRESS], found[names.PEER_PORT] = heads.peer
    for name, value in heads.asked:
        if name == b"user-agent":
            found[names.USER_AGENT] = value.decode("latin-1")[:MAX_TEXT]
        elif name == b"host":
            host, port = _authority(value.decode("latin-1")[:MAX_TEXT])
            if host:
                found[names.SERVER_ADDRESS] = host
            if port is not None:
                found[names.SERVER_PORT] = port


def _add_headers(
    found: Attributes,
    prefix: str,
    headers: list[tuple[bytes, bytes]],
    shown: re.Pattern[str],
    secret: re.Pattern[str],
) -> None:
    for name, value in headers:
        key = name.decode("latin-1").lower()
        if shown.fullmatch(key):
            text = "[REDACTED]" if secret.fullmatch(key) else value.decode("latin-1")[:MAX_TEXT]
            found.setdefault(prefix + key, []).append(text)


def _authority(host: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(f"//{host}")
        return parts.hostname or "", parts.port
    except ValueError:
        return "", None


def request_model(exchange: Exchange) -> str | None:
    """The model's name in the name of the span: each rollout would add another one if it were that of the version."""
    return exchange.ids.tag or exchange.ids.model


def of_call(exchange: Exchange) -> Attributes:
    """The attributes of the GenAI span."""
    call = exchange.call
    assert call is not None
    found: Attributes = {
        names.OPERATION: operation(exchange),
        names.PROVIDER_NAME: names.PROVIDER,
        names.REQUEST_MODEL: request_model(exchange),
        names.MODEL_REQUESTED: call.model,
    }
    if call.stream:
        found[names.REQUEST_STREAM] = True
    if exchange.attempts:
        address = exchange.attempts[-1].upstream.address
        found[names.SERVER_ADDRESS], found[names.SERVER_PORT] = address.host, address.port
    error = error_type(exchange)
    if error is not None:
        found[names.ERROR_TYPE] = error
    _add_parameters(found, exchange)
    _add_answer(found, exchange)
    _add_phases(found, exchange)
    if exchange.kept.content is not None:
        _add_content(found, exchange)
    return found


def _add_parameters(found: Attributes, exchange: Exchange) -> None:
    for key, value in exchange.kept.parameters.items():
        if key in _NUMBERS and (isinstance(value, float) or _is_whole(value)):
            found[_NUMBERS[key]] = float(value)
        elif key in _WHOLE_NUMBERS and _is_whole(value):
            found[_WHOLE_NUMBERS[key]] = value
        elif key == "stop":
            texts = [value] if isinstance(value, str) else value
            if isinstance(texts, list) and all(isinstance(text, str) for text in texts):
                found[names.REQUEST_STOP] = texts
        elif key == "encoding_format" and isinstance(value, str):
            found[names.REQUEST_ENCODING_FORMATS] = [value]
        elif key == "response_format" and isinstance(value, dict):
            kind = value.get("type")
            if isinstance(kind, str) and kind in _OUTPUT_TYPES:
                found[names.OUTPUT_TYPE] = _OUTPUT_TYPES[kind]


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value in _WHOLE


def _add_answer(found: Attributes, exchange: Exchange) -> None:
    call, usage = exchange.call, exchange.tokens.usage
    if exchange.times.first_byte_at is not None and call is not None:
        found[names.RESPONSE_MODEL] = exchange.ids.model
        if call.operation.id_prefix:
            found[names.RESPONSE_ID] = call.operation.id_prefix + exchange.ids.answer_id
        if call.stream and exchange.times.called_at is not None:
            found[names.FIRST_CHUNK_SECONDS] = round(exchange.times.first_byte_at - exchange.times.called_at, 6)
    if exchange.outcome.finish_reason is not None:
        found[names.FINISH_REASONS] = [exchange.outcome.finish_reason]
    if usage is not None:
        found[names.INPUT_TOKENS] = usage.input_tokens
        if call is not None and call.operation.writes_tokens:
            found[names.OUTPUT_TOKENS] = usage.output_tokens


def _add_phases(found: Attributes, exchange: Exchange) -> None:
    """Adds the seconds of each phase that was reached. A retry may lie between two phases."""
    begun_at = exchange.attempts[-1].started_at if exchange.attempts else None
    is_warm = bool(exchange.attempts) and exchange.attempts[-1].is_warm
    times = exchange.times
    queued, loading = times.waits(times.closed_at)
    phases = (
        (names.PHASE_AUTH, _between(times.opened_at, times.authenticated_at)),
        (names.PHASE_BODY, _between(times.authenticated_at or times.opened_at, times.called_at)),
        (names.PHASE_LOAD, loading or None),
        (names.PHASE_QUEUE, queued),
        (names.PHASE_PREFILL if is_warm else names.PHASE_LOAD_AND_PREFILL, _between(begun_at, times.first_byte_at)),
        (names.PHASE_DECODE, _between(times.first_byte_at, times.closed_at)),
    )
    for name, seconds in phases:
        if seconds is not None:
            found[name] = round(seconds, 6)


def _between(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else end - start


def _add_content(found: Attributes, exchange: Exchange) -> None:
    assert exchange.kept.content is not None
    for name, text in (
        (names.INPUT_MESSAGES, exchange.kept.content.asked()),
        (names.OUTPUT_MESSAGES, exchange.kept.content.answered()),
    ):
        if text is not None:
            found[name] = text


def of_attempt(exchange: Exchange, number: int) -> Attributes:
    """The attributes of an attempt's HTTP CLIENT span: those of OpenTelemetry's httpx instrumentation, and the pod."""
    tried = exchange.attempts[number]
    address = tried.upstream.address
    path = exchange.route or exchange.path
    found: Attributes = {
        names.METHOD: "POST",
        names.URL_FULL: address.url + path,
        names.SERVER_ADDRESS: address.host,
        names.SERVER_PORT: address.port,
        names.PEER_ADDRESS: address.host,
        names.PEER_PORT: address.port,
        names.PICK_REASON: tried.reason,
        names.PICK_WARM: tried.is_warm,
    }
    if number:
        found[names.RESEND_COUNT] = number
    if tried.upstream.pod is not None:
        found[names.UPSTREAM_NAMESPACE], _, found[names.UPSTREAM_POD] = tried.upstream.pod.partition("/")
    if tried.version is not None:
        found[names.UPSTREAM_VERSION] = tried.version
    if tried.upstream.node is not None:
        found[names.UPSTREAM_NODE] = tried.upstream.node
    if tried.status is not None:
        found[names.STATUS] = tried.status
        found[names.PROTOCOL_VERSION] = "1.1"
    if tried.status is not None and tried.status >= 400:
        found[names.ERROR_TYPE] = str(tried.status)
    elif tried.status is None:  # no head came: the attempt's own reason, or that of the exchange
        found[names.ERROR_TYPE] = tried.error or error_type(exchange) or "unknown"
    return found
