"""The OTEL_* variables that decide whether and what: read without the SDK."""

import pytest

from ai_gateway.telemetry.settings import TelemetrySettings, read_settings

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


def test_metrics_are_pushed_only_where_asked_for() -> None:
    """They are scraped anyway."""
    assert read_settings(ENDPOINT).metrics == ()
    given = ENDPOINT | {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_METRIC_EXPORT_INTERVAL": "1500"}
    assert (read_settings(given).metrics, read_settings(given).metrics_seconds) == (("otlp",), 1.5)


def test_a_signals_own_protocol_goes_before_the_common_one() -> None:
    given = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}
    settings = read_settings(given)
    assert (settings.traces_protocol, settings.metrics_protocol) == ("http/protobuf", "grpc")


def test_keys_and_cookies_are_secret_whatever_else_is() -> None:
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
        ("always_on", "nonsense", True),  # nobody reads it
        ("traceidratio", "1%", False),
        ("traceidratio", "1.5", False),
        ("parentbased_traceidratio", "-1", False),
        ("traceidratio", "nan", False),
        ("jaeger_remote", None, False),
        ("", None, True),
    ],
)
def test_a_sampler_that_nobody_knows_is_refused(sampler: str, argument: str | None, is_known: bool) -> None:
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
def test_content_needs_the_one_word(word: str) -> None:
    """Off by default, and by anything else."""
    name = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
    assert read_settings({name: word}).content
    assert not any(read_settings({name: other}).content for other in ("", "1", "yes", "false", "SPAN_ONLY"))


def test_patterns_of_headers_are_whole_names_in_any_case() -> None:
    name = "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST"
    asked = read_settings({name: "X-Team, x-a.*"}).headers.asked
    assert asked is not None
    assert [bool(asked.fullmatch(key)) for key in ("x-team", "x-abc", "x-teams", "my-x-team")] == [
        True,
        True,
        False,
        False,
    ]
