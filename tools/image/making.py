"""From the checkout to an image in an archive: wheels, bill of materials, build."""

import json
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from tools.building import only_one, timed
from tools.image import sbom, wheels
from tools.image.builders import Builder
from tools.image.sources import CHECKOUT

from ai_gateway.version import __version__

DEFAULT_BASE = "python:3.13-slim"
DEFAULT_NAME = "ai-gateway-ollama"
BUILD = CHECKOUT / "build"
SBOM = BUILD / "sbom.cdx.json"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the image is to be made from and called."""

    base: str = DEFAULT_BASE
    name: str = DEFAULT_NAME
    tag: str = __version__

    @property
    def reference(self) -> str:
        """The name in full, as containerd has it: short ones are Docker's library's."""
        first, slash, _ = self.name.partition("/")
        if not slash:
            return f"docker.io/library/{self.name}:{self.tag}"
        is_host = "." in first or ":" in first or first == "localhost"
        return f"{'' if is_host else 'docker.io/'}{self.name}:{self.tag}"


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of what stands above the base, and of the whole image; unpacked, and packed as the archive has it."""

    own_unpacked: int
    own_packed: int
    all_unpacked: int
    all_packed: int

    def __str__(self) -> str:
        whole = f"{_mb(self.all_unpacked)} unpacked, {_mb(self.all_packed)} packed"
        return f"{whole}; above the base {_mb(self.own_unpacked)} and {_mb(self.own_packed)}"


def make(wanted: Wanted, builder: Builder, archive: Path) -> None:
    """Fills `build/`, builds, and writes the archive. One at a time in a checkout."""
    with only_one(BUILD / "image"), timed(f"image {wanted.reference}"):
        held = wheels.fill(BUILD / "wheels", builder.target(wanted.base))
        sbom.write(held, SBOM)
        arguments = {"BASE": wanted.base, "VERSION": __version__, "REVISION": _git("rev-parse", "HEAD") or "unknown"}
        builder.build(wanted.reference, arguments, int(_git("log", "-1", "--format=%ct") or 0))
        archive.parent.mkdir(parents=True, exist_ok=True)
        builder.save(wanted.reference, archive)


def sizes(archive: Path) -> Sizes:
    """Read from an OCI archive: the last layer is ours, those before it are the base's."""
    with tarfile.open(archive) as outer:
        (entry,) = _json(outer, "index.json")["manifests"]
        layers = _json(outer, _blob(entry["digest"]))["layers"]
        packed = [int(layer["size"]) for layer in layers]
        unpacked = [_unpacked(outer, _blob(layer["digest"])) for layer in layers]
    return Sizes(unpacked[-1], packed[-1], sum(unpacked), sum(packed))


def _unpacked(outer: tarfile.TarFile, blob: str) -> int:
    with tarfile.open(fileobj=outer.extractfile(blob)) as layer:
        return sum(member.size for member in layer if member.isfile())


def _json(outer: tarfile.TarFile, name: str) -> dict[str, list[dict[str, str]]]:
    file = outer.extractfile(name)
    assert file is not None
    content: dict[str, list[dict[str, str]]] = json.load(file)
    return content


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"


def _git(*words: str) -> str:
    """What git says, or nothing where there is no git or no repository."""
    try:
        done = subprocess.run(["git", "-C", str(CHECKOUT), *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
