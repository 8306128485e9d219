"""The OTEL_* variables that decide what is exported: read without the SDK."""

import pytest

from ai_gateway.telemetry.settings import TelemetrySettings, logs_protocol, read_settings

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


def test_nothing_set_exports_nothing() -> None:
    assert read_settings({"PATH": "/bin", "OTEL_TRACES_EXPORTER": " "}) == TelemetrySettings()


@pytest.mark.parametrize(
    ("given", "traces"),
    [
        (ENDPOINT, ("otlp",)),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c/v1/traces"}, ("otlp",)),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c/v1/metrics"}, ()),
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}, ()),
        ({"OTEL_TRACES_EXPORTER": "console"}, ("console",)),
        ({"OTEL_TRACES_EXPORTER": "otlp, console,otlp"}, ("otlp", "console")),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "TRUE"}, ()),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "1"}, ("otlp",)),  # the specification knows `true` alone
    ],
)
def test_an_endpoint_or_an_exporter_turns_traces_on(given: dict[str, str], traces: tuple[str, ...]) -> None:
    assert read_settings(given).traces == traces


def test_metrics_are_pushed_only_if_configured() -> None:
    """They are scraped anyway."""
    assert read_settings(ENDPOINT).metrics == ()
    given = ENDPOINT | {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_METRIC_EXPORT_INTERVAL": "1500"}
    assert (read_settings(given).metrics, read_settings(given).metrics_seconds) == (("otlp",), 1.5)


def test_a_signals_own_protocol_overrides_the_common_one() -> None:
    given = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}
    settings = read_settings(given)
    assert (settings.traces_protocol, settings.metrics_protocol) == ("http/protobuf", "grpc")


def test_keys_and_cookies_are_always_secret() -> None:
    name = "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS"
    secret = read_settings({name: ".*session.*"}).headers.secret
    assert all(secret.fullmatch(key) for key in ("authorization", "Cookie", "x-api-key", "my-session-id"))
    assert not secret.fullmatch("content-type")


@pytest.mark.parametrize(
    ("sampler", "argument", "is_known"),
    [
        ("always_on", None, True),
        ("Parentbased_Always_Off", None, True),
        ("parentbased_traceidratio", "0.01", True),
        ("traceidratio", None, True),
        ("always_on", "nonsense", True),  # this sampler ignores it
        ("traceidratio", "1%", False),
        ("traceidratio", "1.5", False),
        ("parentbased_traceidratio", "-1", False),
        ("traceidratio", "nan", False),
        ("jaeger_remote", None, False),
        ("", None, True),
    ],
)
def test_an_unknown_sampler_is_refused(sampler: str, argument: str | None, is_known: bool) -> None:
    """The SDK would export every request, which is what its operator wanted to avoid."""
    given = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": argument or ""}
    if is_known:
        read_settings(given)
    else:
        with pytest.raises(ValueError, match="OTEL_TRACES_SAMPLER"):
            read_settings(given)


@pytest.mark.parametrize(
    ("given", "context", "baggage"),
    [
        ("tracecontext, Baggage", True, True),
        ("tracecontext", True, False),
        ("baggage", False, True),
        ("none", False, False),
        ("tracecontext,none", False, False),
        ("", True, True),
    ],
)
def test_propagators_say_what_passes(given: str, context: bool, baggage: bool) -> None:
    settings = read_settings({"OTEL_PROPAGATORS": given})
    assert (settings.context, settings.baggage) == (context, baggage)


@pytest.mark.parametrize("word", ["true", "TRUE", " true "])
def test_content_needs_the_exact_value(word: str) -> None:
    """Off by default, and by anything else."""
    name = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
    assert read_settings({name: word}).content
    assert not any(read_settings({name: other}).content for other in ("", "1", "yes", "false", "SPAN_ONLY"))


def test_patterns_of_headers_are_whole_names_in_any_case() -> None:
    name = "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST"
    asked = read_settings({name: "X-Team, x-a.*"}).headers.request
    assert asked is not None
    assert [bool(asked.fullmatch(key)) for key in ("x-team", "x-abc", "x-teams", "my-x-team")] == [
        True,
        True,
        False,
        False,
    ]


