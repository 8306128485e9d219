"""What all builders of tools share: the cache outside the checkout, one builder at a time, and saying what is missing.

A folder of the cache is named after the hash of everything it is made from, so that a change of a pin builds anew and
anything else is a no-op. It is made beside its final place and renamed when finished: no build leaves a half one.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


class CannotBuild(Exception):
    """What is missing, and what a person can do about it."""


def cache_folder() -> Path:
    """`$AI_GATEWAY_CACHE`, else `ai-gateway-ollama` in the user's cache folder."""
    if named := os.environ.get("AI_GATEWAY_CACHE"):
        return Path(named).expanduser().resolve()
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(caches).expanduser().resolve() / "ai-gateway-ollama"


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """The lock on making a folder of the cache. The kernel releases it in whatever way a process ends."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def made_whole(target: Path) -> Iterator[Path]:
    """A path to make a file or a folder at; it becomes `target` when the block is left without an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        unfinished = Path(temporary) / "built"
        yield unfinished
        unfinished.rename(target)


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Says on stderr what is being made, and afterwards how long that took."""
    print(f"building {what}", file=sys.stderr)
    began = time.monotonic()
    yield
    print(f"built in {time.monotonic() - began:.0f} s", file=sys.stderr)


def run(command: list[str], *, env: dict[str, str] | None = None, cwd: Path | None = None) -> None:
    """Runs it with its output on stderr; a status other than 0 is a CannotBuild."""
    try:
        subprocess.run(command, check=True, env=env, cwd=cwd, stdout=sys.stderr)
    except subprocess.CalledProcessError as failure:
        raise CannotBuild(f"{' '.join(command)} ended with status {failure.returncode}") from failure
    except FileNotFoundError as failure:
        raise CannotBuild(f"{command[0]} is missing") from failure


def check_go() -> None:
    """Go itself is the one thing that no builder can install."""
    if shutil.which("go") is None:
        raise CannotBuild("Go is missing: install Go 1.26 or newer and put its bin folder on the PATH")


def install_debian(files: Mapping[str, Path]) -> None:
    """Installs those Debian packages of which the given file is not there: as root here, else it says which."""
    if all(file.exists() for file in files.values()):
        return
    with only_one(cache_folder() / "debian"):  # apt itself does not wait for another
        _install_missing([package for package, file in files.items() if not file.exists()])


def _install_missing(missing: list[str]) -> None:
    if not missing:  # somebody else has installed them meanwhile
        return
    install = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise CannotBuild(f"Debian packages are missing; as root: {' '.join(install)}")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update"], env=quiet)
    run(install, env=quiet)


def hash_of(files: Iterable[Path], *texts: str) -> str:
    """Twelve digits that stand for the content of the files and for the texts."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    for text in texts:
        digest.update(text.encode())
    return digest.hexdigest()[:12]
