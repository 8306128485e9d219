"""files/empty-values.json: what each value is that somebody left empty, made from values.yaml."""

import json
from typing import Any

from tools.chart.files import CHART, at, defaults, documented_values

FILE = CHART / "files" / "empty-values.json"  # JSON, which a template reads ten times faster than YAML
# Without these Kubernetes or the other project has a default of its own, which somebody may want.
NOTHING = frozenset(
    {
        "autoscaling.targetCPUUtilizationPercentage",
        "httpRoute.timeouts.request",
        "httpRoute.timeouts.backendRequest",
        "metrics.serviceMonitor.interval",
        "metrics.podMonitor.interval",
    }
)
# Objects and lists without which something would be shut, open, or refused by the API server.
NEEDED = frozenset(
    {
        "config.auth",
        "ingress.hosts",
        "keda.triggers",
        "networkPolicy.apiServerPorts",
        "networkPolicy.dnsPorts",
        "ollama.persistence.accessModes",
    }
)


def as_text() -> str:
    """The file: an object is a section, a list holds what the value becomes, and its default if that is another."""
    documented = {value.path for value in documented_values()}
    return json.dumps(_of(defaults(), "", documented), indent=1) + "\n"


def becomes(path: str) -> Any:
    """What a documented value is once somebody has left it empty."""
    default = at(defaults(), path)
    if path in NOTHING:
        return None
    return type(default)() if isinstance(default, dict | list) and path not in NEEDED else default


def _of(section: dict[str, Any], path: str, documented: set[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, default in section.items():
        inner = f"{path}.{name}".lstrip(".")
        if isinstance(default, dict) and inner not in documented:
            found[name] = _of(default, inner, documented)
        else:
            value = becomes(inner)
            found[name] = [value] if value == default else [value, default]
    return found
