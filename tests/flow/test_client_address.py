"""Whom a request came from, out of what proxies write in X-Forwarded-For."""

from typing import Any

import pytest
from tests.cost import assert_cheap
from tests.flow.waiting import until
from tests.flow.world import World

from ai_gateway.edge.asgi import HEADERS_KEY
from ai_gateway.edge.client_address import client_address

TRUSTED = ("10.0.0.0/8", "2001:db8:1::/48")


def from_chain(*lines: str | bytes, peer: str = "10.0.0.1", trusted: tuple[str, ...] = TRUSTED) -> str:
    headers = [(b"x-forwarded-for", line if isinstance(line, bytes) else line.encode()) for line in lines]
    scope: dict[str, Any] = {"client": (peer, 1), "headers": headers, HEADERS_KEY: dict(headers)}
    return client_address(scope, trusted)


@pytest.mark.parametrize(
    ("hop", "client"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:54321", "203.0.113.7"),
        ("[2001:db8::7]:54321", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("2001:DB8::7", "2001:db8::7"),
        ('"203.0.113.7:54321"', "203.0.113.7"),
        ('"[2001:db8::7]:54321"', "2001:db8::7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("[::ffff:203.0.113.7]:80", "203.0.113.7"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]:80", "fe80::1"),
        (" \t203.0.113.7 ", "203.0.113.7"),
    ],
)
def test_an_address_is_read_as_proxies_write_it(hop: str, client: str) -> None:
    """Azure, HAProxy and IIS add the port: clients behind them would all be the proxy."""
    assert from_chain(hop) == client
    assert from_chain(f"198.51.100.1, {hop}, 10.0.0.9:443") == client


@pytest.mark.parametrize(
    "hop",
    [
        "unknown", "_hidden", "nonsense", "203.0.113.7:", "203.0.113.7:123456", "203.0.113.7:x", "203.0.113.07",
        "203.0.113.7.1", "1234", "12:34", "[203.0.113.7", "203.0.113.7]", '"203.0.113.7', "[2001:db8::7]x", "[]", ":",
        "203.0.113.7 x", "2001:db8::7::1", "1.2.3.4\x00", "::1%a]b", '"',
        "for=203.0.113.7", b"\xff\xfe", "\u0661.2.3.4",
    ],
)  # fmt: skip
def test_what_is_no_address_ends_the_chain(hop: str | bytes) -> None:
    """What stands left of it may be anybody's word."""
    assert from_chain(hop) == "10.0.0.1"
    given = hop if isinstance(hop, bytes) else hop.encode()
    assert from_chain(b"198.51.100.1, " + given + b", 10.0.0.9:443") == "10.0.0.9"


def test_lines_and_empty_members_are_one_chain() -> None:
    """HAProxy adds a line of its own."""
    assert from_chain("198.51.100.1", "203.0.113.7, 10.0.0.9") == "203.0.113.7"
    assert from_chain("198.51.100.1, 203.0.113.7", "10.0.0.9:1", "10.0.0.8:2") == "203.0.113.7"
    assert from_chain("203.0.113.7, , ,10.0.0.9,", "") == "203.0.113.7"
    assert from_chain("", ",, ,") == "10.0.0.1"
    assert from_chain("203.0.113.7:1", peer="2001:db8:1::5") == "203.0.113.7"


def test_the_word_of_a_stranger_is_not_read() -> None:
    assert from_chain("203.0.113.7:1", peer="192.0.2.1") == "192.0.2.1"
    assert from_chain("203.0.113.7:1", trusted=()) == "10.0.0.1"


def test_a_zone_makes_no_new_client() -> None:
    """Whatever text stands in it: limits are counted by the address."""
    assert {from_chain(f"fe80::1%{number} and words") for number in range(50)} == {"fe80::1"}


def test_a_chain_of_thousands_costs_little() -> None:
    """Of this thread's CPU: only the nearest are looked at."""
    line = ", ".join(["10.0.0.1:80"] * 5000)
    assert from_chain("203.0.113.7", line) == "10.0.0.1"
    assert_cheap(lambda: from_chain("203.0.113.7", line), 0.005)


async def test_clients_behind_a_proxy_that_writes_ports_have_different_addresses(world: World) -> None:
    """From outside, with several lines of the header."""
    served = await world.gateway((await world.simulator()).urls, trusted_proxies=["127.0.0.1"])
    await served.ask("GET", "/v1/models", headers={"x-forwarded-for": "203.0.113.7:54321"})
    await until(lambda: served.exchanges)
    assert served.last.caller.address == "203.0.113.7"
