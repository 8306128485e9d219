"""A real Ollama, and how to see from outside whether it is at work."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from tests.ollama.process import Server
from tests.ports import free_port
from tests.tools.build_ollama import binary_path

_MID_ANSWER_TICKS = 200  # of CPU: `slow` has read a short prompt and written a few words by then
_LOOK_SECONDS = 0.3  # an answer that is being written uses some thirty ticks in this time


class Ollama(Server):
    """A real Ollama. Its models are in the folder's `models`."""

    def __init__(self, folder: Path, max_loaded: int = 4) -> None:
        port = free_port()
        env = {
            "OLLAMA_HOST": f"127.0.0.1:{port}",
            "OLLAMA_MODELS": str(folder / "models"),
            "HOME": str(folder),
            "OLLAMA_NO_CLOUD": "1",
            "OLLAMA_NUM_PARALLEL": "1",
            "OLLAMA_MAX_LOADED_MODELS": str(max_loaded),
        }
        super().__init__([str(binary_path()), "serve"], port, folder, env)

    async def is_computing(self) -> bool:
        """Whether its model runners use the CPU now; an idle one uses none at all."""
        before = self.cpu_ticks()
        await asyncio.sleep(_LOOK_SECONDS)
        return self.cpu_ticks() > before

    @property
    def loads(self) -> int:
        """How many loads of models it has begun so far, by its own log."""
        return self._logged("{Operation:commit")

    @property
    def finished_loads(self) -> int:
        """How many of them are over, and the model was there."""
        return self._logged('msg="loaded runners"')

    @property
    def failed_embeds(self) -> int:
        """How many calls to /api/embed it did not answer well, such as loads that it gave up."""
        return len(re.findall(r'\| [45]\d\d \|.*"/api/embed"', self._text))

    @property
    def runners(self) -> frozenset[int]:
        """The processes of its models, one for each that is loaded or loading."""
        return frozenset(child.pid for child in _children(self.pid))

    def cpu_ticks(self) -> int:
        """How long its model runners have computed, in hundredths of a second."""
        return sum(child.ticks for child in _children(self.pid))

    @property
    def _text(self) -> str:
        return self.log.read_text(errors="replace")

    def _logged(self, text: str) -> int:
        return self._text.count(text)

    @asynccontextmanager
    async def truncating(self) -> AsyncIterator[None]:
        """The process that computes dies in mid-answer, the server stays: Ollama ends the stream without a word."""
        watching = asyncio.create_task(self._kill_runners_at_work())
        try:
            yield
        finally:
            watching.cancel()

    async def _kill_runners_at_work(self) -> None:
        begin = self.cpu_ticks()
        while self.cpu_ticks() < begin + _MID_ANSWER_TICKS:  # noqa: ASYNC110 - no event tells of CPU time
            await asyncio.sleep(_LOOK_SECONDS)
        for child in _children(self.pid):
            os.kill(child.pid, signal.SIGKILL)


class Child(NamedTuple):
    """A child process. `ticks` of CPU, user and system together."""

    pid: int
    ticks: int


def _children(parent: int) -> list[Child]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        if int(fields[1]) == parent:
            found.append(Child(int(folder.name), int(fields[11]) + int(fields[12])))
    return found
