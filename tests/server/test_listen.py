"""Addresses as people write them, and their sockets."""

import asyncio
import socket
from typing import Any

import pytest

from ai_gateway.server import ListenError, split_address
from ai_gateway.server.listen import is_on_loopback, listen, refuse_collision, url_of


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        (":8080", ("", 8080)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:1", ("localhost", 1)),
    ],
)
def test_an_address_has_a_host_and_a_port(address: str, parts: tuple[str, int]) -> None:
    assert split_address(address) == parts


@pytest.mark.parametrize("address", ["", "8080", "a:", "a:b", "a:-1", "a:65536", "::1:8080", "a:٣"])
def test_an_invalid_address_is_refused_and_named(address: str) -> None:
    with pytest.raises(ListenError) as refused:
        split_address(address)
    assert repr(address) in str(refused.value)


@pytest.mark.parametrize(
    ("address", "reason"), [("127.0.0.1:{}", "Address already in use"), ("192.0.2.1:0", "Cannot assign")]
)
def test_an_address_that_cannot_be_used_is_one_line(address: str, reason: str) -> None:
    [taken] = listen("127.0.0.1:0")
    with taken, pytest.raises(ListenError) as refused:
        listen(address.format(taken.getsockname()[1]))
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_no_host_means_all_addresses_with_one_port() -> None:
    sockets = listen(":0")
    urls = [url_of(listening, "http") for listening in sockets]
    ports = {listening.getsockname()[1] for listening in sockets}
    for listening in sockets:
        listening.close()
    assert urls[0].startswith("http://0.0.0.0:")
    assert len(ports) == 1
    assert len(sockets) == (2 if has_ipv6() else 1)


def test_listening_sockets_are_set_for_small_writes_and_quick_restarts() -> None:
    [listening] = listen("127.0.0.1:0")
    with listening:
        assert listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert listening.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)


@pytest.mark.parametrize(
    ("address", "is_alone"), [("127.0.0.1:0", True), ("localhost:0", True), ("127.3.2.1:0", True), (":0", False)]
)
def test_a_socket_on_loopback_is_recognised(address: str, is_alone: bool) -> None:
    sockets = listen(address)
    found = [is_on_loopback(listening) for listening in sockets]
    for listening in sockets:
        listening.close()
    assert set(found) == {is_alone}


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
@pytest.mark.parametrize("listen_address", ["[::1]:0", ":0"])
async def test_ipv6_clients_are_served(listen_address: str, serving: Any) -> None:
    async with serving(listen=listen_address) as world:
        reader, writer = await asyncio.open_connection("::1", world.port)
        writer.write(b"GET /a HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"GET /a 0")
        writer.close()


async def test_ipv4_clients_keep_their_address_when_all_are_listened_on(serving: Any) -> None:
    async with serving(listen=":0") as world:
        await world.talk(b"GET / HTTP/1.1\r\n\r\n")
    assert world.peers[0].startswith("127.0.0.1:")


@pytest.mark.parametrize("admin", [":8080", "localhost:8080", "[::]:8080", "bogus"])
def test_two_colliding_addresses_are_named(admin: str) -> None:
    """The message says what to change; an invalid address has its usual message."""
    with pytest.raises(ListenError, match=r"bogus|take another port for one of them"):
        refuse_collision("127.0.0.1:8080", admin)


@pytest.mark.parametrize("admin", [":9090", "127.0.0.2:8080", ":0"])
def test_other_addresses_do_not_collide(admin: str) -> None:
    refuse_collision("127.0.0.1:8080", admin)
