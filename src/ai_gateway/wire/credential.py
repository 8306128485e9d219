"""The credential in a request's headers: read from what came before the body, never from a query, cookie or trailer."""

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

    b"" where there is none that can be read: another scheme, or more bytes than a token has. Raises InvalidRequest
    for two of them, since nobody can say which one was meant.
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
    words = value.strip(b" \t").split(b" ")
    if len(words) == 1:
        return words[0] if words[0].lower() not in (_SCHEME, *_OTHERS) else b""
    if words[0].lower() != _SCHEME:
        return b""
    rest = [word for word in words[1:] if word]
    return rest[0] if len(rest) == 1 else b""


def _is_plain(token: bytes) -> bool:
    """Printable ASCII without blanks, as every kind of token is."""
    return token.isascii() and all(0x21 <= byte <= 0x7E for byte in token)
