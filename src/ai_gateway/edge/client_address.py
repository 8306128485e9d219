"""Which address a request came from: the peer's, or what a trusted proxy says in X-Forwarded-For."""

import ipaddress
import re
from functools import lru_cache
from typing import Final

from ai_gateway.edge.asgi import Scope, header

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Networks = tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]

FORWARDED_FOR: Final = b"x-forwarded-for"
MOST_HOPS: Final = 32  # that are looked at, from the nearest one on: a client may have written thousands before them

# An address as proxies write it. Azure, HAProxy and IIS add the client's port, and IPv6 stands in brackets then; some
# put it in quotes, and an interface behind `%` says nothing here.
_HOP: Final = re.compile(
    r'(?P<quote>"?)(?:\[(?P<bracketed>[0-9A-Fa-f:.]+)(?:%[^\]"]*)?\](?::[0-9]{1,5})?'
    r'|(?P<v4>[0-9.]+)(?::[0-9]{1,5})?|(?P<v6>[0-9A-Fa-f:.]+)(?:%[^\]"]*)?)(?P=quote)'
)


def client_address(scope: Scope, trusted: tuple[str, ...]) -> str:
    """The client's IP, "" where the server does not know its peer.

    With trusted proxies the rightmost address of the chain that is not one of them: what stands left of it
    the client itself may have written. What is no address ends the chain.
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
    """What the chain says, the nearest first; several header lines are one (RFC 9110, 5.3), empty members none."""
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
