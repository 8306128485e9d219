"""The settings of the standard OTEL_* variables, read without the SDK, which is imported only for exports.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/. The variables of exporter, batches,
sampler and limits are read by the SDK itself; this module reads those that decide whether to export, and what.
"""

import os
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec

EXPORTERS: Final = ("otlp", "console", "none")
# Known values that are not supported here, with what to do instead.
_ELSEWHERE: Final = {
    "logging": "say console",
    "stdout": "say console",
    "prometheus": "it is for metrics only",
    "zipkin": "send to a collector with otlp; the collector speaks zipkin",
    "jaeger": "send to a collector with otlp; Jaeger takes it, too",
}
COMPRESSIONS: Final = ("none", "gzip", "deflate")
PROTOCOLS: Final = ("http/protobuf", "grpc")
PROPAGATORS: Final = ("tracecontext", "baggage", "none")
SAMPLERS: Final = (
    *("always_on", "always_off", "traceidratio"),
    *("parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"),
)
EXEMPLAR_FILTERS: Final = ("trace_based", "always_on", "always_off")
_HEADERS: Final = "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_"
# Credentials: never in a span, even if a pattern matches them.
_SECRET: Final = ("authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "api-key")


class HeaderPatterns(msgspec.Struct, frozen=True):
    """Patterns for the names of headers whose values spans carry; those that match `secret` are redacted."""

    request: re.Pattern[str] | None = None
    response: re.Pattern[str] | None = None
    secret: re.Pattern[str] = re.compile("|".join(_SECRET), re.IGNORECASE)


class TelemetrySettings(msgspec.Struct, frozen=True):
    """What is exported and propagated. Empty tuples: nothing."""

    traces: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    traces_protocol: str = "http/protobuf"
    metrics_protocol: str = "http/protobuf"
    metrics_seconds: float = 60.0
    context: bool = True  # traceparent and tracestate are read and passed on
    baggage: bool = True
    content: bool = False  # of prompts and answers, on spans
    exemplars: str = "trace_based"
    headers: HeaderPatterns = HeaderPatterns()


def read_settings(environment: Mapping[str, str]) -> TelemetrySettings:
    """The settings in an environment. Raises ValueError with the variable's name for an unknown value."""
    given = {name: text.strip() for name, text in environment.items() if name.startswith("OTEL_") and text.strip()}
    _check_sampler(given)
    is_disabled = given.get("OTEL_SDK_DISABLED", "").lower() == "true"
    propagators = _values(given, "OTEL_PROPAGATORS", "tracecontext,baggage", PROPAGATORS)
    has_endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT" in given or "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" in given
    traces = _values(given, "OTEL_TRACES_EXPORTER", "otlp" if has_endpoint else "none", EXPORTERS)
    # `prometheus` means the scrape, which the gateway always serves on its own address.
    metrics = _values(given, "OTEL_METRICS_EXPORTER", "none", (*EXPORTERS, "prometheus"))
    metrics = tuple(value for value in metrics if value != "prometheus")
    _values(given, "OTEL_LOGS_EXPORTER", "none", EXPORTERS)  # logs go to standard error; `audit.store` sends entries
    is_on = {"TRACES": "otlp" in traces, "METRICS": "otlp" in metrics}
    for signal in () if is_disabled else (signal for signal, is_sent in is_on.items() if is_sent):
        check_endpoint(given, signal)
    return TelemetrySettings(
        traces=() if is_disabled else traces,
        metrics=() if is_disabled else metrics,
        traces_protocol=_protocol(given, "TRACES"),
        metrics_protocol=_protocol(given, "METRICS"),
        metrics_seconds=_milliseconds(given, "OTEL_METRIC_EXPORT_INTERVAL", 60_000) / 1000,
        context="tracecontext" in propagators,
        baggage="baggage" in propagators,
        content=given.get("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "").lower() == "true",
        exemplars=_value(given, "OTEL_METRICS_EXEMPLAR_FILTER", "trace_based", EXEMPLAR_FILTERS),
        headers=_header_patterns(given),
    )


def logs_protocol(environment: Mapping[str, str]) -> str:
    """The protocol for the audit's entries. Raises ValueError as `read_settings` does."""
    given = {name: text.strip() for name, text in environment.items() if text.strip()}
    check_endpoint(given, "LOGS")
    return _protocol(given, "LOGS")


def check_endpoint(given: Mapping[str, str], signal: str) -> None:
    """Checks that the SDK could send a signal's data to its endpoint; otherwise it would fail with each batch.

    Raises ValueError. https://opentelemetry.io/docs/specs/otel/protocol/exporter/: over HTTP an endpoint is a URL with
    a scheme; over gRPC HOST:PORT will do.
    """
    is_grpc = _protocol(given, signal) == "grpc"
    name = f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"
    name = name if name in given else "OTEL_EXPORTER_OTLP_ENDPOINT"
    if name in given:
        reason = _endpoint_reason(given[name], is_grpc)
        if reason is not None:
            raise ValueError(f"{name}: {reason}")
    for what in ("CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE"):
        for name in (f"OTEL_EXPORTER_OTLP_{signal}_{what}", f"OTEL_EXPORTER_OTLP_{what}"):
            if name in given and not os.access(given[name], os.R_OK):
                raise ValueError(f"{name}: cannot read the file {given[name]}")
    for name in (f"OTEL_EXPORTER_OTLP_{signal}_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"):
        if name in given and not _is_positive(given[name]):
            raise ValueError(f"{name}: {given[name]!r} is not a number")
    for name in (f"OTEL_EXPORTER_OTLP_{signal}_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"):
        _value(given, name, "none", COMPRESSIONS)


def _endpoint_reason(text: str, is_grpc: bool) -> str | None:
    """Why the endpoint cannot be used, or None. The reason does not repeat it: a URL may hold a password."""
    if any(not char.isprintable() or char.isspace() for char in text):
        return "it has a space or an invisible character in it"
    has_scheme = "://" in text
    if not has_scheme and not is_grpc:
        return (
            f"it has no scheme; write http://{text.rpartition('@')[2]}, or https://, if the collector has a certificate"
        )
    try:
        parts = urlsplit(text if has_scheme else f"http://{text}")
        port = parts.port
    except ValueError as error:
        return f"it is not a URL: {error}"
    if parts.scheme not in ("http", "https"):
        return f"{parts.scheme}:// is not a scheme of OTLP; use http:// or https://"
    if not parts.hostname:
        return "it names no host"
    if port == 0:
        return "0 is not a port"
    return None


def _is_positive(text: str) -> bool:
    try:
        return float(text) > 0
    except ValueError:
        return False


def _values(given: Mapping[str, str], name: str, usual: str, known: tuple[str, ...]) -> tuple[str, ...]:
    values = tuple(value.strip().lower() for value in given.get(name, usual).split(",") if value.strip())
    for value in values:
        if value not in known:
            instead = f" ({_ELSEWHERE[value]})" if value in _ELSEWHERE else ""
            raise ValueError(f"{name}: {value!r} is not supported; use {', '.join(known)}{instead}")
    return () if "none" in values else tuple(dict.fromkeys(values))


def _value(given: Mapping[str, str], name: str, usual: str, known: tuple[str, ...]) -> str:
    value = given.get(name, usual).lower()
    if value not in known:
        raise ValueError(f"{name}: {value!r} is not supported; use {', '.join(known)}")
    return value


def _protocol(given: Mapping[str, str], signal: str) -> str:
    name = f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL"
    if name not in given:
        name = "OTEL_EXPORTER_OTLP_PROTOCOL"
    return _value(given, name, "http/protobuf", PROTOCOLS)


def _check_sampler(given: Mapping[str, str]) -> None:
    """Checks the sampler: the SDK reads it itself, and would export every request for an invalid one."""
    sampler = _value(given, "OTEL_TRACES_SAMPLER", "parentbased_always_on", SAMPLERS)
    text = given.get("OTEL_TRACES_SAMPLER_ARG", "1")
    if sampler.endswith("traceidratio") and not _is_share(text):
        raise ValueError(f"OTEL_TRACES_SAMPLER_ARG: {text!r} is not a number from 0 to 1")


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False


def _milliseconds(given: Mapping[str, str], name: str, usual: int) -> int:
    text = given.get(name, str(usual))
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise ValueError(f"{name}: {text!r} is not a number of milliseconds")
    return int(text)


def _header_patterns(given: Mapping[str, str]) -> HeaderPatterns:
    secret = _pattern(given, "SANITIZE_FIELDS", _SECRET)
    assert secret is not None
    return HeaderPatterns(_pattern(given, "SERVER_REQUEST"), _pattern(given, "SERVER_RESPONSE"), secret)


def _pattern(given: Mapping[str, str], which: str, always: tuple[str, ...] = ()) -> re.Pattern[str] | None:
    values = [value.strip() for value in given.get(_HEADERS + which, "").split(",") if value.strip()]
    if not values and not always:
        return None
    try:
        return re.compile("|".join((*always, *values)), re.IGNORECASE)
    except re.error as error:
        raise ValueError(f"{_HEADERS}{which}: {error}") from None
