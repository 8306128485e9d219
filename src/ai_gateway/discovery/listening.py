"""Finds the port of Ollama in a pod: a declared one, or one that container and owner let it assume."""

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

from ai_gateway.config.types import Kubernetes
from ai_gateway.wire.address import Address, is_unspecified, read_ollama_host

OLLAMA: Final = "ollama"
HOST: Final = "OLLAMA_HOST"
USUAL_PORT_NAME: Final = Kubernetes().port_name

# Variables of clients of Ollama, such as a web interface or an exporter in the same pod.
_OF_A_CLIENT: Final = re.compile(r"OLLAMA_(API_.*|.*(URL|ENDPOINT|SERVER|ADDRESS).*)")


class Sent(msgspec.Struct, frozen=True, rename="camel"):
    """A part of a Kubernetes object. It ignores unknown keys."""


class Variable(Sent, frozen=True):
    """An environment variable of a container. The API omits an empty value, and one from a reference."""

    name: str
    value: str | None = None
    value_from: object = None


class Port(Sent, frozen=True):
    """A port that a container declares."""

    container_port: int
    name: str | None = None
    protocol: str = "TCP"


class Container(Sent, frozen=True):
    """A container. An init container with the `restart_policy` "Always" is a sidecar: it runs as long as the pod."""

    name: str = ""
    image: str | None = None
    env: tuple[Variable, ...] | None = None
    ports: tuple[Port, ...] | None = None
    restart_policy: str | None = None


class Spec(Sent, frozen=True):
    """The containers of a pod, and its node."""

    containers: tuple[Container, ...] | None = None
    init_containers: tuple[Container, ...] | None = None
    node_name: str | None = None


class Trust(NamedTuple):
    """What the gateway may assume about a pod.

    `untrusted_reason` says why it assumes no undeclared port; None if it may. `main` names kubectl's default container.
    `is_own`: the gateway runs in this pod too.
    """

    untrusted_reason: str | None = None
    main: str | None = None
    is_own: bool = False


class Listening(NamedTuple):
    """The port, or the reason why there is none; and the container of Ollama, if that is known."""

    container: Container | None
    port: int | None
    reason: str | None = None


def find_listening(spec: Spec, settings: Kubernetes, trust: Trust) -> Listening:
    """Finds a port with the configured name first, then one of Ollama's container, then any that fits.

    If Ollama's container declares no port, it assumes that Ollama listens all the same.
    """
    containers = tuple(_long_running(spec))
    ollama = _ollama_of(containers, settings, trust)
    port = _first(containers, settings) if len(containers) == 1 else _asked_for(containers, settings)
    if port is None and ollama is not None and (trust.is_own or not _is_unreachable(ollama)):
        port = _declared(ollama, settings)
        if port is None and trust.untrusted_reason is None:
            port = _assumed(ollama, settings)
    if port is None:
        port = _first(containers, settings)
    if (
        port is None
        and ollama is None
        and trust.untrusted_reason is None
        and containers
        and not any(map(_ports, containers))
    ):
        port = settings.port  # no container stands out, and all share the pod's address
    if port is not None:
        return Listening(ollama or _declaring(containers, port), port)
    return Listening(ollama, None, _reason(containers, ollama, settings, trust))


def _long_running(spec: Spec) -> Iterator[Container]:
    """Containers that run as long as the pod."""
    yield from spec.containers or ()
    yield from (container for container in spec.init_containers or () if container.restart_policy == "Always")


def _ports(container: Container) -> list[Port]:
    return [port for port in container.ports or () if port.protocol == "TCP"]


def _ollama_of(containers: tuple[Container, ...], settings: Kubernetes, trust: Trust) -> Container | None:
    """The container with the highest score; None if several containers have none."""
    if len(containers) == 1:
        return containers[0]
    scores = [_score(container, settings, trust) for container in containers]
    best = max(scores, default=())
    if any(best):
        return containers[scores.index(best)]
    return next((container for container in containers if trust.main and container.name == trust.main), None)


def _score(container: Container, settings: Kubernetes, trust: Trust) -> tuple[bool, ...]:
    """Signs that a container is Ollama, the surest first: its port, its variables, its name. Empty: no sign."""
    image = (container.image or "").partition("@")[0].rpartition("/")[2].partition(":")[0]
    has_port = has_named = False
    for port in _ports(container):
        has_port = has_port or port.container_port == settings.port
        has_named = has_named or port.name == settings.port_name
    has_name = OLLAMA in (container.name, image)
    is_like = has_name or OLLAMA in container.name or OLLAMA in image
    variables = [variable.name for variable in container.env or () if variable.name.startswith("OLLAMA_")]
    is_unreachable = HOST in variables and _is_unreachable(container)
    has_variable = any(name != HOST or not is_unreachable for name in variables if not _OF_A_CLIENT.fullmatch(name))
    is_client = is_unreachable and not has_port and not has_name
    if is_client or not (has_port or has_variable or is_like):
        return ()
    return (trust.is_own or not is_unreachable, has_port, has_variable, has_name, is_like, has_named)


def _host(container: Container) -> Address | None:
    """The address in OLLAMA_HOST (the last one if it is set twice); None if it is not set, or a reference."""
    variables = [variable for variable in container.env or () if variable.name == HOST]
    if not variables or (variables[-1].value is None and variables[-1].value_from is not None):
        return None
    return read_ollama_host(variables[-1].value or "")


def _is_unreachable(container: Container) -> bool:
    """Whether other pods cannot call it: it listens on loopback, or is a client of another Ollama.

    `$(...)` stands for an address that only the pod knows: its own.
    """
    address = _host(container)
    return address is not None and not is_unspecified(address.host) and not address.host.startswith("$(")


def _asked_for(containers: Iterable[Container], settings: Kubernetes) -> int | None:
    """The port with a name that the config sets. The default name is only a guess: many containers have such a port."""
    return None if settings.port_name == USUAL_PORT_NAME else _named(containers, settings)


def _declared(container: Container, settings: Kubernetes) -> int | None:
    port = _first((container,), settings)
    address = _host(container)
    if port is None and address is not None:
        port = next((port.container_port for port in _ports(container) if port.container_port == address.port), None)
    return port


def _assumed(container: Container, settings: Kubernetes) -> int | None:
    address = _host(container)
    if address is not None:
        return address.port or None
    return None if _ports(container) else settings.port


def _first(containers: Iterable[Container], settings: Kubernetes) -> int | None:
    """The first port with the right name, else the first with the right number."""
    containers = tuple(containers)
    numbers = (port.container_port for container in containers for port in _ports(container))
    return _named(containers, settings) or next((number for number in numbers if number == settings.port), None)


def _named(containers: Iterable[Container], settings: Kubernetes) -> int | None:
    ports = (port for container in containers for port in _ports(container))
    return next((port.container_port for port in ports if port.name == settings.port_name), None)


def _declaring(containers: Iterable[Container], number: int) -> Container | None:
    return next((c for c in containers if any(port.container_port == number for port in _ports(c))), None)


def _reason(containers: tuple[Container, ...], ollama: Container | None, settings: Kubernetes, trust: Trust) -> str:
    words = f"declares no port named {settings.port_name!r} and no port {settings.port}"
    if ollama is not None and not trust.is_own and _is_unreachable(ollama):
        return f"{words}, and other pods cannot reach its OLLAMA_HOST"
    if trust.untrusted_reason is None or any(map(_ports, containers if ollama is None else (ollama,))):
        return words
    return f"{words}, and the gateway assumes none for {trust.untrusted_reason}"
