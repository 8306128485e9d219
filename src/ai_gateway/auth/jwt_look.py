"""What a JWT says of itself, unproved: enough to tell whom to ask, and to pass over what nobody would accept."""

import base64
import binascii
from typing import Any, Final

import msgspec

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


def claims_of(token: bytes) -> dict[str, Any] | None:
    """The payload of a JWT, or None for anything else. Nothing of it is proved."""
    parts = token.split(b".")
    if len(parts) != 3 or not all(parts):
        return None
    try:
        return _decode(base64.urlsafe_b64decode(parts[1] + b"=" * (-len(parts[1]) % 4)))
    except (msgspec.DecodeError, binascii.Error, ValueError, RecursionError):
        return None


def is_for(claims: dict[str, Any], audience: str) -> bool:
    """Whether an audience is among those that it names."""
    named = claims.get("aud")
    return audience == named or (isinstance(named, list) and audience in named)


def is_over(claims: dict[str, Any], now: float) -> bool:
    """Whether its time is over at a Unix time, or it names none."""
    ends = claims.get("exp")
    return not isinstance(ends, int | float) or isinstance(ends, bool) or now >= ends
