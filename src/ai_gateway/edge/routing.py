"""Finds the app for a path: the hot paths directly, the others by a router; unknown paths and methods are errors."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from starlette.routing import Route, Router

from ai_gateway.catalog.permissions import check_route
from ai_gateway.edge.asgi import ASGIApp, Receive, Scope, Send, exchange_of, reply
from ai_gateway.errors import UnknownPath, UnsupportedRoute, WrongMethod
from ai_gateway.wire.operations import OPERATIONS

_NAMED = ", ".join(row.path.removeprefix("/v1/") for row in OPERATIONS.values())

GREETING = (
    f"AI Gateway Ollama. The API is under /v1 (OpenAI style): {_NAMED}, models, health.\n"
    "Docs: docs/api-endpoints.md in the repository.\n"
).encode()

SERVED = (
    f"served here are POST {', '.join(row.path for row in OPERATIONS.values())} and GET /v1/models, "
    "/v1/models/{model}, /v1/health, /v1/audit/logs"
)

SERVED_BY_ADMIN = (
    "served on this admin port are GET /livez, /readyz, /metrics, POST /drain, and /report to other gateways"
)

UNSUPPORTED = {
    "/v1/responses": "OpenAI's Responses API is not served here: set your client to the Chat Completions API",
    "/v1/messages": "Anthropic's Messages API is not served here: use a client of OpenAI's Chat Completions API",
}


SIGNS: Final = ("/health", "/healthz")
_MANY_SLASHES: Final = re.compile("//|./$")


# Puts something around an app.
Wrapper = Callable[[ASGIApp], ASGIApp]


def wrapped(wrappers: Sequence[Wrapper], app: ASGIApp) -> ASGIApp:
    """An app in its wrappers, which stand in the order in which a request meets them."""
    for wrapper in reversed(wrappers):
        app = wrapper(app)
    return app


class Methods:
    """An endpoint for some methods of a path; any other method is a 405 in the error shape.

    `route` is the path's pattern, for logs, metrics and spans.
    """

    def __init__(self, route: str, app: ASGIApp, *methods: str) -> None:
        self._route = route
        self._app = app
        self._methods = frozenset(methods)
        self._allow = ", ".join(methods)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = exchange_of(scope)
        exchange.route = self._route
        if exchange.caller.routes is not None:
            check_route(exchange.caller, self._route)
        if scope["method"] not in self._methods:
            raise WrongMethod(f"{scope['path']} takes {self._allow}, not {scope['method']}.", allow=self._allow)
        await self._app(scope, receive, send)


class Direct:
    """Finds the hot paths by their whole name, at a tenth of the cost of a pattern; the router finds all others."""

    def __init__(self, hot: dict[str, ASGIApp], others: ASGIApp) -> None:
        self._hot = hot
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        app = self._hot.get(path)
        if app is None:  # a pattern of the router would also take a path with a line's end behind it
            app = self._others if path.isprintable() else unknown
        await app(scope, receive, send)


def router(
    reading: Mapping[str, ASGIApp], writing: Mapping[str, ASGIApp] | None = None, *, others: ASGIApp | None = None
) -> Router:
    """A router over apps by path: `reading` for GET and HEAD, `writing` for POST, `others` for unknown paths."""
    routes = [Route(_pattern(path), Methods(path, app, "GET", "HEAD")) for path, app in reading.items()]
    routes += [Route(_pattern(path), Methods(path, app, "POST")) for path, app in (writing or {}).items()]
    return Router(routes, redirect_slashes=False, default=others or unknown)


def _pattern(path: str) -> str:
    return path.replace("}", ":path}")  # ids have slashes in them


class Front:
    """The outermost app of the API: answers checks whether a server is there apart from all else.

    `signs` takes GET, HEAD and preflights of `/health` and `/healthz`. They are not recorded, as the probes of the
    admin port: tools that check every second would fill the log and the audit.
    """

    def __init__(self, app: ASGIApp, signs: ASGIApp) -> None:
        self._app = app
        self._signs = signs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_sign = scope["path"] in SIGNS and scope["method"] in ("GET", "HEAD", "OPTIONS")
        await (self._signs if is_sign else self._app)(scope, receive, send)


async def greet(scope: Scope, receive: Receive, send: Send) -> None:
    """GET /: says what this is."""
    body = b"" if scope["method"] == "HEAD" else GREETING
    length = str(len(GREETING)).encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", length)]
    await reply(exchange_of(scope), send, 200, headers, body)


async def unknown(scope: Scope, receive: Receive, send: Send) -> None:
    """Every other path."""
    path = scope["path"]
    for route, sentence in UNSUPPORTED.items():
        if path == route or path.startswith(f"{route}/"):
            raise UnsupportedRoute(f"{sentence}; {SERVED}.")
    # One path is one place: a proxy in front may have rules for the one and not for the other.
    slashes = " Write it without doubled slashes, and without one at its end." if _MANY_SLASHES.search(path) else ""
    raise UnknownPath(f"Nothing is served at {path[:200]}; {SERVED}.{slashes}")


async def unknown_to_admin(scope: Scope, receive: Receive, send: Send) -> None:
    """Every other path of the admin port."""
    raise UnknownPath(f"Nothing is served at {scope['path'][:200]}; {SERVED_BY_ADMIN}. The API has its own port.")
