"""The claims of a JWT before verification. They select the method, and reject hopeless tokens early."""

import base64
import binascii
from typing import Any, Final

import msgspec

from ai_gateway.wire.unreadable import UNREADABLE

LAST_SECOND: Final = 1 << 40  # in 34,000 years

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


def unverified_claims(token: bytes) -> dict[str, Any] | None:
    """The payload of a JWT, or None for anything else. Not verified."""
    parts = token.split(b".")
    if len(parts) != 3 or not all(parts):
        return None
    try:
        return _decode(base64.urlsafe_b64decode(parts[1] + b"=" * (-len(parts[1]) % 4)))
    except (*UNREADABLE, binascii.Error):
        return None


def is_for(claims: dict[str, Any], audience: str) -> bool:
    """Whether the claims name this audience."""
    named = claims.get("aud")
    return audience == named or (isinstance(named, list) and audience in named)


def end_of(claims: dict[str, Any]) -> float | None:
    """When it expires, in Unix seconds; None if it has no valid `exp`."""
    ends = claims.get("exp")
    if not isinstance(ends, int | float) or isinstance(ends, bool) or not 0 <= ends < LAST_SECOND:
        return None
    return float(ends)


def is_expired(claims: dict[str, Any], now: float) -> bool:
    """Whether it has expired at this Unix time, or has no valid `exp`."""
    ends = end_of(claims)
    return ends is None or now >= ends
