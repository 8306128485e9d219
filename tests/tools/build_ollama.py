"""Builds the Ollama that the tests run, once, into a cache folder outside the checkout; prints where it is.

    python tests/tools/build_ollama.py

The version and the content of everything it is made from are pinned by `ollama/go.mod`, `go.sum` and `headers.txt`;
their hash names the folder, so a change of a pin builds anew and anything else is a no-op. Building takes five to
ten minutes and needs Go, a C++ compiler, and two Debian packages of headers (installed here when root).

Ollama's Go module lacks three headers, since Go leaves folders named vendor out of modules: two come from Debian,
one from a source archive on the Python package index. Releases from 0.30 on cannot run models built this way.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # run as a script, Python would look beside this file only

from tools.building import (
    CannotBuild,
    cache_folder,
    check_go,
    hash_of,
    install_debian,
    made_whole,
    only_one,
    run,
    timed,
)

VERSION = "0.24.0"
MODULE = Path(__file__).parent / "ollama"
PINS = tuple(MODULE / name for name in ("go.mod", "go.sum", "headers.txt"))
PACKAGE = "github.com/ollama/ollama"
DEBIAN_HEADERS = {
    "nlohmann-json3-dev": Path("/usr/include/nlohmann/json.hpp"),
    "libstb-dev": Path("/usr/include/stb/stb_image.h"),
}


def binary_path() -> Path:
    """Where the binary of these pins is, built already or not."""
    return cache_folder() / f"ollama-{VERSION}-{hash_of(PINS)}" / "ollama"


def build() -> Path:
    """The path of the binary, built first if it is not there. Two runs at once: the second waits for the first."""
    binary = binary_path()
    if binary.exists():
        return binary
    with only_one(binary.parent):
        if not binary.exists():
            _check_tools()
            install_debian(DEBIAN_HEADERS)
            _compile(binary, _fetch_headers())
    return binary


def _check_tools() -> None:
    check_go()
    if shutil.which("g++") is None:
        raise CannotBuild("g++ is missing: Ollama's engine is C++ (Debian: apt-get install g++)")


def headers_folder() -> Path:
    """Where the fetched header is. The path does not change: Go's build cache depends on it."""
    return cache_folder() / f"headers-{hash_of([MODULE / 'headers.txt'])}"


def _fetch_headers() -> Path:
    """The folder that has `miniaudio/miniaudio.h`."""
    folder = headers_folder()
    if folder.exists():
        return folder
    with tempfile.TemporaryDirectory(dir=cache_folder()) as fetched, made_whole(folder) as unpacked:
        _download(Path(fetched))
        (unpacked / "miniaudio").mkdir(parents=True)
        with tarfile.open(next(Path(fetched).glob("*.tar.gz"))) as archive:
            header = next(m for m in archive.getmembers() if m.name.endswith("/miniaudio/miniaudio.h"))
            content = archive.extractfile(header)
            if content is None:
                raise CannotBuild(f"{header.name} in miniaudio's source archive is not a file")
            (unpacked / "miniaudio" / "miniaudio.h").write_bytes(content.read())
    return folder


def _download(folder: Path) -> None:
    """Pip alone checks the hash. It also asks the archive for its metadata: setuptools must be installed here,
    or pip would fetch an unpinned one for that."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    for module in ("pip", "setuptools"):
        if subprocess.run([sys.executable, "-c", f"import {module}"], check=False, capture_output=True).returncode:
            raise CannotBuild(f"{sys.executable} has no {module}: run this with the Python of `make setup`")
    options = ["--quiet", "--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--require-hashes"]
    run([*pip, "download", *options, "-r", str(MODULE / "headers.txt"), "-d", str(folder)])


def _compile(binary: Path, headers: Path) -> None:
    env = {**os.environ, "CGO_ENABLED": "1", "CGO_CPPFLAGS": f"-I{headers}"}
    flags = ["-mod=readonly", "-buildvcs=false", "-trimpath"]
    stamp = f"-X={PACKAGE}/version.Version={VERSION}"
    what = f"Ollama {VERSION} (five to ten minutes, once) into {binary.parent}"
    with timed(what), made_whole(binary.parent) as built:
        run(["go", "build", *flags, "-ldflags", stamp, "-o", f"{built}/ollama", PACKAGE], env=env, cwd=MODULE)


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
