"""Tokens of an OpenID Connect issuer, proved with its public keys. Signatures and claims are PyJWT's business.

The keys come from the issuer's discovery document (OpenID Connect Discovery 1.0) and its JWKS (RFC 7517). Nothing in a
token says where to look: `jku` and `x5u` are never read.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ai_gateway.auth.identity import Identity, Unavailable
from ai_gateway.auth.jwt_look import claims_of, is_for, is_over
from ai_gateway.auth.kubernetes import account_of
from ai_gateway.auth.remembering import Remembering
from ai_gateway.config.access import Oidc

if TYPE_CHECKING:
    from jwt import PyJWK

log = logging.getLogger("ai_gateway.auth")

LEEWAY_SECONDS: Final = 30.0  # between the issuer's clock and ours
SOONEST_SECONDS: Final = 10.0  # between two looks for a key that is not known
MOST_KEYS: Final = 100
DISCOVERY: Final = "/.well-known/openid-configuration"

# The body at a URL, not longer than is sane. Raises FetchFailure.
Fetch = Callable[[str], Awaitable[bytes]]


class FetchFailure(Exception):
    """A document could not be had; the text says why."""


class Issuer:
    """One issuer and its keys. Changed by `refresh`, which is asked for when the keys are old or one is missing."""

    def __init__(
        self,
        settings: Oidc,
        fetch: Fetch,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._fetch = fetch
        self._clock = clock
        self._wall_clock = wall_clock
        self._keys: dict[str | None, PyJWK] | None = None
        self._looked_at = float("-inf")
        self._looking = asyncio.Lock()
        self._remembering = Remembering(self._ask, clock, wall_clock)
        self.complaint: str | None = None  # why its keys could not be had the last time

    def fits(self, token: bytes) -> bool:
        """A JWT that names this issuer and the gateway's audience, and whose time is not over."""
        claims = claims_of(token)
        if claims is None or claims.get("iss") != self._settings.issuer:
            return False
        return is_for(claims, self._settings.audience) and not is_over(claims, self._wall_clock() - LEEWAY_SECONDS)

    async def identify(self, token: bytes) -> Identity | None:
        """See Method."""
        return await self._remembering.identify(token)

    async def _ask(self, token: bytes) -> tuple[Identity | None, float]:
        key = await self._key_of(token)
        claims = None if key is None else self._proved(token, key)
        if claims is None:
            return None, float("inf")
        return self._identity(claims), float(claims["exp"]) + LEEWAY_SECONDS

    async def _key_of(self, token: bytes) -> "PyJWK | None":
        import jwt

        try:
            head = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            return None
        if head.get("alg") not in self._settings.algorithms:
            return None
        name = head.get("kid")
        if self._keys is None or self._clock() >= self._looked_at + self._settings.refresh:
            await self._refresh(self._looked_at)
        if name not in (self._keys or {}) and self._clock() >= self._looked_at + SOONEST_SECONDS:
            await self._refresh(self._looked_at)
        if self._keys is None:
            raise Unavailable(self.complaint or "the issuer's keys are not known yet")
        if name is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(name)

    async def _refresh(self, seen: float) -> None:
        """Gets the keys anew, once for all who saw the same old ones. Old keys stay where new ones cannot be had."""
        async with self._looking:
            if self._looked_at != seen:
                return
            try:
                self._keys = await self._fetch_keys()
            except FetchFailure as failure:
                if str(failure) != self.complaint:
                    log.error("the keys of %s cannot be had: %s", self._settings.issuer, failure)
                self.complaint = str(failure)
            else:
                self.complaint = None
            self._looked_at = self._clock()

    async def _fetch_keys(self) -> "dict[str | None, PyJWK]":
        url = self._settings.jwks_url or await self._discovered()
        return read_keys(await self._fetch(url))

    async def _discovered(self) -> str:
        document = _object(await self._fetch(self._settings.issuer.rstrip("/") + DISCOVERY), "discovery document")
        if document.get("issuer") != self._settings.issuer:
            raise FetchFailure("the discovery document is another issuer's")
        url = document.get("jwks_uri")
        if not isinstance(url, str) or not url.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
            raise FetchFailure("the discovery document names no https `jwks_uri`")
        return url

    def _proved(self, token: bytes, key: "PyJWK") -> dict[str, Any] | None:
        import jwt

        settings = self._settings
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=settings.algorithms,
                audience=settings.audience,
                issuer=settings.issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError):
            return None
        return claims

    def _identity(self, claims: dict[str, Any]) -> Identity | None:
        settings = self._settings
        name = claims.get(settings.name_claim)
        if not isinstance(name, str) or not name:
            return None
        groups = claims.get(settings.groups_claim, ())
        listed = (groups,) if isinstance(groups, str) else groups if isinstance(groups, list) else ()
        tenant = claims.get(settings.tenant_claim) if settings.tenant_claim else None
        return Identity(
            name=name[:512],
            method="oidc",
            tenant=tenant[:128] if isinstance(tenant, str) and tenant else None,
            groups=tuple(group for group in listed if isinstance(group, str)),
            service_account=account_of(name),
        )


def read_keys(body: bytes) -> "dict[str | None, PyJWK]":
    """The public keys of a JWKS by their `kid`; keys for anything but signatures, and symmetric ones, are passed over.

    Raises FetchFailure where there is none.
    """
    from jwt import PyJWK, PyJWTError

    listed = _object(body, "JWKS").get("keys")
    found: dict[str | None, PyJWK] = {}
    for told in listed[:MOST_KEYS] if isinstance(listed, list) else ():
        if not isinstance(told, dict) or told.get("kty") not in ("RSA", "EC", "OKP") or told.get("use") == "enc":
            continue
        name = told.get("kid")
        try:
            key = PyJWK(told)
        except (PyJWTError, ValueError, TypeError):
            continue
        found[name if isinstance(name, str) else None] = key
    if not found:
        raise FetchFailure("the JWKS holds no key that can be used")
    return found


def _object(body: bytes, what: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise FetchFailure(f"the {what} cannot be read") from None
