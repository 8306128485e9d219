"""Where an Ollama listens: URLs and `OLLAMA_HOST`, read into a frozen Address."""

import ipaddress
import re
from functools import cached_property
from typing import Final

import msgspec

from ai_gateway.wire.hosts import split_url
from ai_gateway.wire.operations import OPERATIONS

OLLAMA_PORT = 11434

_PATH: Final = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})+)*")
# Paths that people copy from their clients. A proxy's path, such as the API server's, may stand before them.
_OWN_PATHS: Final = "|".join(row.path.removeprefix("/v1/") for row in OPERATIONS.values())
_OWN_ROUTE: Final = re.compile(
    rf"/(?:v1(?:/(?:{_OWN_PATHS}|chat|models))?|api(?:/(?:chat|generate|embed|embeddings|tags|ps|show|version))?)$"
)


class Address(msgspec.Struct, frozen=True, cache_hash=True, dict=True):
    """One Ollama's address; two equal addresses are the same endpoint.

    `host` is a name or an IP without brackets, `prefix` a path before `/api` and `/v1` ("" or "/x"),
    `ca_file` the CA bundle that its certificate is checked against (None: the system's), `uid` that of the pod: a
    new pod that got the IP of an old one is another endpoint.
    """

    host: str
    port: int = OLLAMA_PORT
    scheme: str = "http"
    prefix: str = ""
    ca_file: str | None = None
    uid: str = ""

    @cached_property
    def authority(self) -> str:
        """host:port as a Host header says it, IPv6 in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        return f"{self.scheme}://{self.authority}{self.prefix}"

    @property
    def origin(self) -> "Address":
        """The address without its prefix: what a connection is made to."""
        return msgspec.structs.replace(self, prefix="") if self.prefix else self

    def __str__(self) -> str:
        return self.url


def parse_url(url: str, ca_file: str | None = None) -> Address:
    """An http or https URL as an Address. Raises ValueError with a sentence that says what is wrong."""
    parts = split_url(url, ("http", "https"))
    port = parts.port or (443 if parts.scheme == "https" else OLLAMA_PORT)
    return Address(parts.hostname or "", port, parts.scheme, parts.path.rstrip("/"), ca_file)


def parse_endpoint(url: str, ca_file: str | None = None) -> Address:
    """The base URL of an Ollama; the gateway adds `/v1` and `/api`. Raises ValueError as `parse_url` does."""
    address = parse_url(url, ca_file)
    if not _PATH.fullmatch(address.prefix) or any(part in (".", "..") for part in address.prefix.split("/")):
        raise ValueError(f"{url!r} has a path that servers read in different ways")
    route = _OWN_ROUTE.search(address.prefix)
    if route is not None:
        raise ValueError(f"{url!r}: leave out {route[0]!r}; the gateway adds Ollama's paths itself")
    return address


def parse_ollama_host(value: str) -> Address:
    """`OLLAMA_HOST` as Ollama's own client reads it (envconfig.Host in ollama/ollama).

    A bad port falls back to the default, as there; an address that means "all interfaces" becomes loopback.
    """
    address = read_ollama_host(value)
    return msgspec.structs.replace(address, host=_reachable(address.host))


def read_ollama_host(value: str) -> Address:
    """`OLLAMA_HOST` as Ollama's server reads it: where it listens. The host of all interfaces may be empty."""
    text = value.strip().strip("\"'").strip()
    scheme, separator, rest = text.partition("://")
    default_port = OLLAMA_PORT
    if not separator:
        scheme, rest = ("https", "ollama.com:443") if text == "ollama.com" else ("http", text)
    elif scheme in ("http", "https"):
        default_port = 80 if scheme == "http" else 443
    rest, _, path = rest.partition("/")
    host, port = _split_host_port(rest, default_port)
    prefix = "/" + path.strip("/") if path.strip("/") else ""
    return Address(host, port, "https" if scheme == "https" else "http", prefix)


def _split_host_port(text: str, default_port: int) -> tuple[str, int]:
    if text.startswith("["):
        host, _, after = text[1:].partition("]")
        return host, _port(after.removeprefix(":"), default_port)
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, _port(port, default_port)
    return text or "127.0.0.1", default_port


def _port(text: str, default: int) -> int:
    is_number = text.isascii() and text.isdigit() and len(text.lstrip("0")) <= 5
    return int(text) if is_number and int(text) <= 65535 else default


def is_unspecified(host: str) -> bool:
    """Whether a server on this host listens on all interfaces."""
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 - nothing is bound to it here
        return True
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _reachable(host: str) -> str:
    """The host that a client connects to: loopback in place of an unspecified address."""
    if is_unspecified(host):
        return "::1" if ":" in host else "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host
