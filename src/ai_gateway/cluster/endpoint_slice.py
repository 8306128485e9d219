"""An EndpointSlice (discovery.k8s.io/v1) as the API server sends it, with only the keys that the gateway reads."""

import msgspec


class _Sent(msgspec.Struct, frozen=True, rename="camel"):
    """A part of an object as it is sent."""


class SliceMeta(_Sent, frozen=True):
    """Which slice it is."""

    name: str
    namespace: str


class SlicePort(_Sent, frozen=True):
    """A port of all its endpoints."""

    port: int | None = None
    name: str | None = None
    protocol: str | None = None


class Conditions(_Sent, frozen=True):
    """How an endpoint is. Unset means ready and not terminating, as the API says (EndpointConditions)."""

    ready: bool | None = None
    terminating: bool | None = None


class Target(_Sent, frozen=True):
    """The pod behind an endpoint."""

    uid: str | None = None
    name: str | None = None
    namespace: str | None = None


class SliceEndpoint(_Sent, frozen=True):
    """One endpoint, with all addresses of the slice's family."""

    addresses: tuple[str, ...] | None = None
    conditions: Conditions = Conditions()
    target_ref: Target | None = None
    node_name: str | None = None
    zone: str | None = None

    @property
    def host(self) -> str:
        """Its first address: the API says that clients may use that alone."""
        return (self.addresses or ("",))[0]

    @property
    def uid(self) -> str:
        """The pod's, which stands in a slice for each family of addresses; "" where none is named."""
        return (self.target_ref and self.target_ref.uid) or ""

    @property
    def waits_for(self) -> str | None:
        """Why it takes no calls; None if it does."""
        if self.conditions.terminating:
            return "is being deleted"
        return "is not ready" if self.conditions.ready is False else None


class EndpointSlice(_Sent, frozen=True):
    """A part of a Service's endpoints."""

    metadata: SliceMeta
    address_type: str
    endpoints: tuple[SliceEndpoint, ...] | None = None
    ports: tuple[SlicePort, ...] | None = None


read_endpoint_slice = msgspec.json.Decoder(EndpointSlice).decode
