"""Builds the stub and the load generator, once per content, in the cache outside the checkout."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).parent / "native"


class BenchError(Exception):
    """The bench cannot go on; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Programs:
    stub: Path
    loadgen: Path


def cache_folder() -> Path:
    own = os.environ.get("AI_GATEWAY_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ai-gateway-ollama"


def build() -> Programs:
    sources = sorted(SOURCES.iterdir())
    content = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    folder = cache_folder() / f"bench-{content}"
    programs = Programs(folder / "stub", folder / "loadgen")
    if not (programs.stub.exists() and programs.loadgen.exists()):
        _compile(folder)
    return programs


def _compile(folder: Path) -> None:
    """Into a folder beside, then moved: a run that is cut off leaves nothing half built."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise BenchError("the bench needs a C compiler named cc (Debian: apt-get install gcc libc6-dev)")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as workshop:
        for name in ("stub", "loadgen"):
            command = [compiler, "-O2", "-Wall", "-o", f"{workshop}/{name}", str(SOURCES / f"{name}.c")]
            subprocess.run(command, check=True)
            Path(workshop, name).rename(folder / name)
