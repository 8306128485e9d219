"""What a Content-Type says."""

import pytest

from ai_gateway.wire.media_type import MAX_BYTES, Kind, kind_of


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (b"application/json", "json"),
        (b"application/json; charset=utf-8", "json"),
        (b"application/json; charset=utf-8;", "json"),
        (b"application/json;", "json"),
        (b"application/json;;", "json"),
        (b"application/json; v=1", "json"),
        (b"application/json; odata=verbose; charset=UTF-8", "json"),
        (b'Application/JSON ; Charset="utf-8"', "json"),
        (b'application/json; a="b;charset=latin1"', "json"),
        (b"application/vnd.api+json; ext=x", "json"),
        (b"application/problem+json", "json"),
        (b"application/json; charset=latin1", "other"),
        (b"application/json; v=1; charset=utf-16", "other"),
        (b"application/json; charset=utf-8; charset=latin1", "other"),
        (b"application/vnd.api+json; charset=latin1", "other"),
        (b"text/plain; charset=latin1", "other"),
        (b"application/jsonp", "other"),
        (b"application/json, text/plain", "other"),
        (b"application/json charset=utf-8", "other"),
        (b"text/json", "other"),
        (b"json", "other"),
        (b"+json", "other"),
        (b"multipart/form-data; boundary=x", "other"),
        (b"application/json" + b" " * MAX_BYTES, "other"),
        (b"", "text"),
        (b"text/plain;charset=UTF-8", "text"),
        (b"application/x-www-form-urlencoded", "text"),
    ],
)
def test_json_in_utf_8_is_recognised(value: bytes, kind: Kind) -> None:
    assert kind_of(value) == kind
