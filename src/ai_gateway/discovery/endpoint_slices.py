"""Reads the endpoint slices of a Service (discovery.k8s.io/v1): which endpoints take calls, and where."""

import ipaddress
from collections.abc import Iterable
from typing import NamedTuple

from ai_gateway.balancing.pod import Pod
from ai_gateway.cluster.endpoint_slice import SliceEndpoint, SliceMeta, SlicePort, Target, read_endpoint_slice
from ai_gateway.config.types import Kubernetes
from ai_gateway.wire.address import Address


class Slice(NamedTuple):
    """What one slice adds: endpoints that take calls, those that do not with the reason, and what is odd."""

    found: dict[Address, Pod]
    left_out: tuple[tuple[Pod, str], ...] = ()
    odd_reason: str | None = None
    unready: tuple[Address, ...] = ()

    @property
    def named(self) -> int:
        """How many endpoints it names in all."""
        return len(self.found) + len(self.left_out)


def read_slice(content: bytes, settings: Kubernetes) -> Slice:
    """A slice from its JSON. Raises one of UNREADABLE for what is no endpoint slice."""
    sent = read_endpoint_slice(content)
    endpoints = [endpoint for endpoint in sent.endpoints or () if endpoint.addresses]
    port = _port(sent.ports or (), settings)
    found: dict[Address, Pod] = {}
    left_out: list[tuple[Pod, str]] = []
    odd_reason = None
    unready: list[Address] = []
    if port is None and endpoints:
        odd_reason = f"has no port named {settings.port_name!r} and no port {settings.port}"
    for endpoint in endpoints:
        pod = _pod(endpoint, sent.metadata)
        reason = endpoint.waits_for
        if reason is not None or port is None:
            left_out.append((pod, reason or f"is in a Service that {odd_reason}"))
            if port is not None and not endpoint.conditions.terminating:
                unready.append(_address(endpoint, port))
        else:
            found[_address(endpoint, port)] = pod
    return Slice(found, tuple(left_out), odd_reason, tuple(unready))


def _port(sent: tuple[SlicePort, ...], settings: Kubernetes) -> int | None:
    """By name, then by number, then the only port: you name a Service for what it serves.

    No port at all, or one without a number, is no restriction (EndpointSlice): a headless Service may have none, and
    one whose target port has a name that its pods do not declare.
    """
    ports = [port for port in sent if port.protocol in (None, "TCP")]
    if not sent:
        return settings.port
    by_name = [port for port in ports if port.name == settings.port_name]
    by_number = [port for port in ports if port.port == settings.port]
    best = by_name or by_number or (ports if len(ports) == 1 else [])
    return (best[0].port or settings.port) if best else None


def _pod(endpoint: SliceEndpoint, meta: SliceMeta) -> Pod:
    target = endpoint.target_ref or Target()
    return Pod(target.name or endpoint.host, target.namespace or meta.namespace, endpoint.node_name, endpoint.zone)


def _address(endpoint: SliceEndpoint, port: int) -> Address:
    return Address(endpoint.host, port, uid=endpoint.uid)


def join(slices: Iterable[Slice]) -> dict[Address, Pod]:
    """All slices together. A pod with an address of each family has a slice for each: its IPv4 address is used.

    A pod can stand in two slices of one family for a moment while slices are balanced.
    """
    found = {address: pod for part in slices for address, pod in part.found.items()}
    has_ipv4 = {address.uid for address in found if address.uid and not _is_ipv6(address)}
    return {address: pod for address, pod in found.items() if not (_is_ipv6(address) and address.uid in has_ipv4)}


def _is_ipv6(address: Address) -> bool:
    try:
        return ipaddress.ip_address(address.host).version == 6
    except ValueError:
        return False  # a slice of names (FQDN)
