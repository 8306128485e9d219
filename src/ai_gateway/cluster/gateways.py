"""The gateways beside this one: how many are ready, which ones there are, and where each listens.

Two Services may be named. The limits are divided by the ready gateways of the one (`AI_GATEWAY_SERVICE`). The gateways
of the other tell each other what they do (`AI_GATEWAY_PEERS_SERVICE`). Mostly it is the same one, with one watch.
"""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from ai_gateway.cluster.access import Access
from ai_gateway.cluster.api import ApiServer
from ai_gateway.cluster.members import Member, canonical, count_ready, joined, read_members
from ai_gateway.cluster.reflector import Collection, Reflector, WatchSettings

# The same as for discovery by default.
WATCH_SETTINGS: Final = WatchSettings(watch_seconds=300.0, read_seconds=15.0)


class GatewayServices(msgspec.Struct, frozen=True):
    """What a gateway is told of itself. Each Service is `[NAMESPACE/]NAME`; None: it is not told.

    `is_in_pod` says that it runs in a cluster, where other gateways may be even if no Service names them.
    """

    counted: str | None = None
    peers: str | None = None
    own_uid: str = ""
    is_in_pod: bool = False

    def owner(self, namespace: Callable[[], str]) -> str:
        """Whose models a gateway makes: the namespace and the name of its Service, else `default`."""
        named = self.peers or self.counted
        if not named:
            return "default"
        place, _, name = named.rpartition("/")
        return f"{place or namespace()}-{name}"


def services_of(environment: Mapping[str, str], access: Access) -> GatewayServices:
    """What the environment says. Kubernetes sets KUBERNETES_SERVICE_HOST in every container, also without a token."""
    return GatewayServices(
        environment.get("AI_GATEWAY_SERVICE") or None,
        environment.get("AI_GATEWAY_PEERS_SERVICE") or None,
        environment.get("AI_GATEWAY_POD_UID") or "",
        access.is_in_cluster or bool(environment.get("KUBERNETES_SERVICE_HOST")),
    )


class Members(msgspec.Struct, frozen=True):
    """All gateways of a Service at one moment, by uid, and their addresses."""

    by_uid: Mapping[str, Member] = {}
    addresses: frozenset[str] = frozenset()


class _Service:
    """The members of one Service. Changed by its reflector's thread alone; it keeps the last ones through an outage."""

    def __init__(self, namespace: str, name: str, api: ApiServer, settings: WatchSettings) -> None:
        collection = Collection(
            f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices",
            {"labelSelector": f"kubernetes.io/service-name={name}"},
            f"endpointslices of Service {name} in namespace {namespace}",
        )
        self.members: Members | None = None  # until the first list has come
        self.reflector = Reflector(api, collection, settings, read_members, self._changed)

    def _changed(self) -> None:
        by_uid = joined(self.reflector.values())
        addresses = (address for member in by_uid.values() for address in member.addresses)
        self.members = Members(by_uid, frozenset(addresses))


class Gateways:
    """The gateways of both Services. Changed by `start`, and afterwards by threads.

    One is ready until the first list has come, and for ever where no Service is named.
    """

    def __init__(self, services: GatewayServices, api: ApiServer, settings: WatchSettings = WATCH_SETTINGS) -> None:
        self._services = services
        self._api = api
        self._settings = settings
        self._followed: dict[tuple[str, str], _Service] = {}
        self._counted: _Service | None = None
        self._peers: _Service | None = None

    @property
    def owner(self) -> str:
        """Whose models these gateways make."""
        return self._services.owner(self._api.access.namespace)

    @property
    def reason(self) -> str | None:
        """What stands in the way of counting now."""
        return self._counted.reflector.reason if self._counted else None

    @property
    def peers_reason(self) -> str | None:
        """What stands in the way of knowing the other gateways."""
        if self._peers and self._peers.reflector.reason:
            return self._peers.reflector.reason
        services = self._services
        if self.knows_itself or not (services.is_in_pod or services.peers):
            return None
        if not services.peers or not services.own_uid:
            missing = "AI_GATEWAY_POD_UID" if services.peers else "AI_GATEWAY_PEERS_SERVICE"
            return f"{missing} is not set, so the gateway does not know the other gateways"
        is_listed = self._peers is not None and self._peers.members is not None
        return f"Service {services.peers} does not list this gateway's own pod" if is_listed else None

    @property
    def are_known(self) -> bool:
        """Whether the first count is done, or there is no Service to count."""
        return not self._services.counted or bool(self._counted and self._counted.members is not None)

    @property
    def own_uid(self) -> str:
        """The uid of the gateway's own pod; "" where it was not told."""
        return self._services.own_uid

    @property
    def knows_itself(self) -> bool:
        """Whether it knows which gateways there are: it found itself among them, or it runs by itself.

        In a cluster a gateway that was not told its Service and its uid never takes itself for the only one.
        """
        if self._services.peers or self._services.is_in_pod:
            return bool(self.own_uid) and self.own_uid in self._listed
        return True

    def ready(self) -> int:
        """How many there are now to divide limits by."""
        members = self._counted.members if self._counted else None
        return 1 if members is None else count_ready(members.by_uid.values())

    def listed(self) -> Mapping[str, Member]:
        """All gateways that share reports, by uid, this one among them."""
        return self._listed

    def peers(self) -> list[Member]:
        """The other ones, ready or not. None where the gateway could not tell itself from them."""
        return [member for uid, member in self._listed.items() if uid != self.own_uid] if self.own_uid else []

    def has_address(self, address: str) -> bool:
        """Whether one of the gateways that share reports has this IP address."""
        members = self._peers.members if self._peers else None
        return members is not None and canonical(address) in members.addresses

    def start(self) -> None:
        """Begins to follow them, once; reads a small file where a Service's namespace is not named."""
        if self._followed:
            return
        if self._services.counted:
            self._counted = self._follow(self._services.counted)
        if self._services.peers:
            self._peers = self._follow(self._services.peers)
        for service in self._followed.values():
            service.reflector.start()

    def stop(self) -> None:
        """Follows no more."""
        for service in self._followed.values():
            service.reflector.stop()

    @property
    def _listed(self) -> Mapping[str, Member]:
        members = self._peers.members if self._peers else None
        return {} if members is None else members.by_uid

    def _follow(self, named: str) -> _Service:
        namespace, _, name = named.rpartition("/")
        place = namespace or self._api.access.namespace(), name
        if place not in self._followed:
            self._followed[place] = _Service(*place, self._api, self._settings)
        return self._followed[place]
