"""Kubernetes objects as these tests write them, and the rights that the documentation names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from tests.docs.pages import blocks
from tests.docs.program import ROOT

OLLAMA = {"app.kubernetes.io/name": "ollama", "app.kubernetes.io/instance": "ollama"}
MODELS_MAP = "ai-gateway-ollama-models"  # the name that the documentation gives
ACCOUNT = "gateway"

Json = dict[str, Any]


def documented_roles(page: Path = ROOT / "docs" / "kubernetes.md") -> list[Json]:
    """Every Role of the page, as a reader would apply it."""
    shown = [yaml.safe_load(block.text) for block in blocks(page) if block.language == "yaml"]
    return [content for content in shown if content.get("kind") == "Role"]


def without(role: Json, resource: str, verb: str) -> Json:
    """The Role less one verb."""
    rules = [
        {**rule, "verbs": [v for v in rule["verbs"] if v != verb]} if resource in rule["resources"] else rule
        for rule in role["rules"]
    ]
    return {**role, "rules": rules}


def binding(role: Json, namespace: str) -> Json:
    """Gives a Role to the gateway's ServiceAccount of a namespace."""
    name = role["metadata"]["name"]
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": f"{name}-{namespace}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}],
    }


def pod(name: str, port: int, labels: Mapping[str, str] | None = None, env: Mapping[str, str] | None = None) -> Json:
    """An Ollama pod as the usual chart makes it, with a port of one's own. It is bound to a node: who deletes it waits
    for a kubelet, and there is none."""
    container = {
        "name": "ollama",
        "image": "ollama",
        "ports": [{"name": "http", "containerPort": port}],
        "env": [{"name": key, "value": value} for key, value in (env or {}).items()],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": dict(OLLAMA if labels is None else labels)},
        "spec": {"nodeName": "node-1", "containers": [container], "terminationGracePeriodSeconds": 30},
    }


def status(ip: str = "127.0.0.1", is_ready: bool = True) -> Json:
    """What a kubelet writes of a pod that runs."""
    condition = {"type": "Ready", "status": "True" if is_ready else "False"}
    return {"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [condition]}}


def config_map(content: str, name: str = MODELS_MAP) -> Json:
    """A ConfigMap with a config.yml."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"config.yml": content}}
