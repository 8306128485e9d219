"""Asks the methods that are on whose a token is, in their order, and the rules what that allows."""

from collections.abc import Mapping
from typing import Final

from ai_gateway.auth.identity import Identity, Method, Unavailable
from ai_gateway.auth.rules import grant
from ai_gateway.config.access import CallerRule
from ai_gateway.exchange import Caller

MOST_GRANTS: Final = 10_000


class Unknown(Exception):
    """No method knows the token."""


class Forbidden(Exception):
    """The caller is known, and no rule lets it in. `identity` is for those who record it."""

    def __init__(self, identity: Identity) -> None:
        super().__init__(identity.name)
        self.identity = identity


class Authenticator:
    """The methods of one config with its rules. Keeps what the rules grant, since they are asked with each request."""

    def __init__(self, methods: Mapping[str, Method], rules: tuple[CallerRule, ...] | None) -> None:
        self.methods = methods
        self._rules = rules
        self._grants: dict[Identity, Caller | None] = {}

    async def caller(self, token: bytes) -> Caller:
        """Whose token it is, and what they may do. Raises Unknown, Forbidden or Unavailable."""
        unavailable: Unavailable | None = None
        for method in self.methods.values():
            if not method.fits(token):
                continue
            try:
                identity = await method.identify(token)
            except Unavailable as error:
                unavailable = error
                continue
            if identity is not None:
                return self._grant(identity)
        raise unavailable or Unknown

    def _grant(self, identity: Identity) -> Caller:
        try:
            caller = self._grants[identity]
        except KeyError:
            if len(self._grants) >= MOST_GRANTS:
                self._grants.clear()
            caller = self._grants[identity] = grant(identity, self._rules)
        if caller is None:
            raise Forbidden(identity)
        return caller
