"""The image of this checkout on the tests' Debian, built once for each content and kept in the cache."""

import json
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.images import image, write_archive
from tools.building import cache_folder, hash_of, install_debian, made_whole, only_one
from tools.image.builders import builder
from tools.image.making import SBOM, Wanted, make
from tools.image.sources import CHECKOUT, SOURCES

KEPT = 2  # a run of tests that began before a change may still use one
MADE_FROM = (*SOURCES, "Dockerfile", ".dockerignore", "image", "requirements", "tools/image", "tools/building.py")


@dataclass(frozen=True, slots=True)
class Built:
    """`archive` is what `make image` writes, `root` the image's file system, laid out for a container."""

    folder: Path

    @property
    def reference(self) -> str:
        """The name that the archive is imported under: the chart's default."""
        return Wanted().reference

    @property
    def archive(self) -> Path:
        """An OCI archive."""
        return self.folder / "image.tar"

    @property
    def root(self) -> Path:
        """Of base and gateway together."""
        return self.folder / "root"

    @property
    def bill(self) -> Path:
        """The bill of materials that `make image` leaves in `build/`."""
        return self.folder / "sbom.cdx.json"

    @property
    def packages(self) -> Path:
        """Where the gateway's packages are."""
        (found,) = self.root.glob("opt/ai-gateway/lib/python*/site-packages")
        return found

    def config(self) -> dict[str, Any]:
        """What runtimes read of the image: user, entrypoint, environment, labels."""
        with tarfile.open(self.archive) as archive:
            config: dict[str, Any] = _read(archive, _manifest(archive)["config"]["digest"])["config"]
        return config


def built() -> Built:
    """Builds it if its content is not in the cache. Needs root; most earlier contents are thrown away."""
    base = image("base")
    files = [file for name in MADE_FROM for file in _files(CHECKOUT / name)]
    folder = cache_folder() / f"image-{hash_of(files, base.digest, *map(str, files))}"
    with only_one(cache_folder() / "image"):
        if not folder.exists():
            earlier = sorted(cache_folder().glob("image-*/image.tar"), key=lambda file: file.stat().st_mtime)
            for archive in earlier[:-KEPT]:
                shutil.rmtree(archive.parent)
            with made_whole(folder) as unfinished:
                unfinished.mkdir()
                _build(Built(unfinished))
    return Built(folder)


def _build(result: Built) -> None:
    install_debian({"runc": Path(shutil.which("runc") or "/usr/sbin/runc")})
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder, "base.tar")
        with base.open("wb") as stream:
            write_archive(image("base"), stream)
        make(Wanted(base=f"oci-archive:{base}"), builder("buildah", Path(folder, "buildah")), result.archive)
    shutil.copy2(SBOM, result.bill)
    result.root.mkdir()
    with tarfile.open(result.archive) as archive:
        for layer in _manifest(archive)["layers"]:
            tar = ["tar", "--extract", "--gzip", "--numeric-owner", "--directory", str(result.root)]
            with archive.extractfile(_blob(layer["digest"])) as stream:  # type: ignore[union-attr]  # it is a file
                subprocess.run(tar, input=stream.read(), check=True)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    kept = (file for file in path.rglob("*") if "__pycache__" not in file.parts and ".egg-info" not in str(file))
    return sorted(file for file in kept if file.is_file())


def _manifest(archive: tarfile.TarFile) -> dict[str, Any]:
    index = archive.extractfile("index.json")
    assert index is not None
    (entry,) = json.load(index)["manifests"]
    return _read(archive, entry["digest"])


def _read(archive: tarfile.TarFile, digest: str) -> dict[str, Any]:
    file = archive.extractfile(_blob(digest))
    assert file is not None
    content: dict[str, Any] = json.load(file)
    return content


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"
