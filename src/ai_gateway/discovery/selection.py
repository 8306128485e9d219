"""Selects the source of endpoints: the one in the config, else one from the environment."""

from collections.abc import Awaitable, Callable, Mapping

from ai_gateway.cluster.api import ApiServer
from ai_gateway.config.types import Discovery, Kubernetes
from ai_gateway.discovery.dns import DnsSource
from ai_gateway.discovery.kubernetes import kubernetes_source
from ai_gateway.discovery.local import LOCAL, LocalSource
from ai_gateway.discovery.source import Source
from ai_gateway.discovery.static import StaticSource, UrlSource
from ai_gateway.wire.address import Address, parse_ollama_host


class DiscoveryInputs:
    """What the selection depends on besides the config. `answers`: whether an Ollama answers at an address."""

    def __init__(
        self, environment: Mapping[str, str], answers: Callable[[Address], Awaitable[bool]], api: ApiServer
    ) -> None:
        self.ollama_host = environment.get("OLLAMA_HOST", "").strip()
        self.answers = answers
        self.api = api

    @property
    def has_cluster(self) -> bool:
        """Whether it looks for pods by default: in a pod, or if a flag names a cluster."""
        return self.api.access.is_in_cluster or self.api.access.is_named


def is_explicit(discovery: Discovery | None) -> bool:
    """Whether the config names a source."""
    return discovery is not None and discovery != Discovery()


def choose(discovery: Discovery | None, inputs: DiscoveryInputs) -> Source:
    """The source for a config, in the order of docs/configuration.md."""
    discovery = discovery or Discovery()
    if discovery.static is not None:
        return UrlSource(discovery.static)
    if discovery.dns is not None:
        return DnsSource(discovery.dns)
    if discovery.kubernetes is not None or inputs.has_cluster:
        return kubernetes_source(discovery.kubernetes or Kubernetes(), inputs.api)
    if inputs.ollama_host:
        return StaticSource((parse_ollama_host(inputs.ollama_host),), "OLLAMA_HOST")
    return LocalSource(inputs.answers)


async def finds_nothing(discovery: Discovery | None, inputs: DiscoveryInputs) -> bool:
    """Whether neither config nor environment name an Ollama; `serve --demo` then simulates some."""
    if is_explicit(discovery) or inputs.ollama_host or inputs.has_cluster:
        return False
    return not await inputs.answers(LOCAL)
