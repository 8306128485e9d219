"""The images of the cluster, put together from layers without a builder or a registry: OCI archives, streamed.

`parts/images/*.yaml` says for each its name, its layers and what it runs.
"""

import contextlib
import hashlib
import io
import json
import platform
import subprocess
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import yaml
from tests.cluster.binaries import binary
from tests.cluster.configuration import PARTS
from tests.cluster.layers import Layer, layer

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
OCI = "application/vnd.oci.image"


@dataclass(frozen=True, slots=True)
class Image:
    """An image whose layers are in the cache. `manifest` and `config` are the bytes that their digests are of."""

    name: str
    layers: tuple[Layer, ...]
    manifest: bytes
    config: bytes

    @property
    def digest(self) -> str:
        """What containerd lists it under: it changes with anything in the image."""
        return _digest(self.manifest)

    @property
    def size_bytes(self) -> int:
        """Of all layers, unpacked and packed alike: nothing is compressed."""
        return sum(layer.size_bytes for layer in self.layers)


IMAGES = ("pause", "base", "simulator", "simulator-load", "ollama", "application")


def image_name(image: str) -> str:
    """The reference to write in a manifest for one of `IMAGES`."""
    name: str = _description(image)["name"]
    return name


def image(name: str) -> Image:
    """One of `IMAGES`, its layers made first where they are not in the cache."""
    description = _description(name)
    layers = tuple(layer(part) for part in description["layers"])
    config = _json(
        {
            "architecture": ARCHITECTURES[platform.machine()],
            "os": "linux",
            "config": description["config"],
            "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": f"{OCI}.manifest.v1+json",
            "config": _described(f"{OCI}.config.v1+json", config),
            "layers": [
                {"mediaType": f"{OCI}.layer.v1.tar", "digest": layer.digest, "size": layer.size_bytes}
                for layer in layers
            ],
        }
    )
    return Image(description["name"], layers, manifest, config)


def import_missing(socket: Path, images: Sequence[Image]) -> None:
    """Gives the containerd at that socket those images that it does not have, or has with another content."""
    held = _held(socket)
    for wanted in images:
        if held.get(wanted.name) != wanted.digest:
            import_archive(socket, partial(write_archive, wanted))


def write_archive(image: Image, stream: IO[bytes]) -> None:
    """The image as an OCI archive."""
    naming = {
        "io.containerd.image.name": image.name,
        "org.opencontainers.image.ref.name": image.name.rpartition(":")[2],
    }
    entry = {**_described(f"{OCI}.manifest.v1+json", image.manifest), "annotations": naming}
    index = {"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": [entry]}
    with tarfile.open(fileobj=stream, mode="w|") as archive:
        _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(archive, "index.json", _json(index))
        for content in (image.manifest, image.config):
            _add(archive, _blob(_digest(content)), content)
        for layer in image.layers:
            archive.add(layer.file, arcname=_blob(layer.digest))


def import_archive(socket: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Gives the containerd at that socket the image that `write` writes as an OCI archive."""
    command = [str(binary("ctr")), "-a", str(socket), "-n", "k8s.io", "images", "import", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as ctr:
        assert ctr.stdin is not None
        assert ctr.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # ctr gave up, and says why
            write(ctr.stdin)
            ctr.stdin.close()
        said = ctr.stdout.read().decode()
    assert ctr.returncode == 0, f"import of an image: {said}"


def _held(socket: Path) -> Mapping[str, str]:
    """The digest of each image by its name."""
    command = [str(binary("ctr")), "-a", str(socket), "-n", "k8s.io", "images", "ls"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[1:]
    return {name: digest for name, _, digest, *_ in (line.split() for line in lines)}


def _description(name: str) -> dict[str, Any]:
    description: dict[str, Any] = yaml.safe_load((PARTS / "images" / f"{name}.yaml").read_text())
    return description


def _described(media_type: str, content: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
