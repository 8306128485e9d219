"""Asks the enabled methods in order whose token it is, then the rules what that caller may do."""

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
    """The caller is known, but no rule lets it in. `identity` is for the record."""

    def __init__(self, identity: Identity) -> None:
        super().__init__(identity.name)
        self.identity = identity


class Authenticator:
    """The methods and rules of one config. Caches what the rules grant, since every request needs it."""

    def __init__(self, methods: Mapping[str, Method], rules: tuple[CallerRule, ...] | None) -> None:
        self.methods = methods
        self._rules = rules
        self._grants: dict[Identity, Caller | None] = {}

    async def caller(self, token: bytes) -> Caller:
        """The caller with this token, and what it may do. Raises Unknown, Forbidden or Unavailable."""
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
