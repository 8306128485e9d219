"""Reads the endpoint slices of a Service (discovery.k8s.io/v1): which endpoints take calls, and where."""

import ipaddress
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from ai_gateway.balancing.endpoint import Pod
from ai_gateway.config.types import Kubernetes
from ai_gateway.wire.address import Address


class _Sent(msgspec.Struct, frozen=True, rename="camel"):
    """A part of an object as it is sent; keys that are not read are passed over."""


class _Meta(_Sent, frozen=True):
    name: str
    namespace: str


class _Port(_Sent, frozen=True):
    port: int | None = None
    name: str | None = None
    protocol: str | None = None


class _Conditions(_Sent, frozen=True):
    ready: bool | None = None
    terminating: bool | None = None


class _Target(_Sent, frozen=True):
    uid: str | None = None
    name: str | None = None
    namespace: str | None = None


class _Endpoint(_Sent, frozen=True):
    addresses: tuple[str, ...] | None = None
    conditions: _Conditions = _Conditions()
    target_ref: _Target | None = None
    node_name: str | None = None
    zone: str | None = None


class _Slice(_Sent, frozen=True):
    metadata: _Meta
    address_type: str
    endpoints: tuple[_Endpoint, ...] | None = None
    ports: tuple[_Port, ...] | None = None


class Slice(NamedTuple):
    """What one slice adds: endpoints that take calls, how many it names in all, and what is odd."""

    found: dict[Address, Pod]
    named: int
    complaint: str | None = None


def read_slice(content: bytes, settings: Kubernetes) -> Slice:
    """A slice from its JSON. Raises msgspec's errors for what is no endpoint slice.

    Unset means ready and not terminating, as the API says (EndpointConditions).
    """
    sent = msgspec.json.decode(content, type=_Slice)
    endpoints = sent.endpoints or ()
    port = _port(sent.ports or (), settings)
    if port is None:
        complaint = f"has no port named {settings.port_name!r} and none {settings.port}" if endpoints else None
        return Slice({}, len(endpoints), complaint)
    found: dict[Address, Pod] = {}
    for endpoint in endpoints:
        conditions = endpoint.conditions
        if conditions.ready is not False and not conditions.terminating and endpoint.addresses:
            found.update([_found(endpoint, endpoint.addresses[0], port, sent.metadata)])
    return Slice(found, len(endpoints))


def _port(ports: Iterable[_Port], settings: Kubernetes) -> int | None:
    tcp = [port for port in ports if port.protocol in (None, "TCP") and port.port is not None]
    by_name = [port.port for port in tcp if port.name == settings.port_name]
    by_number = [port.port for port in tcp if port.port == settings.port]
    return next(iter(by_name or by_number), None)


def _found(endpoint: _Endpoint, host: str, port: int, meta: _Meta) -> tuple[Address, Pod]:
    target = endpoint.target_ref or _Target()
    pod = Pod(target.name or host, target.namespace or meta.namespace, endpoint.node_name, endpoint.zone)
    return Address(host, port, uid=target.uid or ""), pod


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
