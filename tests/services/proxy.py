"""A TCP proxy, on loopback or another address of this machine, that can lose the answer to what a client says."""

import socket
import threading
from contextlib import suppress
from typing import Self


class Proxy:
    """Passes bytes to `port` and back. After `lose_answer_to` the first client that says that hears nothing more: what
    it said is passed on, and the connection cut."""

    def __init__(self, port: int, address: str = "127.0.0.1") -> None:
        self._target = port
        self._lost: bytes | None = None
        self._listener = socket.create_server((address, 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self.lost = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # whoever waits in `accept` hears of it; closing alone says nothing
        self._listener.close()
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def lose_answer_to(self, said: bytes) -> None:
        """Once."""
        self._lost = said

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._open.append(client)
                server = socket.create_connection(("127.0.0.1", self._target))
                self._open.append(server)
                threading.Thread(target=self._up, args=(client, server), daemon=True).start()
                threading.Thread(target=self._down, args=(client, server), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while content := client.recv(1 << 16):
                if self._lost is not None and self._lost in content:
                    self._lost = None
                    self.lost += 1
                    client.shutdown(socket.SHUT_RDWR)
                server.sendall(content)
        # The server has read what was said before it sees the end.
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while content := server.recv(1 << 16):
                client.sendall(content)
        for end in (client, server):
            end.close()
