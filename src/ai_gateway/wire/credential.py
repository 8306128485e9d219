"""Reads the credential from a request's headers, never from its query, cookies or trailers."""

from collections.abc import Iterable
from typing import Final

from ai_gateway.errors import InvalidRequest

MAX_TOKEN_BYTES: Final = (
    8192  # ServiceAccount tokens have about 1,200 bytes, OIDC tokens with many groups a few thousand
)

_SCHEME: Final = b"bearer"
_OTHERS: Final = frozenset((b"basic", b"digest", b"negotiate", b"apikey", b"aws4-hmac-sha256", b"hoba", b"dpop"))


def read_credential(headers: Iterable[tuple[bytes, bytes]], others: tuple[bytes, ...] = ()) -> bytes:
    """The token of `Authorization: Bearer TOKEN` or the bare `Authorization: TOKEN`, else of the header in `others`.

    b"" if there is none, its scheme is another one, or it is longer than any token. Raises InvalidRequest for two
    different ones: the gateway cannot know which one the client meant.
    """
    found: list[bytes] = []
    stated: list[bytes] = []
    for name, value in headers:
        if name == b"authorization":
            stated.append(value)
        elif name in others:
            found.append(value.strip(b" \t"))
    if len(stated) > 1:
        raise InvalidRequest("Send one Authorization header, not several.", code="two_credentials")
    tokens = {_token(value) for value in stated} | set(found)
    tokens.discard(b"")
    if len(tokens) > 1:
        raise InvalidRequest("Send one credential: these headers hold different ones.", code="two_credentials")
    token = tokens.pop() if tokens else b""
    return token if len(token) <= MAX_TOKEN_BYTES and _is_plain(token) else b""


def _token(value: bytes) -> bytes:
    parts = value.strip(b" \t").split(b" ")
    if len(parts) == 1:
        return parts[0] if parts[0].lower() not in (_SCHEME, *_OTHERS) else b""
    if parts[0].lower() != _SCHEME:
        return b""
    rest = [part for part in parts[1:] if part]
    return rest[0] if len(rest) == 1 else b""


def _is_plain(token: bytes) -> bool:
    """Whether it is printable ASCII without blanks, as every kind of token is."""
    return token.isascii() and all(0x21 <= byte <= 0x7E for byte in token)
