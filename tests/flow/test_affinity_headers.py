"""A client may name its conversation in a header that the config lists."""

from ai_gateway.edge.asgi import HEADERS_KEY, first_header

CHAT = (b"x-openwebui-chat-id", b"chat-7")
SESSION = (b"x-session", b"s-1")
NAMES = ("X-OpenWebUI-Chat-Id", "x-session")


def found(*headers: tuple[bytes, bytes]) -> tuple[str, bytes] | None:
    """What is found in a request with these headers."""
    return first_header({HEADERS_KEY: dict(headers)}, NAMES)


def test_a_header_is_found_whatever_the_case_of_its_name() -> None:
    """Names of headers have none."""
    assert found(CHAT) == ("x-openwebui-chat-id", b"chat-7")


def test_of_several_the_first_of_the_config_counts() -> None:
    """Whatever their order in the request."""
    assert found(SESSION, CHAT) == ("x-openwebui-chat-id", b"chat-7")


def test_an_empty_header_counts_as_none() -> None:
    """A template that was not filled in names no conversation."""
    assert found((CHAT[0], b""), SESSION) == ("x-session", b"s-1")
    assert found((b"x-other", b"1")) is None
