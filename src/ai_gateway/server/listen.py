"""Addresses and the sockets that listen on them.

`HOST:PORT`, `[::1]:PORT`, `:PORT` (all addresses, IPv4 and IPv6); port 0 takes a free one.
"""

import errno
import ipaddress
import os
import socket
from contextlib import suppress

from ai_gateway.wire.hosts import split_listen, would_collide

BACKLOG = 2048
"""Connections that may wait to be accepted (the kernel's somaxconn may be lower)."""

_ALL = ("0.0.0.0", "::")  # noqa: S104  # asked for with an empty host
_FREE_PORT_TRIES = 10


class ListenError(Exception):
    """The server cannot listen on an address; `str()` is one line for a person."""


def split_address(address: str) -> tuple[str, int]:
    """Host (empty: all addresses) and port of `HOST:PORT`."""
    try:
        return split_listen(address)
    except ValueError as error:
        raise ListenError(str(error)) from None


def refuse_collision(api: str, admin: str) -> None:
    """Raises ListenError if both addresses collide: the system would only say that one is in use."""
    split_address(api), split_address(admin)
    if would_collide(api, admin):
        raise ListenError(
            f"cannot listen on {api} for the API and on {admin} for the admin port: "
            "take another port for one of them (--listen, --admin, or `listen` and `admin` in the config)"
        )


def listen(address: str) -> list[socket.socket]:
    """Sockets that listen on all addresses of the host, on the same port."""
    host, port = split_address(address)
    for _ in range(_FREE_PORT_TRIES):
        try:
            return _listen_on_all(_resolve(address, host), port)
        except OSError as error:
            if port == 0 and error.errno == errno.EADDRINUSE:
                continue  # free for IPv4, taken for IPv6: try another
            raise ListenError(f"cannot listen on {address}: {os.strerror(error.errno or 0)}") from error
    raise ListenError(f"cannot listen on {address}: no port is free on all addresses of the host")


def _resolve(address: str, host: str) -> list[tuple[socket.AddressFamily, str]]:
    if not host:
        return [(socket.AF_INET, _ALL[0]), (socket.AF_INET6, _ALL[1])]
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error.strerror}") from error
    return list(dict.fromkeys((family, str(name[0])) for family, _, _, _, name in found))


def _listen_on_all(names: list[tuple[socket.AddressFamily, str]], port: int) -> list[socket.socket]:
    """Skips addresses of a family that this machine does not have, if another one works."""
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, name in names:
            try:
                sockets.append(_listen_on(family, name, port))
            except OSError as error:
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                missing = error
            else:
                port = sockets[0].getsockname()[1]
        if missing is not None and not sockets:
            raise missing
    except OSError:
        for listening in sockets:
            listening.close()
        raise
    return sockets


def _listen_on(family: socket.AddressFamily, name: str, port: int) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted connections inherit it
        if family == socket.AF_INET6:
            # Two sockets, not one for both families: IPv4 clients keep their plain addresses.
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind((name, port))
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening


def is_on_loopback(listening: socket.socket) -> bool:
    """Whether only this machine can connect to a listening socket."""
    address = ipaddress.ip_address(listening.getsockname()[0].partition("%")[0])
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def url_of(listening: socket.socket, scheme: str) -> str:
    """`http://127.0.0.1:8080` of a listening socket."""
    with suppress(OSError):
        host, port = listening.getsockname()[:2]
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
    return ""
