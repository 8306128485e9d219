"""The values that the chart is judged with: every ci file, and pairs that touch the same objects."""

from functools import cache
from pathlib import Path

from tests.helm.running import Object, rendered
from tools.chart.files import CHART, CI_FILES

World = tuple[str, ...]  # names of ci files, the later before the earlier

PAIRS: list[World] = [
    ("ollama-sidecar", "tls-secret"),
    ("ollama-sidecar", "monitoring"),
    ("ollama-sidecar", "tracing"),
    ("names", "tracing"),
    ("ollama-sidecar", "audit-postgresql"),
    ("tls-secret", "audit-postgresql"),
    ("ollama-sidecar", "autoscaling"),
    ("ollama-sidecar", "keda"),
    ("ollama-sidecar", "environment"),
    ("ollama-sidecar", "extras"),
    ("ollama-sidecar", "names"),
    ("ollama-sidecar", "scheduling"),
    ("ollama-sidecar", "existing-configmap"),
    ("ollama-sidecar", "replicas"),
    ("ollama", "names"),
    ("ollama", "replicas"),
    ("ollama", "models"),
    ("names", "network-policy"),
    ("ollama-sidecar", "limits"),
    ("names", "limits"),
    ("limits", "mount"),
    ("names", "monitoring"),
    ("names", "http-route"),
    ("names", "ingress"),
    ("names", "tls-cert-manager"),
    ("names", "keda"),
    ("names", "discovery-dns"),
    ("names", "discovery-namespaces"),
    ("tls-secret", "ingress"),
    ("tls-secret", "network-policy"),
    ("existing-configmap", "mount"),
    ("existing-configmap", "discovery-namespaces"),
    ("autoscaling", "replicas"),
    ("environment", "image"),
    ("extras", "network-policy"),
    ("names", "audit"),
]
SINGLE: list[World] = [(file.name.removesuffix("-values.yaml"),) for file in CI_FILES]
WORLDS = SINGLE + PAIRS


def files_of(world: World) -> list[Path]:
    """The values files of a world, in order."""
    return [CHART / "ci" / f"{name}-values.yaml" for name in world]


@cache
def objects_of(world: World, version: str = "helm4") -> list[Object]:
    """What the chart makes of them. Kept: nobody may change it."""
    return rendered(version, files_of(world))
