"""Reads Ollama pods as the Kubernetes API lists them (core/v1 Pod): which take calls, where, and what they tell."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from ai_gateway.balancing.endpoint import Pod
from ai_gateway.config.types import Kubernetes
from ai_gateway.wire.address import Address

ZONE_LABEL: Final = "topology.kubernetes.io/zone"


class _Sent(msgspec.Struct, frozen=True, rename="camel"):
    """A part of an object as it is sent; keys that are not read are passed over."""


class _Meta(_Sent, frozen=True):
    name: str
    namespace: str
    uid: str = ""
    labels: dict[str, str] | None = None
    deletion_timestamp: str | None = None


class _Variable(_Sent, frozen=True):
    name: str
    value: str | None = None  # None: it comes from elsewhere


class _Port(_Sent, frozen=True):
    container_port: int
    name: str | None = None
    protocol: str = "TCP"


class _Container(_Sent, frozen=True):
    name: str = ""
    env: tuple[_Variable, ...] | None = None
    ports: tuple[_Port, ...] | None = None
    restart_policy: str | None = None  # of an init container: "Always" makes it a sidecar


class _Spec(_Sent, frozen=True):
    containers: tuple[_Container, ...] | None = None
    init_containers: tuple[_Container, ...] | None = None
    node_name: str | None = None


class _Condition(_Sent, frozen=True):
    type: str
    status: str


class _Status(_Sent, frozen=True):
    phase: str | None = None
    pod_ip: str | None = msgspec.field(default=None, name="podIP")
    conditions: tuple[_Condition, ...] | None = None


class _Pod(_Sent, frozen=True):
    metadata: _Meta
    spec: _Spec
    status: _Status = _Status()


class Candidate(msgspec.Struct, frozen=True):
    """One pod with the right labels. `address` is None while it takes no calls; `complaint` says what is odd."""

    pod: Pod
    address: Address | None
    complaint: str | None = None


def read_pod(content: bytes, settings: Kubernetes, own_uid: str | None = None) -> Candidate:
    """A pod from its JSON. Raises msgspec's errors for what is no pod.

    The Ollama beside the gateway, in the pod of `own_uid`, is reached on loopback, ready or not: the pod becomes
    ready only with its gateway.
    """
    sent = msgspec.json.decode(content, type=_Pod)
    container, port = _listening(sent.spec, settings)
    pod = _pod(sent, container)
    if container is None:
        return Candidate(pod, None, f"declares no port named {settings.port_name!r} and none {settings.port}")
    if own_uid is not None and sent.metadata.uid == own_uid:
        is_leaving = sent.metadata.deletion_timestamp is not None
        return Candidate(pod, None if is_leaving else Address("127.0.0.1", port, uid=own_uid))
    if not _takes_calls(sent) or not sent.status.pod_ip:
        return Candidate(pod, None)
    return Candidate(pod, Address(sent.status.pod_ip, port, uid=sent.metadata.uid))


def _takes_calls(sent: _Pod) -> bool:
    """Ready, running, and not on its way out; a pod that has ended may still carry its last conditions."""
    if sent.metadata.deletion_timestamp is not None or sent.status.phase != "Running":
        return False
    return any(condition.type == "Ready" and condition.status == "True" for condition in sent.status.conditions or ())


def _listening(spec: _Spec, settings: Kubernetes) -> tuple[_Container | None, int]:
    """The container with Ollama's port: by name first, then by number."""
    ports = [(container, port) for container in _lasting(spec) for port in container.ports or ()]
    ports = [(container, port) for container, port in ports if port.protocol == "TCP"]
    for container, port in ports:
        if port.name == settings.port_name:
            return container, port.container_port
    for container, port in ports:
        if port.container_port == settings.port:
            return container, port.container_port
    return None, 0


def _lasting(spec: _Spec) -> Iterator[_Container]:
    """Containers that run as long as the pod."""
    yield from spec.containers or ()
    yield from (container for container in spec.init_containers or () if container.restart_policy == "Always")


def _pod(sent: _Pod, container: _Container | None) -> Pod:
    variables = {entry.name: entry.value for entry in (container and container.env) or ()}
    labels = sent.metadata.labels or {}
    parallel = _number(variables, "OLLAMA_NUM_PARALLEL")
    return Pod(
        name=sent.metadata.name,
        namespace=sent.metadata.namespace,
        node=sent.spec.node_name,
        zone=labels.get(ZONE_LABEL),
        labels=labels,
        num_parallel=None if parallel is None else max(1, parallel),  # Ollama runs one where it was told none
        max_loaded_models=_number(variables, "OLLAMA_MAX_LOADED_MODELS"),
        context_length=_number(variables, "OLLAMA_CONTEXT_LENGTH"),
    )


def _number(variables: Mapping[str, str | None], name: str) -> int | None:
    """As Ollama reads it (envconfig in ollama/ollama): quotes and blanks around it do not count."""
    text = (variables.get(name) or "").strip().strip("\"'").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def found_in(candidates: Iterable[Candidate]) -> dict[Address, Pod]:
    """The pods that take calls, by address."""
    return {candidate.address: candidate.pod for candidate in candidates if candidate.address is not None}
