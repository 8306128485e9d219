"""The command itself: its environment, its cost without tracing, and its shutdown."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.flow.upstream import NAMES_ALONE, Upstream, answer_well, whole
from tests.flow.waiting import PATIENCE_SECONDS
from tests.flow.world import CHAT
from tests.ports import free_port
from tests.tracing.command import GATEWAY, Command, plain_environment
from tests.tracing.receiver import SERVER, Receiver, in_thread, receiving

from ai_gateway.cli.serve import FLUSH_SECONDS

Run = Callable[..., Command]
LONG = str(round(3 * PATIENCE_SECONDS))  # seconds that nobody waits for an export
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SHOWN = whole(b'{"model_info":{},"capabilities":[]}')


@pytest.fixture
def ollama() -> Iterator[Upstream]:
    """An endpoint that outlives the gateways."""
    with in_thread(answer_well, state={"/api/show": SHOWN, "/api/tags": NAMES_ALONE}) as upstream:
        yield upstream


@pytest.fixture
def run(tmp_path: Path, ollama: Upstream) -> Iterator[Run]:
    """Starts a gateway with these variables; none outlives the test."""
    started: list[Command] = []

    def start(**variables: str) -> Command:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(Command(folder, **{"OLLAMA_HOST": ollama.address, **variables}))
        return started[-1]

    try:
        yield start
    finally:
        for command in started:
            command.end()


def test_what_is_queued_is_delivered_when_the_gateway_leaves(receiver: Receiver, run: Run) -> None:
    """With the usual five seconds between two exports, a gateway that ends at once still tells of its last call."""
    gateway = run(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)
    answer = gateway.chat()
    gateway.leave()
    (server,) = [span for span in receiver.trees(answer.headers["x-trace-id"]) if span.kind == SERVER]
    assert len(server.children) == 1
    (line,) = [line for line in gateway.lines if line["trace_id"] == server.trace_id]
    assert line["span_id"] == server.span_id
    assert "opentelemetry" in gateway.imported
    assert '"level":"warning","log":"opentelemetry' not in gateway.log


@pytest.mark.parametrize(
    "variables", [{}, {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}]
)
def test_where_nothing_is_exported_the_sdk_is_not_imported(run: Run, variables: dict[str, str]) -> None:
    """Also not by a request. Ids are the caller's or made all the same, and stand in answer and access line."""
    gateway = run(**variables)
    ours = gateway.chat(stream=True).headers["x-trace-id"]
    theirs = gateway.chat(headers={"traceparent": f"00-{TRACE}-{PARENT}-01"}).headers["x-trace-id"]
    gateway.ask("GET", "/v1/models/llama3")
    gateway.leave()
    assert gateway.imported == []
    assert theirs == TRACE
    assert len(ours) == 32
    assert {ours, theirs} <= {line["trace_id"] for line in gateway.lines}
    assert all(len(line["span_id"]) == 16 for line in gateway.lines)
    assert PARENT not in {line["span_id"] for line in gateway.lines}


def test_no_collector_keeps_the_gateway_from_leaving(run: Run) -> None:
    """One that is away, and one that takes the connection and never answers: within the time that is set for it."""
    with receiving() as silent:
        silent.delay_seconds = float(LONG)
        away = run(OTEL_EXPORTER_OTLP_TIMEOUT=LONG, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}")
        waiting = run(OTEL_EXPORTER_OTLP_TIMEOUT=LONG, OTEL_EXPORTER_OTLP_ENDPOINT=silent.url)
        for gateway in (away, waiting):
            gateway.chat()
            gateway.signal()
        assert away.left() < FLUSH_SECONDS + PATIENCE_SECONDS
        assert waiting.left() < FLUSH_SECONDS + PATIENCE_SECONDS
    assert "could not export all queued spans" in waiting.log
    assert "Traceback" not in away.log + waiting.log


def test_on_a_pipe_spans_and_access_lines_are_json_side_by_side(run: Run) -> None:
    """OTEL_TRACES_EXPORTER=console needs no collector."""
    gateway = run(OTEL_TRACES_EXPORTER="console")
    trace_id = gateway.chat().headers["x-trace-id"]
    gateway.leave()
    spans = [line for line in gateway.lines if line.get("context", {}).get("trace_id") == f"0x{trace_id}"]
    assert [span["kind"] for span in spans] == ["SpanKind.SERVER", "SpanKind.CLIENT", "SpanKind.CLIENT"]
    assert [line["log"] for line in gateway.lines if line.get("trace_id") == trace_id] == ["access"]


@pytest.mark.parametrize(
    ("propagators", "passed"),
    [("tracecontext", {"traceparent", "tracestate"}), ("baggage", {"baggage"}), ("none", set())],
)
def test_no_call_to_ollama_carries_more_than_the_variable_names(
    receiver: Receiver, run: Run, ollama: Upstream, propagators: str, passed: set[str]
) -> None:
    """Both calls and control calls: the instrumentation of httpx reads it when it is imported."""
    gateway = run(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, OTEL_PROPAGATORS=propagators)
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "a=1", "baggage": "user=7"}
    gateway.chat(headers=headers)
    gateway.ask("GET", "/v1/models/llama3", **headers)
    gateway.leave()
    sent = [visit.headers for visit in (*ollama.visits, *ollama.looks) if visit.path in (CHAT, "/api/show")]
    assert len(sent) == 2
    assert [{"traceparent", "tracestate", "baggage"}.intersection(heads) for heads in sent] == [passed] * 2


@pytest.mark.parametrize("words", ["", "gen_ai_latest_experimental", "http/dup"])
def test_control_calls_have_the_stable_names_whatever_else_is_opted_for(
    receiver: Receiver, run: Run, words: str
) -> None:
    """Another signal's word must not bring the names of old back."""
    gateway = run(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, OTEL_SEMCONV_STABILITY_OPT_IN=words)
    gateway.chat()  # it knows an endpoint then, whose details it can ask for
    trace_id = gateway.ask("GET", "/v1/models/llama3").headers["x-trace-id"]
    gateway.leave()
    (server,) = receiver.trees(trace_id)
    (control,) = server.children
    assert control.attributes["http.request.method"] == "POST"
    assert ("http.method" in control.attributes) is (words == "http/dup")


@pytest.mark.parametrize(
    ("variable", "word"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_METRICS_EXPORTER", "statsd"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "udp"),
        ("OTEL_PROPAGATORS", "b3"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "some"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1s"),
        ("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST", "("),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "many"),
        ("OTEL_BSP_", "0"),
    ],
)
def test_an_unknown_exporter_ends_the_start(variable: str, word: str) -> None:
    """With the variable's name: a gateway that exports nothing because of a slip is found out too late."""
    full = f"{variable}MAX_EXPORT_BATCH_SIZE" if variable.endswith("_") else variable
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", full: word}
    status, said = refused(**variables)
    assert (status, variable in said, "Traceback" in said) == (1, True, False)


def test_grpc_without_its_extra_ends_the_start() -> None:
    """With what to install."""
    status, said = refused(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
    assert (status, said.count("\n")) == (1, 1)
    assert "ai-gateway-ollama[grpc]" in said


def refused(**variables: str) -> tuple[int, str]:
    """The status of a command that does not start, and what it says."""
    command = [str(GATEWAY), "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    done = subprocess.run(
        command, env=plain_environment(**variables), capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stderr
