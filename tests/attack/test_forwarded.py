"""Who a client is, behind proxies that write ports, brackets and lines of their own; and what it writes itself."""

import json
from pathlib import Path

import pytest
from tests.attack.command import Command, serving
from tests.attack.table import Tried
from tests.flow.waiting import soon, until
from tests.flow.world import CHAT, World, chat, config

LIMITS = {"default": {"rpm": 1}}


async def asked(command: Command, *lines: str) -> int:
    """The status of a call with these header lines, written to the socket as they are."""
    body = chat(max_tokens=1)
    told = "".join(f"X-Forwarded-For: {line}\r\n" for line in lines)
    line = await command.open()
    told += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\n{told}\r\n"
    await line.write(head.encode() + body)
    status = (await soon(line.reply())).status
    line.leave()
    return status


@pytest.mark.attack("numbers", "X-Forwarded-For as Azure, IIS and HAProxy write it, on a real socket")
async def test_clients_behind_proxies_have_different_addresses(world: World, tried: Tried) -> None:
    """Each has its own limit, whatever its port; without that the proxy would have been the one caller."""
    simulator = await world.simulator()
    content = config(simulator.urls, limits=LIMITS, trusted_proxies=["127.0.0.1", "10.0.0.0/8"])
    ways: list[tuple[str, ...]] = [
        ("203.0.113.{n}:54321",),
        ("203.0.113.{n}",),
        ('"203.0.113.{n}:1"',),
        ("[2001:db8:{n}::7]:54321",),
        ("2001:db8:{n}::8",),
        ("198.51.100.{n}:1, 10.0.0.1:443",),
        ("192.0.2.1", "198.51.100.{n}", "10.0.0.1:80"),
        ("203.0.113.{n}, , 10.0.0.2",),
    ]
    async with serving(world.folder, content) as command:
        await command.ready()
        for number, way in enumerate(ways * 2, 20):
            tried.times += 1
            lines = [line.format(n=number) for line in way]
            assert (lines, await asked(command, *lines)) == (lines, 200)
            assert (lines, await asked(command, *lines)) == (lines, 429)
        await until(lambda: len(command.lines.splitlines()) == 4 * len(ways), "the access lines")
        clients = {json.loads(line)["client"] for line in command.lines.splitlines()}
    assert "127.0.0.1" not in clients
    assert len(clients) == 2 * len(ways)


@pytest.mark.attack("numbers", "X-Forwarded-For made up by a client: words, zones, thousands of proxies")
async def test_what_a_client_writes_itself_gives_it_no_new_name(world: World, tried: Tried, tmp_path: Path) -> None:
    """It stays the address that the nearest proxy saw."""
    simulator = await world.simulator()
    content = config(simulator.urls, limits=LIMITS, trusted_proxies=["127.0.0.1", "10.0.0.0/8"])
    made_up = [
        "1.2.3.4",
        "unknown",
        "fe80::1%a b",
        "10.0.0.1",
        ",,,",
        "'",
        "%s",
        "::",
        "[",
        "1.2.3.4:99999999",
        "x" * 5000,
    ]
    made_up += [", ".join(["10.0.0.9"] * 900)]
    async with serving(world.folder, content) as command:
        await command.ready()
        assert await asked(command, "203.0.113.7:1") == 200
        before = command.loop_cpu_seconds
        for word in made_up:
            tried.times += 1
            assert (word, await asked(command, f"{word}, 203.0.113.7:2")) == (word, 429)
        assert [await asked(command, f"fe80::1%{number}") for number in range(3)] == [200, 429, 429]
        tried.figure(f"{(command.loop_cpu_seconds - before) * 1000 / len(made_up):.1f} ms of CPU each")
