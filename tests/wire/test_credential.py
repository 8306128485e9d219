"""The credential in a request's headers."""

import pytest

from ai_gateway.errors import InvalidRequest
from ai_gateway.wire.credential import MAX_TOKEN_BYTES, read_credential


def _read(*values: bytes) -> bytes:
    return read_credential([(b"host", b"x"), *((b"authorization", value) for value in values)])


@pytest.mark.parametrize(
    "value", [b"Bearer some-key", b"bearer some-key", b"BEARER   some-key ", b"some-key", b" some-key\t"]
)
def test_a_token_is_read_with_and_without_its_scheme(value: bytes) -> None:
    assert _read(value) == b"some-key"


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b"Bearer", b"bearer ", b"Basic dXNlcjpwYXNz", b"Digest x", b"Basic", b"Bearer one two", b"some key"),
        *(b"Bearer\tsome-key", b"Bearer caf\xc3\xa9", b"Bearer some\x00key", b"Bearer " + b"k" * (MAX_TOKEN_BYTES + 1)),
    ],
)
def test_an_invalid_token_counts_as_none(value: bytes) -> None:
    assert _read(value) == b""


def test_two_authorization_headers_are_refused_even_if_they_are_equal() -> None:
    for second in (b"Bearer some-key", b"Bearer other-key", b""):
        with pytest.raises(InvalidRequest) as refused:
            _read(b"Bearer some-key", second)
        assert refused.value.error_code == "two_credentials"


def test_other_headers_hold_a_key_only_where_they_are_named() -> None:
    headers = [(b"x-api-key", b"some-key")]
    assert read_credential(headers) == b""
    assert read_credential(headers, (b"x-api-key", b"api-key")) == b"some-key"


def test_two_headers_with_different_keys_are_refused_and_with_one_key_are_not() -> None:
    others = (b"x-api-key", b"api-key")
    same = [(b"x-api-key", b"some-key"), (b"authorization", b"Bearer some-key")]
    assert read_credential(same, others) == b"some-key"
    with pytest.raises(InvalidRequest):
        read_credential([(b"x-api-key", b"some-key"), (b"api-key", b"other-key")], others)
