"""Checks `Host` on loopback: a web page whose name was pointed at this machine (DNS rebinding) must get nothing.

The browser takes such a page for one of the gateway's own origin. Only the name in `Host` shows the difference.
"""

import ipaddress
import os
import socket
from functools import lru_cache
from typing import Final

from ai_gateway.auth.state import AuthState
from ai_gateway.catalog.active import CurrentConfig
from ai_gateway.edge.asgi import ASGIApp, Receive, Scope, Send, header
from ai_gateway.edge.cors import allowed_origins
from ai_gateway.errors import InvalidRequest
from ai_gateway.exchange import ON_LOOPBACK
from ai_gateway.wire.origin import ANY, Origins, covers, read_authority, read_host_pattern

_MOST_CACHED: Final = 64


class HostCheck:
    """Middleware, the first on its port. It checks nothing on a port that other machines reach.

    With an `auth_state` it checks nothing while authentication is on: a foreign page has no credential.
    """

    def __init__(self, app: ASGIApp, current: CurrentConfig, auth_state: AuthState | None = None) -> None:
        self._app = app
        self._current = current
        self._auth_state = auth_state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_closed = self._auth_state is not None and self._auth_state.authenticator is not None
        if scope.get("extensions", {}).get(ON_LOOPBACK) and not is_closed:
            check_host(scope, self._current)
        await self._app(scope, receive, send)


def check_host(scope: Scope, current: CurrentConfig) -> None:
    """Raises InvalidRequest unless the Host is a name of this machine or of the config."""
    given = header(scope, b"host")
    config = current.now.config
    if given is None or _own_names(config.hosts, config.cors.origins).include(given):
        return
    message = (
        f"The Host {given[:200].decode('latin-1')!r} is not a name of this machine. Without authentication the gateway "
        "accepts no other name. Use localhost, or add the name to `hosts` in the config."
    )
    raise InvalidRequest(message, code="host_refused", status=403)


class _Names:
    """The allowed names. Caches a few allowed Hosts, since almost all requests have the same one."""

    def __init__(self, hosts: tuple[str, ...], origins: Origins) -> None:
        machine = os.uname().nodename.lower().rstrip(".")
        self._is_open = ANY in hosts
        self._own = {"localhost", machine, machine.partition(".")[0]}
        self._patterns = [read_host_pattern(text) for text in hosts if text != ANY]
        self._origins = origins
        self._good: set[bytes] = set()

    def include(self, given: bytes) -> bool:
        """Whether a Host header is allowed."""
        if given in self._good:
            return True
        is_good = self._is_open or self._is_known(given.decode("latin-1"))
        if is_good and len(self._good) < _MOST_CACHED:
            self._good.add(given)
        return is_good

    def _is_known(self, authority: str) -> bool:
        named = read_authority(authority)
        if named is None:
            return False
        host, _ = named
        if host in self._own or host.endswith(".localhost") or self._origins.has_host(host):
            return True
        return any(covers(pattern, is_wide, host) for pattern, is_wide in self._patterns) or _is_own_address(host)


@lru_cache(maxsize=2)
def _own_names(hosts: tuple[str, ...], origins: tuple[str, ...]) -> _Names:
    return _Names(hosts, allowed_origins(origins))


def _is_own_address(host: str) -> bool:
    """Whether it is an IP address of this machine: a socket can bind it."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    if address.is_loopback or address.is_unspecified:
        return True
    if address.is_multicast:
        return False
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
            probe.connect((str(address), 9))  # sends nothing; refused for a broadcast address, which can be bound
    except OSError:
        return False
    return True
