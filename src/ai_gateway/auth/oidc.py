"""Tokens of an OpenID Connect issuer, verified with its public keys. PyJWT checks signatures and claims.

The keys come from the issuer's discovery document (OpenID Connect Discovery 1.0) and its JWKS (RFC 7517). A token
cannot name other keys: `jku` and `x5u` are never read.
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
from ai_gateway.auth.unverified_claims import end_of, is_expired, is_for, unverified_claims
from ai_gateway.config.access import Oidc
from ai_gateway.wire.unreadable import UNREADABLE

if TYPE_CHECKING:
    from jwt import PyJWK

log = logging.getLogger("ai_gateway.auth")

LEEWAY_SECONDS: Final = 30.0  # tolerance for the issuer's clock
SHORTEST_REFRESH_SECONDS: Final = 10.0  # between two refreshes for an unknown key
MOST_KEYS: Final = 100
MAX_GROUPS: Final = 200
MAX_NAME: Final = 256  # characters
DISCOVERY: Final = "/.well-known/openid-configuration"

_RESERVED: Final = "system:"  # users and groups of Kubernetes

# The JWKs by their `kid`; several keys may share one, or have none.
Keys = dict[str | None, list[dict[str, Any]]]
# Fetches the body at a URL, of bounded size. Raises FetchFailure.
Fetch = Callable[[str], Awaitable[bytes]]


class FetchFailure(Exception):
    """The gateway could not fetch a document; the text is the reason."""


class Issuer:
    """One issuer and its keys. It refreshes the keys when they are old, or when a token names an unknown one."""

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
        self._refreshed_at = float("-inf")
        self._lock = asyncio.Lock()
        self._verifier = CachingVerifier(self._verify, clock, wall_clock)
        importlib.import_module("jwt")  # now, because it takes a while and requests would wait for it
        self.reason: str | None = None  # why the last refresh of its keys failed

    def fits(self, token: bytes) -> bool:
        """Whether it is a JWT of this issuer with the gateway's audience, and not expired."""
        claims = unverified_claims(token)
        if claims is None or claims.get("iss") != self._settings.issuer:
            return False
        return is_for(claims, self._settings.audience) and not is_expired(claims, self._wall_clock() - LEEWAY_SECONDS)

    async def identify(self, token: bytes) -> Identity | None:
        """See Method."""
        return await self._verifier.identify(token)

    def close(self) -> None:
        """It has nothing to release."""

    async def _verify(self, token: bytes) -> tuple[Identity | None, float]:
        for key in await self._keys_for(token):
            claims = self._proved(token, key)
            ends_at = None if claims is None else end_of(claims)
            if claims is not None and ends_at is not None:
                return self._identity(claims), ends_at + LEEWAY_SECONDS
        return None, float("inf")

    async def _keys_for(self, token: bytes) -> "list[PyJWK]":
        """The keys that may have signed a token: those with its `kid`, for its algorithm."""
        import jwt

        try:
            head = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, RecursionError):
            return []
        name, algorithm = head.get("kid"), head.get("alg")
        if algorithm not in self._settings.algorithms or not isinstance(name, str | None):
            return []
        if self._keys is None or self._clock() >= self._refreshed_at + self._settings.refresh:
            await self._refresh(self._refreshed_at)
        if name not in (self._keys or {}) and self._clock() >= self._refreshed_at + SHORTEST_REFRESH_SECONDS:
            await self._refresh(self._refreshed_at)
        if self._keys is None:
            raise Unavailable(self.reason or "the gateway has not fetched the issuer's keys yet")
        listed = self._keys.get(name, [])
        if name is None and not listed and len(self._keys) == 1:
            (listed,) = self._keys.values()
        return list(filter(None, (_usable(jwk, algorithm) for jwk in listed)))

    async def _refresh(self, seen: float) -> None:
        """Fetches the keys, once for all requests that saw the same ones. If that fails, the old keys stay."""
        async with self._lock:
            if self._refreshed_at != seen:
                return
            try:
                self._keys = await self._fetch_keys()
            except FetchFailure as failure:
                if str(failure) != self.reason:
                    log.error("auth: cannot fetch the keys of %s: %s", self._settings.issuer, failure)
                self.reason = str(failure)
            else:
                self.reason = None
            self._refreshed_at = self._clock()

    async def _fetch_keys(self) -> Keys:
        url = self._settings.jwks_url or await self._discovered()
        return read_keys(await self._fetch(url))

    async def _discovered(self) -> str:
        document = _object(await self._fetch(self._settings.issuer.rstrip("/") + DISCOVERY), "discovery document")
        if document.get("issuer") != self._settings.issuer:
            raise FetchFailure("the discovery document belongs to another issuer")
        url = document.get("jwks_uri")
        if not isinstance(url, str) or not url.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
            raise FetchFailure("the discovery document has no https `jwks_uri`")
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
            return None  # users choose some claims: none must make them a Kubernetes identity
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


def _usable(jwk: dict[str, Any], algorithm: str) -> "PyJWK | None":
    """The key for an algorithm; None if it is of another kind, or broken."""
    from jwt import PyJWK

    if jwk.get("alg", algorithm) != algorithm:
        return None
    try:
        return PyJWK(jwk, algorithm=algorithm)
    except Exception:  # one broken key must not block the others
        return None


def read_keys(body: bytes) -> Keys:
    """The public signature keys of a JWKS. Raises FetchFailure if it is not a JWKS."""
    listed = _object(body, "JWKS").get("keys")
    if not isinstance(listed, list):
        raise FetchFailure("the JWKS has no list `keys`")
    found: Keys = {}
    for jwk in listed[:MOST_KEYS]:
        if isinstance(jwk, dict) and jwk.get("kty") in ("RSA", "EC", "OKP") and jwk.get("use", "sig") == "sig":
            name = jwk.get("kid")
            found.setdefault(name if isinstance(name, str) else None, []).append(jwk)
    return found


def _object(body: bytes, what: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except UNREADABLE:
        raise FetchFailure(f"the {what} is not a JSON object") from None
