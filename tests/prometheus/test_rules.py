"""The alerts: promtool takes them, and each fires on what it is for and on nothing near it."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import yaml
from tests.prometheus.server import NAMESPACE, installed, promtool, rules

pytestmark = pytest.mark.prometheus


class Case(NamedTuple):
    """Series by name and labels with their values (promtool's notation, a minute apart), and when to look."""

    alert: str
    bad: dict[str, str]
    good: dict[str, str]
    minutes: int
    labels: Mapping[str, str] = MappingProxyType({})


def requests(status: int, code: str = "", model: str = "llama3") -> str:
    """A series of requests."""
    return f'ai_gateway_requests_total{{namespace="{NAMESPACE}",model="{model}",status="{status}",code="{code}"}}'


def of(name: str, **labels: str) -> str:
    """Any series of the gateways' namespace."""
    told = "".join(f',{key}="{value}"' for key, value in labels.items())
    return f'{name}{{namespace="{NAMESPACE}"{told}}}'


MODEL = {"model": "llama3"}
OLLAMA = {"upstream": "10.0.0.1:11434", "upstream_pod": "ai/ollama-0"}
TTFT = "gen_ai_server_time_to_first_token_seconds_bucket"
UP, SPANS, BUDGET = "ai_gateway_endpoint_up", "ai_gateway_spans_total", "ai_gateway_retry_budget"
SOURCE, GATEWAY = {"source": "kubernetes"}, {"instance": "a"}
LIMIT = {of("process_max_fds", **GATEWAY): "1024x20"}
PEERS, ROLLOUT, UNNAMED = "ai_gateway_peers", "ai_gateway_rollout", "ai_gateway_endpoint_unnamed_bytes"
LAG = "ai_gateway_loop_lag_seconds_bucket"
CASES = [
    Case("AIGatewayAbsent", {of("other"): "1x20"}, {of("ai_gateway_build_info", version="1"): "1x20"}, 10),
    Case(
        "AIGatewayErrors",
        {requests(200): "0+90x60", requests(503, "no_endpoint"): "0+10x60"},
        {requests(200): "0+99x60", requests(503, "no_endpoint"): "0+1x60", requests(404, "x", ""): "0+50x60"},
        40,
        MODEL,
    ),
    Case(
        "AIGatewayFirstTokenSlow",
        {
            of(TTFT, gen_ai_request_model="llama3", le="20"): "0+80x60",
            of(TTFT, gen_ai_request_model="llama3", le="80"): "0+100x60",
            of(TTFT, gen_ai_request_model="llama3", le="+Inf"): "0+100x60",
        },
        {
            of(TTFT, gen_ai_request_model="llama3", le="20"): "0+99x60",
            of(TTFT, gen_ai_request_model="llama3", le="80"): "0+100x60",
            of(TTFT, gen_ai_request_model="llama3", le="+Inf"): "0+100x60",
        },
        50,
        {"gen_ai_request_model": "llama3"},
    ),
    Case(
        "AIGatewayQueueLong",
        {of("ai_gateway_queued", **MODEL, pod="a"): "0x60", of("ai_gateway_queued", **MODEL, pod="b"): "3x60"},
        {of("ai_gateway_queued", **MODEL, pod="a"): "3 3 3 3 0 3 3 3 3 0 3 3 3 3 0 3 3 3 3 0 3 3 3 3 0 3 3 3 3 0"},
        25,
        MODEL,
    ),
    Case(
        "AIGatewayQueueRefusals",
        {requests(503, "queue_full"): "0+5x60", requests(200): "0+50x60"},
        {requests(503, "no_endpoint"): "0+5x60", requests(200): "0+50x60"},
        20,
        MODEL,
    ),
    Case(
        "AIGatewaySaturated",
        {of("ai_gateway_slot_saturation", **MODEL): "1x60"},
        {of("ai_gateway_slot_saturation", **MODEL): "1 1 1 1 1 0.5 1 1 1 1 1 0.5 1 1 1 1 1 0.5 1 1 1 1 1 0.5 1 1 1 1"},
        45,
        MODEL,
    ),
    Case(
        "AIGatewayEndpointDown",
        {
            of(UP, **OLLAMA, pod="a"): "0x30",
            of(UP, **OLLAMA, pod="b"): "0x30",
        },
        {
            of(UP, **OLLAMA, pod="a"): "0x30",
            of(UP, **OLLAMA, pod="b"): "1x30",
        },
        20,
        OLLAMA,
    ),
    Case(
        "AIGatewayEndpointFailing",
        {
            of("ai_gateway_endpoint_attempts_total", **OLLAMA): "0+100x60",
            of("ai_gateway_endpoint_failures_total", **OLLAMA): "0+20x60",
        },
        {
            of("ai_gateway_endpoint_attempts_total", **OLLAMA): "0+100x60",
            of("ai_gateway_endpoint_failures_total", **OLLAMA): "0+2x60",
        },
        40,
        OLLAMA,
    ),
    Case(
        "AIGatewayRetryBudgetUsedUp",
        {of(BUDGET): "0x20"},
        {of(BUDGET): "3x20"},
        10,
    ),
    Case(
        "AIGatewayModelsPushEachOtherOut",
        {of("ai_gateway_endpoint_unloads_total", **OLLAMA): "0+2x90"},
        {of("ai_gateway_endpoint_unloads_total", **OLLAMA): "0+0.2x90"},
        60,
        OLLAMA,
    ),
    Case(
        "AIGatewayLoadFailing",
        {
            of("ai_gateway_load_failing", **MODEL, pod="a"): "2x20",
            of("ai_gateway_load_failing", **MODEL, pod="b"): "0x20",
        },
        {of("ai_gateway_load_failing", **MODEL): "2x20", of("ai_gateway_endpoint_resident", **MODEL, **OLLAMA): "1x20"},
        10,
        MODEL,
    ),
    Case(
        "AIGatewayLoadWaitLong",
        {of("ai_gateway_cold_wait_seconds", **MODEL, pod="a"): "0+60x20"},
        {of("ai_gateway_cold_wait_seconds", **MODEL, pod="a"): "0 60 110 0 60 110 0 60 110 0 60 110 0 60 110"},
        10,
        MODEL,
    ),
    Case(
        "AIGatewayModelsTakeTurns",
        {of("ai_gateway_loads_total", **MODEL, room="made"): "0+2x90"},
        {
            of("ai_gateway_loads_total", **MODEL, room="made"): "0+0.2x90",
            of("ai_gateway_loads_total", **MODEL, room="free"): "0+2x90",
        },
        60,
        MODEL,
    ),
    Case(
        "AIGatewayRolloutFailed",
        {
            of(ROLLOUT, **MODEL, state="failed", pod="a"): "1x20",
            of(ROLLOUT, **MODEL, state="done", pod="b"): "1x20",  # it has not heard yet
        },
        {of(ROLLOUT, **MODEL, state="updating"): "1x20", of(ROLLOUT, model="other", state="done"): "1x20"},
        15,
        MODEL,
    ),
    Case(
        "AIGatewayRolloutHangs",
        {
            of(ROLLOUT, **MODEL, state="updating"): "1x60",
            of(f"{ROLLOUT}_endpoints", **MODEL, state="done"): "0 1 2x58",
            of(f"{ROLLOUT}_progress", **MODEL): "0.1 0.2 0.3x58",
            of(f"{ROLLOUT}_progress", model="other"): "0+0.01x60",
        },
        {
            of(ROLLOUT, **MODEL, state="updating"): "1x60",  # endpoint after endpoint
            of(f"{ROLLOUT}_endpoints", **MODEL, state="done"): "0x10 1x10 2x10 3x10 4x20",
            of(ROLLOUT, model="large", state="pulling"): "1x60",  # a long download
            of(f"{ROLLOUT}_endpoints", model="large", state="done"): "0x60",
            of(f"{ROLLOUT}_progress", model="large"): "0+0.01x60",
            of(ROLLOUT, model="broken", state="failed"): "1x60",  # another alert's
            of(ROLLOUT, model="new", state="pulling"): "_x40 1x20",
        },
        45,
        MODEL,
    ),
    Case(
        "AIGatewayUnnamedBytesStay",
        {
            of(UNNAMED, **OLLAMA, pod="a"): "20000000000x1000",  # a gateway that went away
            of(UNNAMED, **OLLAMA, pod="b"): "_x1010 20000000000x990",
        },
        {
            of(UNNAMED, **OLLAMA): "20000000000x1500 0x500",  # pruned after a day
            of(UNNAMED, upstream="10.0.0.2:11434", upstream_pod=""): "5000000000x2000",
        },
        1860,
        OLLAMA,
    ),
    Case(
        "AIGatewayLoopLag",
        {
            of(LAG, instance="a", le="0.1"): "0+200x60",
            of(LAG, instance="a", le="1"): "0+240x60",
            of(LAG, instance="a", le="+Inf"): "0+240x60",
        },
        {
            of(LAG, instance="a", le="0.1"): "0+240x60",
            of(LAG, instance="a", le="1"): "0+240x60",
            of(LAG, instance="a", le="+Inf"): "0+240x60",
        },
        30,
        {"instance": "a"},
    ),
    Case(
        "AIGatewayLimitRefusals",
        {
            of("ai_gateway_limit_refusals_total", caller="a", limit="caller_rpm"): "0+30x60",
            of("ai_gateway_requests_total", caller="a", status="429"): "0+30x60",
            of("ai_gateway_requests_total", caller="a", status="200"): "0+70x60",
        },
        {
            of("ai_gateway_limit_refusals_total", caller="a", limit="caller_rpm"): "0+5x60",
            of("ai_gateway_requests_total", caller="a", status="429"): "0+5x60",
            of("ai_gateway_requests_total", caller="a", status="200"): "0+95x60",
        },
        40,
        {"caller": "a", "limit": "caller_rpm"},
    ),
    Case(
        "AIGatewayLimitsNotShared",
        {of("ai_gateway_limit_fallbacks_total"): "0+9x30"},
        {of("ai_gateway_limit_fallbacks_total"): "7x30"},
        20,
    ),
    Case(
        "AIGatewayAuditFailing",
        {of("ai_gateway_audit_failing", instance="a"): "1x20", of("ai_gateway_audit_failing", instance="b"): "0x20"},
        {of("ai_gateway_audit_failing", instance="a"): "1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0"},
        10,
        GATEWAY,
    ),
    Case(
        "AIGatewayAuditGone",
        {of("ai_gateway_audit_losses_total", instance="a"): "0x10 1x20"},
        {of("ai_gateway_audit_losses_total", instance="a"): "1x30"},
        14,
        GATEWAY,
    ),
    Case(
        "AIGatewayAuditSpooling",
        {
            of("ai_gateway_audit_spool_bytes", instance="a"): "0 9x30",
            of("ai_gateway_audit_spool_bytes", instance="b"): "0x30",
        },
        {of("ai_gateway_audit_spool_bytes", instance="a"): "9x5 0 9x5 0 9x5 0 9x5"},
        15,
        GATEWAY,
    ),
    Case(
        "AIGatewayAuditLost",
        {of("ai_gateway_audit_entries_total", result="dropped"): "0x10 5x20"},
        {
            of("ai_gateway_audit_entries_total", result="dropped"): "5x30",
            of("ai_gateway_audit_entries_total", result="stored"): "0+100x30",
        },
        14,
        {"result": "dropped"},
    ),
    Case(
        "AIGatewaySpansLost",
        {
            of(SPANS, result="dropped"): "0+9x60",
            of(SPANS, result="exported"): "0+9x60",
        },
        {
            of(SPANS, result="dropped"): "7x60",
            of(SPANS, result="exported"): "0+9x60",
        },
        40,
        {"result": "dropped"},
    ),
    Case(
        "AIGatewayConfigRefused",
        {of("ai_gateway_config_last_reload_successful", pod="a"): "0x20"},
        {of("ai_gateway_config_last_reload_successful", pod="a"): "1x20"},
        10,
    ),
    Case(
        "AIGatewayPeersSilent",
        {of(PEERS, state="silent", pod="a"): "1x20", of(PEERS, state="silent", pod="b"): "0x20"},
        {of(PEERS, state="silent", pod="a"): "1 0 1 1 0 1 1 0 1 1 0 1 1 0 1 1 0", of(PEERS, state="fresh"): "2x20"},
        15,
    ),
    Case(
        "AIGatewayNoEndpointUp",
        {of("ai_gateway_endpoints", state="up"): "0x20", of("ai_gateway_endpoints", state="down"): "3x20"},
        {of("ai_gateway_endpoints", state="up"): "1x20", of("ai_gateway_endpoints", state="down"): "2x20"},
        10,
    ),
    Case(
        "AIGatewayAuthFailing",
        {of("ai_gateway_auth_failing", method="oidc"): "1x30"},
        {of("ai_gateway_auth_failing", method="oidc"): "1 1 1 0 1 1 1 0 1 1 1 0 1 1 1 0 1 1 1 0 1 1 1 0"},
        20,
        {"method": "oidc"},
    ),
    Case(
        "AIGatewayManyUnknownCallers",
        {requests(401, "unauthorized", ""): "0+90x60", requests(200): "0+9x60"},
        {requests(401, "unauthorized", ""): "0+30x60", requests(403, "not_allowed", ""): "0+90x60"},
        30,
    ),
    Case(
        "AIGatewayConfigFailing",
        {of("ai_gateway_config_failing", pod="a"): "1x30", of("ai_gateway_config_failing", pod="b"): "0x30"},
        {of("ai_gateway_config_failing", pod="a"): "1 1 1 0 1 1 1 0 1 1 1 0 1 1 1 0 1 1 1 0 1 1 1 0"},
        20,
    ),
    Case(
        "AIGatewayDiscoveryFailing",
        {of("ai_gateway_discovery_failing", **SOURCE): "1x30"},
        {of("ai_gateway_discovery_failing", **SOURCE): "1x5 0x25"},
        20,
        SOURCE,
    ),
    Case(
        "AIGatewayDiscoveryStale",
        {of("ai_gateway_discovery_age_seconds", **SOURCE): "0+60x30"},
        {of("ai_gateway_discovery_age_seconds", **SOURCE): "60x30"},
        20,
        SOURCE,
    ),
    Case(
        "AIGatewayDescriptorsLow",
        {of("process_open_fds", **GATEWAY): "900x20", **LIMIT, of("ai_gateway_build_info", **GATEWAY): "1x20"},
        {of("process_open_fds", **GATEWAY): "900x20", **LIMIT},  # somebody else's process in the namespace
        10,
        GATEWAY,
    ),
]


@pytest.fixture(scope="module", autouse=True)
def tools() -> None:
    """Debian's package."""
    installed()


def test_promtool_takes_the_rules(tmp_path: Path) -> None:
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump(rules()))
    assert "SUCCESS" in promtool("check", "rules", str(file))


