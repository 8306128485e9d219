"""Traces and metrics of an installed chart: spans arrive at a collector's pod and say which pods they are about."""

import base64
import json
import time
from typing import Any

import httpx
import pytest
from tests.release.installed import GATEWAYS, NAME, Installed, application
from tests.tracing.receiver import SERVER, Span, read_spans

pytestmark = pytest.mark.cluster

PORT = 4318
COLLECTOR = """
import base64, http.server, json
kept = []
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        kept.append({"path": self.path, "team": self.headers.get("x-team"), "body": base64.b64encode(body).decode()})
        self.answer(b"")
    def do_GET(self):
        self.answer(json.dumps(kept).encode())
    def answer(self, body):
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        pass
http.server.ThreadingHTTPServer(("", 4318), Handler).serve_forever()
"""


def start_collector(release: Installed) -> str:
    """A pod that keeps what is sent to it, behind a Service; its own address."""
    pod = application("collector", COLLECTOR, release.cluster.image("application"))["spec"]["template"]
    pod["spec"]["restartPolicy"] = "Always"
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "collector"},
        "spec": {"selector": {"matchLabels": {"app": "collector"}}, "template": pod},
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "collector"},
        "spec": {"selector": {"app": "collector"}, "ports": [{"port": PORT}]},
    }
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "collector"},
        "stringData": {"headers": "x-team=seven"},
    }
    for one in (deployment, service, secret):
        release.kubectl("apply", "-f", "-", input=json.dumps(one))
    release.kubectl("rollout", "status", "deployment/collector", "--timeout=60s")
    (address,) = release.cluster.pod_addresses("app=collector", release.namespace).values()
    return f"http://{address}:{PORT}"


def spans_at(collector: str, path: str = "/v1/traces") -> list[Span]:
    """Everything that came so far; each export has the header of the Secret."""
    kept = _kept(collector)
    assert {one["team"] for one in kept} <= {"seven"}
    bodies = [base64.b64decode(one["body"]) for one in kept if one["path"] == path]
    return [span for body in bodies for span in read_spans(body)]


def _kept(collector: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = httpx.get(collector, trust_env=False, timeout=10).json()
    return found


def test_spans_arrive_and_name_the_pods_and_a_scrape_counts_the_call(release: Installed) -> None:
    """The gateway's pod as who speaks, Ollama's as whom it sent the call to."""
    collector = start_collector(release)
    release.cluster.start_simulated("ollama", release.namespace, replicas=2, models="llama3:latest")
    release.install(
        *("--set", "config.models.llama3.version=latest", "--set", "tracing.enabled=true"),
        *("--set", f"tracing.endpoint=http://collector:{PORT}", "--set", "tracing.clusterName=tests"),
        *("--set", "tracing.headersSecret.name=collector"),
        *("--set", "metrics.otlp.enabled=true", "--set", "metrics.otlp.intervalSeconds=1"),
        *("--set", "extraEnv[0].name=OTEL_BSP_SCHEDULE_DELAY", "--set-string", "extraEnv[0].value=200"),
    )
    body = {"model": "llama3", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
    answer = httpx.post(f"{release.url}/v1/chat/completions", json=body, trust_env=False, timeout=20)
    assert answer.status_code == 200, answer.text
    trace_id = answer.headers["x-trace-id"]
    release.until(lambda: sum(span.trace_id == trace_id for span in spans_at(collector)) == 3, 30)
    server, call, attempt = _chain([span for span in spans_at(collector) if span.trace_id == trace_id])
    ((name, pod),) = release.pods().items()
    assert server.kind == SERVER
    assert server.resource | {
        "service.name": NAME, "k8s.pod.name": name, "k8s.pod.uid": pod["metadata"]["uid"],
        "k8s.namespace.name": release.namespace, "k8s.node.name": pod["spec"]["nodeName"],
        "k8s.deployment.name": NAME, "k8s.cluster.name": "tests", "k8s.container.name": "gateway",
    } == server.resource  # fmt: skip
    ollamas = release.cluster.pod_addresses("app.kubernetes.io/name=ollama", release.namespace)
    assert call.attributes["gen_ai.request.model"] == "llama3:latest"
    assert attempt.attributes["aigw.upstream.namespace"] == release.namespace
    assert attempt.attributes["server.address"] == ollamas[attempt.attributes["aigw.upstream.pod"]]
    assert attempt.attributes["aigw.upstream.node"] == pod["spec"]["nodeName"]
    _is_counted(release, collector)


def _chain(spans: list[Span]) -> list[Span]:
    """From the outermost in; each is the parent of the next."""
    spans.sort(key=lambda span: span.start_ns)
    assert [span.parent_id for span in spans[1:]] == [span.span_id for span in spans[:-1]]
    return spans


def _is_counted(release: Installed, collector: str) -> None:
    """By Prometheus' way, from the pod, and pushed."""
    (address,) = release.cluster.pod_addresses(GATEWAYS, release.namespace).values()
    scraped = httpx.get(f"http://{address}:9090/metrics", trust_env=False, timeout=10).text
    (line,) = [
        line
        for line in scraped.splitlines()
        if line.startswith("ai_gateway_requests_total{") and 'model="llama3"' in line
    ]
    assert line.endswith(" 1.0")
    pods = [line for line in scraped.splitlines() if line.startswith("ai_gateway_endpoint_up{")]
    assert len(pods) == 2
    assert all(f'upstream_pod="{release.namespace}/' in line for line in pods)
    deadline = time.monotonic() + 20
    while not any(one["path"] == "/v1/metrics" for one in _kept(collector)):
        assert time.monotonic() < deadline, "no metrics were pushed"
        time.sleep(0.2)
