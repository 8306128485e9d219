"""Which pods take calls, where, and what their specs tell."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from ai_gateway.balancing.pod import Pod
from ai_gateway.config.types import Kubernetes
from ai_gateway.discovery.pods import Candidate, found_in, read_pod

Json = dict[str, Any]
HTTP: Json = {"name": "http", "containerPort": 11434, "protocol": "TCP"}
READY: Json = {"type": "Ready", "status": "True"}


def pod(
    meta: Mapping[str, Any] | None = None,
    spec: Mapping[str, Any] | None = None,
    status: Mapping[str, Any] | None = None,
) -> bytes:
    """A ready Ollama pod, but for what the test changes."""
    usual_meta = {"name": "ollama-0", "namespace": "ai", "uid": "u1", "labels": {"tier": "chat"}, "managedFields": [{}]}
    usual_spec = {"nodeName": "node-1", "containers": [{"name": "ollama", "image": "ollama", "ports": [HTTP]}]}
    usual_status = {"phase": "Running", "podIP": "10.0.0.5", "podIPs": [{"ip": "10.0.0.5"}], "conditions": [READY]}
    content = {
        "metadata": {**usual_meta, **(meta or {})},
        "spec": {**usual_spec, **(spec or {})},
        "status": {**usual_status, **(status or {})},
    }
    return json.dumps(content).encode()


def read(content: bytes, own_uid: str | None = None, **settings: Any) -> Candidate:
    return read_pod(content, Kubernetes(**settings), own_uid)


def with_ports(*ports: Json, key: str = "containers", **more: Any) -> bytes:
    return pod(spec={"containers": [{"name": "other"}], key: [{"name": "ollama", "ports": list(ports), **more}]})


def with_env(*env: Json) -> Pod:
    return read(pod(spec={"containers": [{"name": "ollama", "ports": [HTTP], "env": list(env)}]})).pod


def test_a_ready_pod_takes_calls_at_its_address() -> None:
    candidate = read(pod())
    assert candidate.address is not None
    assert (candidate.address.url, candidate.address.uid) == ("http://10.0.0.5:11434", "u1")
    assert (candidate.pod.namespace, candidate.pod.name, candidate.pod.node) == ("ai", "ollama-0", "node-1")
    assert found_in([candidate]) == {candidate.address: candidate.pod}


@pytest.mark.parametrize(
    ("meta", "status"),
    [
        ({"deletionTimestamp": "2026-01-01T00:00:00Z"}, {}),
        ({}, {"phase": "Pending"}),
        ({}, {"phase": "Succeeded"}),  # its last conditions may still say Ready
        ({}, {"phase": None}),
        ({}, {"podIP": None}),
        ({}, {"podIP": ""}),
        ({}, {"conditions": [{"type": "Ready", "status": "False"}]}),
        ({}, {"conditions": [{"type": "Ready", "status": "Unknown"}]}),
        ({}, {"conditions": [{"type": "Initialized", "status": "True"}]}),
        ({}, {"conditions": None}),
    ],
)
def test_any_other_pod_takes_none(meta: Json, status: Json) -> None:
    """And nothing is odd about it: it is seen, and waited for."""
    candidate = read(pod(meta, status=status))
    assert candidate.reason
    assert (candidate.address, candidate.odd_reason) == (None, None)
    assert found_in([candidate]) == {}


@pytest.mark.parametrize(
    ("ports", "port"),
    [
        ([{"name": "http", "containerPort": 8000}], 8000),
        ([{"name": "api", "containerPort": 11434}], 11434),
        ([{"containerPort": 11434}], 11434),
        ([{"name": "metrics", "containerPort": 11434}, {"name": "http", "containerPort": 9}], 9),
        ([{"name": "http", "containerPort": 53, "protocol": "UDP"}, {"containerPort": 11434}], 11434),
    ],
)
def test_the_port_is_found_by_its_name_and_then_by_its_number(ports: Sequence[Json], port: int) -> None:
    address = read(with_ports(*ports)).address
    assert address is not None
    assert address.port == port


def test_other_names_and_numbers_can_be_asked_for() -> None:
    address = read(with_ports({"name": "ollama", "containerPort": 7}), port_name="ollama").address
    assert address is not None
    assert address.port == 7


@pytest.mark.parametrize(
    ("meta", "status", "reason"),
    [
        ({"deletionTimestamp": "2026-01-01T00:00:00Z"}, {"phase": "Failed"}, "is being deleted"),
        ({}, {"phase": "Succeeded"}, "has ended"),
        ({}, {"phase": "Failed", "podIP": None}, "has failed"),  # evicted, such as
        ({}, {"phase": "Pending"}, "has not started"),
        ({}, {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False"}]}, "waits for a node"),
        ({}, {"phase": None, "conditions": None}, "has not started"),
        ({}, {"phase": "Unknown"}, "is in phase Unknown"),
        ({}, {"podIP": ""}, "has no IP"),
        ({}, {"conditions": [{"type": "Ready", "status": "Unknown"}]}, "is not ready"),
    ],
)
def test_a_pod_that_takes_no_calls_says_why(meta: Json, status: Json, reason: str) -> None:
    assert read(pod(meta, status=status)).reason == reason


@pytest.mark.parametrize(
    ("meta", "status", "host"),
    [
        ({}, {"conditions": [{"type": "Ready", "status": "False"}]}, "10.0.0.5"),
        ({}, {}, None),
        ({}, {"podIP": None}, None),
        ({}, {"phase": "Failed"}, None),  # it never comes back
        ({"deletionTimestamp": "2026-01-01T00:00:00Z"}, {"conditions": None}, None),
    ],
)
def test_a_pod_that_may_come_back_is_known_from_one_that_is_deleted(meta: Json, status: Json, host: str | None) -> None:
    unready = read(pod(meta, status=status)).unready
    assert (unready and unready.host) == host


def test_a_pod_without_the_port_is_left_out_with_a_reason() -> None:
    candidate = read(with_ports({"name": "web", "containerPort": 80}))
    assert candidate.address is None
    assert candidate.odd_reason == "declares no port named 'http' and no port 11434"


@pytest.mark.parametrize("status", [{}, {"conditions": []}, {"phase": "Pending", "podIP": None}])
def test_a_wrong_port_is_reported_before_readiness(status: Json) -> None:
    """Waiting does not help. A pod that has ended needs no report."""
    pods = {"containers": [{"name": "ollama", "ports": [{"containerPort": 80}]}]}
    assert "declares no port" in str(read(pod(spec=pods, status=status)).odd_reason)
    assert read(pod(spec=pods, status={"phase": "Succeeded"})).odd_reason is None


def owned(kind: str | None, *, controller: bool | None = True, spec: Json | None = None, **meta: Any) -> bytes:
    """A pod of such an owner that declares no port, but for what the test changes."""
    owner = {"apiVersion": "apps/v1", "kind": kind, "name": "ollama-6d4", "uid": "r1", "controller": controller}
    usual = {"containers": [{"name": "ollama", "image": "ollama/ollama"}]}
    return pod({"ownerReferences": [owner] if kind else None, **meta}, {**usual, **(spec or {})})


@pytest.mark.parametrize("kind", ["ReplicaSet", "StatefulSet", "DaemonSet", "ReplicationController", "CloneSet"])
def test_a_pod_that_is_kept_running_needs_to_declare_no_port(kind: str) -> None:
    """`kubectl create deployment ollama --image=ollama/ollama` declares none."""
    address = read(owned(kind)).address
    assert address is not None
    assert address.url == "http://10.0.0.5:11434"


def test_the_assumed_port_is_that_of_the_config() -> None:
    address = read(owned("ReplicaSet"), port=8000).address
    assert address is not None
    assert address.port == 8000


@pytest.mark.parametrize(
    ("content", "whose"),
    [
        (owned(None), "a pod that nothing keeps running"),
        (owned("ReplicaSet", controller=None), "a pod that nothing keeps running"),
        (owned("ReplicaSet", controller=False), "a pod that nothing keeps running"),
        (owned("Job"), "a pod of a Job"),
        (owned("Node"), "a pod of a Node"),  # a static pod
        (owned("Workflow"), "a pod of a Workflow"),
        (owned(None, annotations={"helm.sh/hook": "test-success"}), "a Helm hook"),
        (owned("Job", annotations={"helm.sh/hook": "post-install"}), "a Helm hook"),
        (owned("ReplicaSet", annotations={"helm.sh/hook": "test"}), "a Helm hook"),
    ],
)
def test_a_pod_that_runs_to_an_end_is_not_assumed_to_serve(content: bytes, whose: str) -> None:
    """The test pod of the usual chart has the labels of Ollama and no port, as has a Job that pulls models."""
    candidate = read(content)
    assert candidate.address is None
    words = f"declares no port named 'http' and no port 11434, and the gateway assumes none for {whose}"
    assert candidate.odd_reason == words


@pytest.mark.parametrize("kind", ["Job", None])
def test_a_port_that_is_declared_needs_no_owner(kind: str | None) -> None:
    spec = {"containers": [{"name": "ollama", "ports": [HTTP]}]}
    assert read(owned(kind, spec=spec)).address is not None


def test_an_ollama_that_is_a_native_sidecar_is_found() -> None:
    """An init container that goes on running; one that ends has no port worth anything."""
    assert read(with_ports(HTTP, key="initContainers", restartPolicy="Always")).address is not None
    assert read(with_ports(HTTP, key="initContainers")).address is None


def test_an_ipv6_address_stands_in_brackets() -> None:
    address = read(pod(status={"podIP": "fd00::5", "podIPs": [{"ip": "fd00::5"}, {"ip": "10.0.0.5"}]})).address
    assert address is not None
    assert address.url == "http://[fd00::5]:11434"


@pytest.mark.parametrize(("meta", "status"), [({"uid": "u2"}, {}), ({}, {"podIP": "10.0.0.6"})])
def test_another_uid_or_ip_is_another_endpoint(meta: Json, status: Json) -> None:
    """Even under the same name."""
    assert read(pod()).address != read(pod(meta, status=status)).address


def test_other_labels_are_the_same_endpoint() -> None:
    assert read(pod()).address == read(pod({"labels": {"tier": "code"}})).address


def test_the_settings_in_the_spec_are_read() -> None:
    found = with_env(
        {"name": "OLLAMA_NUM_PARALLEL", "value": "4"},
        {"name": "OLLAMA_MAX_LOADED_MODELS", "value": ' "3" '},
        {"name": "OLLAMA_CONTEXT_LENGTH", "value": "8192"},
    )
    assert (found.num_parallel, found.max_loaded_models, found.context_length) == (4, 3, 8192)


@pytest.mark.parametrize(
    ("variable", "slots"),
    [
        ({"value": "0"}, 1),  # Ollama runs one then
        ({"value": ""}, None),
        ({"value": "many"}, None),
        ({"value": "-2"}, None),
        ({"value": "$(SLOTS)"}, None),
        ({"value": "9" * 40}, None),
        ({"valueFrom": {"configMapKeyRef": {"name": "x", "key": "y"}}}, None),
        ({}, None),
    ],
)
def test_unreadable_slots_are_unknown(variable: Json, slots: int | None) -> None:
    """The config counts then."""
    assert with_env({"name": "OLLAMA_NUM_PARALLEL", **variable}).num_parallel == slots


def test_the_environment_of_another_container_does_not_count() -> None:
    other = {"name": "other", "env": [{"name": "OLLAMA_NUM_PARALLEL", "value": "9"}]}
    assert read(pod(spec={"containers": [other, {"name": "ollama", "ports": [HTTP]}]})).pod.num_parallel is None


def test_the_zone_comes_from_the_pods_label() -> None:
    assert read(pod({"labels": {"topology.kubernetes.io/zone": "eu-1a"}})).pod.zone == "eu-1a"
    assert read(pod({"labels": None})).pod.zone is None


def test_null_lists_are_empty_ones() -> None:
    """Go writes null for what was never filled."""
    spec = {"containers": [{"name": "ollama", "ports": [HTTP], "env": None}, {"ports": None}], "initContainers": None}
    assert read(pod(spec=spec)).address is not None


@pytest.mark.parametrize("status", [{}, {"conditions": []}, {"podIP": None}])
def test_the_own_pod_is_reached_on_loopback_ready_or_not(status: Json) -> None:
    """It becomes ready only with its gateway."""
    address = read(pod(status=status), own_uid="u1").address
    assert address is not None
    assert (address.authority, address.uid) == ("127.0.0.1:11434", "u1")


def test_the_own_pod_that_is_leaving_takes_no_calls() -> None:
    assert read(pod({"deletionTimestamp": "2026-01-01T00:00:00Z"}), own_uid="u1").address is None


def test_the_own_pod_needs_to_declare_no_port() -> None:
    """Nor an owner: you put this Ollama next to the gateway to be called, on loopback or not."""
    spec = {"containers": [{"name": "ollama", "env": [{"name": "OLLAMA_HOST", "value": "127.0.0.1:8000"}]}]}
    address = read(pod(spec=spec, status={"podIP": None}), own_uid="u1").address
    assert address is not None
    assert address.authority == "127.0.0.1:8000"
