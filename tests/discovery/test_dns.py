"""Each address of a name is an endpoint, and a failed look-up changes nothing."""

import asyncio
import logging
import socket
from contextlib import aclosing

import pytest
from tests.flow.waiting import soon, until

from ai_gateway.config.types import Dns
from ai_gateway.config.units import Seconds
from ai_gateway.discovery.dns import DnsSource, look_up

SETTINGS = Dns(name="ollama.test", port=8000, interval=Seconds(0.001))
UNKNOWN = socket.gaierror(socket.EAI_NONAME, "Name or service not known")


class Resolver:
    """Answers in turn, the last one for ever."""

    def __init__(self, *answers: list[str] | OSError) -> None:
        self.answers = list(answers)

    async def __call__(self, name: str) -> list[str]:
        assert name == "ollama.test"
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, OSError):
            raise answer
        return answer


async def first(count: int, resolver: Resolver) -> tuple[list[list[str]], DnsSource]:
    """So many lists."""
    source = DnsSource(SETTINGS, resolver)
    async with aclosing(source.lists()) as lists:
        found = [await soon(anext(lists)) for _ in range(count)]
    return [[address.authority for address in one.addresses] for one in found], source


async def test_each_address_is_an_endpoint_and_a_change_is_a_new_list() -> None:
    """The same answer again is no change."""
    lists, source = await first(
        2, Resolver(["10.0.0.1", "10.0.0.2"], ["10.0.0.1", "10.0.0.2"], ["10.0.0.2", "fd00::1"])
    )
    assert lists == [["10.0.0.1:8000", "10.0.0.2:8000"], ["10.0.0.2:8000", "[fd00::1]:8000"]]
    assert source.name == "dns ollama.test"
    assert source.status().reason is None


async def test_a_failure_keeps_what_was_found_and_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """However often it is tried."""
    lists, source = await first(2, Resolver(["10.0.0.1", "10.0.0.2"], *[UNKNOWN] * 5, ["10.0.0.3", "10.0.0.4"]))
    assert lists[1] == ["10.0.0.3:8000", "10.0.0.4:8000"]
    assert caplog.text.count("cannot look up") == 1
    assert source.status().failures == 5
    assert source.status().reason is None


async def test_one_address_may_be_a_service_and_is_said_to_be(caplog: pytest.LogCaptureFixture) -> None:
    """It works, as one endpoint."""
    caplog.set_level(logging.INFO, logger="ai_gateway.discovery")
    lists, _ = await first(1, Resolver(["10.96.0.7"]))
    assert lists == [["10.96.0.7:8000"]]
    assert "gateway uses it as one endpoint" in caplog.text
    assert "clusterIP: None" in caplog.text


async def test_the_systems_resolver_is_asked_and_families_are_not_mixed() -> None:
    """localhost usually has an address of each."""
    assert await look_up("localhost") in (["127.0.0.1"], ["::1"])
    assert await look_up("127.0.0.3") == ["127.0.0.3"]
    assert await look_up("::1") == ["::1"]
    with pytest.raises(OSError, match=r"."):
        await look_up("no-such-name.invalid")


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".test"])
async def test_what_is_no_host_name_is_a_failure_like_any_other(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Formerly it wrote a trace into the log each second. Python refuses such a name before it asks anyone."""
    source = DnsSource(Dns(name=name, interval=Seconds(0.001)))
    async with aclosing(source.lists()) as lists:
        looking = asyncio.create_task(anext(lists))
        await until(lambda: source.status().failures >= 3 or looking.done())
        assert not looking.done()
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
    assert str(source.status().reason).startswith(f"the gateway cannot look up {name}: ")
    assert caplog.text.count("cannot look up") == 1


async def test_a_name_with_both_families_is_used_by_ipv4_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """They usually are the same hosts; each address counts once, and in the same order each time."""
    found = [(socket.AF_INET6, "fd00::1"), (socket.AF_INET, "10.0.0.2"), (socket.AF_INET, "10.0.0.1")]

    async def resolve(name: str, port: None, *, type: int) -> list[tuple[object, ...]]:
        return [(family, type, 6, "", (address, 0)) for family, address in [*found, *found]]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    assert await look_up("ollama.test") == ["10.0.0.1", "10.0.0.2"]
