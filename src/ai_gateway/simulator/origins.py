"""Ollama's checks of `Origin` and `Host`. A refusal is 403 with an empty body.

Source: server/routes.go allowedHostsMiddleware, envconfig AllowedOrigins, gin-contrib/cors.
"""

import ipaddress
import socket
from urllib.parse import urlsplit

_LOCAL_NAMES = ("localhost", "127.0.0.1", "0.0.0.0")  # noqa: S104 - an origin's name, nothing is bound
_APP_SCHEMES = ("app", "file", "tauri", "vscode-webview", "vscode-file")
_LOCAL_ENDINGS = (".localhost", ".local", ".internal")


def is_origin_allowed(origin: str, host: str) -> bool:
    """Whether a page of this origin may call; no origin, or the server's own, always may."""
    if not origin or origin in (f"http://{host}", f"https://{host}"):
        return True
    parts = urlsplit(origin)
    if parts.scheme in _APP_SCHEMES:
        return True
    return parts.scheme in ("http", "https") and parts.hostname in _LOCAL_NAMES


def is_host_allowed(host: str) -> bool:
    """Whether a server on loopback answers requests with this `Host`."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return not name or name in ("localhost", socket.gethostname()) or name.endswith(_LOCAL_ENDINGS)
    return address.is_loopback or address.is_private or address.is_unspecified


def cors_headers(origin: str, method: str) -> tuple[tuple[str, str], ...]:
    """The CORS headers for an allowed origin; none without an origin."""
    if not origin:
        return ()
    allowed = ("Access-Control-Allow-Origin", origin)
    if method != "OPTIONS":
        return (allowed, ("Vary", "Origin"))
    return (
        ("Access-Control-Allow-Headers", "Authorization,Content-Type,User-Agent,Accept,X-Requested-With"),
        ("Access-Control-Allow-Methods", "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS"),
        allowed,
        ("Access-Control-Max-Age", "43200"),
        ("Vary", "Origin"),
    )
