"""What Prometheus scrapes from a whole gateway: the config in force, endpoints by state, how discovery fares."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families as plain_families
from tests.flow.kubernetes_api import config_map
from tests.flow.line import Line
from tests.flow.scraping import of, opened, scraped
from tests.flow.upstream import END, SSE_HEAD, Visit, answer_well, event, framed
from tests.flow.waiting import soon, until
from tests.flow.world import NO_OLLAMA, World, chat, config

from ai_gateway.app import Gateway
from ai_gateway.cluster.config_map import ConfigMapRef
from ai_gateway.options import Options, ProcessHooks
from ai_gateway.telemetry.names import LOOP_LAG, SPANS
from ai_gateway.telemetry.series import Distribution
from ai_gateway.telemetry.settings import TelemetrySettings


async def test_endpoints_are_counted_by_state_and_those_that_leave_with_their_streams_too(world: World) -> None:
    """As long as the stream runs; every state has its line, also at 0."""
    go_on = asyncio.Event()

    async def act(visit: Visit) -> None:
        await visit.say(SSE_HEAD, framed(event("one")))
        await go_on.wait()
        await visit.say(END)

    leaving, staying = await world.upstream(act), await world.upstream(answer_well)
    served = await world.gateway([leaving.url])
    line = await served.begin(chat(stream=True))
    await line.head()
    await served.reload(config([staying.url, "http://127.0.0.1:9"]))
    await until(lambda: {e.state for e in served.gateway.fleet.endpoints.values()} == {"up", "down"})
    states = {name: value for name, value in (await scraped(served)).items() if name.startswith("endpoints")}
    assert states == {
        'endpoints{state="up"}': 1,
        'endpoints{state="unknown"}': 0,
        'endpoints{state="down"}': 1,
        'endpoints{state="ejected"}': 0,
        'endpoints{state="draining"}': 1,
    }
    go_on.set()


async def test_metrics_show_that_no_config_was_ever_valid(world: World) -> None:
    """No time, no hash, and no success; then all three."""
    served = await world.gateway_with("models: [", is_ready=False)
    before = await scraped(served)
    assert before["config_last_reload_successful"] == 0
    assert before["config_last_reload_success_timestamp_seconds"] == 0
    assert before["config_rejected_total"] == 1
    assert not any(name.startswith("config_info") for name in before)
    served.write("models: {}")
    await until(lambda: served.gateway.live.config is not None)
    after = await scraped(served)
    assert after["config_last_reload_successful"] == 1
    assert after["config_last_reload_success_timestamp_seconds"] > 1e9
    assert after[f'config_info{{hash="{served.gateway.live.digest}",source="{served.path}"}}'] == 1


async def test_a_config_that_is_still_being_read_is_no_success(tmp_path: Path) -> None:
    """There is no failure, and no config in force."""
    gateway = Gateway(Options(tmp_path / "config.yml", NO_OLLAMA))
    said: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        said.append(message)

    await gateway.admin(
        {"type": "http", "method": "GET", "scheme": "http", "path": "/metrics", "headers": []}, receive, send
    )
    assert gateway.live.reasons == []
    assert b"\nai_gateway_config_last_reload_successful 0.0\n" in said[1]["body"]


async def test_a_source_without_requests_has_no_age(world: World) -> None:
    """And where no ConfigMap is followed, there are no Events to count."""
    samples = await scraped(await world.gateway(["http://127.0.0.1:9"]))
    assert samples['discovery_failing{source="static"}'] == 0
    absent = ("discovery_age_seconds", "discovery_seen", "events_dropped_total")
    assert not any(name.startswith(absent) for name in samples)


async def test_what_discovery_asked_and_saw_is_counted(world: World) -> None:
    """The source's first word is its label: a name of a Service in it would be a new series each time."""
    api = await world.api_server()
    api.put("configmaps", config_map({"models": {"llama3": {}}}))
    served = await world.gateway_beside(api.access(world.folder), ConfigMapRef("models"))
    await served.readiness()
    samples = await scraped(served)
    assert samples['discovery_lists_total{source="kubernetes"}'] == 1
    assert samples['discovery_failures_total{source="kubernetes"}'] == 0
    assert samples['discovery_seen{source="kubernetes"}'] == 0
    assert samples['discovery_age_seconds{source="kubernetes"}'] >= 0
    assert samples["events_dropped_total"] == 0


