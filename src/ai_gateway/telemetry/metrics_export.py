"""Sends all metrics to a collector at intervals, by OpenTelemetry's exporters. Imported only if that is on."""

import asyncio
import logging
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, MetricExporter, MetricsData
from opentelemetry.sdk.resources import Resource

from ai_gateway.failure_log import FailureLog
from ai_gateway.telemetry.grpc import grpc_exporter
from ai_gateway.telemetry.metrics import process_samples
from ai_gateway.telemetry.otlp_metrics import Conversion
from ai_gateway.telemetry.sample import Sample
from ai_gateway.telemetry.settings import TelemetrySettings

log = logging.getLogger("ai_gateway.telemetry")

LAST_SECONDS: Final = 3.0  # for the last export, at the end
_TEMPORALITY: Final = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"


class MetricsExport:
    """Exports the samples of `read` while its block runs, and once more at its end.

    It calls `read` in the event loop, and waits for the collector in a thread.
    """

    def __init__(
        self, read: Callable[[], list[Sample]], exporters: Sequence[MetricExporter], resource: Resource
    ) -> None:
        self._read = read
        self._exporters = exporters
        self._convert = Conversion(resource, time.time_ns())
        self._one_at_a_time = threading.Lock()
        self._failures = FailureLog(log)

    @asynccontextmanager
    async def running(self, every_seconds: float, last_seconds: float = LAST_SECONDS) -> AsyncIterator[None]:
        """Exports every `every_seconds` until the end of the block; the last export has `last_seconds`."""
        task = asyncio.create_task(self._often(every_seconds))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await asyncio.shield(self._last(last_seconds))

    async def _often(self, every_seconds: float) -> None:
        while True:
            await asyncio.sleep(every_seconds)
            await self._export()

    async def _last(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._export()
                await _apart(self._shut_down)
        except TimeoutError:
            log.warning("could not export the last metrics within %g s", seconds)

    async def _export(self) -> None:
        try:
            samples, now_ns = self._read(), time.time_ns()
        except Exception as failure:  # of a metric source: the next read may succeed
            self._failures.note(failure, "could not read the metrics to export")
            return
        await _apart(lambda: self._send(samples, now_ns))

    def _send(self, samples: list[Sample], now_ns: int) -> None:
        """Runs in a thread. Exporters log a failure; the next export has all the numbers again."""
        with self._one_at_a_time:
            try:
                data = self._convert([*samples, *process_samples()], now_ns)
                for exporter in self._exporters:
                    self._send_by(exporter, data)
            except Exception as failure:  # of our own conversion
                self._failures.note(failure, "could not export metrics")

    def _send_by(self, exporter: MetricExporter, data: MetricsData) -> None:
        try:
            exporter.export(data)
        except Exception as failure:  # an exporter's failure must not stop the others or later exports
            self._failures.note(failure, "could not export metrics")

    def _shut_down(self) -> None:
        for exporter in self._exporters:
            exporter.shutdown()


async def _apart(work: Callable[[], None]) -> None:
    """Runs work in a daemon thread: the program's end does not wait for it, since a collector may hang."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle() -> None:
        if not done.done():
            done.set_result(None)

    def run() -> None:
        try:
            work()
        finally:
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(settle)

    threading.Thread(target=run, name="export of metrics", daemon=True).start()
    await done


def metric_exporters(settings: TelemetrySettings, environment: Mapping[str, str]) -> list[MetricExporter]:
    """The exporters of OTEL_METRICS_EXPORTER. Raises ValueError for an invalid one."""
    temporality = environment.get(_TEMPORALITY, "").strip().lower()
    if temporality not in ("", "cumulative"):
        log.warning("%s=%s: metrics are always cumulative; let the collector convert them", _TEMPORALITY, temporality)
    return [_exporter(name, settings.metrics_protocol) for name in settings.metrics]


def _exporter(name: str, protocol: str) -> MetricExporter:
    if name == "console":
        return ConsoleMetricExporter(sys.stdout, formatter=lambda data: f"{data.to_json(indent=None)}\n")
    if protocol == "grpc":
        over_grpc: MetricExporter = grpc_exporter("metric_exporter", "OTLPMetricExporter")
        return over_grpc
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    return OTLPMetricExporter()
