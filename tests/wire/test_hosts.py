"""Hosts and addresses as `check`, clients and servers read them: by one grammar."""

import pytest

from ai_gateway.wire.address import parse_endpoint
from ai_gateway.wire.hosts import is_host, split_listen, split_url, would_collide


@pytest.mark.parametrize(
    "text",
    ["ollama", "Ollama-0.ollama.ai.svc.cluster.local", "ollama.", "ollama_gpu", "10.0.0.1", "::1", "fe80::1%eth0",
     "a" * 63, "1password.example", "xn--mller-kva.example", "0xgpu.example"],
)  # fmt: skip
def test_what_is_a_host(text: str) -> None:
    assert is_host(text)


@pytest.mark.parametrize(
    "text",
    ["", ".", "a..b", ".a", "-a", "a-", "a b", "a/b", "a:b", "müller", "a" * 64, ("a" * 50 + ".") * 6, "1.2.3",
     "10.0.0.256", "01.2.3.4", "1.2.3.4.", "0x7f", "0x7f.1", "h.0x1", "*", "%20", "fe80::1%", "fe80::1%e/0", "[::1]",
     "h\n"],
)  # fmt: skip
def test_what_is_not_a_host(text: str) -> None:
    assert not is_host(text)


@pytest.mark.parametrize(
    ("url", "route"),
    [
        ("http://h/v1", "/v1"),
        ("http://h/v1/", "/v1"),
        ("http://h:1/api", "/api"),
        ("http://h/proxy/v1", "/v1"),
        ("http://h/api/chat", "/api/chat"),
        ("http://h/v1/chat/completions", "/v1/chat/completions"),
    ],
)
def test_the_path_of_a_route_is_left_out(url: str, route: str) -> None:
    """Calls would go to /v1/v1/chat/completions."""
    with pytest.raises(ValueError, match=f"leave out '{route}'"):
        parse_endpoint(url)


@pytest.mark.parametrize(
    ("url", "prefix"),
    [
        ("http://h/ollama", "/ollama"),
        (
            "http://h/api/v1/namespaces/ai/services/ollama:11434/proxy",
            "/api/v1/namespaces/ai/services/ollama:11434/proxy",
        ),
        ("http://h/a%20b/", "/a%20b"),
        ("http://h//", ""),
    ],
)
def test_a_path_before_the_host_is_kept(url: str, prefix: str) -> None:
    """That of a proxy, such as the API server's."""
    assert parse_endpoint(url).prefix == prefix


def test_a_url_with_a_password_is_not_repeated() -> None:
    """The sentence goes into logs and Events."""
    with pytest.raises(ValueError, match="no name or password") as refused:
        split_url("http://me:hunter2@h", ("http",))
    assert "hunter2" not in str(refused.value)


def test_a_url_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 2048 characters"):
        parse_endpoint("http://h" + "/a" * 1021)


@pytest.mark.parametrize(
    ("one", "other", "collide"),
    [
        (":1", ":1", True),
        (":1", ":2", False),
        (":0", ":0", False),
        (":1", "10.0.0.1:1", True),
        ("[::]:1", "10.0.0.1:1", True),
        ("localhost:1", "127.0.0.1:1", True),
        ("10.0.0.1:1", "10.0.0.2:1", False),
    ],
)
def test_addresses_that_collide(one: str, other: str, collide: bool) -> None:
    assert would_collide(one, other) == would_collide(other, one) == collide


@pytest.mark.parametrize("address", ["*:1", "a b:1", "[1.2.3.4]:1", "[a]:1", "[]:1", "http://h:1", "h:1/x", "h:+1"])
def test_what_cannot_be_listened_on(address: str) -> None:
    with pytest.raises(ValueError, match=r"is not HOST:PORT|leave out the host|in brackets"):
        split_listen(address)


@pytest.mark.parametrize("address", ["[fe80::1%eth0]:1", "a_b:1", "10.0.0.1:65535", ":0"])
def test_what_can_be_listened_on(address: str) -> None:
    assert split_listen(address)[1] <= 65535
