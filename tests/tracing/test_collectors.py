"""Missing, slow or refusing collectors delay no call; queued spans are exported at the end."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.flow.upstream import answer_well, whole
from tests.flow.waiting import PATIENCE_SECONDS, until
from tests.flow.world import World
from tests.ports import free_port
from tests.tracing.traced import Traced

from ai_gateway.telemetry.export import Exporting
from ai_gateway.telemetry.settings import read_settings

GATEWAY = Path(sys.executable).parent / "ai-gateway"
CALLS = 40
EXPORT_SECONDS = "2"  # were each call, or each span at the end, to wait so long, it would be beyond all patience


async def calls(world: World, traced: Traced) -> float:
    """The seconds that some calls take, one after the other."""
    served = await traced.gateway(world, [(await world.upstream(answer_well)).url])
    started_at = time.monotonic()
    for _ in range(CALLS):
        assert (await served.chat()).status == 200
    return time.monotonic() - started_at


async def test_a_missing_collector_delays_no_call(
    world: World, traced: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its spans count as failed, and leaving does not wait for it beyond its budget."""
    traced.may_complain = True
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", EXPORT_SECONDS)
    assert await calls(world, traced) < PATIENCE_SECONDS
    (exporting,) = traced.exporting
    await until(lambda: exporting.counts["failed"] > 0)
    assert exporting.counts["exported"] == 0
    started_at = time.monotonic()
    await asyncio.to_thread(exporting.close, 1.0)
    assert time.monotonic() - started_at < PATIENCE_SECONDS


async def test_a_slow_collector_fills_the_queue_and_no_more(
    world: World, traced: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit is dropped and counted; calls go on as fast as ever."""
    traced.may_complain = True
    traced.receiver.delay_seconds = 2 * PATIENCE_SECONDS
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", EXPORT_SECONDS)
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "30")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
    assert await calls(world, traced) < PATIENCE_SECONDS
    (exporting,) = traced.exporting
    assert exporting.counts["dropped"] >= 3 * CALLS - 30 - 10
    started_at = time.monotonic()
    assert await asyncio.to_thread(exporting.close, 0.3) is False
    assert time.monotonic() - started_at < PATIENCE_SECONDS


async def test_a_refusing_collector_shows_in_the_counts(world: World, traced: Traced) -> None:
    """A 400 is not tried again."""
    traced.may_complain = True
    traced.receiver.answer = whole(b"", "400 Bad Request")
    assert await calls(world, traced) < PATIENCE_SECONDS
    (exporting,) = traced.exporting
    await until(lambda: exporting.counts["failed"] == 3 * CALLS)
    assert exporting.counts == {"exported": 0, "failed": 3 * CALLS, "dropped": 0}


def test_an_import_of_the_whole_gateway_brings_nothing_of_opentelemetry() -> None:
    program = (
        "import sys, ai_gateway.app, ai_gateway.server, ai_gateway.cli.serve, ai_gateway.telemetry.request_metrics; "
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'google', 'prometheus'))])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


def test_grpc_without_its_extra_is_refused_with_what_to_install() -> None:
    settings = read_settings({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
    with pytest.raises(ValueError, match=r"ai-gateway-ollama\[grpc\]"):
        Exporting(settings, {})
