"""The models folder of a real Ollama, made once by an Ollama and then kept beside its binary."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import httpx
from tests.ollama import models
from tests.ollama.real import Ollama
from tools.building import cache_folder, only_one

CONTEXT_TOKENS = 512
HEAVY = ("heavy-0", "heavy-1", "heavy-2", "heavy-3")

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


def seeded_store() -> Path:
    """A models folder with `tiny` (knows tools), `plain` (does not), `slow` and `embed`; half a gigabyte."""
    store = _made_once("models", _seed)
    _read_through(store)
    return store


def heavy_store() -> Path:
    """A models folder with the four HEAVY models, each with a file of its own; 2.5 GB."""
    return _made_once("heavy", _seed_heavy)


def _made_once(name: str, seed: Callable[[Path], None]) -> Path:
    """What `seed` makes in the `models` of a folder, kept for as long as its sources stay the same."""
    source = Path(models.__file__).read_bytes() + Path(__file__).read_bytes()
    store = cache_folder() / f"{name}-{hashlib.sha256(source).hexdigest()[:12]}"
    with only_one(store):
        if not store.exists():
            with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
                seed(Path(folder))
                (Path(folder) / "models").rename(store)
    return store


def link(store: Path, copy: Path) -> None:
    """A copy in no time: files are hard links where the file system allows it."""
    shutil.copytree(store, copy, copy_function=_link_file)


def _seed(folder: Path) -> None:
    ollama = Ollama(folder)
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


def _seed_heavy(folder: Path) -> None:
    ollama = Ollama(folder)
    ollama.start()
    try:
        weights = folder / "heavy.gguf"
        with httpx.Client(base_url=ollama.url, trust_env=False, timeout=120) as client:
            for number, name in enumerate(HEAVY):
                models.write_heavy(weights, number)
                _create(client, name, weights, PLAIN_TEMPLATE, num_thread=1)
    finally:
        ollama.stop()


def _create(client: httpx.Client, name: str, weights: Path, template: str | None, **parameters: int) -> None:
    with weights.open("rb") as file:
        digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        file.seek(0)
        client.post(f"/api/blobs/{digest}", content=file).raise_for_status()
    wish = {"model": name, "files": {weights.name: digest}, "parameters": {"num_ctx": CONTEXT_TOKENS, **parameters}}
    reply = client.post("/api/create", json={**wish, "stream": False, **({"template": template} if template else {})})
    assert json.loads(reply.content) == {"status": "success"}, reply.text


def _read_through(store: Path) -> None:
    """Ollama maps weights into memory: from a cold disk that is many small reads, where this is one long one."""
    for blob in (store / "blobs").iterdir():
        with blob.open("rb") as file:
            while file.read(1 << 20):
                pass


def _link_file(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
