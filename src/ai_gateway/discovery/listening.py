"""Where in a pod Ollama listens: at a port that is declared, else where container and owner let one assume it."""

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

from ai_gateway.config.types import Kubernetes
from ai_gateway.wire.address import Address, is_unspecified, read_ollama_host

OLLAMA: Final = "ollama"
HOST: Final = "OLLAMA_HOST"
USUAL_PORT_NAME: Final = Kubernetes().port_name

# Variables of who calls an Ollama, such as a web interface or an exporter beside it.
_OF_A_CLIENT: Final = re.compile(r"OLLAMA_(API_.*|.*(URL|ENDPOINT|SERVER|ADDRESS).*)")


class Sent(msgspec.Struct, frozen=True, rename="camel"):
    """A part of an object as it is sent; keys that are not read are passed over."""


class Variable(Sent, frozen=True):
    """Of a container's environment. The API leaves out a value that is empty, and one that comes from elsewhere."""

    name: str
    value: str | None = None
    value_from: object = None


class Port(Sent, frozen=True):
    """A port that a container declares."""

    container_port: int
    name: str | None = None
    protocol: str = "TCP"


class Container(Sent, frozen=True):
    """`restart_policy` is one of init containers: "Always" makes a sidecar of it, which runs as long as the pod."""

    name: str = ""
    image: str | None = None
    env: tuple[Variable, ...] | None = None
    ports: tuple[Port, ...] | None = None
    restart_policy: str | None = None


class Spec(Sent, frozen=True):
    """What runs in a pod, and where."""

    containers: tuple[Container, ...] | None = None
    init_containers: tuple[Container, ...] | None = None
    node_name: str | None = None


class Trust(NamedTuple):
    """What a pod is trusted with. `refusal` says why no port is assumed that it does not declare, None if one is;
    `main` names the container that kubectl takes for the pod's own; `is_own`: the gateway is in that pod too."""

    untrusted_reason: str | None = None
    main: str | None = None
    is_own: bool = False


class Listening(NamedTuple):
    """The port, or why there is none; and the container whose environment tells, if that is known."""

    container: Container | None
    port: int | None
    reason: str | None = None


def find_listening(spec: Spec, settings: Kubernetes, trust: Trust) -> Listening:
    """First a port with the name that was asked for, then that of Ollama's container, then any that fits.

    Ollama's container is assumed to listen where it declares no port.
    """
    containers = tuple(_lasting(spec))
    ollama = _ollama_of(containers, settings, trust)
    port = _first(containers, settings) if len(containers) == 1 else _asked_for(containers, settings)
    if port is None and ollama is not None and (trust.is_own or not _is_deaf(ollama)):
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
        port = settings.port  # nothing tells the containers apart, and all have the pod's address
    if port is not None:
        return Listening(ollama or _declaring(containers, port), port)
    return Listening(ollama, None, _reason(containers, ollama, settings, trust))


def _lasting(spec: Spec) -> Iterator[Container]:
    """Containers that run as long as the pod."""
    yield from spec.containers or ()
    yield from (container for container in spec.init_containers or () if container.restart_policy == "Always")


def _ports(container: Container) -> list[Port]:
    return [port for port in container.ports or () if port.protocol == "TCP"]


def _ollama_of(containers: tuple[Container, ...], settings: Kubernetes, trust: Trust) -> Container | None:
    """The container that is most like Ollama; None where none of several is."""
    if len(containers) == 1:
        return containers[0]
    marks = [_marks(container, settings, trust) for container in containers]
    best = max(marks, default=())
    if any(best):
        return containers[marks.index(best)]
    return next((container for container in containers if trust.main and container.name == trust.main), None)


def _marks(container: Container, settings: Kubernetes, trust: Trust) -> tuple[bool, ...]:
    """What makes a container Ollama's, the surest first: its port, its variables, its name. Empty: nothing does."""
    image = (container.image or "").partition("@")[0].rpartition("/")[2].partition(":")[0]
    has_port = has_named = False
    for port in _ports(container):
        has_port = has_port or port.container_port == settings.port
        has_named = has_named or port.name == settings.port_name
    has_name = OLLAMA in (container.name, image)
    is_like = has_name or OLLAMA in container.name or OLLAMA in image
    variables = [variable.name for variable in container.env or () if variable.name.startswith("OLLAMA_")]
    is_deaf = HOST in variables and _is_deaf(container)
    has_variable = any(name != HOST or not is_deaf for name in variables if not _OF_A_CLIENT.fullmatch(name))
    is_client = is_deaf and not has_port and not has_name
    if is_client or not (has_port or has_variable or is_like):
        return ()
    return (trust.is_own or not is_deaf, has_port, has_variable, has_name, is_like, has_named)


def _host(container: Container) -> Address | None:
    """What OLLAMA_HOST says, the last where it stands twice; None where it is not set, or comes from elsewhere."""
    variables = [variable for variable in container.env or () if variable.name == HOST]
    if not variables or (variables[-1].value is None and variables[-1].value_from is not None):
        return None
    return read_ollama_host(variables[-1].value or "")


def _is_deaf(container: Container) -> bool:
    """Other pods cannot call it: it listens on loopback, or is the client of another Ollama. `$(...)` is an address
    that is known in the pod alone: its own."""
    address = _host(container)
    return address is not None and not is_unspecified(address.host) and not address.host.startswith("$(")


def _asked_for(containers: Iterable[Container], settings: Kubernetes) -> int | None:
    """A name that somebody has set is an order; the usual one is a guess, and many a container has a port of it."""
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
    """The first port of the right name, else the first of the right number."""
    containers = tuple(containers)
    numbers = (port.container_port for container in containers for port in _ports(container))
    return _named(containers, settings) or next((number for number in numbers if number == settings.port), None)


def _named(containers: Iterable[Container], settings: Kubernetes) -> int | None:
    ports = (port for container in containers for port in _ports(container))
    return next((port.container_port for port in ports if port.name == settings.port_name), None)


def _declaring(containers: Iterable[Container], number: int) -> Container | None:
    return next((c for c in containers if any(port.container_port == number for port in _ports(c))), None)


def _reason(containers: tuple[Container, ...], ollama: Container | None, settings: Kubernetes, trust: Trust) -> str:
    words = f"declares no port named {settings.port_name!r} and none {settings.port}"
    if ollama is not None and not trust.is_own and _is_deaf(ollama):
        return f"{words}, and its OLLAMA_HOST is no address that other pods reach"
    if trust.untrusted_reason is None or any(map(_ports, containers if ollama is None else (ollama,))):
        return words
    return f"{words}, which is not assumed of {trust.untrusted_reason}"
