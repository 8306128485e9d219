"""Reads Ollama pods from the Kubernetes API (core/v1 Pod): which ones take calls, where, and their settings."""

import sys
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from ai_gateway.balancing.pod import Pod
from ai_gateway.config.types import Kubernetes
from ai_gateway.discovery.listening import Container, Sent, Spec, Trust, find_listening
from ai_gateway.wire.address import Address

ZONE_LABEL: Final = "topology.kubernetes.io/zone"

# Owners that restart a pod whenever it ends. OpenShift has ReplicationController, OpenKruise has CloneSet.
RESTARTING_OWNERS: Final = frozenset(("ReplicaSet", "StatefulSet", "DaemonSet", "ReplicationController", "CloneSet"))

ENDED: Final = {"Succeeded": "has ended", "Failed": "has failed"}


class _Owner(Sent, frozen=True):
    kind: str
    name: str = ""
    controller: bool | None = None


class _Annotations(Sent, frozen=True):
    hook: str | None = msgspec.field(default=None, name="helm.sh/hook")
    main: str | None = msgspec.field(default=None, name="kubectl.kubernetes.io/default-container")


class _Meta(Sent, frozen=True):
    name: str
    namespace: str
    uid: str = ""
    labels: dict[str, str] | None = None
    annotations: _Annotations | None = None
    deletion_timestamp: str | None = None
    owner_references: tuple[_Owner, ...] | None = None


class _Condition(Sent, frozen=True):
    type: str
    status: str


class _Status(Sent, frozen=True):
    phase: str | None = None
    pod_ip: str | None = msgspec.field(default=None, name="podIP")
    conditions: tuple[_Condition, ...] | None = None

    def says(self, type: str, status: str) -> bool:
        """Whether a condition of this type has this status."""
        return any(condition.type == type and condition.status == status for condition in self.conditions or ())


class _Pod(Sent, frozen=True):
    metadata: _Meta
    spec: Spec
    status: _Status = _Status()


class Candidate(msgspec.Struct, frozen=True):
    """One pod with the right labels. `address` is None while it takes no calls; `reason` then says why.

    `is_odd`: waiting will not help.
    """

    pod: Pod
    address: Address | None
    reason: str | None = None
    is_odd: bool = False
    unready: Address | None = None  # where it would take calls, if it is not being deleted

    @property
    def odd_reason(self) -> str | None:
        """The reason, if waiting will not help."""
        return self.reason if self.is_odd else None


def read_pod(content: bytes, settings: Kubernetes, own_uid: str | None = None) -> Candidate:
    """A pod from its JSON. Raises one of UNREADABLE if it is not a pod.

    The gateway reaches an Ollama in its own pod (`own_uid`) on loopback, ready or not: that pod becomes ready only with
    its gateway.
    """
    sent = msgspec.json.decode(content, type=_Pod)
    is_own = own_uid is not None and sent.metadata.uid == own_uid
    container, port, odd_reason = find_listening(sent.spec, settings, _trust(sent.metadata, is_own))
    pod = _pod(sent, container)
    if (reason := _ending(sent)) is not None:
        return Candidate(pod, None, reason)
    if port is None:
        return Candidate(pod, None, sys.intern(odd_reason or ""), is_odd=True)  # thousands of pods share it
    if is_own:
        return Candidate(pod, Address("127.0.0.1", port, uid=sent.metadata.uid))
    if (reason := _waiting(sent.status)) is not None:
        return Candidate(pod, None, reason, unready=_address(sent, port))
    return Candidate(pod, Address(sent.status.pod_ip or "", port, uid=sent.metadata.uid))


def _trust(meta: _Meta, is_own: bool) -> Trust:
    annotations = meta.annotations or _Annotations()
    return Trust(None if is_own else _untrusted_reason(meta, annotations), annotations.main, is_own)


def _untrusted_reason(meta: _Meta, annotations: _Annotations) -> str | None:
    """Why the gateway assumes no port for a pod: it runs to an end.

    One such pod is the test pod of the usual chart, which has the labels of Ollama.
    """
    if annotations.hook is not None:
        return "a Helm hook"
    owner = next((owner.kind for owner in meta.owner_references or () if owner.controller), None)
    if owner in RESTARTING_OWNERS:
        return None
    return "a pod that nothing keeps running" if owner is None else f"a pod of a {owner}"


def _address(sent: _Pod, port: int) -> Address | None:
    return Address(sent.status.pod_ip, port, uid=sent.metadata.uid) if sent.status.pod_ip else None


def _ending(sent: _Pod) -> str | None:
    """Why a pod will take no more calls. A pod that has ended may keep its last conditions."""
    if sent.metadata.deletion_timestamp is not None:
        return "is being deleted"
    return ENDED.get(sent.status.phase or "")


def _waiting(status: _Status) -> str | None:
    """Why a pod takes no calls yet, or not now."""
    if status.phase != "Running":
        if status.says("PodScheduled", "False"):
            return "waits for a node"
        return "is in phase Unknown" if status.phase == "Unknown" else "has not started"
    if not status.pod_ip:
        return "has no IP"
    return None if status.says("Ready", "True") else "is not ready"


def _pod(sent: _Pod, container: Container | None) -> Pod:
    variables = {entry.name: entry.value for entry in (container and container.env) or ()}
    labels = sent.metadata.labels or {}
    parallel = _number(variables, "OLLAMA_NUM_PARALLEL")
    return Pod(
        name=sent.metadata.name,
        namespace=sent.metadata.namespace,
        node=sent.spec.node_name,
        zone=labels.get(ZONE_LABEL),
        labels=labels,
        workload=_workload(sent.metadata, labels),
        num_parallel=None if parallel is None else max(1, parallel),  # Ollama reads 0 as 1
        max_loaded_models=_number(variables, "OLLAMA_MAX_LOADED_MODELS"),
        context_length=_number(variables, "OLLAMA_CONTEXT_LENGTH"),
    )


def _workload(meta: _Meta, labels: Mapping[str, str]) -> str | None:
    """What the pod is made for; of a ReplicaSet its Deployment, since each rollout has a ReplicaSet of its own."""
    owner = next((owner for owner in meta.owner_references or () if owner.controller), None)
    if owner is None:
        return None
    hashed = labels.get("pod-template-hash")
    if owner.kind == "ReplicaSet" and hashed and owner.name.endswith(f"-{hashed}"):
        return sys.intern(f"Deployment/{owner.name.removesuffix(f'-{hashed}')}")
    return sys.intern(f"{owner.kind}/{owner.name}")


def _number(variables: Mapping[str, str | None], name: str) -> int | None:
    """Reads a number as Ollama does (envconfig in ollama/ollama): without quotes and blanks around it."""
    text = (variables.get(name) or "").strip().strip("\"'").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def found_in(candidates: Iterable[Candidate]) -> dict[Address, Pod]:
    """The pods that take calls, by address."""
    return {candidate.address: candidate.pod for candidate in candidates if candidate.address is not None}
