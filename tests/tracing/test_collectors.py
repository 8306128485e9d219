"""Collectors that are away, slow or unwilling cost no call any time; what is queued goes out at the end."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import yaml
from tests.flow.upstream import answer_well, whole
from tests.flow.waiting import until
from tests.flow.world import World
from tests.tracing.receiver import SERVER, Receiver
from tests.tracing.traced import Traced

from ai_gateway.telemetry.export import Exporting
from ai_gateway.telemetry.settings import read_settings

GATEWAY = Path(sys.executable).parent / "ai-gateway"
CALLS = 40
QUICK_SECONDS = 4.0  # of all of them on a busy machine; were each to wait for an export, it would be twice that


async def calls(world: World, traced: Traced) -> float:
    """The seconds that some calls take, one after the other."""
    served = await traced.gateway(world, [(await world.upstream(answer_well)).url])
    started_at = time.monotonic()
    for _ in range(CALLS):
        assert (await served.chat()).status == 200
    return time.monotonic() - started_at


def closed_port() -> int:
    """Nobody listens there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


async def test_a_collector_that_is_away_costs_no_call_any_time(
    world: World, traced: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its spans count as failed, and leaving does not wait for it beyond its budget."""
    traced.may_complain = True
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    assert await calls(world, traced) < QUICK_SECONDS
    (exporting,) = traced.exporting
    await until(lambda: exporting.counts["failed"] > 0)
    assert exporting.counts["exported"] == 0
    started_at = time.monotonic()
    await asyncio.to_thread(exporting.close, 1.0)
    assert time.monotonic() - started_at < 1.0 + QUICK_SECONDS


async def test_a_slow_collector_fills_the_queue_and_no_more(
    world: World, traced: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit is dropped and counted; calls go on as fast as ever."""
    traced.may_complain = True
    traced.receiver.delay_seconds = 30.0
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "30")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
    assert await calls(world, traced) < QUICK_SECONDS
    (exporting,) = traced.exporting
    assert exporting.counts["dropped"] >= 3 * CALLS - 30 - 10
    started_at = time.monotonic()
    assert await asyncio.to_thread(exporting.close, 0.3) is False
    assert time.monotonic() - started_at < 0.3 + QUICK_SECONDS


async def test_a_collector_that_refuses_is_told_of_in_the_counts(world: World, traced: Traced) -> None:
    """A 400 is not tried again."""
    traced.may_complain = True
    traced.receiver.answer = whole(b"", "400 Bad Request")
    assert await calls(world, traced) < QUICK_SECONDS
    (exporting,) = traced.exporting
    await until(lambda: exporting.counts["failed"] == 3 * CALLS)
    assert exporting.counts == {"exported": 0, "failed": 3 * CALLS, "dropped": 0}


def started(folder: Path, environment: dict[str, str]) -> tuple[subprocess.Popen[str], int]:
    """A gateway with simulated endpoints, and its port."""
    config = folder / "config.yml"
    config.write_text(yaml.safe_dump({"models": {"llama3": {}}}))
    command = [str(GATEWAY), "serve", "--demo", "--config", str(config)]
    command += ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    own = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    process = subprocess.Popen(
        command, env={**own, "OLLAMA_HOST": "127.0.0.1:9", **environment}, stderr=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if "listening on" in line:
            return process, int(line.partition("listening on http://127.0.0.1:")[2].split()[0])
    raise AssertionError("it does not listen")


def test_what_is_queued_is_delivered_when_the_gateway_leaves(receiver: Receiver, tmp_path: Path) -> None:
    """With the usual five seconds between two exports, a gateway that ends at once still tells of its last call."""
    process, port = started(tmp_path, {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url})
    body = {"model": "llama3", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
    answer = httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body, trust_env=False, timeout=10)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == 0
    (server,) = [span for span in receiver.trees(answer.headers["x-trace-id"]) if span.kind == SERVER]
    assert len(server.children) == 1


@pytest.mark.parametrize(
    "environment", [{}, {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}]
)
def test_where_nothing_is_exported_the_sdk_is_not_imported(tmp_path: Path, environment: dict[str, str]) -> None:
    """Ids are made all the same, and stand in answer and log."""
    process, port = started(tmp_path, environment)
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}/v1/models", trust_env=False, timeout=10)
        mapped = Path(f"/proc/{process.pid}/maps").read_text()
    finally:
        process.terminate()
        out, _ = process.communicate(timeout=10)
    assert answer.headers["x-trace-id"] in out
    assert "google" not in mapped, "protobuf, which the exporter needs, is a shared object"


def test_an_import_of_the_whole_gateway_brings_nothing_of_opentelemetry() -> None:
    program = (
        "import sys, ai_gateway.app, ai_gateway.server, ai_gateway.cli.serve, ai_gateway.telemetry.request_metrics; "
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'google', 'prometheus'))])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


@pytest.mark.parametrize(
    ("variable", "word"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_METRICS_EXPORTER", "prometheus"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_PROPAGATORS", "b3"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "some"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1s"),
        ("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST", "("),
    ],
)
def test_a_word_that_is_not_known_ends_the_start(variable: str, word: str) -> None:
    """With the variable's name: a gateway that exports nothing because of a slip is found out too late."""
    command = [str(GATEWAY), "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    done = subprocess.run(
        command, env={**os.environ, variable: word}, capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 1
    assert variable in done.stderr
    assert "Traceback" not in done.stderr


def test_grpc_without_its_extra_is_refused_with_what_to_install() -> None:
    settings = read_settings({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
    with pytest.raises(ValueError, match=r"ai-gateway-ollama\[grpc\]"):
        Exporting(settings, {})
