"""Warns if the gateway cannot reach the pods that Kubernetes lists, as on a laptop outside the cluster."""

import logging
from collections.abc import Callable, Iterable
from typing import Final

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.cluster.access import Access
from ai_gateway.discovery.runner import DiscoveryRunner

log = logging.getLogger("ai_gateway.discovery")

# By then reachable endpoints have answered a probe: a little more than two timeouts of polls.
PATIENCE_SECONDS: Final = 12.0

ADVICE: Final = (
    "pods were found, but none can be reached from here: pod addresses work only inside the cluster's network. "
    "Run the gateway in the cluster, or forward a port to each Ollama (kubectl port-forward) and list these ports in "
    "discovery.static"
)


class ReachabilityCheck:
    """Sets the advice of the runner. It acts only if the gateway runs outside the cluster."""

    def __init__(
        self,
        endpoints: Callable[[], Iterable[Endpoint]],
        runner: DiscoveryRunner,
        access: Access,
        call_later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self._endpoints = endpoints
        self._runner = runner
        self._access = access
        self._call_later = call_later
        self._is_waiting = False

    def listed(self) -> None:
        """A list was applied: check later whether any of its endpoints answers."""
        is_elsewhere = self._runner.source_name.startswith("kubernetes") and not self._access.is_in_cluster
        if is_elsewhere and not self._is_waiting:
            self._is_waiting = True
            self._call_later(PATIENCE_SECONDS, self._check)

    def _check(self) -> None:
        self._is_waiting = False
        pods = [endpoint for endpoint in self._endpoints() if endpoint.pod is not None]
        if any(endpoint.seen_at is not None for endpoint in pods) or not pods:
            self._runner.advice = None
            return
        if self._runner.advice is None:
            self._runner.advice = ADVICE
            log.warning("discovery: %s", ADVICE)
        self.listed()
