"""Finds the caller before the body is read, and refuses requests without a valid credential."""

from time import monotonic
from typing import Final

import msgspec

from ai_gateway.auth.authenticator import Authenticator, Forbidden, Unknown
from ai_gateway.auth.identity import Identity, Unavailable
from ai_gateway.auth.state import AuthState
from ai_gateway.edge.asgi import ASGIApp, Receive, Scope, Send, exchange_of
from ai_gateway.errors import AuthUnavailable, NotAllowed, Unauthorized
from ai_gateway.exchange import Caller
from ai_gateway.wire.credential import read_credential

# Public paths: the greeting, and whether the gateway is up.
OPEN: Final = frozenset(("/", "/v1/health"))


class Authentication:
    """Middleware before the routes and behind CORS: a browser's preflight has no credential."""

    def __init__(self, app: ASGIApp, auth_state: AuthState) -> None:
        self._app = app
        self._auth_state = auth_state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        authenticator = self._auth_state.authenticator
        if authenticator is not None:
            exchange = exchange_of(scope)
            caller = await self._caller(authenticator, scope)
            exchange.caller = msgspec.structs.replace(caller, address=exchange.caller.address)
            exchange.times.authenticated_at = monotonic()
        await self._app(scope, receive, send)

    async def _caller(self, authenticator: Authenticator, scope: Scope) -> Caller:
        token = read_credential(scope["headers"], self._auth_state.headers)
        try:
            return await authenticator.caller(token)
        except (Unknown, Forbidden, Unavailable) as error:
            if scope["path"] in OPEN:
                return Caller()
            if isinstance(error, Unavailable):
                raise AuthUnavailable("The gateway cannot check your token now; try again in a moment.") from error
            if isinstance(error, Forbidden):
                exchange = exchange_of(scope)
                exchange.caller = _known(error.identity, exchange.caller.address)
                reason = "Your credential is valid, but no rule of the gateway admits you."
                raise NotAllowed(reason, code="no_rule") from None
            raise Unauthorized("Send a valid credential as `Authorization: Bearer ...`.") from None


def _known(identity: Identity, address: str) -> Caller:
    """The caller for the record of a refused request."""
    return Caller(identity.name, address, identity.tenant, identity.groups, identity.method, identity.key_id)
