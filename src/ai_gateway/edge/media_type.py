"""Checks in a request's head whether its body is JSON."""

from typing import Final

from ai_gateway.edge.asgi import Scope, header
from ai_gateway.errors import UnsupportedMediaType
from ai_gateway.wire.media_type import kind_of

# A browser always sends one of these with a page's request; no page can remove it.
_OF_PAGES: Final = (b"origin", b"sec-fetch-site")
_PLAIN: Final = (b"", b"identity", b"utf-8", b"utf8")  # the last two by mistake, as a charset; they compress nothing


def check_media_type(scope: Scope) -> None:
    """Raises UnsupportedMediaType if the head says that the body is not JSON in UTF-8, or is compressed.

    A program may send no type, or the type of a form (`curl -d`). A page must send JSON's type: for that a browser
    asks by a preflight first, while it sends a form of any page at once.
    """
    given = header(scope, b"content-type")
    kind = kind_of(given or b"")
    if kind != "json":
        if kind == "other":
            raise UnsupportedMediaType("Send the body as JSON in UTF-8 with Content-Type: application/json.")
        if any(header(scope, name) is not None for name in _OF_PAGES):
            raise UnsupportedMediaType("From a web page, send the body with Content-Type: application/json.")
    if header(scope, b"content-encoding") is not None:
        _check_codings([value for name, value in scope["headers"] if name == b"content-encoding"])


def _check_codings(values: list[bytes]) -> None:
    for coding in b",".join(values).split(b","):
        if coding.strip().lower() not in _PLAIN:
            named = coding.strip()[:40].decode("latin-1")
            message = f"Send the body uncompressed: the gateway does not read its Content-Encoding {named!r}."
            raise UnsupportedMediaType(message)
