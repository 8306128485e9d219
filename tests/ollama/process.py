"""A server process on loopback that can be started, hurt and healed: the base of every Ollama of these tests."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

START_SECONDS = 60.0  # ten times what a busy machine was seen to take
POLL_SECONDS = 0.02  # how often a foreign process is asked whether it is there yet


class Server:
    """One process and its children, on one port for all its lives. Changes with every start and kill."""

    def __init__(self, command: Sequence[str], port: int, folder: Path, env: Mapping[str, str]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / "output.log"
        self._command = [*_ends_with_us(), *command]
        self._folder = folder
        self._env = {**os.environ, **env}
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def __repr__(self) -> str:
        return f"{self.url} {'is up' if self.is_up else 'is down'}, see {self.log}"

    @property
    def is_up(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The id of the process; it must have been started."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Starts it and waits until it answers `/api/version`."""
        self._spawn()
        wait_until_it_answers(f"{self.url}/api/version", self)

    def _spawn(self) -> None:
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def kill(self) -> None:
        """SIGKILL to it and its children at once, as when a pod is gone. Its port refuses connections from now on."""
        if self.is_up:
            os.killpg(self.pid, signal.SIGKILL)
            self._wait()

    def stop(self) -> None:
        """Ends it as Kubernetes would: politely first."""
        if self.is_up:
            os.kill(self.pid, signal.SIGCONT)
            os.kill(self.pid, signal.SIGTERM)
            self._wait()

    def pause(self) -> None:
        """It stays connected and does nothing: a node that hangs."""
        os.killpg(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on where it was paused."""
        os.killpg(self.pid, signal.SIGCONT)

    def _wait(self) -> None:
        assert self._process is not None
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()


def wait_until_it_answers(url: str, server: Server) -> None:
    """Until `url` answers 200. Fails with the end of its log if the process ends or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    with httpx.Client(trust_env=False, timeout=5) as client:
        while time.monotonic() < deadline and server.is_up:
            try:
                if client.get(url).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(POLL_SECONDS)
    raise AssertionError(f"{url} did not answer:\n{server.log.read_text()[-4000:]}")


def _ends_with_us() -> list[str]:
    """A test run that is killed leaves no servers behind, where util-linux is there to see to it.

    The kernel watches the thread that started a server, not the process: start them in the main thread.
    """
    return ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
