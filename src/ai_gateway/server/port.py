"""One port: its sockets, its connections, and the timer for their deadlines."""

import asyncio
import socket
import time
from contextlib import suppress
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from uvicorn.config import Config

from ai_gateway.server.certificate import Certificate
from ai_gateway.server.connection import PortState
from ai_gateway.server.listen import BACKLOG, is_on_loopback, url_of
from ai_gateway.server.strict import StrictProtocol

if TYPE_CHECKING:
    from uvicorn._types import ASGIApplication

# After so long a silent client on a TLS port is cut; asyncio's default is a minute.
_HANDSHAKE_SECONDS = 10.0
# After so long a client without an answer to close_notify is cut; asyncio's default is half a minute.
_TLS_CLOSE_SECONDS = 5.0
_CLEANUP_SECONDS = 1.0
_POLL_SECONDS = 0.02


class Port:
    """Accepts connections for one app. Changed only by `serve`."""

    def __init__(
        self, app: "ASGIApplication", sockets: list[socket.socket], certificate: Certificate | None, state: PortState
    ) -> None:
        scheme = "http" if certificate is None else "https"
        self.urls = tuple(url_of(listening, scheme) for listening in sockets)
        self._sockets = sockets
        self._certificate = certificate
        self._state = state
        self._state.is_on_loopback = all(map(is_on_loopback, sockets))
        self._config = strict_config(app)
        self._servers: list[asyncio.Server] = []
        self._arriving: set[asyncio.Future[Any]] = set()
        self._ticking: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Begins to accept; deadlines apply from now on."""
        self._tick()
        loop = asyncio.get_running_loop()
        for listening in self._sockets:
            server = await loop.create_server(self._connection, sock=listening, backlog=BACKLOG, **self._tls())
            self._servers.append(server)

    def _tls(self) -> dict[str, Any]:
        if self._certificate is None:
            return {}
        return {
            "ssl": self._certificate.context,
            "ssl_handshake_timeout": _HANDSHAKE_SECONDS,
            "ssl_shutdown_timeout": _TLS_CLOSE_SECONDS,
        }

    def _connection(self) -> StrictProtocol:
        return StrictProtocol(self._config, self._state, {})

    def _tick(self) -> None:
        self._state.default_headers = [(b"date", formatdate(time.time(), usegmt=True).encode())]
        loop = asyncio.get_running_loop()
        self._ticking = loop.call_later(self._state.limits.sweep_seconds, self._tick)
        now = loop.time()
        for connection in list(self._state.connections):
            connection.sweep(now)

    def leave(self) -> None:
        """Goes on to accept, but makes each new answer the last of its connection."""
        if self._state.is_leaving:
            return
        self._state.is_leaving = True
        for connection in list(self._state.connections):
            connection.leave()

    def stop_accepting(self) -> None:
        """Closes the listeners and idle connections; running requests go on."""
        self.leave()
        self._state.is_shut = True
        self._take_waiting()
        self._close_listeners()
        for connection in list(self._state.connections):
            connection.shutdown()

    def _take_waiting(self) -> None:
        """Accepts connections that wait in the kernel: closing the listener would reset them.

        At most as many as can wait, so that a flood of connections cannot keep the loop here.
        """
        loop = asyncio.get_running_loop()
        for listening in self._sockets[: len(self._servers)]:
            with suppress(OSError):  # no more connections wait
                for _ in range(BACKLOG + 1):
                    accepted, _peer = listening.accept()
                    accepted.setblocking(False)
                    taking = loop.connect_accepted_socket(self._connection, accepted, **self._tls())
                    task = asyncio.ensure_future(taking)
                    self._arriving.add(task)
                    task.add_done_callback(self._arrived)

    def _arrived(self, task: "asyncio.Future[Any]") -> None:
        self._arriving.discard(task)
        if not task.cancelled():
            task.exception()  # of a failed handshake; marks it as retrieved

    def _close_listeners(self) -> None:
        for server in self._servers:
            server.close()
        for listening in self._sockets[len(self._servers) :]:
            listening.close()

    async def empty(self) -> None:
        """Waits until no connection is open and no request runs."""
        # Polls, at a shutdown only; an event would cost every request time.
        while self._arriving or self._state.connections or self._state.tasks:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_SECONDS)

    async def close(self) -> None:
        """Cuts every connection; running requests have a moment to clean up."""
        self.leave()
        self._close_listeners()
        for task in list(self._arriving):
            task.cancel()
        for connection in list(self._state.connections):
            connection.transport.abort()
        if self._state.tasks:
            _, late = await asyncio.wait(set(self._state.tasks), timeout=_CLEANUP_SECONDS)
            for task in late:
                task.cancel("the server has stopped")
        if self._ticking is not None:
            self._ticking.cancel()
        await asyncio.sleep(0)  # transports and tasks report their end in the loop's next round


def strict_config(app: "ASGIApplication") -> Config:
    """uvicorn's settings, with everything off that the gateway does itself."""
    config = Config(
        app,
        http=StrictProtocol,
        loop="none",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )
    config.load()
    return config
