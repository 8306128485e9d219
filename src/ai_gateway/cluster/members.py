"""The gateways behind a Service, read from its endpoint slices (discovery.k8s.io/v1)."""

import ipaddress
from collections.abc import Iterable
from itertools import chain
from typing import Final

import msgspec

from ai_gateway.cluster.endpoint_slice import SliceEndpoint, read_endpoint_slice

ADMIN_PORT: Final = "admin"  # the name under which a Service may list the admin port


class Member(msgspec.Struct, frozen=True):
    """One gateway. `uid` is its pod's, or its address where no pod is named; `addresses` has IPv4 first.

    `admin_port` is None where the Service does not list it.
    """

    uid: str
    addresses: tuple[str, ...]
    admin_port: int | None = None
    is_ready: bool = True
    is_terminating: bool = False

    def joined(self, other: "Member") -> "Member":
        """The same gateway from two slices: one for each family, or of two moments. Terminating has no way back."""
        is_terminating = self.is_terminating or other.is_terminating
        return Member(
            self.uid,
            tuple(sorted({*self.addresses, *other.addresses}, key=lambda address: (":" in address, address))),
            self.admin_port or other.admin_port,
            (self.is_ready or other.is_ready) and not is_terminating,
            is_terminating,
        )


def read_members(content: bytes) -> tuple[Member, ...]:
    """The gateways of one slice. Raises one of UNREADABLE."""
    found = read_endpoint_slice(content)
    ports = (port.port for port in found.ports or () if port.name == ADMIN_PORT and port.protocol in (None, "TCP"))
    admin_port = next(ports, None)
    return tuple(_member(endpoint, admin_port) for endpoint in found.endpoints or () if endpoint.host)


def joined(slices: Iterable[Iterable[Member]]) -> dict[str, Member]:
    """The gateways of all slices by uid, each once."""
    found: dict[str, Member] = {}
    for member in chain.from_iterable(slices):
        known = found.get(member.uid)
        found[member.uid] = member if known is None else known.joined(member)
    return found


def count_ready(members: Iterable[Member]) -> int:
    """How many are ready; never less than the one that asks."""
    return max(1, sum(member.is_ready for member in members))


def canonical(address: str) -> str:
    """An IP address in its one spelling, so that two can be compared: IPv4 within IPv6 is IPv4, without a zone."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address.lower()
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


def _member(endpoint: SliceEndpoint, admin_port: int | None) -> Member:
    address = canonical(endpoint.host)
    is_terminating = bool(endpoint.conditions.terminating)
    return Member(endpoint.uid or address, (address,), admin_port, endpoint.waits_for is None, is_terminating)
