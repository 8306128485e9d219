"""A verified identity, before the rules say what it may do."""

from typing import Protocol

import msgspec

from ai_gateway.config.access import Role, Route
from ai_gateway.config.limits import RateLimits
from ai_gateway.exchange import AuthMethod


class Identity(msgspec.Struct, frozen=True):
    """A caller as its credential describes it. Only keys set `models`, `routes`, `limits` and `role`."""

    name: str
    method: AuthMethod
    tenant: str | None = None
    groups: tuple[str, ...] = ()
    key_id: str | None = None
    service_account: str | None = None  # NAMESPACE/NAME
    models: tuple[str, ...] | None = None
    routes: tuple[Route, ...] | None = None
    limits: RateLimits | None = None
    role: Role = "user"


class Unavailable(Exception):
    """The gateway cannot verify the token now; the text is for the log."""


class Method(Protocol):
    """One authentication method. `reason` says why it does not work now, None if it works."""

    reason: str | None

    def fits(self, token: bytes) -> bool:
        """Whether a token looks like one for this method. It decides by the form alone."""

    async def identify(self, token: bytes) -> Identity | None:
        """The identity for a token; None if the token is invalid. Raises Unavailable."""

    def close(self) -> None:
        """Releases its resources. Do not use it afterwards."""
