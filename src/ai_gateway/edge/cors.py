"""Requests of web pages: preflights are answered here, answers to allowed origins say so, and others change nothing.

Sources: the fetch standard's CORS protocol, and of private networks its draft, under both names that it has had.
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
        "x-ai-gateway-demo",
        "ratelimit",
        "ratelimit-policy",
    ),
    *(f"x-ratelimit-{what}-{of}" for of in ("requests", "tokens") for what in ("limit", "remaining", "reset")),
)
_NETWORKS: Final = (b"private-network", b"local-network")


class CrossOrigin:
    """Stands before the routes. What carries no `Origin` is no page's and goes straight through."""

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
                exchange_of(scope).reply_headers += _told(origins, given)
        await self._app(scope, receive, send)


@lru_cache(maxsize=2)
def allowed_origins(texts: tuple[str, ...]) -> Origins:
    """`cors.origins` of a config that was checked."""
    return Origins(texts)


def _check_origin(scope: Scope, origins: Origins, origin: str) -> None:
    """A page may only do something here if it is one of ours, or the config lets it: not every type needs a preflight,
    and what a foreign page sends has its effect, even though it cannot read the answer."""
    if origins.allows(origin):
        return
    host = header(scope, b"host")
    if host is not None and is_same_host(origin, host.decode("latin-1"), scope.get("scheme") == "https"):
        return
    raise InvalidRequest(_refusal(origin, host or b""), code="origin_refused", status=403)


def _refusal(origin: str, host: bytes) -> str:
    """What happened, and what whoever runs the gateway may do."""
    told = f"Pages of the origin {origin[:200]!r} may not call this gateway"
    if read_origin(origin) is None:  # such as `null`, which stands for files and sandboxes of any page
        return f'{told}. Nobody can name this origin: only `cors.origins: ["*"]` lets it, with every other one.'
    return (
        f"{told}, which was asked as {host[:200].decode('latin-1')!r}. To let them, name the origin in `cors.origins`. "
        "If the page is this host's own, have the proxy in front leave the Host as it is."
    )


async def _answer_preflight(scope: Scope, send: Send, settings: Cors, given: bytes) -> None:
    origins = allowed_origins(settings.origins)
    wanted = header(scope, b"access-control-request-method")
    if not origins.allows(given.decode("latin-1")) or wanted not in _METHODS.split(b", "):
        raise InvalidRequest("This origin or method is not allowed by `cors`.", code="cors_refused")
    told = _told(origins, given)
    told += [
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-max-age", str(int(settings.max_age)).encode()),
    ]
    # Any header may be asked for: OpenAI's clients send a dozen of their own, and none of them means anything here.
    asked = header(scope, b"access-control-request-headers")
    if asked:
        told.append((b"access-control-allow-headers", asked))
    # From the internet into a network that it cannot reach itself: only for an origin that somebody has thought of.
    if origins.names(given.decode("latin-1")):
        for network in _NETWORKS:
            if header(scope, b"access-control-request-" + network) == b"true":
                told.append((b"access-control-allow-" + network, b"true"))
    body = b"OK"
    await reply(exchange_of(scope), send, 200, [*told, (b"content-length", str(len(body)).encode())], body)


def _told(origins: Origins, given: bytes) -> Headers:
    """What an answer says of the origin that asked."""
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
