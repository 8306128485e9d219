"""An HTTP/1.1 server connection on httptools. It notices a client that disconnects.

As in Go's net/http: one request at a time, further ones wait; a FIN is a disconnect; no timeouts, no body limit.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import unquote

import httptools

from ai_gateway.simulator.answer import Answer, reset

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """One request, read to its end. Header names are lower case; `path` is decoded and has no query."""

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        """The first value of a header, "" if there is none."""
        return next((value for key, value in self.headers if key == name), "")


Serve = Callable[[Request, Answer], Coroutine[Any, Any, None]]


class Connection(asyncio.Protocol):
    """One client's connection. It is in the set `connections` while it is open."""

    def __init__(self, serve: Serve, connections: "set[Connection]") -> None:
        self._serve = serve
        self._connections = connections
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[Request, bool, bool]] = deque()
        self._answer: Answer | None = None
        self._has_left = False
        self._begin()
        self.task: asyncio.Task[None] | None = None
        self.transport: asyncio.Transport

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The client has connected."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's class is not a subclass
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Bytes of one or more requests."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.transport.close()  # as if the upgrade had been ignored and the client had given up
        except httptools.HttpParserError:
            self.transport.write(_BAD_REQUEST)
            self.transport.close()

    def eof_received(self) -> bool:
        """A half-closed connection counts as a disconnect, as in Go."""
        self._leave()
        return False

    def connection_lost(self, _error: Exception | None) -> None:
        """The connection is closed, by either side."""
        self._connections.discard(self)
        self._leave()

    def pause_writing(self) -> None:
        """The client reads more slowly than the simulator writes."""
        if self._answer is not None:
            self._answer.is_paused = True

    def resume_writing(self) -> None:
        """It has caught up."""
        if self._answer is not None:
            self._answer.is_paused = False
            if self._answer.on_resume is not None:
                self._answer.on_resume()

    # httptools

    def on_message_begin(self) -> None:
        """A new request."""
        self._begin()

    def on_url(self, part: bytes) -> None:
        """The target, or a part of it."""
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        """Answers `Expect: 100-continue`."""
        if ("expect", "100-continue") in self._headers:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, part: bytes) -> None:
        """A part of the body."""
        self._body.append(part)

    def on_message_complete(self) -> None:
        """The request is complete."""
        path, _, query = self._target.decode("latin-1").partition("?")
        method = self._parser.get_method().decode("latin-1")
        request = Request(method, unquote(path), query, tuple(self._headers), b"".join(self._body))
        is_modern = self._parser.get_http_version() != "1.0"
        self._waiting.append((request, bool(self._parser.should_keep_alive()), is_modern))
        self._begin()
        if self.task is None:
            self._next()

    # ours

    def drop(self) -> None:
        """Ends the connection at once, with a reset."""
        reset(self.transport)
        self._leave()

    def _begin(self) -> None:
        self._target = b""
        self._headers: list[tuple[str, str]] = []
        self._body: list[bytes] = []

    def _next(self) -> None:
        request, keeps_alive, chunks = self._waiting.popleft()
        is_head = request.method == "HEAD"
        self._answer = Answer(self.transport, is_head=is_head, keeps_alive=keeps_alive, chunks=chunks)
        self.task = asyncio.get_running_loop().create_task(self._serve(request, self._answer))
        self.task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        answer, self._answer, self.task = self._answer, None, None
        if task.cancelled() or answer is None or self._has_left:
            return
        error = task.exception()
        if error is not None:
            _log.error("a simulated endpoint failed", exc_info=error)
        if error is not None or not answer.is_complete or not answer.keeps_alive:
            self.transport.close()
        elif self._waiting:
            self._next()

    def _leave(self) -> None:
        self._has_left = True
        self._waiting.clear()
        if self.task is not None:
            self.task.cancel()


_BAD_REQUEST = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 Bad Request"
)
