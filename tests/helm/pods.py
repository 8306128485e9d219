"""Pods that rendered objects lead to, and how labels select them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from tests.helm.running import Object

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job")


class Pod(NamedTuple):
    """A pod as some object makes it."""

    maker: str
    namespace: str
    labels: Mapping[str, str]
    spec: dict[str, Any]

    def __str__(self) -> str:
        return self.maker

    @property
    def containers(self) -> list[dict[str, Any]]:
        """All of them, in order of their start."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    def container(self, name: str) -> dict[str, Any]:
        """The one of that name."""
        (found,) = (container for container in self.containers if container["name"] == name)
        return found

    def port(self, name_or_number: str | int) -> int:
        """A port by its name or number."""
        ports = [port for container in self.containers for port in container.get("ports", [])]
        (found,) = (port for port in ports if name_or_number in (port["name"], port["containerPort"]))
        number: int = found["containerPort"]
        return number


def pods(objects: Iterable[Object]) -> Iterator[Pod]:
    """Of workloads, and pods that stand alone."""
    for one in objects:
        maker, namespace = f"{one['kind']}/{one['metadata']['name']}", one["metadata"].get("namespace", "")
        if one["kind"] in WORKLOADS:
            template = one["spec"]["template"]
            yield Pod(maker, namespace, template["metadata"]["labels"], template["spec"])
        elif one["kind"] == "Pod":
            yield Pod(maker, namespace, one["metadata"]["labels"], one["spec"])


def gateways(objects: Iterable[Object]) -> list[Pod]:
    """Pods with a gateway in them; the pod of `helm test` has none."""
    return [pod for pod in pods(objects) if any(container["name"] == "gateway" for container in pod.containers)]


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a selector takes these labels: `matchLabels`, or a plain map as a Service has it. Empty takes all."""
    assert "matchExpressions" not in selector
    wanted = selector.get("matchLabels", {}) if set(selector) <= {"matchLabels"} else selector
    return all(labels.get(name) == value for name, value in wanted.items())