def test_no_alert_is_without_a_case() -> None:
    assert sorted(case.alert for case in CASES) == sorted(rule["alert"] for rule in rules()["groups"][0]["rules"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_an_alert_fires_on_what_it_is_for_alone(case: Case, tmp_path: Path) -> None:
    (rule,) = (rule for rule in rules()["groups"][0]["rules"] if rule["alert"] == case.alert)
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "one", "rules": [rule]}]}))
    labels = {"severity": rule["labels"]["severity"], "namespace": NAMESPACE, **case.labels}
    fires = {"exp_labels": labels, "exp_annotations": _filled(rule["annotations"], labels)}
    test = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "1m",
        "tests": [_test(case, case.bad, [fires]), _test(case, case.good, [])],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump(test))
    assert "SUCCESS" in promtool("test", "rules", str(tmp_path / "test.yml"))


def _test(case: Case, series: dict[str, str], expected: list[Any]) -> dict[str, Any]:
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [{"eval_time": f"{case.minutes}m", "alertname": case.alert, "exp_alerts": expected}],
    }


def _filled(annotations: dict[str, str], labels: dict[str, str]) -> dict[str, str]:
    """As Prometheus puts labels into words."""
    filled = dict(annotations)
    for name, value in labels.items():
        for key, text in filled.items():
            filled[key] = text.replace(f"{{{{ $labels.{name} }}}}", value)
    return filled
