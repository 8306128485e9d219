"""An Ollama made of bytes: what it says to a call is up to each test, down to the last one."""

import asyncio
import json
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.flow.line import LINGER_NOT
from tests.flow.waiting import soon
from tests.ports import free_port

SSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
DONE = b"data: [DONE]\n\n"
END = b"0\r\n\r\n"
HEAD_ID = "chatcmpl-417"


def framed(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(text: str, finish: str | None = None, **more: Any) -> bytes:
    """One chunk of a chat stream, as Ollama writes it; `more` replaces or adds top-level keys."""
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": finish}
    head = {"id": HEAD_ID, "object": "chat.completion.chunk", "created": 1700000000, "model": "llama3:latest"}
    content = head | {"system_fingerprint": "fp_ollama", "choices": [choice]} | more
    return b"data: " + json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


def answer(text: str = "hello", **more: Any) -> bytes:
    """A whole chat answer's body."""
    message = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
    head = {"id": HEAD_ID, "object": "chat.completion", "created": 1700000000, "model": "llama3:latest"}
    return json.dumps(head | {"choices": [message], "usage": usage} | more).encode()


def whole(body: bytes, status: str = "200 OK", headers: Iterable[str] = ("content-type: application/json",)) -> bytes:
    """A whole HTTP answer."""
    lines = "".join(f"{line}\r\n" for line in (*headers, f"content-length: {len(body)}"))
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


@dataclass
class Visit:
    """One call that came in, and the connection it came on."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def fields(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    async def say(self, *pieces: bytes) -> None:
        """Sends bytes, each piece by itself."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def gone(self) -> None:
        """Returns when the gateway has closed the connection."""
        with suppress(ConnectionError):
            while await self.reader.read(1 << 16):
                pass

    def hang_up(self) -> None:
        """Ends the connection (FIN)."""
        self.writer.close()

    def reset(self) -> None:
        """Ends the connection (RST)."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
        self.writer.transport.abort()


# Of a model without a digest the gateway asks for nothing by itself, so that /api/show is asked for clients alone.
NAMES_ALONE = whole(b'{"models":[{"name":"llama3:latest"}]}')

LOADING = ("/api/embed", "/api/generate")

Act = Callable[[Visit], Awaitable[None]]


class Gate:
    """Streams one word; the rest once it is opened. Whole answers come at once."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()

    async def act(self, visit: "Visit") -> None:
        """Begins, waits, and ends well."""
        if not visit.fields.get("stream"):
            await answer_well(visit)
            return
        await visit.say(SSE_HEAD, framed(event("one")))
        await self.opened.wait()
        await visit.say(framed(event("", "stop")), framed(DONE), END)


@dataclass
class Upstream:
    """Listens on loopback, tells that it has `models` loaded, and does `act` for every call to /v1.

    With `is_cold` it tells that nothing is loaded. `load` is done for what the gateway asks for in order to load.
    """

    act: Act
    is_cold: bool = False
    load: Act | None = None
    models: tuple[str, ...] = ("llama3:latest",)
    tls: ssl.SSLContext | None = None
    state: dict[str, bytes] = field(default_factory=dict)  # whole answers for state paths, in place of healthy ones
    visits: list[Visit] = field(default_factory=list)
    looks: list[Visit] = field(default_factory=list)  # requests to /api
    connections: int = 0
    accepted: int = 0
    asked: list[str] = field(default_factory=list)  # every request's path
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        """Takes a free port."""
        self.port = free_port()  # where nobody listens once this has stopped
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.tls)

    async def stop(self) -> None:
        """Ends everything."""
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def refuse(self) -> None:
        """Takes no new connections; those that are open go on."""
        self._server.close()

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.accepted += 1
        try:
            while not writer.is_closing() and (visit := await _read(reader, writer)) is not None:
                self.asked.append(visit.path)
                await self._answer(visit)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.connections -= 1
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, visit: Visit) -> None:
        if visit.path.startswith("/api/"):
            self.looks.append(visit)
        if self.load is not None and visit.path in LOADING:
            await self.load(visit)
        elif visit.path in self.state:
            await visit.say(self.state[visit.path])
        elif visit.path.startswith("/api/"):
            await visit.say(whole(json.dumps(self._state(visit.path)).encode()))
        else:
            self.visits.append(visit)
            await self.act(visit)

    def _state(self, path: str) -> dict[str, Any]:
        listed = [{"name": name, "model": name, "digest": f"sha256:{name}", "size": 7} for name in self.models]
        if path == "/api/version":
            return {"version": "0.33.0"}
        is_listed = path == "/api/tags" or (path == "/api/ps" and not self.is_cold)
        return {"models": listed if is_listed else []}


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Visit | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    method, path, _ = first.split()
    pairs = [line.partition(": ") for line in lines]
    headers = {name.lower(): value for name, _, value in pairs}
    assert len(headers) == len(pairs), f"a header is sent twice: {lines}"
    body = await soon(reader.readexactly(int(headers.get("content-length", "0"))))
    return Visit(method, path, headers, body, reader, writer)


async def answer_well(visit: Visit) -> None:
    """What a healthy Ollama does."""
    if visit.fields.get("stream"):
        await visit.say(SSE_HEAD, framed(event("hello")), framed(event("", "stop")), framed(DONE), END)
    else:
        await visit.say(whole(answer()))
