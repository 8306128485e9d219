"""A kept connection loses no request at a shutdown: it gets one more if its answer could not announce the close."""

import asyncio
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
import trustme
from tests.flow.waiting import soon
from tests.server.conftest import StubApp
from tests.server.test_leaving import GET, until_refused

from ai_gateway.server import CertificateFiles, FramingLimits
from ai_gateway.server.connection import PortState
from ai_gateway.server.listen import listen
from ai_gateway.server.port import Port

LONG_SECONDS = 60.0  # longer than any test waits
PATIENT = FramingLimits(sweep_seconds=0.02, underway_seconds=LONG_SECONDS, last_call_seconds=LONG_SECONDS)
HASTY = FramingLimits(sweep_seconds=0.02, underway_seconds=0.0, last_call_seconds=0.0)
ENDS = {"/stream": b"data: end\n\n\r\n0\r\n\r\n", "/half": b"halfhalf"}


def get(path: str) -> bytes:
    return GET.replace(b"/a", path.encode())


async def last_answer(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server closes; it is one answer that says so."""
    answer = await soon(reader.read())
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"\r\nconnection: close\r\n" in answer
    return answer


@pytest.mark.parametrize("path", ENDS)
@pytest.mark.parametrize("drain_seconds", [0.0, LONG_SECONDS])
async def test_one_more_request_is_served_after_an_answer_that_began_before(
    path: str, drain_seconds: float, serving: Any
) -> None:
    """Whether the port is closed already or not."""
    async with serving(PATIENT, drain_seconds=drain_seconds) as world:
        reader, writer = await world.open()
        writer.write(get(path))
        assert b"connection: close" not in await reader.readuntil(b"\r\n\r\n")
        await world.app.started.wait()
        world.shutdown.request()
        if not drain_seconds:
            await until_refused(world.port)
        world.app.answer.set()
        await reader.readuntil(ENDS[path])
        writer.write(GET)
        assert (await last_answer(reader)).endswith(b"GET /a 0")
        writer.close()


async def test_one_more_request_is_served_over_tls(serving: Any, tmp_path: Path) -> None:
    authority, files = trustme.CA(), CertificateFiles(tmp_path / "tls.crt", tmp_path / "tls.key")
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(str(files.key))
    issued.cert_chain_pems[0].write_to_path(str(files.certificate))
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with serving(PATIENT, tls=files) as world:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", world.port, ssl=trusting, server_hostname="localhost"
        )
        writer.write(get("/stream"))
        await world.app.started.wait()
        world.shutdown.request()
        await until_refused(world.port)
        world.app.answer.set()
        await reader.readuntil(ENDS["/stream"])
        writer.write(GET)
        assert (await last_answer(reader)).endswith(b"GET /a 0")
        writer.close()


async def test_a_request_sent_ahead_is_the_last_one(serving: Any) -> None:
    """Only the first of them; its answer closes the connection."""
    async with serving(PATIENT) as world:
        reader, writer = await world.open()
        writer.write(get("/stream") + get("/b") + get("/c"))
        await world.app.started.wait()
        world.shutdown.request()
        await until_refused(world.port)
        world.app.answer.set()
        await reader.readuntil(ENDS["/stream"])
        assert (await last_answer(reader)).endswith(b"GET /b 0")
        writer.close()


async def test_a_request_underway_on_an_idle_connection_is_served(serving: Any) -> None:
    """Sent on one that was used before, on one that was not, and on one where half of it had come."""
    async with serving(PATIENT) as world:
        lines = [await world.open() for _ in range(3)]
        lines[0][1].write(GET)
        await lines[0][0].readuntil(b"/a 0")
        lines[2][1].write(GET[:20])
        world.shutdown.request()
        await until_refused(world.port)
        for (_, writer), request in zip(lines, (GET, GET, GET[20:]), strict=True):
            writer.write(request)
        for reader, writer in lines:
            assert (await last_answer(reader)).endswith(b"GET /a 0")
            writer.close()
        await soon(world.ended.wait())


async def test_the_end_waits_for_a_request_no_longer_than_a_moment(serving: Any) -> None:
    async with serving(
        FramingLimits(sweep_seconds=LONG_SECONDS, underway_seconds=0.02, last_call_seconds=0.02)
    ) as world:
        (quiet, quiet_writer), (reader, writer) = await world.open(), await world.open()
        writer.write(get("/stream"))
        await world.app.started.wait()
        world.shutdown.request()
        assert await soon(quiet.read()) == b""
        world.app.answer.set()
        assert (await soon(reader.read())).endswith(ENDS["/stream"])
        await soon(world.ended.wait())
        assert "shutdown_streams" not in world.events
        for one in (quiet_writer, writer):
            one.close()


async def test_an_idle_connection_gets_no_extra_time_after_the_delay(serving: Any) -> None:
    """The end does not wait once more: the client had its time to send."""
    async with serving(HASTY, drain_seconds=0.05) as world:
        reader, writer = await world.open()
        world.shutdown.request()
        assert await soon(reader.read()) == b""
        await soon(world.ended.wait())
        writer.close()


async def test_the_grace_is_the_longest_that_the_end_waits(serving: Any) -> None:
    async with serving(PATIENT, grace_seconds=0.05) as world:
        reader, writer = await world.open()
        world.shutdown.request()
        await soon(world.ended.wait())
        assert await soon(reader.read()) == b""
        writer.close()


async def test_a_received_request_is_not_cut(serving: Any) -> None:
    """When its moment is over, and the loop has not read from the connection since the request came."""
    async with serving(FramingLimits(sweep_seconds=0.02, underway_seconds=1.0)) as world:
        loop = asyncio.get_running_loop()
        with (
            socket.create_connection(("127.0.0.1", world.port)) as line,
            socket.create_connection(("127.0.0.1", world.port)),
            (pair := socket.socketpair())[0],
            pair[1],
        ):
            busy = asyncio.Event()

            def be_busy() -> None:
                loop.remove_reader(pair[0])
                line.sendall(GET)
                time.sleep(1.1)  # the loop checks its clock next
                busy.set()

            world.shutdown.request()
            await until_refused(world.port)
            loop.add_reader(pair[0], be_busy)
            pair[1].send(b"x")
            await busy.wait()
            line.setblocking(False)
            answer = await soon(loop.sock_recv(line, 4096))
        assert answer.endswith(b"GET /a 0")


async def test_a_connection_that_waits_in_the_kernel_is_served() -> None:
    """With the listener the kernel would reset it, and the request that came with it."""
    port = Port(StubApp(), listen("127.0.0.1:0"), None, PortState(PATIENT, lambda *_: None))  # type: ignore[arg-type]
    await port.open()
    address = ("127.0.0.1", int(port.urls[0].rpartition(":")[2]))
    with socket.create_connection(address) as line:
        line.sendall(GET)
        port.stop_accepting()  # the loop has had no turn since
        line.setblocking(False)
        answer = await soon(asyncio.get_running_loop().sock_recv(line, 4096))
        assert b"\r\nconnection: close\r\n" in answer
        await soon(port.empty())
    await port.close()


async def test_a_flood_of_connections_does_not_keep_the_listener_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only as many are taken as can wait at one moment."""
    port = Port(StubApp(), listen("127.0.0.1:0"), None, PortState(PATIENT, lambda *_: None))  # type: ignore[arg-type]
    await port.open()
    address = ("127.0.0.1", int(port.urls[0].rpartition(":")[2]))
    monkeypatch.setattr("ai_gateway.server.port.BACKLOG", 1)
    lines = [socket.create_connection(address) for _ in range(4)]
    port.stop_accepting()
    await asyncio.sleep(0)
    for line in lines[:2]:
        line.sendall(GET)
        line.setblocking(False)
        assert (await soon(asyncio.get_running_loop().sock_recv(line, 4096))).endswith(b"GET /a 0")
    for line in lines[2:]:
        line.setblocking(False)
        with pytest.raises(ConnectionResetError):
            await soon(asyncio.get_running_loop().sock_recv(line, 4096))
    for line in lines:
        line.close()
    await port.close()
