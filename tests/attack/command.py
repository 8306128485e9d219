"""`ai-gateway serve` as a process of its own, in a memory cgroup where a test asks for one; what it costs is read
from the kernel."""

import asyncio
import errno
import json
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import yaml
from tests.flow.line import Line, Reply
from tests.flow.waiting import soon, until
from tests.flow.world import CHAT, chat

MEMORY_V1 = Path("/sys/fs/cgroup/memory")
ENTER = 'echo $$ > "$0" && exec "$@"'  # a shell joins the group and becomes the gateway


class Command:
    """A running gateway. Its log is in `log`, its access lines in `lines`."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.port = self.admin_port = 0

    @property
    def log(self) -> str:
        """What it wrote to standard error so far."""
        return (self.folder / "stderr").read_text(errors="surrogateescape")

    @property
    def lines(self) -> str:
        """What it wrote to standard output so far."""
        return (self.folder / "stdout").read_text(errors="surrogateescape")

    async def listening(self) -> None:
        """Returns once it listens, and knows its ports."""
        await until(lambda: "listening on" in self.log or self.process.returncode is not None, self.log)
        (line,) = [line for line in self.log.splitlines() if "listening on" in line] or [self.log]
        ports = re.findall(r"https?://[^ ]+?:(\d+)", json.loads(line)["message"])
        self.port, self.admin_port = int(ports[0]), int(ports[1])

    async def open(self) -> Line:
        """A new connection to the API."""
        return await Line.open(self.port)

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        patience_seconds: float = 60,
    ) -> Reply:
        """A whole answer, on a connection of its own."""
        line = await self.open()
        try:
            await line.send(method, path, body, headers)
            return await soon(line.reply(), patience_seconds)
        finally:
            line.leave()

    async def chat(self, text: str = "hello", headers: Mapping[str, str] | None = None, **more: Any) -> Reply:
        """The answer to a chat call."""
        return await self.ask("POST", CHAT, chat(text, **more), headers)

    async def ready(self) -> None:
        """Returns once /readyz says so."""
        for _ in range(2000):
            line = await Line.open(self.admin_port)
            await line.send("GET", "/readyz")
            status = (await soon(line.reply())).status
            line.leave()
            if status == 200:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(self.log)

    @property
    def loop_cpu_seconds(self) -> float:
        """CPU that the main thread, where the event loop is, has used so far."""
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9

    @property
    def peak_bytes(self) -> int:
        """The most memory that the process has had resident so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self.process.returncode is None

    async def end(self, number: int = signal.SIGTERM) -> int:
        """Ends it by a signal; returns its exit status."""
        self.process.send_signal(number)
        return await soon(self.process.wait(), 20)


@contextmanager
def memory_limit(bytes_: int) -> Iterator[Path]:
    """A memory cgroup of this size without swap; what is in it and takes more is killed by the kernel. Yields the
    file that a process joins by. Needs root."""
    if MEMORY_V1.is_dir():
        folder = MEMORY_V1 / f"ai-gateway-{os.getpid()}-{bytes_}"
        sizes = {"memory.limit_in_bytes": bytes_}
    else:
        folder = Path("/sys/fs/cgroup") / f"ai-gateway-{os.getpid()}-{bytes_}"
        sizes = {"memory.max": bytes_, "memory.swap.max": 0}
    folder.mkdir()
    try:
        for name, size in sizes.items():
            (folder / name).write_text(str(size))
        yield folder / "cgroup.procs"
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """The kernel lets go of a process a moment after its parent has heard of its end."""
    deadline = time.monotonic() + 10
    while True:
        try:
            folder.rmdir()
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.02)


@asynccontextmanager
async def serving(
    folder: Path, config: Mapping[str, Any] | str, *words: str, cgroup: Path | None = None, **variables: str
) -> AsyncIterator[Command]:
    """A gateway with this config.yml in `folder`, which listens; ended with the block."""
    path = folder / "config.yml"
    path.write_text(config if isinstance(config, str) else yaml.safe_dump(dict(config), sort_keys=False))
    serve = [sys.executable, "-m", "ai_gateway", "serve", "--config", str(path)]
    serve += ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--drain-grace", "0", *words]
    if cgroup is not None:
        serve = ["/bin/sh", "-c", ENTER, str(cgroup), *serve]
    environment = {**os.environ, "OLLAMA_HOST": "127.0.0.1:9", "XDG_STATE_HOME": str(folder / "state"), **variables}
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as error:
        process = await asyncio.create_subprocess_exec(*serve, env=environment, stdout=out, stderr=error)
    command = Command(process, folder)
    try:
        await command.listening()
        yield command
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
