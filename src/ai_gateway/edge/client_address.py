"""Which address a request came from: the peer's, or what a trusted proxy says in X-Forwarded-For."""

import ipaddress
from functools import lru_cache

from ai_gateway.edge.asgi import Scope, header

Networks = tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]


def client_address(scope: Scope, trusted: tuple[str, ...]) -> str:
    """The client's IP, "" where the server does not know its peer.

    With trusted proxies the rightmost address of the chain that is not one of them: what stands left of it
    the client itself may have written.
    """
    peer = scope["client"][0] if scope.get("client") else ""
    if not trusted or not _is_trusted(peer, trusted):
        return peer
    forwarded = header(scope, b"x-forwarded-for")
    chain = [hop.strip() for hop in forwarded.decode("latin-1").split(",")] if forwarded else []
    for hop in reversed(chain):
        address = _address(hop)
        if address is None:
            break
        peer = str(address)
        if not _is_trusted(peer, trusted):
            break
    return peer


@lru_cache(maxsize=4)
def _networks(trusted: tuple[str, ...]) -> Networks:
    return tuple(ipaddress.ip_network(network, strict=False) for network in trusted)


def _is_trusted(text: str, trusted: tuple[str, ...]) -> bool:
    address = _address(text)
    return address is not None and any(address in network for network in _networks(trusted))


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None
    return (getattr(address, "ipv4_mapped", None) or address) if address.version == 6 else address
