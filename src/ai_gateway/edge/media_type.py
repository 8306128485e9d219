"""Whether a request's head lets its body be read as JSON."""

from typing import Final

from ai_gateway.edge.asgi import Scope, header
from ai_gateway.errors import UnsupportedMediaType
from ai_gateway.wire.media_type import kind_of

# Headers that a browser always sends with a page's request, and that no page can leave out.
_OF_PAGES: Final = (b"origin", b"sec-fetch-site")
_PLAIN: Final = (b"", b"identity", b"utf-8", b"utf8")  # the last two by mistake for a charset; they compress nothing


def check_media_type(scope: Scope) -> None:
    """Raises UnsupportedMediaType where the body is no JSON in UTF-8, or is coded, going by the head alone.

    Programs that name no type, or that of a form (`curl -d`), are taken at their word's worth. A browser sends such a
    body for any page without asking first, so that a page must say JSON, for which it needs leave.
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
            raise UnsupportedMediaType(f"Send the body as it is: its Content-Encoding {named!r} is not read here.")
