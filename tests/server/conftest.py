"""The smallest world with a strict server in it: a stub app on loopback, and clients that write raw bytes."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvloop
from tests.flow.waiting import soon

from ai_gateway.errors import GatewayError
from ai_gateway.server import FramingLimits, ServerCallbacks, ServerSettings, Shutdown, serve

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


@dataclass
class StubApp:
    """Records its requests. `/wait` answers on command or when its client has left, `/deaf` answers unread.

    `/later` reads on command, `/early` answers before it reads, `/stream` and `/half` (of an answer with a length)
    end on command, `/own` answers a refusal of its body itself.
    """

    seen: list[tuple[str, str, bytes]] = field(default_factory=list)
    by_port: dict[int, list[tuple[str, str, bytes]]] = field(default_factory=dict)
    headers: list[dict[bytes, bytes]] = field(default_factory=list)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    answer: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    refused: list[GatewayError] = field(default_factory=list)
    chunk: bytes = b"data: x\n\n"

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["path"] == "/broken":
            raise RuntimeError("broken")
        if scope["path"] == "/splitting":
            value = b"a\r\nevil: 1"
            await send({"type": "http.response.start", "status": 200, "headers": [(b"x", value)]})
        if scope["path"] == "/early":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"early", "more_body": True})
        if scope["path"] == "/own":
            await self._answer_own(receive, send)
            return
        if scope["path"] == "/later":
            await self.answer.wait()
        body = b"" if scope["path"] == "/deaf" else await self._read(receive)
        if body is None:
            self.left.set()
            return
        self.seen.append((scope["method"], scope["path"], body))
        self.by_port.get(scope["client"][1], []).append(self.seen[-1])
        self.headers.append(dict(scope["headers"]))
        self.started.set()
        if scope["path"] == "/wait" and not await self._is_answered(receive):
            self.left.set()
            return
        if scope["path"] == "/stream":
            await self._stream(receive, send)
            return
        if scope["path"] == "/half":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"8")]})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            await self.answer.wait()
            await send({"type": "http.response.body", "body": b"half"})
            return
        text = f"{scope['method']} {scope['path']} {len(body)}".encode()
        headers = [(b"content-length", str(len(text)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": text})

    async def _read(self, receive: Receive) -> bytes | None:
        body: bytes = b""
        try:
            while (message := await receive())["type"] == "http.request":
                body += message["body"]
                if not message["more_body"]:
                    return body
        except GatewayError as error:
            self.refused.append(error)
            raise
        return None

    async def _answer_own(self, receive: Receive, send: Send) -> None:
        try:
            await self._read(receive)
        except GatewayError as error:
            headers = [(b"content-length", b"9")]
            await send({"type": "http.response.start", "status": error.error_status, "headers": headers})
            await send({"type": "http.response.body", "body": b"own words"})

    async def _is_answered(self, receive: Receive) -> bool:
        answering = asyncio.ensure_future(self.answer.wait())
        leaving = asyncio.ensure_future(receive())
        await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
        answering.cancel()
        leaving.cancel()
        return answering.done() and not answering.cancelled()

    async def _stream(self, receive: Receive, send: Send) -> None:
        """Chunks until the client leaves or the test ends the answer; then one last event."""
        leaving = asyncio.ensure_future(receive())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not leaving.done() and not self.answer.is_set():
            await send({"type": "http.response.body", "body": self.chunk, "more_body": True})
            await asyncio.sleep(0.01)
        if leaving.done():
            self.left.set()
            return
        leaving.cancel()
        await send({"type": "http.response.body", "body": b"data: end\n\n"})


@dataclass
class World:
    """A running server, and what its notices said."""

    app: StubApp = field(default_factory=StubApp)
    refusals: list[tuple[int, str]] = field(default_factory=list)
    peers: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    refused_files: asyncio.Event = field(default_factory=asyncio.Event)
    shutdown: Shutdown = field(default_factory=Shutdown)
    port: int = 0
    admin_port: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A new connection to the API port."""
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def talk(self, *pieces: bytes) -> bytes:
        """Everything that is answered to these bytes until the server closes; fails when nothing comes for long."""
        reader, writer = await self.open()
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.01 if len(pieces) > 1 else 0)
            return await soon(reader.read())
        except ConnectionResetError:
            return b""
        finally:
            writer.close()


Serving = Callable[..., AbstractAsyncContextManager[World]]


def error_of(answer: bytes) -> dict[str, Any]:
    """The error object of the last answer in these bytes; asserts its shape, the id and the close."""
    head, _, body = answer.rpartition(b"\r\n\r\n")
    head = head[head.rindex(b"HTTP/1.1 ") :]
    error: dict[str, Any] = json.loads(body)["error"]
    assert set(error) == {"type", "message", "code", "param"}
    lines = head.lower().split(b"\r\n")
    assert b"connection: close" in lines
    assert any(line.startswith(b"x-request-id: ") and len(line) == 46 for line in lines)
    assert f"content-length: {len(body)}".encode() in lines
    return error


@pytest.fixture(name="error_of")
def error_of_fixture() -> Callable[[bytes], dict[str, Any]]:
    return error_of


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that the gateway runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def serving() -> Serving:
    """`async with serving(limits..., settings...) as world`: a server on free ports, gone at the end."""

    @asynccontextmanager
    async def start(limits: FramingLimits | None = None, **settings: Any) -> AsyncIterator[World]:
        world = World()
        listening = asyncio.Event()

        def on_listening(api_urls: tuple[str, ...], admin_urls: tuple[str, ...]) -> None:
            world.port, world.admin_port = (int(urls[0].rpartition(":")[2]) for urls in (api_urls, admin_urls))
            world.events.append(f"listening on {api_urls[0]}")
            listening.set()

        def refused(status: int, code: str, peer: str) -> None:
            world.refusals.append((status, code))
            world.peers.append(peer)

        def refuse_files(reason: str) -> None:
            world.reasons.append(reason)
            world.refused_files.set()

        def shutdown_streams() -> None:
            world.events.append("shutdown_streams")
            world.app.answer.set()

        callbacks = ServerCallbacks(
            on_listening=on_listening,
            leaving=lambda: world.events.append("leaving"),
            shutdown_streams=shutdown_streams,
            refused=refused,
            certificate_refused=refuse_files,
            reread=lambda: world.events.append("read again"),
            shutdown=world.shutdown,
        )
        settings = {"listen": "127.0.0.1:0", "admin": "127.0.0.1:0", **settings}
        chosen = ServerSettings(limits=limits or FramingLimits(sweep_seconds=0.02), **settings)
        serving_task = asyncio.create_task(serve(world.app, world.app, chosen, callbacks))  # type: ignore[arg-type]
        serving_task.add_done_callback(lambda _: world.ended.set())
        waiting = asyncio.create_task(listening.wait())
        await asyncio.wait((serving_task, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        try:
            if serving_task.done():
                await serving_task
            yield world
        finally:
            world.shutdown.request()
            world.shutdown.request()
            await serving_task

    return start
