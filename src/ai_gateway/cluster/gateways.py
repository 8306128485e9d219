"""How many gateways are ready: counted from the endpoint slices of their own Service (discovery.k8s.io/v1)."""

from collections.abc import Iterable
from typing import Final

from ai_gateway.cluster.api import ApiServer
from ai_gateway.cluster.endpoint_slice import read_endpoint_slice
from ai_gateway.cluster.reflector import Collection, Reflector, WatchSettings

# The same as for discovery by default.
WATCH_SETTINGS: Final = WatchSettings(watch_seconds=300.0, read_seconds=15.0)


def read_ready(content: bytes) -> frozenset[str]:
    """The ready endpoints of one slice: a pod by its uid, others by their address. Raises one of UNREADABLE."""
    endpoints = read_endpoint_slice(content).endpoints or ()
    return frozenset(endpoint.uid or endpoint.host for endpoint in endpoints if endpoint.waits_for is None)


def count_ready(slices: Iterable[frozenset[str]]) -> int:
    """Of all slices together; never less than the one that asks."""
    return max(1, len(frozenset().union(*slices)))


class Gateways:
    """The gateways behind a Service, `[NAMESPACE/]NAME`. Changed by its reflector's thread once it was started.

    1 until the first list has come, and for ever where no Service is named.
    """

    def __init__(self, service: str | None, api: ApiServer, settings: WatchSettings = WATCH_SETTINGS) -> None:
        self._service = service
        self._api = api
        self._settings = settings
        self._reflector: Reflector[frozenset[str]] | None = None
        self._ready = 1
        self.are_known = not service  # the first count is done, or there is no Service to count

    @property
    def reason(self) -> str | None:
        """What stands in the way of counting now."""
        return self._reflector.reason if self._reflector else None

    def ready(self) -> int:
        """How many there are now."""
        return self._ready

    def start(self) -> None:
        """Begins to count, once; reads a small file where the Service's namespace is not named."""
        if not self._service or self._reflector is not None:
            return
        namespace, _, name = self._service.rpartition("/")
        namespace = namespace or self._api.access.namespace()
        collection = Collection(
            f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices",
            {"labelSelector": f"kubernetes.io/service-name={name}"},
            f"endpointslices of Service {name} in namespace {namespace}",
        )
        self._reflector = Reflector(self._api, collection, self._settings, read_ready, self._count)
        self._reflector.start()

    def stop(self) -> None:
        """Counts no more."""
        if self._reflector is not None:
            self._reflector.stop()

    def _count(self) -> None:
        if self._reflector is not None:
            self._ready = count_ready(self._reflector.values())
            self.are_known = True
