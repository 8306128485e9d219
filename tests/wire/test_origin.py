"""Origins and hosts: one spelling of each, and patterns that match exactly what they say."""

import pytest

from ai_gateway.wire.origin import Origins, is_same_host, read_authority, read_host_pattern, read_origin, read_pattern


@pytest.mark.parametrize(
    ("entry", "good", "bad"),
    [
        ("https://app.example", ["https://app.example", "https://app.example:443"], ["http://app.example", "null"]),
        ("HTTPS://App.Example:443", ["https://app.example"], ["https://app.example:8443"]),
        ("http://app.example:80", ["http://app.example"], ["http://app.example:443"]),
        ("http://localhost:*", ["http://localhost", "http://localhost:3000"], ["http://localhost.evil:3000"]),
        ("https://*.example.com", ["https://a.example.com", "https://a.b.example.com"], ["https://example.com"]),
        ("https://*.example.com", [], ["https://evilexample.com", "https://a.example.com:1", "http://a.example.com"]),
        ("https://*.example.com:*", ["https://a.example.com:1"], ["https://a.example.com.evil:1"]),
        ("moz-extension://*", ["moz-extension://17c5a2a0-1"], ["chrome-extension://17c5a2a0-1", "moz-extension://"]),
        ("app://obsidian.md", ["app://obsidian.md"], ["app://obsidian.md:1", "app://x"]),
        ("http://[0:0::1]:3000", ["http://[::1]:3000"], ["http://[::2]:3000"]),
    ],
)
def test_an_entry_allows_what_it_means(entry: str, good: list[str], bad: list[str]) -> None:
    origins = Origins((entry,))
    assert [origin for origin in good if not origins.allows(origin)] == []
    assert [origin for origin in bad if origins.allows(origin)] == []


REFUSED = [
    "null", "app.example", "//app.example", "https://", "https://x/", "https://x?y", "https://x#y", "https://u@x",
    "https://*", "https://*:*", "*://app.example", "http*://app.example", "https://*.com", "https://*.localhost",
    "https://*.10.0.0.1", "https://*.[::1]", "https://a*.example.com", "https://a.*.example.com", "file://*", "app://*",
    "https://*.*.example.com", "https://**.example.com", "moz-extension://*:*", "moz-extension://*.a", "https://a:b",
    "https://a:0", "https://a:65536", "https://a:99999999999", "https://a b", "https://a..b", "https://127.1",
    "https://1.2.3.4.5", "https://[::g]", "https://bücher.example", " https://a", "https://a\n", "x" * 400,
    "https://" + "a" * 64 + ".example",
]  # fmt: skip


@pytest.mark.parametrize("entry", REFUSED)
def test_an_entry_that_could_match_nothing_or_too_much_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match=r"\w+ \w+ \w+"):
        read_pattern(entry)


def test_a_star_does_not_name_an_origin() -> None:
    """An origin that only a bare star allows is not named."""
    origins = Origins(("*", "https://app.example"))
    assert origins.allows("https://evil.example")
    assert origins.allows("null")
    assert not origins.names("https://evil.example")
    assert origins.names("https://app.example")
    assert not origins.has_host("evil.example")
    assert origins.has_host("app.example")


@pytest.mark.parametrize("text", ["null", "", "https://a/", "https://*", "http://a:*", "a", "http://a b", "x" * 5000])
def test_a_text_that_no_browser_sends_is_not_an_origin(text: str) -> None:
    assert read_origin(text) is None


@pytest.mark.parametrize(
    ("origin", "host", "is_tls", "is_same"),
    [
        ("http://a:8080", "a:8080", False, True),
        ("http://A:8080", "a.:8080", False, True),
        ("http://a", "a", False, True),
        ("https://a", "a", False, True),  # TLS ends before us
        ("https://a", "a:443", False, True),
        ("https://a", "a:80", False, False),
        ("http://a", "a:8080", False, False),
        ("https://a:8443", "a", False, False),
        ("http://a", "a", True, False),
        ("https://a", "a", True, True),
        ("app://a", "a", False, False),
        ("null", "null", False, False),
        ("http://[::1]:1", "[0::1]:1", False, True),
    ],
)
def test_a_page_is_of_the_host_that_it_asks(origin: str, host: str, is_tls: bool, is_same: bool) -> None:
    assert is_same_host(origin, host, is_tls) is is_same


def test_a_host_has_one_spelling() -> None:
    assert read_authority("LocalHost.:80") == ("localhost", 80)
    assert read_authority("[0:0::1]") == ("[::1]", None)
    assert [read_authority(text) for text in ("", "a:b", "127.1", "a..b", "[::1", "a b")] == [None] * 6


@pytest.mark.parametrize(
    ("entry", "read"),
    [
        ("Gateway.Test", ("gateway.test", False)),
        ("*.dev.example", ("dev.example", True)),
        ("10.0.0.1", ("10.0.0.1", False)),
        ("::1", ("[::1]", False)),
        ("[::1]", ("[::1]", False)),
    ],
)
def test_a_further_host_is_a_name_or_an_address(entry: str, read: tuple[str, bool]) -> None:
    assert read_host_pattern(entry) == read


@pytest.mark.parametrize("entry", ["", "a:80", "http://a", "*.com", "a/b", "a b", "*a.b.c", "10.0.0", "x" * 400])
def test_an_invalid_host_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match=r"\w+ \w+ \w+"):
        read_host_pattern(entry)
