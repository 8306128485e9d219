"""A TCP port that stays bound while nothing listens on it, so that it can refuse connections and come back."""

import asyncio
import logging
import socket

from ai_gateway.simulator.http1 import Connection, Serve

_log = logging.getLogger(__name__)

BACKLOG = 4096


class Listener:
    """Open or closed; while closed, the port is bound but connections are refused. Belongs to an endpoint.

    Opening and closing take effect at once. `loop.create_server` does not promise that, so it accepts by itself.
    """

    def __init__(self, host: str, port: int, serve: Serve) -> None:
        """Binds at once; port 0 takes a free one. Raises OSError if the port is taken."""
        self._serve = serve
        self._loop = asyncio.get_running_loop()
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = self._bound((host, port))
        self.host, self.port = self._socket.getsockname()[:2]
        self.connections: set[Connection] = set()
        self._connecting: set[asyncio.Task[object]] = set()
        self.is_open = False

    def open(self) -> None:
        """Accepts connections from now on."""
        if not self.is_open:
            self.is_open = True
            self._socket.listen(BACKLOG)
            self._loop.add_reader(self._socket.fileno(), self._accept)

    def close(self) -> None:
        """Refuses new connections; open ones stay."""
        if self.is_open:
            self._stop()
            self._socket = self._bound((self.host, self.port))

    def drop_all(self) -> None:
        """Resets every connection."""
        for connection in list(self.connections):
            connection.drop()

    async def release(self) -> None:
        """Releases the port and waits until all its connections have ended."""
        self._stop()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        tasks = [connection.task for connection in self.connections if connection.task is not None]
        self.drop_all()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self) -> None:
        """Accepts waiting connections; at most a full backlog at once, as asyncio's servers do."""
        for _ in range(BACKLOG):
            try:
                accepted, _address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # probably too many open files: the others wait until some are closed
                _log.warning("cannot accept a connection: %s", error)
                return
            accepted.setblocking(False)
            task: asyncio.Task[object] = self._loop.create_task(self._connect(accepted))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect(self, accepted: socket.socket) -> None:
        await self._loop.connect_accepted_socket(lambda: Connection(self._serve, self.connections), accepted)

    def _stop(self) -> None:
        if self.is_open:
            self._loop.remove_reader(self._socket.fileno())
        self.is_open = False
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
