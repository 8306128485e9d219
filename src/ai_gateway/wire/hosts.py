"""Which texts are hosts, URLs of a service and addresses to listen on: one grammar for `check`, for clients and for
servers."""

import ipaddress
import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

MAX_NAME: Final = 253  # RFC 1035, without the dot at its end
MAX_URL: Final = 2048

# Host names may not have an underscore, but names in container networks have one, and resolvers accept it.
_LABEL: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_ZONE: Final = re.compile(r"[A-Za-z0-9._~-]{1,32}")
_URL_CHARACTERS: Final = re.compile(r"[!-~]+")  # no spaces, no controls, ASCII alone
_PORT: Final = re.compile(r"[0-9]{1,5}")


def is_host(text: str) -> bool:
    """Whether the text is a host name or an IP address; IPv6 without brackets, its zone included."""
    if ":" in text:
        return _is_ipv6(text)
    labels = text.removesuffix(".").split(".")
    if not 0 < len(text.removesuffix(".")) <= MAX_NAME or not all(map(_LABEL.fullmatch, labels)):
        return False
    return _is_ipv4(text) if labels[-1].isdigit() else not re.fullmatch("0[xX][0-9a-fA-F]*", labels[-1])


def split_url(url: str, schemes: tuple[str, ...]) -> SplitResult:
    """The parts of a URL with a host and without user, query and fragment.

    Raises ValueError with the reason. The reason does not repeat a URL that may hold a password.
    """
    if len(url) > MAX_URL:
        raise ValueError(f"a URL of more than {MAX_URL} characters")
    if "@" in url:
        raise ValueError("a URL may have only scheme, host, port and path: no name or password, no `@`")
    if url and not _URL_CHARACTERS.fullmatch(url):
        raise ValueError(f"{url!r} is not a URL: it may have no spaces and only ASCII letters")
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        raise ValueError(f"{url!r} is not a URL") from None
    if parts.scheme not in schemes or "://" not in url:
        raise ValueError(f"{url!r} is not a {' or '.join(f'{scheme}://' for scheme in schemes)} URL")
    if not host:
        raise ValueError(f"{url!r} names no host")
    if not is_host(host) or ("[" in parts.netloc) != (":" in host):
        raise ValueError(f"{url!r} names an invalid host: {host!r}")
    if "?" in url or "#" in url:
        raise ValueError(f"{url!r} may have only scheme, host, port and path")
    _refuse_port(url, parts)
    return parts


def split_listen(address: str) -> tuple[str, int]:
    """Host (empty: all addresses) and port of `HOST:PORT`, `:PORT` or `[IPV6]:PORT`. Raises ValueError."""
    host, colon, port = address.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    if is_bracketed:
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{address!r}: put an IPv6 address in brackets, as in [::1]:8080")
    if not colon or not _PORT.fullmatch(port) or int(port) > 65535 or (":" in host) != is_bracketed:
        raise ValueError(f"{address!r} is not HOST:PORT, :PORT or [IPV6]:PORT")
    if host == "*":
        raise ValueError(f"{address!r}: to listen on every address, leave out the host, as in :{port}")
    if host and not is_host(host):
        raise ValueError(f"{address!r} is not HOST:PORT, :PORT or [IPV6]:PORT")
    return host, int(port)


def would_collide(one: str, other: str) -> bool:
    """Whether the gateway cannot listen on both addresses."""
    (host, port), (other_host, other_port) = split_listen(one), split_listen(other)
    hosts = {_same(host), _same(other_host)}
    return port == other_port != 0 and (len(hosts) == 1 or bool(hosts & {"", "0.0.0.0", "::"}))  # noqa: S104


def _same(host: str) -> str:
    host = host.lower().removesuffix(".")
    return "127.0.0.1" if host == "localhost" else host


def _refuse_port(url: str, parts: SplitResult) -> None:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError(f"{url!r} has no valid port")


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _is_ipv6(text: str) -> bool:
    address, percent, zone = text.partition("%")
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return False
    return not percent or _ZONE.fullmatch(zone) is not None
