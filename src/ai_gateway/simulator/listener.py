"""A TCP port that stays ours whether or not anyone listens on it, so that it can refuse and come back."""

import asyncio
import socket

from ai_gateway.simulator.http1 import Connection, Serve

BACKLOG = 4096


class Listener:
    """Open or closed; while closed, the port is bound but connections are refused. Belongs to an endpoint."""

    def __init__(self, host: str, port: int, serve: Serve) -> None:
        """Binds at once; port 0 takes a free one. Raises OSError if the port is taken."""
        self._serve = serve
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = self._bound((host, port))
        self.host, self.port = self._socket.getsockname()[:2]
        self.connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._opening: asyncio.Task[None] | None = None
        self.is_open = False

    def open(self) -> None:
        """Connections are taken from now on; the event loop gets to them in its next turns."""
        if self.is_open:
            return
        self.is_open = True
        self._socket.listen(BACKLOG)
        self._opening = asyncio.get_running_loop().create_task(self._attach(self._socket))

    def close(self) -> None:
        """New connections are refused; those that are there stay."""
        if not self.is_open:
            return
        self.is_open = False
        self._stop()
        self._socket = self._bound((self.host, self.port))

    def drop_all(self) -> None:
        """Resets every connection."""
        for connection in list(self.connections):
            connection.drop()

    async def release(self) -> None:
        """Gives the port back and waits until nothing of it runs any more."""
        tasks = [connection.task for connection in self.connections if connection.task is not None]
        opening = self._opening
        self.is_open = False
        self._stop()
        self.drop_all()
        if opening is not None:
            tasks.append(opening)
        await asyncio.gather(*tasks, return_exceptions=True)
        self._socket.close()

    async def _attach(self, bound: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self._serve, self.connections), sock=bound, backlog=BACKLOG
        )

    def _stop(self) -> None:
        if self._opening is not None and not self._opening.done():
            self._opening.cancel()
        self._opening = None
        if self._server is not None:
            self._server.close()
            self._server = None
        self._socket.close()

    def _bound(self, address: tuple[str, int]) -> socket.socket:
        bound = socket.socket(self._family, socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.setblocking(False)
            bound.bind(address)
        except OSError:
            bound.close()
            raise
        return bound
