"""The address of a request's client: the peer's, or the one that a trusted proxy wrote into X-Forwarded-For."""

import ipaddress
import re
from functools import lru_cache
from typing import Final

from ai_gateway.edge.asgi import Scope, header

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Networks = tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]

FORWARDED_FOR: Final = b"x-forwarded-for"
MOST_HOPS: Final = 32  # read from the nearest on; a client may have written thousands before them

# An address as proxies write it. Azure, HAProxy and IIS add the client's port, with IPv6 in brackets. Some write
# quotes. An interface behind `%` is ignored.
_HOP: Final = re.compile(
    r'(?P<quote>"?)(?:\[(?P<bracketed>[0-9A-Fa-f:.]+)(?:%[^\]"]*)?\](?::[0-9]{1,5})?'
    r'|(?P<v4>[0-9.]+)(?::[0-9]{1,5})?|(?P<v6>[0-9A-Fa-f:.]+)(?:%[^\]"]*)?)(?P=quote)'
)


def client_address(scope: Scope, trusted: tuple[str, ...]) -> str:
    """The client's IP; "" if the server does not know its peer.

    With trusted proxies it is the rightmost address of the chain that is not a trusted proxy: the client itself may
    have written the addresses left of it. An invalid address ends the chain.
    """
    peer = scope["client"][0] if scope.get("client") else ""
    if not trusted or not _is_trusted(_address(peer), trusted):
        return peer
    for hop in _hops(scope):
        address = _address(hop)
        if address is None:
            break
        peer = str(address)
        if not _is_trusted(address, trusted):
            break
    return peer


def _hops(scope: Scope) -> list[str]:
    """The members of the chain, the nearest first. Several header lines are one list (RFC 9110, 5.3)."""
    if header(scope, FORWARDED_FOR) is None:
        return []
    lines = [value for name, value in scope["headers"] if name == FORWARDED_FOR]
    members = b",".join(lines).decode("latin-1").rsplit(",", MOST_HOPS)[-MOST_HOPS:]
    return [hop for member in reversed(members) if (hop := member.strip(" \t"))]


@lru_cache(maxsize=4)
def _networks(trusted: tuple[str, ...]) -> Networks:
    return tuple(ipaddress.ip_network(network, strict=False) for network in trusted)


def _is_trusted(address: Address | None, trusted: tuple[str, ...]) -> bool:
    return address is not None and any(address in network for network in _networks(trusted))


def _address(text: str) -> Address | None:
    found = _HOP.fullmatch(text)
    if found is None:
        return None
    try:
        address = ipaddress.ip_address(found["bracketed"] or found["v4"] or found["v6"])
    except ValueError:
        return None
    return (getattr(address, "ipv4_mapped", None) or address) if address.version == 6 else address
