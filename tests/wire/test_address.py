"""Where an Ollama listens: URLs as the config has them, and OLLAMA_HOST as Ollama's own client reads it."""

import pytest

from ai_gateway.wire.address import Address, parse_ollama_host, parse_url


@pytest.mark.parametrize(
    ("value", "url"),
    [
        # envconfig/config_test.go in ollama/ollama, TestHost and TestConnectableHost
        ("", "http://127.0.0.1:11434"),
        ("1.2.3.4", "http://1.2.3.4:11434"),
        (":1234", "http://127.0.0.1:1234"),
        ("1.2.3.4:1234", "http://1.2.3.4:1234"),
        ("example.com", "http://example.com:11434"),
        ("example.com:1234", "http://example.com:1234"),
        (":66000", "http://127.0.0.1:11434"),
        (":-1", "http://127.0.0.1:11434"),
        ("[::1]", "http://[::1]:11434"),
        ("::1", "http://[::1]:11434"),
        ("[::1]:1337", "http://[::1]:1337"),
        (" 1.2.3.4 ", "http://1.2.3.4:11434"),
        ('"1.2.3.4"', "http://1.2.3.4:11434"),
        (' " 1.2.3.4 " ', "http://1.2.3.4:11434"),
        ("'1.2.3.4'", "http://1.2.3.4:11434"),
        ("http://1.2.3.4", "http://1.2.3.4:80"),
        ("http://1.2.3.4:4321", "http://1.2.3.4:4321"),
        ("https://1.2.3.4", "https://1.2.3.4:443"),
        ("https://1.2.3.4:4321", "https://1.2.3.4:4321"),
        ("https://example.com/ollama", "https://example.com:443/ollama"),
        ("ollama.com", "https://ollama.com:443"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:1234", "http://127.0.0.1:1234"),
        ("[::]", "http://[::1]:11434"),
        ("[::]:1234", "http://[::1]:1234"),
        ("https://0.0.0.0:4321", "https://127.0.0.1:4321"),
        # and what else the code there does
        ("example.com:", "http://example.com:11434"),
        ("example.com:http", "http://example.com:11434"),
        ("http://example.com:http", "http://example.com:80"),
        ("example.com:1234/a/b/", "http://example.com:1234/a/b"),
        ("http://[::1]", "http://[::1]:80"),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(value: str, url: str) -> None:
    """A bad port falls back to the default; an address of all interfaces is reached on loopback."""
    assert parse_ollama_host(value).url == url


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://ollama", "http://ollama:11434"),
        ("https://ollama", "https://ollama:443"),
        ("http://127.0.0.1:8/", "http://127.0.0.1:8"),
        ("http://[::1]:8", "http://[::1]:8"),
        ("http://h:1/base/", "http://h:1/base"),
        ("HTTP://H:1", "http://h:1"),
    ],
)
def test_a_url_becomes_an_address(text: str, url: str) -> None:
    """Plain http has Ollama's port unless it names another."""
    assert parse_url(text).url == url
    assert str(parse_url(text)) == url


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("ollama:11434", "http"),
        ("ftp://h", "http"),
        ("//h", "http"),
        ("", "http"),
        ("http://", "host"),
        ("http://:80", "host"),
        ("http://h:0", "port"),
        ("http://h:99999", "port"),
        ("http://h:x", "port"),
        ("http://u:p@h", "only scheme"),
        ("http://u@h", "only scheme"),
        ("http://h?a=b", "only scheme"),
        ("http://h#a", "only scheme"),
        ("http://[::1", ""),
    ],
)
def test_an_unusable_url_is_refused_with_a_reason(text: str, word: str) -> None:
    """It becomes a mistake in the config."""
    with pytest.raises(ValueError) as caught:
        parse_url(text)
    assert word in str(caught.value)


def test_equal_addresses_are_the_same_endpoint() -> None:
    """However they were written; another CA makes another endpoint."""
    assert parse_url("http://h:11434/") == parse_ollama_host("h") == Address("h")
    assert len({Address("h"), Address("h"), Address("h", ca_file="x")}) == 2


def test_the_authority_of_an_ipv6_address_has_brackets() -> None:
    """As a Host header wants it."""
    assert Address("::1", 8).authority == "[::1]:8"
    assert Address("h", 8).authority == "h:8"
