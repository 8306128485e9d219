"""Which container of a pod is Ollama, and at which port it listens."""

from typing import Any

import msgspec
import pytest

from ai_gateway.config.types import Kubernetes
from ai_gateway.discovery.listening import Listening, Spec, Trust, find_listening

Json = dict[str, Any]
REFUSED = Trust(untrusted_reason="a Job")

# Other containers in a pod of Ollama.
MESH: Json = {"name": "istio-proxy", "ports": [{"name": "http-envoy-prom", "containerPort": 15090}]}
EXPORTER: Json = {"name": "exporter", "ports": [{"name": "http", "containerPort": 9105}]}
PROXY: Json = {"name": "nginx", "ports": [{"name": "http", "containerPort": 8080}]}
PLAIN: Json = {"name": "ollama", "image": "ollama/ollama"}


def env(**variables: str | None) -> list[Json]:
    """As the API sends them; None comes from elsewhere."""
    elsewhere = {"valueFrom": {"configMapKeyRef": {"name": "x", "key": "y"}}}
    return [{"name": name, **(elsewhere if value is None else {"value": value})} for name, value in variables.items()]


def find(*containers: Json, init: list[Json] | None = None, trust: Trust | None = None, **settings: Any) -> Listening:
    spec = msgspec.convert({"containers": list(containers), "initContainers": init}, Spec)
    return find_listening(spec, Kubernetes(**settings), trust or Trust())


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("0.0.0.0", 11434),
        ("0.0.0.0:8000", 8000),
        (":8000", 8000),
        ("http://0.0.0.0:8000", 8000),
        ("http://0.0.0.0", 80),  # as Ollama reads it
        ("[::]:8000", 8000),
        ("::", 11434),
        ('"0.0.0.0:8000"', 8000),
        ("$(POD_IP):8000", 8000),
        ("$(POD_IP)", 11434),
        ("0.0.0.0:99999", 11434),
        ("0.0.0.0:" + "9" * 5000, 11434),  # more digits than Python reads
        (None, 11434),  # it comes from elsewhere
    ],
)
def test_ollama_host_gives_the_port_if_none_is_declared(host: str | None, port: int) -> None:
    assert find({**PLAIN, "env": env(OLLAMA_HOST=host)}).port == port


def test_an_ollama_host_without_a_value_is_empty() -> None:
    """`value: ""` in a manifest comes back as the name alone; Ollama then listens on loopback."""
    found = find({**PLAIN, "env": [{"name": "OLLAMA_HOST"}]})
    assert found.port is None
    assert str(found.reason).endswith("and other pods cannot reach its OLLAMA_HOST")


def test_ollama_host_does_not_count_for_untrusted_pods() -> None:
    """A Job with the labels calls Ollama, and may say where it is."""
    assert find({**PLAIN, "env": env(OLLAMA_HOST="0.0.0.0:8000")}, trust=REFUSED).port is None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost:11434", "", "[::1]", "http://ollama:11434"])
def test_an_ollama_that_other_pods_cannot_reach_is_left_out(host: str) -> None:
    """On loopback, as an empty value means; or it is no server at all."""
    found = find({**PLAIN, "env": env(OLLAMA_HOST=host)})
    assert found.port is None
    assert str(found.reason).endswith("and other pods cannot reach its OLLAMA_HOST")


@pytest.mark.parametrize("name", ["web", "http"])
def test_a_declared_port_overrides_an_assumed_one(name: str) -> None:
    """Whatever its name, where OLLAMA_HOST says the same; it needs no owner then."""
    ollama = {**PLAIN, "ports": [{"name": name, "containerPort": 8000}], "env": env(OLLAMA_HOST=":8000")}
    assert find(ollama, trust=REFUSED).port == 8000


def test_ollama_that_declares_its_metrics_alone_is_found_by_ollama_host() -> None:
    metrics = {"name": "metrics", "containerPort": 9090}
    assert find({**PLAIN, "ports": [metrics], "env": env(OLLAMA_HOST="0.0.0.0:8000")}).port == 8000
    assert find({**PLAIN, "ports": [metrics]}).port is None


