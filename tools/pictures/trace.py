"""The picture of a trace in docs/observability.md, from a real run: `python -m tools.pictures.trace`.

A gateway with two endpoints, both busy: a call waits, its first attempt is cut before an answer, and the second one
goes to an endpoint that must load the model. The spans are those that the gateway exported.
"""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.flow.upstream import END, SSE_HEAD, Upstream, Visit, event, framed, whole
from tools.pictures.span_bars import Bar, Mark, drawing

PICTURE: Final = Path(__file__).parents[2] / "docs/images/trace.svg"
GATEWAY: Final = Path(sys.executable).parent / "ai-gateway"
DONE: Final = b"data: [DONE]\n\n"
LOADED: Final = whole(b'{"models":[{"name":"llama3:latest","model":"llama3:latest"}]}')
CALL: Final = {"model": "llama3", "stream": True, "messages": [{"role": "user", "content": "Why?"}]}


class Endpoint:
    """Speaks for `seconds`, after `load_seconds`; cuts its calls after the first one if it is frail."""

    def __init__(self, seconds: float, load_seconds: float = 0.0, is_frail: bool = False) -> None:
        self._seconds = seconds
        self._load_seconds = load_seconds
        self._is_frail = is_frail
        self._calls = 0

    async def act(self, visit: Visit) -> None:
        """One call."""
        self._calls += 1
        if self._is_frail and self._calls > 1:
            await asyncio.sleep(0.08)
            visit.reset()
            return
        await asyncio.sleep(self._load_seconds)
        await visit.say(SSE_HEAD)
        for _ in range(20):
            await visit.say(framed(event("word ")))
            await asyncio.sleep(self._seconds / 20)
        usage = {"prompt_tokens": 412, "completion_tokens": 20, "total_tokens": 432}
        last = event("", choices=[], usage=usage)
        await visit.say(framed(event("", "stop")), framed(last), framed(DONE), END)


class Receiver(Upstream):
    """A collector: keeps what comes to /v1/traces."""

    def __init__(self) -> None:
        super().__init__(self.take)
        self.taken: list[ExportTraceServiceRequest] = []

    async def take(self, visit: Visit) -> None:
        """One export."""
        self.taken.append(ExportTraceServiceRequest.FromString(visit.body))
        await visit.say(whole(b"", headers=["content-type: application/x-protobuf"]))

    def bars(self, trace_id: str) -> list[Bar]:
        """The spans of a trace, parents first."""
        sent = (span for request in self.taken for resource in request.resource_spans for span in _spans(resource))
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


def _spans(resource: Any) -> Iterator[Any]:
    return (span for scope in resource.scope_spans for span in scope.spans)


def _bar(span: Any, depth: int) -> Bar:
    attributes = {
        pair.key: str(getattr(pair.value, pair.value.WhichOneof("value") or "string_value")) for pair in span.attributes
    }
    marks = [Mark(moment.name, moment.time_unix_nano) for moment in span.events]
    return Bar(span.name, depth, span.start_time_unix_nano, span.end_time_unix_nano, attributes, marks)


async def _run(folder: Path) -> list[Bar]:
    async with AsyncExitStack() as stack:
        frail = Upstream(Endpoint(0.3, is_frail=True).act, state={"/api/ps": LOADED})
        cold = Upstream(Endpoint(0.5, load_seconds=0.45).act)
        receiver = Receiver()
        for server in (frail, cold, receiver):
            await server.start()
            stack.push_async_callback(server.stop)
        port = await _gateway(folder, [frail.url, cold.url], receiver.url, stack)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as client:
            calls = [asyncio.create_task(client.post("/v1/chat/completions", json=CALL)) for _ in range(2)]
            while len(frail.visits) + len(cold.visits) < 2:  # noqa: ASYNC110 - a tool, no test
                await asyncio.sleep(0.01)
            answer = await client.post("/v1/chat/completions", json=CALL)
            await asyncio.gather(*calls)
        trace_id = answer.headers["x-trace-id"]
        while len(receiver.bars(trace_id)) < 4:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        return receiver.bars(trace_id)


async def _gateway(folder: Path, urls: list[str], collector: str, stack: AsyncExitStack) -> int:
    config = folder / "config.yml"
    config.write_text(json.dumps({"models": {"llama3": {}}, "discovery": {"static": urls}}))
    environment = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": collector, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    command = [str(GATEWAY), "serve", "--config", str(config), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    process = await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.PIPE)
    assert process.stderr is not None

    async def end() -> None:
        process.terminate()
        await process.wait()

    stack.push_async_callback(end)
    port, up = 0, 0
    while up < len(urls):
        line = json.loads(await process.stderr.readline())["message"]
        up += " is up" in line
        if line.startswith("listening on "):
            port = int(line.split()[2].rpartition(":")[2])
    await asyncio.sleep(0.2)  # the models are listed right after
    return port


def main() -> None:
    """Writes the picture."""
    with tempfile.TemporaryDirectory() as folder:
        bars = asyncio.run(_run(Path(folder)))
    PICTURE.write_text(drawing(bars))


if __name__ == "__main__":
    main()
