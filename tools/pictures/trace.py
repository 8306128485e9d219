"""The picture of a trace in docs/observability.md, from a real run: `python -m tools.pictures.trace`.

A gateway with two simulated endpoints that have nothing loaded: a call waits for its model, its first attempt is cut
before an answer, and the second one waits until the other endpoint has loaded the model. The spans are those that the
gateway exported.
"""

import asyncio
import gzip
import json
import os
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tools.pictures.span_bars import Bar, Mark, drawing

from ai_gateway.simulator import Fault, Settings, Simulator

PICTURE: Final = Path(__file__).parents[2] / "docs/images/trace.svg"
GATEWAY: Final = Path(sys.executable).parent / "ai-gateway"
MODEL: Final = "llama3:latest"
QUESTION: Final = {"role": "user", "content": "Why is the sky blue? " * 80}
CALL: Final = {"model": "llama3", "stream": True, "max_tokens": 20, "messages": [QUESTION]}
COLD: Final = Settings(models=(MODEL,), load_seconds=0.3, tokens_per_second=60)
CUT: Final = Fault(kind="drop", delay=0.08, path="/v1/chat/completions")
SPANS: Final = 4  # the request's, the model's, and one for each attempt
EXPORT_SECONDS: Final = 0.5  # by then all spans of a request have come


class Received:
    """What came to a collector. Filled by its threads, read when enough is there."""

    def __init__(self) -> None:
        self.exports: list[ExportTraceServiceRequest] = []

    def bars(self, trace_id: str) -> list[Bar]:
        """The spans of a trace, parents first."""
        sent = (span for export in self.exports for resource in export.resource_spans for span in _spans(resource))
        spans = [span for span in sent if span.trace_id.hex() == trace_id]
        known = {span.span_id for span in spans}
        bars: list[Bar] = []

        def walk(parent: bytes | None, depth: int) -> None:
            for span in sorted(spans, key=lambda span: span.start_time_unix_nano):
                if (span.parent_span_id if span.parent_span_id in known else None) == parent:
                    bars.append(_bar(span, depth))
                    walk(span.span_id, depth + 1)

        walk(None, 0)
        return bars


@contextmanager
def _collector(received: Received) -> Iterator[str]:
    """Its address. It takes OTLP over HTTP, as a real one does."""

    class Take(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers["Content-Encoding"] == "gzip":
                body = gzip.decompress(body)
            received.exports.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Take) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _spans(resource: Any) -> Iterator[Any]:
    return (span for scope in resource.scope_spans for span in scope.spans)


def _bar(span: Any, depth: int) -> Bar:
    attributes = {
        pair.key: str(getattr(pair.value, pair.value.WhichOneof("value") or "string_value")) for pair in span.attributes
    }
    marks = [Mark(moment.name, moment.time_unix_nano) for moment in span.events]
    return Bar(span.name, depth, span.start_time_unix_nano, span.end_time_unix_nano, attributes, marks)


async def _run(folder: Path) -> list[Bar]:
    received = Received()
    async with AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(Simulator([COLD, COLD]))
        client = await stack.enter_async_context(httpx.AsyncClient(trust_env=False, timeout=20))
        collector = stack.enter_context(_collector(received))
        port = await stack.enter_async_context(_gateway(folder, list(simulator.urls), collector))
        simulator.endpoints[0].faults.add(CUT)
        answer = await client.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=CALL)
        await asyncio.sleep(EXPORT_SECONDS)
    return received.bars(answer.headers["x-trace-id"])


@asynccontextmanager
async def _gateway(folder: Path, urls: list[str], collector: str) -> AsyncIterator[int]:
    """Its port, once it knows the endpoints and their models."""
    config = folder / "config.yml"
    config.write_text(json.dumps({"models": {"llama3": {}}, "discovery": {"static": urls}}))
    environment = {
        **os.environ,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "XDG_STATE_HOME": str(folder),
    }
    command = [str(GATEWAY), "serve", "--config", str(config), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    process = await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.PIPE)
    assert process.stderr is not None
    port, up = 0, 0
    try:
        while up < len(urls):
            line = json.loads(await process.stderr.readline())["message"]
            up += " is up" in line
            if line.startswith("listening on "):
                port = int(line.split()[2].rpartition(":")[2])
        await asyncio.sleep(0.2)  # the models are listed right after
        yield port
    finally:
        process.terminate()
        await process.wait()


def main() -> None:
    """Writes the picture."""
    bars: list[Bar] = []
    while len(bars) != SPANS:  # which of the two loads the model first goes by their ports
        with tempfile.TemporaryDirectory() as folder:
            bars = asyncio.run(_run(Path(folder)))
    PICTURE.write_text(drawing(bars))


if __name__ == "__main__":
    main()
