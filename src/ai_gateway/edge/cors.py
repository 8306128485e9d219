"""Cross-origin calls: preflights are answered here, and answers to allowed origins say so. Rules by Starlette."""

from functools import lru_cache
from typing import Final

from starlette.datastructures import Headers as RequestHeaders
from starlette.middleware.cors import CORSMiddleware

from ai_gateway.catalog.current import Current
from ai_gateway.config.types import Cors
from ai_gateway.edge.asgi import ASGIApp, Receive, Scope, Send, exchange_of, header, reply
from ai_gateway.errors import InvalidRequest

_METHODS: Final = ("GET", "POST", "OPTIONS")
_EXPOSED: Final = (
    *(
        "x-request-id",
        "x-trace-id",
        "retry-after",
        "retry-after-ms",
        "x-should-retry",
        "x-next-cursor",
        "x-audit-complete",
        "x-audit-writer",
        "x-ai-gateway-ignored",
        "x-ai-gateway-demo",
        "ratelimit",
        "ratelimit-policy",
    ),
    *(f"x-ratelimit-{what}-{of}" for of in ("requests", "tokens") for what in ("limit", "remaining", "reset")),
)


class CrossOrigin:
    """Stands before the routes. Off while the config names no origins."""

    def __init__(self, app: ASGIApp, current: Current) -> None:
        self._app = app
        self._current = current

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        settings = self._current.now.config.cors
        if not settings.origins or header(scope, b"origin") is None:
            await self._app(scope, receive, send)
            return
        rules = _rules(settings, self._app)
        exchange = exchange_of(scope)
        headers = RequestHeaders(scope=scope)
        if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            answer = rules.preflight_response(headers)
            if answer.status_code != 200:
                raise InvalidRequest("This origin, method or header is not allowed by `cors`.", code="cors_refused")
            kept = [(name, value) for name, value in answer.raw_headers if name != b"content-type"]
            await reply(exchange, send, 200, kept, b"OK" if scope["method"] != "HEAD" else b"")
            return
        exchange.reply_headers += _simple_headers(rules, headers["origin"])
        await self._app(scope, receive, send)


@lru_cache(maxsize=2)
def _rules(settings: Cors, app: ASGIApp) -> CORSMiddleware:
    # Any header may be asked for: OpenAI's clients send a dozen of their own, and none of them means anything here.
    return CORSMiddleware(
        app,
        allow_origins=settings.origins,
        allow_methods=_METHODS,
        allow_headers=("*",),
        expose_headers=_EXPOSED,
        max_age=int(settings.max_age),
    )


def _simple_headers(rules: CORSMiddleware, origin: str) -> list[tuple[bytes, bytes]]:
    if not rules.is_allowed_origin(origin):
        return []
    named = dict(rules.simple_headers)
    named.setdefault("Access-Control-Allow-Origin", origin)
    named.setdefault("Vary", "Origin")
    return [(name.lower().encode(), value.encode()) for name, value in named.items()]
