"""Which source is used: the config's, else what the surroundings offer, else none."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from ai_gateway.config.types import Discovery
from ai_gateway.discovery.local import LOCAL, LocalSource
from ai_gateway.discovery.source import Source
from ai_gateway.discovery.static import StaticSource, static_source
from ai_gateway.wire.address import Address, parse_ollama_host

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


class Surroundings:
    """What the process finds around it. `answers` tells whether an Ollama answers at an address."""

    def __init__(
        self,
        environment: Mapping[str, str],
        answers: Callable[[Address], Awaitable[bool]],
        service_account: Path = SERVICE_ACCOUNT,
    ) -> None:
        self.ollama_host = environment.get("OLLAMA_HOST", "").strip()
        self.answers = answers
        self.is_in_cluster = service_account.exists()


def choose(discovery: Discovery | None, surroundings: Surroundings) -> Source:
    """The source for a config, in the order that docs/configuration.md gives."""
    if discovery is not None and discovery.static is not None:
        return static_source(discovery.static)
    if surroundings.is_in_cluster:
        # Pods are found by label in a later release; guessing at a laptop's address in a pod would be wrong.
        return StaticSource((), "none: in a cluster, set discovery.static")
    if surroundings.ollama_host:
        return StaticSource((parse_ollama_host(surroundings.ollama_host),), "OLLAMA_HOST")
    return LocalSource(surroundings.answers)


async def finds_nothing(discovery: Discovery | None, surroundings: Surroundings) -> bool:
    """Whether neither config nor surroundings name an Ollama now; `serve --demo` then simulates some."""
    if discovery is not None and discovery.static is not None:
        return False
    if surroundings.ollama_host or surroundings.is_in_cluster:
        return False
    return not await surroundings.answers(LOCAL)
