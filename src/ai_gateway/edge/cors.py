"""Requests of web pages: answers preflights, adds CORS headers for allowed origins, refuses writes of other origins.

Sources: the fetch standard's CORS protocol, and the draft for private networks, under both of its names.
"""

from functools import lru_cache
from typing import Final

from ai_gateway.catalog.active import CurrentConfig
from ai_gateway.config.serving import Cors
from ai_gateway.edge.asgi import ASGIApp, Receive, Scope, Send, exchange_of, header, reply
from ai_gateway.errors import InvalidRequest
from ai_gateway.wire.origin import Origins, is_same_host, read_origin
from ai_gateway.wire.replies import Headers

_METHODS: Final = b"GET, HEAD, POST, OPTIONS"
_HARMLESS: Final = frozenset(("GET", "HEAD", "OPTIONS"))
EXPOSED: Final = (
    *(
        "x-request-id",
        "x-trace-id",
        "retry-after",
        "retry-after-ms",
        "x-should-retry",
        "x-next-cursor",
        "x-audit-complete",
        "x-audit-writer",
        "x-audit-damaged",
        "x-ai-gateway-ignored",
        "x-ai-gateway-reason",
        "x-ai-gateway-endpoint",
        "x-ai-gateway-demo",
        "ratelimit",
        "ratelimit-policy",
    ),
    *(f"x-ratelimit-{what}-{of}" for of in ("requests", "tokens") for what in ("limit", "remaining", "reset")),
)
_NETWORKS: Final = (b"private-network", b"local-network")


class CrossOrigin:
    """Middleware before the routes. A request without `Origin` does not come from a page, and passes."""

    def __init__(self, app: ASGIApp, current: CurrentConfig) -> None:
        self._app = app
        self._current = current

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = header(scope, b"origin")
        if given is not None:
            settings = self._current.now.config.cors
            origins = allowed_origins(settings.origins)
            is_preflight = scope["method"] == "OPTIONS" and header(scope, b"access-control-request-method") is not None
            if settings.origins and is_preflight:
                await _answer_preflight(scope, send, settings, given)
                return
            if scope["method"] not in _HARMLESS:
                _check_origin(scope, origins, given.decode("latin-1"))
            if settings.origins:
                exchange_of(scope).reply_headers += _origin_headers(origins, given)
        await self._app(scope, receive, send)


@lru_cache(maxsize=2)
def allowed_origins(texts: tuple[str, ...]) -> Origins:
    """The `cors.origins` of a valid config."""
    return Origins(texts)


def _check_origin(scope: Scope, origins: Origins, origin: str) -> None:
    """Raises InvalidRequest unless the page has this gateway's own origin or an allowed one.

    Not every media type needs a preflight, and a request has its effect even if the page cannot read the answer.
    """
    if origins.allows(origin):
        return
    host = header(scope, b"host")
    if host is not None and is_same_host(origin, host.decode("latin-1"), scope.get("scheme") == "https"):
        return
    raise InvalidRequest(_reason(origin, host or b""), code="origin_refused", status=403)


def _reason(origin: str, host: bytes) -> str:
    """What happened, and what an operator can do about it."""
    start = f"Pages of the origin {origin[:200]!r} may not call this gateway"
    if read_origin(origin) is None:  # such as `null`, the origin of files and of any page's sandboxes
        return f'{start}. You cannot name this origin: only `cors.origins: ["*"]` allows it, with all others.'
    return (
        f"{start} under the name {host[:200].decode('latin-1')!r}. To allow them, add the origin to `cors.origins`. "
        "If the page is of this host, let the proxy in front keep the Host header."
    )


async def _answer_preflight(scope: Scope, send: Send, settings: Cors, given: bytes) -> None:
    origins = allowed_origins(settings.origins)
    wanted = header(scope, b"access-control-request-method")
    if not origins.allows(given.decode("latin-1")) or wanted not in _METHODS.split(b", "):
        raise InvalidRequest("The gateway's `cors` settings do not allow this origin or method.", code="cors_refused")
    headers = _origin_headers(origins, given)
    headers += [
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-max-age", str(int(settings.max_age)).encode()),
    ]
    # Every header is allowed: OpenAI's clients send a dozen of their own, which the gateway ignores.
    asked = header(scope, b"access-control-request-headers")
    if asked:
        headers.append((b"access-control-allow-headers", asked))
    # A page of the internet may call into a private network only if the config names its origin.
    if origins.names(given.decode("latin-1")):
        for network in _NETWORKS:
            if header(scope, b"access-control-request-" + network) == b"true":
                headers.append((b"access-control-allow-" + network, b"true"))
    body = b"OK"
    await reply(exchange_of(scope), send, 200, [*headers, (b"content-length", str(len(body)).encode())], body)


def _origin_headers(origins: Origins, given: bytes) -> Headers:
    """The headers of an answer for the page's origin."""
    if origins.is_open:
        allowed, varies = b"*", []
    else:
        allowed, varies = given, [(b"vary", b"Origin")]
        if not origins.names(given.decode("latin-1")):
            return varies
    return [
        (b"access-control-allow-origin", allowed),
        (b"access-control-expose-headers", ", ".join(EXPOSED).encode()),
        *varies,
    ]
