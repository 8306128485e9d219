"""A process of a cluster that is watched while it starts: one that does not come up is named, with its last words."""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from tests.ollama.process import POLL_SECONDS, START_SECONDS, Server

LOG_CHARACTERS = 3000


class CannotStart(Exception):
    """A part that did not come up: its name, and the end of its log."""


class Part(Server):
    """One program of a cluster, logging to `NAME.log` in the folder. Changes with every start and kill.

    It is killed with the process that started it, even while it is paused.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        folder: Path,
        is_ready: Callable[[], bool],
        env: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__([*_is_killed_with_us(), *command], 0, folder, env)
        self.name = name
        self.log = folder / f"{name}.log"
        self._is_ready = is_ready

    def start(self) -> None:
        """Starts it and waits until it is ready. CannotStart if it ends before, or takes a minute."""
        self.begin()
        self.wait_until_ready()

    def begin(self) -> None:
        """Starts it; others may be started meanwhile."""
        self._spawn()

    def wait_until_ready(self) -> None:
        """Until it says so itself. CannotStart if it ends before, or takes a minute."""
        deadline = time.monotonic() + START_SECONDS
        while self.is_up and time.monotonic() < deadline:
            if self._is_ready():
                return
            time.sleep(POLL_SECONDS)
        self.kill()
        raise CannotStart(f"{self.name} did not start; the end of {self.log}:\n{self.last_words()}")

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-LOG_CHARACTERS:]


def _is_killed_with_us() -> list[str]:
    """A paused process sleeps through SIGTERM, which is what `Server` asks the kernel for; the last word counts."""
    return ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