async def test_a_head_has_the_length_and_no_body(world: World) -> None:
    served = await world.gateway(["http://127.0.0.1:9"])
    line = await Line.open(served.admin_port)
    await line.send("HEAD", "/metrics")
    reply = await line.head()
    assert reply.status == 200
    assert int(reply.header("content-length") or 0) > 1000
    await line.send("GET", "/livez")  # what comes next is the next answer
    assert (await line.reply()).json == {"live": True}
    line.leave()


@pytest.mark.parametrize(("word", "is_marked"), [("always_on", True), ("trace_based", False), ("always_off", False)])
async def test_an_exemplar_leads_to_the_trace_that_the_answer_named(world: World, word: str, is_marked: bool) -> None:
    """Without spans there are exemplars only if the operator asked for all."""
    world.telemetry = TelemetrySettings(exemplars=word)
    served = await world.gateway((await world.simulator()).urls)
    reply = await served.chat(stream=True)
    await served.recorded()
    families = {family.name: family for family in await opened(served)}
    marked = [sample for family in families.values() for sample in family.samples if sample.exemplar is not None]
    if not is_marked:
        assert marked == []
        return
    assert {sample.name for sample in marked} >= {"gen_ai_server_time_to_first_token_seconds_bucket"}
    ids = {sample.exemplar.labels["trace_id"] for sample in marked if sample.exemplar is not None}
    assert ids == {reply.header("x-trace-id")}


async def test_both_forms_are_what_strict_readers_take_and_say_the_same(world: World) -> None:
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls)
    await served.chat(stream=True)
    await served.recorded()
    await until(
        lambda: served.endpoint(simulator.addresses[0]).is_resident("llama3:latest")
    )  # metrics are complete then
    plain = list(plain_families((await served.probe("/metrics")).body.decode()))
    opened_families = await opened(served)
    assert [(f.name, f.type) for f in plain] == [(f.name, f.type) for f in opened_families]
    labelled = [(s.name, *sorted(s.labels.items())) for f in plain for s in f.samples]
    assert len(set(labelled)) == len(labelled)


@pytest.mark.parametrize(
    ("accept", "is_open"),
    [
        ("*/*", False),
        ("text/plain", False),
        ("application/openmetrics-text", True),
        ("Application/OpenMetrics-Text; Version=1.0.0", True),
        ("application/openmetrics-text;version=0.0.1", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=0.0, text/plain", False),
        ("application/openmetrics-text-x", False),
        (";;,=,;q", False),
    ],
)
async def test_a_client_that_accepts_openmetrics_gets_it(world: World, accept: str, is_open: bool) -> None:
    """All others get what every scraper reads."""
    served = await world.gateway(["http://127.0.0.1:9"])
    line = await Line.open(served.admin_port)
    await line.send("GET", "/metrics", headers={"accept": accept})
    reply = await line.reply()
    line.leave()
    assert (reply.header("content-type") or "").startswith("application/openmetrics" if is_open else "text/plain")
    assert reply.body.endswith(b"# EOF\n") == is_open


async def test_what_never_became_a_request_is_counted(world: World) -> None:
    served = await world.gateway(["http://127.0.0.1:9"])
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"NONSENSE\r\n\r\n")
    assert (await soon(reader.read())).startswith(b"HTTP/1.1 400 ")
    writer.close()
    ((labels, count),) = of(await scraped(served), "refused_before_request_total").items()
    assert (count, 'status="400"' in labels) == (1, True)


async def test_metrics_have_the_loop_the_tasks_and_the_process(world: World) -> None:
    """By Prometheus' own names where it has some; spans only where some are made."""
    served = await world.gateway(["http://127.0.0.1:9"])

    def lags() -> int:
        (lag,) = [r.value for r in served.gateway.metrics.read() if r.name == LOOP_LAG]
        assert isinstance(lag, Distribution)
        return lag.count

    await until(lambda: lags() >= 2, "the loop is looked at")
    samples = await scraped(served)
    assert samples["tasks"] > 1
    assert samples["process_resident_memory_bytes"] > 1e6
    assert samples["process_open_fds"] > 3
    assert not of(samples, "spans_total")


async def test_what_became_of_spans_is_counted(tmp_path: Path) -> None:
    """As the maker of the image states them."""

    counts = {"exported": 3, "failed": 0, "dropped": 2}
    tracing: Any = SimpleNamespace(counts=counts, is_sampled=None, wrap=None)
    gateway = Gateway(Options(tmp_path / "config.yml", NO_OLLAMA), ProcessHooks(tracing=tracing))
    found = {reading.labels: reading.value for reading in gateway.metrics.read() if reading.name == SPANS}
    assert found == {("exported",): 3, ("failed",): 0, ("dropped",): 2}
