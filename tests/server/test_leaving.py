"""How the server shuts down: listeners, idle and running connections, error events of streams, and real signals."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.flow.waiting import PATIENCE_SECONDS, soon, until

from ai_gateway.server import ServerCallbacks, ServerSettings, serve

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
PROGRAM = """
import asyncio, sys
from ai_gateway.server import ListenError, ServerCallbacks, ServerSettings, run, serve

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(20):
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await asyncio.sleep(0.02)
    await send({"type": "http.response.body", "body": b"end"})

callbacks = ServerCallbacks(on_listening=lambda api, admin: print(api[0], flush=True))
try:
    run(serve(app, app, ServerSettings(listen=sys.argv[1], admin="127.0.0.1:0"), callbacks))
except ListenError as error:
    sys.exit(str(error))
"""


async def until_refused(port: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                return
            except ConnectionResetError:
                continue  # it stood in the backlog when the listener was closed
            writer.close()
            await asyncio.sleep(0.01)


async def test_while_draining_every_answer_closes_its_connection(serving: Any) -> None:
    async with serving(drain_seconds=5) as world:
        reader, writer = await world.open()
        writer.write(GET)
        assert b"connection: close" not in await reader.readuntil(b"/a 0")
        world.shutdown.request()
        await until(lambda: world.events[-1] == "leaving")
        writer.write(GET)  # on the connection that was open
        for answer in (await reader.read(), await world.talk(GET)):
            assert b"\r\nconnection: close\r\n" in answer
            assert answer.endswith(b"GET /a 0")
        writer.close()


async def test_idle_connections_are_closed_and_running_requests_finish(serving: Any) -> None:
    async with serving() as world:
        idle, idle_writer = await world.open()
        idle_writer.write(GET)
        await idle.readuntil(b"/a 0")
        silent, silent_writer = await world.open()
        world.app.started.clear()
        running = asyncio.create_task(world.talk(GET.replace(b"/a", b"/wait")))
        await world.app.started.wait()
        world.shutdown.request()
        assert await soon(idle.read()) == b""
        assert await soon(silent.read()) == b""
        await until_refused(world.port)
        assert not world.ended.is_set()
        world.app.answer.set()
        answer = await running
        assert b"\r\nconnection: close\r\n" in answer
        assert answer.endswith(b"GET /wait 0")
        await soon(world.ended.wait())
        assert "shutdown_streams" not in world.events
        idle_writer.close()
        silent_writer.close()


async def test_after_the_grace_streams_end_with_an_error_event(serving: Any) -> None:
    async with serving(grace_seconds=0.1) as world:
        streaming = asyncio.create_task(world.talk(GET.replace(b"/a", b"/stream")))
        await world.app.started.wait()
        world.shutdown.request()
        answer = await streaming
        await soon(world.ended.wait())
    assert answer.endswith(b"b\r\ndata: end\n\n\r\n0\r\n\r\n")
    assert world.events[1:] == ["leaving", "shutdown_streams"]


async def test_a_half_sent_body_does_not_keep_the_process_alive(serving: Any) -> None:
    async with serving(grace_seconds=0.1) as world:
        _, writer = await world.open()
        writer.write(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\na")
        await asyncio.sleep(0.02)
        world.shutdown.request()
        await soon(world.ended.wait())
        await soon(world.app.left.wait())
        writer.close()


async def test_a_second_request_shuts_down_at_once(serving: Any) -> None:
    async with serving(drain_seconds=60) as world:
        streaming = asyncio.create_task(world.talk(GET.replace(b"/a", b"/stream")))
        await world.app.started.wait()
        world.shutdown.request()
        await asyncio.sleep(0.02)
        world.shutdown.request()
        await soon(world.ended.wait())
        assert b"data: end" not in await streaming
        assert world.app.left.is_set()


async def test_the_admin_port_answers_until_the_end(serving: Any) -> None:
    async with serving() as world:
        running = asyncio.create_task(world.talk(GET.replace(b"/a", b"/wait")))
        await world.app.started.wait()
        world.shutdown.request()
        await until_refused(world.port)
        reader, writer = await asyncio.open_connection("127.0.0.1", world.admin_port)
        writer.write(GET)
        assert (await reader.readuntil(b"/a 0")).startswith(b"HTTP/1.1 200 ")
        writer.close()
        world.app.answer.set()
        await running
        await until_refused(world.admin_port)


async def test_background_work_lives_from_before_the_first_to_after_the_last_connection() -> None:
    events: list[str] = []

    @asynccontextmanager
    async def background() -> AsyncIterator[None]:
        events.append("begun")
        yield
        events.append("ended")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("nobody calls")

    def on_listening(api_urls: tuple[str, ...], admin_urls: tuple[str, ...]) -> None:
        events.append("listening")
        callbacks.shutdown.request()

    callbacks = ServerCallbacks(
        on_listening=on_listening,
        leaving=lambda: events.append("leaving"),
    )
    await serve(app, app, ServerSettings("127.0.0.1:0", "127.0.0.1:0"), callbacks, background())
    assert events == ["begun", "listening", "leaving", "ended"]


async def test_a_shutdown_before_it_listens_ends_it_and_restores_the_signals() -> None:
    """Its start is cancelled in order; the former handler of signals gets the second one."""
    beginning, second = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def background() -> AsyncIterator[None]:
        beginning.set()
        try:
            await asyncio.Event().wait()
            yield
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            await second.wait()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("nobody calls")

    events: list[str] = []
    callbacks = ServerCallbacks(on_listening=lambda *_: events.append("listening"))
    before = signal.signal(signal.SIGTERM, lambda *_: second.set())
    try:
        address = "127.0.0.1:0"
        serving = asyncio.create_task(serve(app, app, ServerSettings(address, address), callbacks, background()))
        await beginning.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        await soon(serving)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert events == []


async def start(address: str) -> tuple[asyncio.subprocess.Process, int]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, address, stdout=pipe, stderr=pipe)
    assert process.stdout is not None
    line = (await soon(process.stdout.readline())).decode().strip()
    return process, int(line.rpartition(":")[2])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_lets_a_stream_finish_and_the_status_is_0(number: int) -> None:
    process, port = await start("127.0.0.1:0")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(GET)
    await reader.readuntil(b"x")
    process.send_signal(number)
    answer = await soon(reader.read())
    _, errors = await soon(process.communicate())
    writer.close()
    assert answer.endswith(b"3\r\nend\r\n0\r\n\r\n")
    assert (process.returncode, errors) == (0, b"")


async def test_a_taken_port_is_one_clear_line(serving: Any) -> None:
    async with serving() as world:
        pipe = asyncio.subprocess.PIPE
        address = f"127.0.0.1:{world.port}"
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, address, stderr=pipe)
        _, errors = await soon(process.communicate())
    assert process.returncode == 1
    assert errors.decode() == f"cannot listen on {address}: {os.strerror(98)}\n"