@pytest.mark.parametrize(
    "neighbour", [MESH, EXPORTER, PROXY, {"name": "logs"}], ids=lambda container: container["name"]
)
@pytest.mark.parametrize(
    "ollama",
    [
        {"name": "ollama"},
        {"name": "main", "image": "registry:5000/mirror/ollama:0.24@sha256:00"},
        {"name": "my-ollama"},
        {"name": "main", "image": "x/ollama-rocm"},
        {"name": "main", "env": env(OLLAMA_NUM_PARALLEL="4")},
        {"name": "main", "env": env(OLLAMA_HOST="0.0.0.0")},
        {"name": "main", "ports": [{"containerPort": 11434}]},
    ],
    ids=str,
)
def test_among_several_containers_ollama_is_known_by_port_variables_or_name(neighbour: Json, ollama: Json) -> None:
    """Wherever it stands; a port named http in front of another container is not Ollama's."""
    for found in (
        find(neighbour, ollama),
        find(ollama, neighbour),
        find(ollama, init=[{**neighbour, "restartPolicy": "Always"}]),
    ):
        assert found.port == 11434
        assert found.container is not None
        assert found.container.name == ollama["name"]


@pytest.mark.parametrize(
    "client",
    [
        {"name": "web", "env": env(OLLAMA_HOST="http://127.0.0.1:11434")},
        {"name": "web", "env": env(OLLAMA_HOST="localhost")},
        {"name": "web", "env": env(OLLAMA_BASE_URL="http://127.0.0.1:11434")},
        {"name": "ollama-exporter", "env": env(OLLAMA_HOST="http://localhost:11434")},
    ],
    ids=str,
)
def test_a_client_in_the_same_pod_is_not_taken_for_ollama(client: Json) -> None:
    """Such as a web interface or an exporter."""
    web = {**client, "ports": [{"name": "http", "containerPort": 8080}]}
    assert find(web, PLAIN).port == 11434
    assert find(web, {**PLAIN, "env": env(OLLAMA_HOST=":8000")}).port == 8000


def test_a_proxy_in_front_of_an_ollama_on_loopback_takes_the_calls() -> None:
    """The slots are those of Ollama all the same."""
    found = find(PROXY, {**PLAIN, "env": env(OLLAMA_HOST="127.0.0.1", OLLAMA_NUM_PARALLEL="4")})
    assert found.port == 8080
    assert found.container is not None
    assert found.container.name == "ollama"


def test_a_configured_port_name_is_decisive() -> None:
    """In whichever container it is: that of a proxy before Ollama."""
    door = {"name": "nginx", "ports": [{"name": "door", "containerPort": 8080}]}
    ollama = {**PLAIN, "ports": [{"containerPort": 11434}]}
    assert find(ollama, door, port_name="door").port == 8080
    assert find(ollama, door).port == 11434


def test_containers_without_any_sign_share_one_address() -> None:
    """None of them declares a port, so that Ollama can only be at its usual one."""
    found = find({"name": "a"}, {"name": "b"})
    assert (found.port, found.container) == (11434, None)
    assert find({"name": "a"}, {"name": "b"}, trust=REFUSED).port is None


def test_without_other_signs_the_main_container_is_ollama() -> None:
    """Meshes annotate it for kubectl when they inject their own."""
    main = {"name": "llm", "image": "registry/llm:1"}
    assert find(main, MESH, trust=Trust(main="llm")).port == 11434
    assert find(main, MESH).port is None
    client = {"name": "ollama-exporter", "env": env(OLLAMA_HOST="localhost"), "ports": EXPORTER["ports"]}
    assert find(main, client, trust=Trust(main="llm")).port == 11434


def test_containers_that_end_do_not_count() -> None:
    """An init container that pulls models has Ollama's image and variables."""
    pull = {"name": "pull", "image": "ollama/ollama", "env": env(OLLAMA_HOST="0.0.0.0:7")}
    assert find({"name": "llm"}, init=[pull]).port == 11434


def test_ports_of_other_protocols_do_not_count() -> None:
    assert find({**PLAIN, "ports": [{"containerPort": 53, "protocol": "UDP"}]}).port == 11434


def test_in_its_own_pod_the_gateway_calls_loopback() -> None:
    """The pod also has the gateway, and an application that calls it."""
    gateway = {"name": "ai-gateway", "image": "ai-gateway-ollama", "ports": [{"name": "api", "containerPort": 8080}]}
    app = {"name": "app", "env": env(OLLAMA_HOST="http://127.0.0.1:8080")}
    ollama = {**PLAIN, "env": env(OLLAMA_HOST="127.0.0.1:8000")}
    assert find(gateway, app, ollama, trust=Trust(is_own=True)).port == 8000
    assert find(app, ollama, init=[{**gateway, "restartPolicy": "Always"}], trust=Trust(is_own=True)).port == 8000


def test_a_pod_without_containers_does_no_harm() -> None:
    assert find().port is None
