"""A real Ollama, its models, and how to see from outside whether it is at work."""

import asyncio
import hashlib
import json
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
from tests.ollama import models
from tests.ollama.process import Server, free_port
from tests.tools.build_ollama import binary_path, cache_folder

CONTEXT_TOKENS = 512
_MID_ANSWER_TICKS = 200  # of CPU: `slow` has read a short prompt and written a few words by then
_LOOK_SECONDS = 0.3  # an answer that is being written uses some thirty ticks in this time

_TURNS = (
    '{{ range .Messages }}{{ if eq .Role "system" }}system {{ .Content }} {{ else if eq .Role "user" }}user '
    '{{ .Content }} {{ else if eq .Role "tool" }}tool {{ .Content }} {{ else if eq .Role "assistant" }}answer '
    "{{ .Content }}%s {{ end }}{{ end }}answer"
)
_CALLS = (
    '{{ if .ToolCalls }}{{ range .ToolCalls }}{"name": "{{ .Function.Name }}", '
    '"parameters": {{ .Function.Arguments }}}{{ end }}{{ end }}'
)
PLAIN_TEMPLATE = _TURNS % ""
TOOLS_TEMPLATE = "{{ if .Tools }}tools {{ .Tools }} {{ end }}" + _TURNS % _CALLS


class Ollama(Server):
    """A real Ollama with the models of `seeded_store`."""

    def __init__(self, folder: Path, store: Path | None = None) -> None:
        port = free_port()
        if store is not None:
            _link(store, folder / "models")
        env = {
            "OLLAMA_HOST": f"127.0.0.1:{port}",
            "OLLAMA_MODELS": str(folder / "models"),
            "HOME": str(folder),
            "OLLAMA_NO_CLOUD": "1",
            "OLLAMA_NUM_PARALLEL": "1",
            "OLLAMA_MAX_LOADED_MODELS": "4",
        }
        super().__init__([str(binary_path()), "serve"], port, folder, env)

    async def is_computing(self) -> bool:
        """Whether its model runners use the CPU now; an idle one uses none at all."""
        before = self.cpu_ticks()
        await asyncio.sleep(_LOOK_SECONDS)
        return self.cpu_ticks() > before

    def cpu_ticks(self) -> int:
        """How long its model runners have computed, in hundredths of a second."""
        return sum(child.ticks for child in _children(self.pid))

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
        while self.cpu_ticks() < begin + _MID_ANSWER_TICKS:
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


def seeded_store() -> Path:
    """A models folder with `tiny` (tools), `plain`, `embed` and `slow`, made once and kept beside Ollama's binary."""
    source = Path(models.__file__).read_bytes() + Path(__file__).read_bytes()
    store = cache_folder() / f"models-{hashlib.sha256(source).hexdigest()[:12]}"
    if not store.exists():
        with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
            _seed(Path(folder))
            (Path(folder) / "ollama" / "models").rename(store)
    return store


def _seed(folder: Path) -> None:
    ollama = Ollama(folder / "ollama")
    ollama.start()
    try:
        models.write_chat(folder / "chat.gguf")
        models.write_slow(folder / "slow.gguf")
        models.write_embeddings(folder / "embeddings.gguf")
        with httpx.Client(base_url=ollama.url, trust_env=False, timeout=120) as client:
            _create(client, "tiny", folder / "chat.gguf", TOOLS_TEMPLATE)
            _create(client, "plain", folder / "chat.gguf", PLAIN_TEMPLATE)
            _create(client, "slow", folder / "slow.gguf", PLAIN_TEMPLATE)
            _create(client, "embed", folder / "embeddings.gguf", None)
    finally:
        ollama.stop()


def _create(client: httpx.Client, name: str, weights: Path, template: str | None) -> None:
    with weights.open("rb") as file:
        digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        file.seek(0)
        client.post(f"/api/blobs/{digest}", content=file).raise_for_status()
    wish = {"model": name, "files": {weights.name: digest}, "parameters": {"num_ctx": CONTEXT_TOKENS}}
    reply = client.post("/api/create", json={**wish, "stream": False, **({"template": template} if template else {})})
    assert json.loads(reply.content) == {"status": "success"}, reply.text


def _link(store: Path, copy: Path) -> None:
    """A copy of a models folder in no time: large files are hard links where the file system allows it."""
    shutil.copytree(store, copy, copy_function=_link_file)


def _link_file(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
