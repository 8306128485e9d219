"""POST /drain on the admin port: a pre-stop hook in the gateway's container starts the drain."""

import ipaddress
from collections.abc import Callable
from typing import Final

from ai_gateway.catalog.active import CurrentConfig
from ai_gateway.edge.asgi import Receive, Scope, Send, reply_json
from ai_gateway.edge.hosts import check_host
from ai_gateway.errors import InvalidRequest

# Not all of 127.0.0.0/8: a service mesh forwards requests from outside from 127.0.0.6.
_PEERS: Final = (ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1"))
# Headers of browsers about a page, and of proxies about a client. No hook sends any of them.
_TELLTALES: Final = (
    b"origin", b"referer", b"sec-fetch-", b"forwarded", b"x-forwarded", b"x-real-ip", b"x-original-", b"via",
    b"x-envoy-", b"l5d-", b"cf-", b"cdn-loop", b"client-ip", b"x-client-ip", b"true-client-ip", b"x-cluster-client-ip",
)  # fmt: skip


class Drain:
    """Answers at once; running requests go on.

    Only this machine may call it, but no page in its browser and no client of a proxy on it.
    """

    def __init__(self, begin: Callable[[], None], current: CurrentConfig) -> None:
        self._begin = begin
        self._current = current

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _is_from_here(scope):
            raise InvalidRequest(
                "Call /drain directly from 127.0.0.1 or ::1: not from a web page, not through a proxy.",
                code="not_allowed",
                status=403,
            )
        check_host(scope, self._current)
        self._begin()
        await reply_json(scope, send, {"draining": True})


def _is_from_here(scope: Scope) -> bool:
    try:
        peer = ipaddress.ip_address(scope["client"][0] if scope.get("client") else "")
    except ValueError:
        return False
    if (getattr(peer, "ipv4_mapped", None) or peer) not in _PEERS:
        return False
    return not any(name.startswith(_TELLTALES) for name, _ in scope["headers"])
