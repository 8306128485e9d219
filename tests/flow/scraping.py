"""What a scrape of the admin port says, in both of Prometheus' forms."""

from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tests.flow.line import Line
from tests.flow.world import Served

PROMETHEUS_ACCEPTS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;"
    "version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


async def scraped(served: Served) -> dict[str, float]:
    """Every sample by its name and labels, without the prefix."""
    reply = await served.probe("/metrics")
    assert reply.header("content-type") == "text/plain; version=0.0.4; charset=utf-8"
    lines = (line for line in reply.body.decode().splitlines() if not line.startswith("#"))
    samples = (line.rpartition(" ") for line in lines)
    return {name.removeprefix("ai_gateway_"): float(value) for name, _, value in samples}


def of(samples: dict[str, float], name: str) -> dict[str, float]:
    """One metric's samples by their labels as they are written; for a histogram name its `_count`."""
    return {key[len(name) :].strip("{}"): value for key, value in samples.items() if key.partition("{")[0] == name}


async def opened(served: Served) -> list[Metric]:
    """OpenMetrics, as its strict reader takes it."""
    line = await Line.open(served.admin_port)
    await line.send("GET", "/metrics", headers={"accept": PROMETHEUS_ACCEPTS})
    reply = await line.reply()
    line.leave()
    assert reply.header("content-type") == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    return list(text_string_to_metric_families(reply.body.decode()))  # type: ignore[no-untyped-call]