GRPC = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}


@pytest.mark.parametrize(
    "endpoint",
    [
        "localhost:4318", "collector", "//collector:4318", "grpc://collector:4317", "unix:///run/otel.sock", "http://",
        "http://:4318", "http://collector:99999", "http://collector:port", "http://collector:0", "http://[::1:4318",
        "http://col lector:4318", "http://collector:4318\x00", "http://collector:4318\u202e", "htp://collector:4318",
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
def test_an_endpoint_that_nothing_can_be_sent_to_is_refused(name: str, endpoint: str) -> None:
    """It would start, and every span would fail."""
    with pytest.raises(ValueError, match=f"^{name}: "):
        read_settings({name: endpoint})


@pytest.mark.parametrize(
    ("endpoint", "more"),
    [
        ("http://collector:4318", {}),
        ("HTTPS://Collector:4318/prefix?x=1", {}),
        ("http://user:p%40ss@collector:4318/", {}),
        ("http://[::1]:4318", {}),
        ("localhost:4317", GRPC),
        ("[::1]:4317", GRPC),
        ("http://collector:4317", GRPC),
        ("  http://collector:4318  ", {}),
        ("localhost:4318", {"OTEL_SDK_DISABLED": "true"}),
        ("localhost:4318", {"OTEL_TRACES_EXPORTER": "none"}),
        ("localhost:4318", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}),
        ("localhost:4318", {"OTEL_TRACES_EXPORTER": "console"}),
    ],
)
def test_a_valid_or_unused_endpoint_is_accepted(endpoint: str, more: dict[str, str]) -> None:
    read_settings({"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, **more})


@pytest.mark.parametrize("port", ["x", "99999"])
def test_over_grpc_a_port_must_be_one_too(port: str) -> None:
    with pytest.raises(ValueError, match="OTEL_EXPORTER_OTLP_ENDPOINT"):
        read_settings({"OTEL_EXPORTER_OTLP_ENDPOINT": f"localhost:{port}", **GRPC})


def test_each_signals_own_endpoint_is_checked_if_it_is_used() -> None:
    metrics = {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "localhost:4318"}
    read_settings(metrics)
    with pytest.raises(ValueError, match="OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: it has no scheme; write http://local"):
        read_settings({**metrics, "OTEL_METRICS_EXPORTER": "otlp"})
    with pytest.raises(ValueError, match="OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"):
        logs_protocol({"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "localhost:4318"})
    with pytest.raises(ValueError, match="OTEL_EXPORTER_OTLP_ENDPOINT"):
        logs_protocol({"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4318"})


def test_a_password_in_an_endpoint_is_not_shown() -> None:
    with pytest.raises(ValueError, match="no scheme") as caught:
        read_settings({"OTEL_EXPORTER_OTLP_ENDPOINT": "user:secret@collector:4318"})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.pem"),
        ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "/nowhere/key.pem"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "zstd"),
        ("OTEL_LOGS_EXPORTER", "nonsense"),
    ],
)
def test_a_value_that_the_exporter_would_fail_on_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: "):
        read_settings({**ENDPOINT, name: value})


@pytest.mark.parametrize(
    ("given", "metrics"),
    [("prometheus", ()), ("otlp,prometheus", ("otlp",)), ("PROMETHEUS , console", ("console",)), ("none", ())],
)
def test_prometheus_means_the_scrape_which_is_always_on(given: str, metrics: tuple[str, ...]) -> None:
    assert read_settings({**ENDPOINT, "OTEL_METRICS_EXPORTER": given}).metrics == metrics


@pytest.mark.parametrize("word", ["zipkin", "logging", "jaeger", "prometheus"])
def test_a_known_but_unsupported_exporter_is_refused_with_advice(word: str) -> None:
    with pytest.raises(ValueError, match=r"OTEL_TRACES_EXPORTER: .* use otlp, console, none \("):
        read_settings({"OTEL_TRACES_EXPORTER": word})
