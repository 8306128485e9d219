"""Who someone proved to be, before the rules say what that allows."""

from typing import Protocol

import msgspec

from ai_gateway.config.access import Role, Route
from ai_gateway.config.limits import RateLimits
from ai_gateway.exchange import AuthMethod


class Identity(msgspec.Struct, frozen=True):
    """A caller as its credential describes it. `models`, `routes`, `limits` and `role` are a key's own word."""

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
    """Whoever knows the answer cannot be asked now; the text is for the log."""


class Method(Protocol):
    """One way to prove who one is. `complaint` says what keeps it from working, None if nothing does."""

    reason: str | None

    def fits(self, token: bytes) -> bool:
        """Whether a token looks like one of this method's; decides without asking anyone."""

    async def identify(self, token: bytes) -> Identity | None:
        """Whose token it is; None if it is nobody's. Raises Unavailable."""

    def close(self) -> None:
        """Ends what it has begun; it is not asked again."""
