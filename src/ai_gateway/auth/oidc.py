"""Tokens of an OpenID Connect issuer, proved with its public keys. Signatures and claims are PyJWT's business.

The keys come from the issuer's discovery document (OpenID Connect Discovery 1.0) and its JWKS (RFC 7517). Nothing in a
token says where to look: `jku` and `x5u` are never read.
"""

import asyncio
import importlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ai_gateway.auth.caching_verifier import CachingVerifier
from ai_gateway.auth.identity import Identity, Unavailable
from ai_gateway.auth.unverified_claims import end_of, is_for, is_over, unverified_claims
from ai_gateway.config.access import Oidc
from ai_gateway.wire.unreadable import UNREADABLE

if TYPE_CHECKING:
    from jwt import PyJWK

log = logging.getLogger("ai_gateway.auth")

LEEWAY_SECONDS: Final = 30.0  # between the issuer's clock and ours
SOONEST_SECONDS: Final = 10.0  # between two looks for a key that is not known
MOST_KEYS: Final = 100
MAX_GROUPS: Final = 200
MAX_NAME: Final = 256  # characters
DISCOVERY: Final = "/.well-known/openid-configuration"

_RESERVED: Final = "system:"  # users and groups of Kubernetes

# What a JWKS tells of each key, by their `kid`; several may have the same one, or none.
Keys = dict[str | None, list[dict[str, Any]]]
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
        self._keys: Keys | None = None
        self._looked_at = float("-inf")
        self._looking = asyncio.Lock()
        self._remembering = CachingVerifier(self._ask, clock, wall_clock)
        importlib.import_module("jwt")  # now, and not while requests wait: with cryptography it takes a while
        self.reason: str | None = None  # why its keys could not be had the last time

    def fits(self, token: bytes) -> bool:
        """A JWT that names this issuer and the gateway's audience, and whose time is not over."""
        claims = unverified_claims(token)
        if claims is None or claims.get("iss") != self._settings.issuer:
            return False
        return is_for(claims, self._settings.audience) and not is_over(claims, self._wall_clock() - LEEWAY_SECONDS)

    async def identify(self, token: bytes) -> Identity | None:
        """See Method."""
        return await self._remembering.identify(token)

    def close(self) -> None:
        """There is nothing to end."""

    async def _ask(self, token: bytes) -> tuple[Identity | None, float]:
        for key in await self._keys_for(token):
            claims = self._proved(token, key)
            ends_at = None if claims is None else end_of(claims)
            if claims is not None and ends_at is not None:
                return self._identity(claims), ends_at + LEEWAY_SECONDS
        return None, float("inf")

    async def _keys_for(self, token: bytes) -> "list[PyJWK]":
        """The keys that may have signed a token: those of its `kid`, for its algorithm."""
        import jwt

        try:
            head = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, RecursionError):
            return []
        name, algorithm = head.get("kid"), head.get("alg")
        if algorithm not in self._settings.algorithms or not isinstance(name, str | None):
            return []
        if self._keys is None or self._clock() >= self._looked_at + self._settings.refresh:
            await self._refresh(self._looked_at)
        if name not in (self._keys or {}) and self._clock() >= self._looked_at + SOONEST_SECONDS:
            await self._refresh(self._looked_at)
        if self._keys is None:
            raise Unavailable(self.reason or "the issuer's keys are not known yet")
        listed = self._keys.get(name, [])
        if name is None and not listed and len(self._keys) == 1:
            (listed,) = self._keys.values()
        return list(filter(None, (_usable(told, algorithm) for told in listed)))

    async def _refresh(self, seen: float) -> None:
        """Gets the keys anew, once for all who saw the same old ones. Old keys stay where new ones cannot be had."""
        async with self._looking:
            if self._looked_at != seen:
                return
            try:
                self._keys = await self._fetch_keys()
            except FetchFailure as failure:
                if str(failure) != self.reason:
                    log.error("the keys of %s cannot be had: %s", self._settings.issuer, failure)
                self.reason = str(failure)
            else:
                self.reason = None
            self._looked_at = self._clock()

    async def _fetch_keys(self) -> Keys:
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
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError):
            return None
        return claims

    def _identity(self, claims: dict[str, Any]) -> Identity | None:
        settings = self._settings
        name = claims.get(settings.name_claim)
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not name.isprintable():
            return None
        if name.startswith(_RESERVED) and settings.name_claim != "sub":
            return None  # a claim that people choose must not make them somebody of Kubernetes
        groups = claims.get(settings.groups_claim, ())
        listed = (groups,) if isinstance(groups, str) else groups if isinstance(groups, list) else ()
        tenant = claims.get(settings.tenant_claim) if settings.tenant_claim else None
        return Identity(
            name=name,
            method="oidc",
            tenant=tenant if isinstance(tenant, str) and _is_name(tenant) else None,
            groups=tuple(group for group in listed[:MAX_GROUPS] if isinstance(group, str) and _is_name(group)),
        )


def _is_name(text: str) -> bool:
    return 0 < len(text) <= MAX_NAME and text.isprintable() and not text.startswith(_RESERVED)


def _usable(told: dict[str, Any], algorithm: str) -> "PyJWK | None":
    """A key for an algorithm; None for one that is of another kind, or broken."""
    from jwt import PyJWK

    if told.get("alg", algorithm) != algorithm:
        return None
    try:
        return PyJWK(told, algorithm=algorithm)
    except Exception:  # a key that is odd in whatever way must not stand in the way of the others
        return None


def read_keys(body: bytes) -> Keys:
    """What a JWKS tells of its public keys for signatures. Raises FetchFailure for what is no JWKS."""
    listed = _object(body, "JWKS").get("keys")
    if not isinstance(listed, list):
        raise FetchFailure("the JWKS has no list of keys")
    found: Keys = {}
    for told in listed[:MOST_KEYS]:
        if isinstance(told, dict) and told.get("kty") in ("RSA", "EC", "OKP") and told.get("use", "sig") == "sig":
            name = told.get("kid")
            found.setdefault(name if isinstance(name, str) else None, []).append(told)
    return found


def _object(body: bytes, what: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except UNREADABLE:
        raise FetchFailure(f"the {what} cannot be read") from None
