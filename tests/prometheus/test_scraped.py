"""What an operator looks at returns data: every panel, alert and example of an autoscaler, asked of a real Prometheus
that scraped a real gateway under load."""

import json
import re
import time
import urllib.request
from collections.abc import Callable, Iterator

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tests.prometheus.load import Loaded, loaded
from tests.prometheus.server import NAMESPACE, Server, installed, promtool, rules, scraping
from tools.chart.files import CHART, ROOT

pytestmark = pytest.mark.prometheus

LIMIT_SECONDS = 40.0  # for what a load of some ten seconds brings about
RATES_NEED = 20  # scrapes, for rates of several kinds of calls to be told
VARIABLES = {"namespace": NAMESPACE, "model": ".*", "caller": ".*", "__rate_interval": "30s", "__range": "10s"}


def panels() -> list[tuple[str, str, str]]:
    """Dashboard, title and query of every panel, with the variables put in."""
    found = []
    for file in sorted((CHART / "files/dashboards").glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel.get("targets", ()):
                query = re.sub(r"\$(\w+)", lambda name: VARIABLES[name[1]], target["expr"])
                found.append((file.stem, panel["title"], query))
    return found


def choices() -> list[tuple[str, str]]:
    """The metric, with its selector, and the label that each variable of a dashboard is chosen from."""
    found = set()
    for file in (CHART / "files/dashboards").glob("*.json"):
        for variable in json.loads(file.read_text())["templating"]["list"]:
            if variable["type"] == "query":
                query = variable["query"]["query"].replace("$namespace", NAMESPACE)
                metric, label = re.fullmatch(r"label_values\((.+), (\w+)\)", query).groups()  # type: ignore[union-attr]
                found.add((metric, label))
    return sorted(found)


def until_empty(look: Callable[[], list[str]]) -> list[str]:
    """What is still missing when nothing is, or the time is over; a load goes on beside it."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while (missing := look()) and time.monotonic() < deadline:
        time.sleep(0.5)
    return missing


def queries_of_autoscalers() -> list[str]:
    """Of KEDA's triggers."""
    objects = yaml.safe_load((ROOT / "k8s/autoscaling/keda-ollama.yaml").read_text())
    triggers = [trigger["metadata"]["query"] for trigger in objects["spec"]["triggers"]]
    return [query.replace('namespace="ai"', f'namespace="{NAMESPACE}"') for query in triggers]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Loaded, Server]]:
    """Both, after some scrapes of the load; it goes on."""
    installed()
    with (
        loaded(tmp_path_factory.mktemp("gateway")) as running,
        scraping(running.admin, tmp_path_factory.mktemp("prometheus")) as server,
    ):
        enough = f"count_over_time(up[5m]) >= {RATES_NEED}"
        assert until_empty(lambda: [] if server.query(enough) else ["scrapes"]) == []
        yield running, server


def test_every_panel_shows_something(world: tuple[Loaded, Server]) -> None:
    _, server = world
    assert until_empty(lambda: silent_panels(server)) == []


def silent_panels(server: Server) -> list[str]:
    """Those whose query has no series, or none with a number."""
    return [
        f"{dashboard}, {title}: {query}"
        for dashboard, title, query in panels()
        if all(one["value"][1] == "NaN" for one in server.query(query))
    ]


def test_every_variable_offers_a_choice(world: tuple[Loaded, Server]) -> None:
    _, server = world
    assert len(choices()) == 3
    for metric, label in choices():
        assert server.ask(f"label/{label}/values", **{"match[]": metric}), (metric, label)


def test_every_alert_can_be_evaluated(world: tuple[Loaded, Server]) -> None:
    """Prometheus itself says so of each rule it runs; no alert of an outage fires under a healthy load."""
    _, server = world
    (group,) = server.ask("rules")["groups"]
    assert len(group["rules"]) == len(rules()["groups"][0]["rules"])
    assert {rule["name"]: rule.get("lastError") for rule in group["rules"] if rule["health"] != "ok"} == {}
    alerts = server.ask("alerts")["alerts"]
    firing = {alert["labels"]["alertname"] for alert in alerts}  # or about to
    assert firing.isdisjoint({"AIGatewayAbsent", "AIGatewayNoEndpointUp", "AIGatewayConfigRefused"})


def test_alerts_see_the_endpoint_that_died_and_the_calls_that_were_refused(world: tuple[Loaded, Server]) -> None:
    """Pending, for none of it has lasted; each says whom it means."""
    running, server = world

    def unseen() -> list[str]:
        alerts = [alert["labels"] for alert in server.ask("alerts")["alerts"]]
        seen = {(labels["alertname"], labels.get("upstream") or labels.get("model")) for labels in alerts}
        meant = {("AIGatewayEndpointDown", running.dead), ("AIGatewayQueueRefusals", "llama3")}
        return [alert for alert, _ in meant - seen]

    assert until_empty(unseen) == []


def test_autoscalers_get_a_number(world: tuple[Loaded, Server]) -> None:
    """The second trigger has one only while something is saturated."""
    _, server = world
    demand, queued = queries_of_autoscalers()
    (series,) = server.query(demand)
    assert float(series["value"][1]) >= 0
    server.query(queued)


def test_exemplars_lead_to_traces_that_exist(world: tuple[Loaded, Server]) -> None:
    """From a bucket in Prometheus to spans at the collector."""
    running, server = world
    now = time.time()
    found = server.ask(
        "query_exemplars",
        query="gen_ai_server_request_duration_seconds_bucket",
        start=str(now - 60),
        end=str(now - 1),
    )
    ids = {exemplar["labels"]["trace_id"] for series in found for exemplar in series["exemplars"]}
    assert len(ids) > 3
    deadline = time.monotonic() + 10
    while missing := ids - {span.trace_id for span in running.receiver.spans}:
        assert time.monotonic() < deadline, missing
        time.sleep(0.2)


def test_a_scrape_passes_the_strict_parsers(world: tuple[Loaded, Server]) -> None:
    """promtool's of the text form, the reference implementation's of OpenMetrics."""
    running, _ = world
    with urllib.request.urlopen(f"http://{running.admin}/metrics", timeout=10) as answer:
        reasons = promtool("check", "metrics", input=answer.read().decode())
    assert reasons.strip() == ""
    accept = {"Accept": "application/openmetrics-text"}
    asked = urllib.request.Request(f"http://{running.admin}/metrics", headers=accept)
    with urllib.request.urlopen(asked, timeout=10) as answer:
        parsed = text_string_to_metric_families(answer.read().decode())  # type: ignore[no-untyped-call]
        families = list(parsed)
    assert any(sample.exemplar for family in families for sample in family.samples)


def test_what_prometheus_holds_is_what_clients_did(world: tuple[Loaded, Server]) -> None:
    """Each kind of end is there, by its word."""
    _, server = world
    codes = {one["metric"].get("code") for one in server.query("ai_gateway_requests_total")}
    assert {"model_not_found", "queue_full", "rate_limit_exceeded", "client_left", None} <= codes
    assert server.query("sum(ai_gateway_retries_total) > 0")
    models = server.query("sum by (model) (ai_gateway_requests_total{model!=''})")
    assert {one["metric"]["model"] for one in models} == {"llama3", "embed", "phi4", "qwen3"}
