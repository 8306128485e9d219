"""A real Redis on loopback, from Debian's package. It keeps nothing on disk, and may be stopped, killed and paused."""

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.ports import free_port
from tools.building import install_debian

from ai_gateway.config.limits import Redis
from ai_gateway.config.units import Seconds

REDIS = Path("/usr/bin/redis-server")
PATIENCE_SECONDS = 60.0
# A busy machine may hold up an answer for longer than the default of 50 ms.
CALM = Seconds(30)


def installed() -> None:
    """Installs it where it is missing."""
    install_debian({"redis-server": REDIS})


class Server:
    """One Redis, on a port that it keeps over restarts. `more` are further words of its command line."""

    def __init__(self, folder: Path, *more: str, tls: bool = False) -> None:
        self.port = free_port()
        self._folder = folder
        self._more = more
        self._port_words = ("--port", "0", "--tls-port", str(self.port)) if tls else ("--port", str(self.port))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://127.0.0.1:{self.port}"

    def settings(self, timeout: Seconds = CALM, **more: Any) -> Redis:
        """`limits.redis` for it."""
        return Redis(**{"url": self.url, "timeout": timeout, **more})

    def start(self) -> None:
        """Returns when it takes connections."""
        command = [str(REDIS), *self._port_words, "--bind", "127.0.0.1", "--dir", str(self._folder)]
        command += ["--save", "", "--appendonly", "no", *self._more]
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._answers():
            is_starting = self._process.poll() is None and time.monotonic() < deadline
            assert is_starting, (self._folder / "redis.log").read_text()
            time.sleep(0.02)

    def stop(self) -> None:
        """Ends it, if it runs; all it knew is gone."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait(PATIENCE_SECONDS)

    def pause(self) -> None:
        """It takes connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """After a pause."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


@contextmanager
def running(folder: Path, *more: str, tls: bool = False) -> Iterator[Server]:
    """One that runs until the block is left."""
    installed()
    server = Server(folder, *more, tls=tls)
    server.start()
    try:
        yield server
    finally:
        server.stop()
