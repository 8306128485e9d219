"""Builds the Ollama that the tests run, once, into a cache folder outside the checkout; prints where it is.

    python tests/tools/build_ollama.py

The version and the content of everything it is made from are pinned by `ollama/go.mod`, `go.sum` and `headers.txt`;
their hash names the folder, so a change of a pin builds anew and anything else is a no-op. Building takes five to
ten minutes and needs Go, a C++ compiler, and two Debian packages of headers (installed here when root).

Ollama's Go module lacks three headers, since Go leaves folders named vendor out of modules: two come from Debian,
one from a source archive on the Python package index. Releases from 0.30 on cannot run models built this way.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VERSION = "0.24.0"
MODULE = Path(__file__).parent / "ollama"
PINS = ("go.mod", "go.sum", "headers.txt")
PACKAGE = "github.com/ollama/ollama"
DEBIAN_HEADERS = {
    "nlohmann-json3-dev": Path("/usr/include/nlohmann/json.hpp"),
    "libstb-dev": Path("/usr/include/stb/stb_image.h"),
}


class CannotBuild(Exception):
    """What is missing, and what a person can do about it."""


def cache_folder() -> Path:
    """`$AI_GATEWAY_CACHE`, else `ai-gateway-ollama` in the user's cache folder."""
    if named := os.environ.get("AI_GATEWAY_CACHE"):
        return Path(named).expanduser().resolve()
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(caches).expanduser().resolve() / "ai-gateway-ollama"


def binary_path() -> Path:
    """Where the binary of these pins is, built already or not."""
    return cache_folder() / f"ollama-{VERSION}-{hash_of(*PINS)}" / "ollama"


def build() -> Path:
    """The path of the binary, built first if it is not there. Two runs at once: the second waits for the first."""
    binary = binary_path()
    if binary.exists():
        return binary
    with only_one(binary.parent):
        if not binary.exists():
            _check_tools()
            _install_debian_headers()
            _compile(binary, _fetch_headers())
    return binary


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Whoever makes a folder of the cache holds this; another waits. The kernel drops it however a process ends."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _check_tools() -> None:
    if shutil.which("go") is None:
        raise CannotBuild("Go is missing: install Go 1.26 or newer and put its bin folder on the PATH")
    if shutil.which("g++") is None:
        raise CannotBuild("g++ is missing: Ollama's engine is C++ (Debian: apt-get install g++)")


def _install_debian_headers() -> None:
    missing = [package for package, header in DEBIAN_HEADERS.items() if not header.exists()]
    if not missing:
        return
    install = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise CannotBuild(f"headers are missing; as root: {' '.join(install)}")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    _run(["apt-get", "update"], env=quiet)
    _run(install, env=quiet)


def _fetch_headers() -> Path:
    """The folder that has `miniaudio/miniaudio.h`. Its path does not change: Go's build cache depends on it."""
    folder = cache_folder() / f"headers-{hash_of('headers.txt')}"
    if folder.exists():
        return folder
    with tempfile.TemporaryDirectory(dir=cache_folder()) as temporary:
        fetched, unpacked = Path(temporary) / "fetched", Path(temporary) / "unpacked"
        _download(fetched)
        (unpacked / "miniaudio").mkdir(parents=True)
        with tarfile.open(next(fetched.glob("*.tar.gz"))) as archive:
            header = next(m for m in archive.getmembers() if m.name.endswith("/miniaudio/miniaudio.h"))
            content = archive.extractfile(header)
            if content is None:
                raise CannotBuild(f"{header.name} in miniaudio's source archive is not a file")
            (unpacked / "miniaudio" / "miniaudio.h").write_bytes(content.read())
        unpacked.rename(folder)
    return folder


def _download(folder: Path) -> None:
    """Pip alone checks the hash. It also asks the archive for its metadata: setuptools must be installed here,
    or pip would fetch an unpinned one for that."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    for module in ("pip", "setuptools"):
        if subprocess.run([sys.executable, "-c", f"import {module}"], check=False, capture_output=True).returncode:
            raise CannotBuild(f"{sys.executable} has no {module}: run this with the Python of `make setup`")
    options = ["--quiet", "--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--require-hashes"]
    _run([*pip, "download", *options, "-r", str(MODULE / "headers.txt"), "-d", str(folder)])


def _compile(binary: Path, headers: Path) -> None:
    """Into a folder beside the final one, renamed when finished: a broken build leaves nothing half."""
    print(f"building Ollama {VERSION} (five to ten minutes, once) into {binary.parent}", file=sys.stderr)
    began = time.monotonic()
    env = {**os.environ, "CGO_ENABLED": "1", "CGO_CPPFLAGS": f"-I{headers}"}
    flags = ["-mod=readonly", "-buildvcs=false", "-trimpath"]
    stamp = f"-X={PACKAGE}/version.Version={VERSION}"
    with tempfile.TemporaryDirectory(dir=cache_folder()) as temporary:
        built = Path(temporary) / "built"
        _run(["go", "build", *flags, "-ldflags", stamp, "-o", f"{built}/ollama", PACKAGE], env=env, cwd=MODULE)
        built.rename(binary.parent)
    print(f"built in {time.monotonic() - began:.0f} s", file=sys.stderr)


def _run(command: list[str], *, env: dict[str, str] | None = None, cwd: Path | None = None) -> None:
    try:
        subprocess.run(command, check=True, env=env, cwd=cwd, stdout=sys.stderr)
    except subprocess.CalledProcessError as failure:
        raise CannotBuild(f"{' '.join(command)} ended with status {failure.returncode}") from failure


def hash_of(*names: str) -> str:
    digest = hashlib.sha256()
    for name in names:
        digest.update((MODULE / name).read_bytes())
    return digest.hexdigest()[:12]


def main() -> int:
    """Exit status 0 and the binary's path on stdout, or 1 and the reason on stderr."""
    try:
        print(build())
    except CannotBuild as reason:
        print(f"cannot build Ollama: {reason}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
