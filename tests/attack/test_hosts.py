"""Names that were pointed at this machine (DNS rebinding), and who may ask for a drain."""

import asyncio
import os
import socket
import sys
from pathlib import Path

import pytest
from tests.attack.command import serving
from tests.attack.table import Tried
from tests.attack.test_origins import sent
from tests.flow.line import Line, Reply
from tests.flow.test_access import Ring
from tests.flow.waiting import soon, until
from tests.flow.world import CHAT, Served, World, chat, config

HERE = os.uname().nodename
GOOD = ("localhost", "localhost:8080", "LOCALHOST", "app.localhost:1", "127.0.0.1", "127.9.9.9:1", "[::1]:8080", HERE)
FOREIGN = (
    "rebind.evil.example",
    "localhost.evil.example",
    "localhost.evil.example:8080",
    "evillocalhost",
    "203.0.113.7",
    "[2001:db8::7]",
    "127.0.0.1.evil.example",
    "224.0.0.1",
    "255.255.255.255",
    "0x7f000001",
    f"{HERE}.evil.example",
)


async def asked(port: int, host: str, method: str = "GET", path: str = "/v1/models", **more: str) -> Reply:
    """The answer to a request that names this host; "" names none, in HTTP/1.0."""
    line = await Line.open(port)
    head = f"{method} {path} HTTP/1.{1 if host else 0}\r\n" + (f"host: {host}\r\n" if host else "")
    head += "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in more.items())
    body = chat(max_tokens=1) if path == CHAT else b""
    kind = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n" if body else ""
    await line.write(f"{head}{kind}\r\n".encode() + body)
    try:
        return await soon(line.reply())
    finally:
        line.leave()


async def ports_of(served: Served) -> list[tuple[int, str]]:
    return [(served.port, "/v1/models"), (served.admin_port, "/livez")]


@pytest.mark.attack("http", "a foreign Host on loopback, on both ports")
async def test_a_foreign_name_is_refused(world: World, tried: Tried) -> None:
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls)
    for port, path in await ports_of(served):
        for host in FOREIGN:
            reply = await asked(port, host, path=path)
            assert (reply.status, reply.error["code"]) == (403, "host_refused"), host
            assert "`hosts`" in reply.error["message"]
            tried.times += 1
        for host in (*GOOD, ""):
            assert (await asked(port, host, path=path)).status == 200, host
    for path in ("/health", "/v1/health", "/"):
        assert (await asked(served.port, FOREIGN[0], path=path)).status == 403
    assert (await asked(served.port, FOREIGN[0], "POST", CHAT)).status == 403
    # The page's own origin in the browser's eyes is the foreign name: that makes it no better.
    reply = await asked(served.port, "evil.example", "POST", CHAT, origin="http://evil.example")
    assert reply.error["code"] == "host_refused"
    assert sent(simulator) == 0


@pytest.mark.attack("http", "an IP address of this machine as a Host")
async def test_an_own_address_is_a_name_too(world: World) -> None:
    served = await world.gateway((await world.simulator()).urls)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; the kernel says from where it would
        except OSError:
            pytest.skip("no network but loopback")
        own = probe.getsockname()[0]
    assert (await asked(served.port, f"{own}:8080")).status == 200


@pytest.mark.attack("http", "names that the config allows, live")
async def test_the_config_names_others(world: World) -> None:
    served = await world.gateway((await world.simulator()).urls)
    content = config((), hosts=["gateway.test", "*.dev.example", "10.1.2.3"], cors={"origins": ["https://app.example"]})
    await served.reload(content)
    for host in ("gateway.test", "Gateway.Test.:99", "a.b.dev.example", "10.1.2.3:80", "app.example"):
        assert (await asked(served.port, host)).status == 200, host
    for host in ("dev.example", "a.gateway.test", "x.app.example"):
        assert (await asked(served.port, host)).status == 403, host
    await served.reload(config((), hosts=["*"]))
    assert (await asked(served.port, "rebind.evil.example")).status == 200
    await served.reload(config((), cors={"origins": ["*"]}))
    assert (await asked(served.port, "rebind.evil.example")).status == 403


@pytest.mark.attack("http", "a gateway that others reach answers to any name")
async def test_other_gateways_are_not_concerned(tmp_path: Path) -> None:
    async with serving(tmp_path, config(()), "--listen", "0.0.0.0:0", "--admin", ":0") as command:
        assert (await asked(command.port, "gateway.ai.svc")).status == 200
        assert (await asked(command.admin_port, "10-1-2-3.pod", path="/livez")).status == 200


@pytest.mark.attack("http", "with keys a foreign page has none; the admin port asks for none and looks at the name")
async def test_keys_are_enough_for_the_api(world: World) -> None:
    ring = Ring(world.folder)
    key = ring.add("team")
    served = await world.gateway((), auth=ring.auth)
    reply = await asked(served.port, "gateway.test", authorization=f"Bearer {key}")
    assert reply.status == 200
    assert (await asked(served.admin_port, "gateway.test", path="/metrics")).error["code"] == "host_refused"


@pytest.mark.attack("http", "POST /drain: a mesh's 127.0.0.6, pages, proxies, foreign names")
async def test_only_a_hook_may_ask_for_the_drain(world: World, tried: Tried) -> None:
    served = await world.gateway((await world.simulator()).urls)

    async def drained(source: str, *lines: str, host: str = "127.0.0.1:9090") -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.admin_port, local_addr=(source, 0))
        told = "".join(f"{line}\r\n" for line in lines)
        writer.write(f"POST /drain HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n{told}\r\n".encode())
        answer = await soon(reader.read(1000))
        writer.close()
        tried.times += 1
        return answer[:12]

    for source in ("127.0.0.6", "127.0.0.2", "127.1.1.1"):
        assert await drained(source) == b"HTTP/1.1 403"
    for line in (
        "Origin: http://localhost:9090",
        "Origin: null",
        "X-Forwarded-For: 127.0.0.1",
        "Forwarded: for=127.0.0.1",
        "X-Forwarded-Host: x",
        "X-Real-IP: 127.0.0.1",
        "Via: 1.1 proxy",
        "X-Forwarded: for=1",
        "X-Original-URL: /drain",
        "CF-Connecting-IP: 203.0.113.7",
        "True-Client-IP: 203.0.113.7",
        "Referer: http://localhost:9090/",
        "X-Envoy-Attempt-Count: 1",
        "l5d-client-id: app.ai.serviceaccount",
        "Sec-Fetch-Site: same-origin",
    ):
        assert await drained("127.0.0.1", line) == b"HTTP/1.1 403", line
    assert await drained("127.0.0.1", host="evil.example") == b"HTTP/1.1 403"
    assert not served.shutdown.requested.is_set()
    assert await drained("127.0.0.1", host="localhost:9090") == b"HTTP/1.1 200"
    assert served.shutdown.requested.is_set()


@pytest.mark.attack("http", "the pre-stop hook on a gateway that listens everywhere, as in a pod")
async def test_the_hook_still_drains(tmp_path: Path) -> None:
    async with serving(tmp_path, config(()), "--listen", "0.0.0.0:0", "--admin", ":0") as command:
        assert (await asked(command.admin_port, "evil.example", "POST", "/drain")).error["code"] == "host_refused"
        environment = {**os.environ, "AI_GATEWAY_ADMIN": f":{command.admin_port}"}
        hook = await asyncio.create_subprocess_exec(sys.executable, "-m", "ai_gateway", "drain", env=environment)
        assert await soon(hook.wait(), 20) == 0
        await until(lambda: "leaving: finishing running answers first" in command.log, command.log)
        assert await soon(command.process.wait(), 20) == 0
