"""Unpacked images, ready for containerd: imported when they change, copied in no time when a cluster starts."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.binaries import binary
from tests.cluster.configuration import filled
from tests.cluster.images import Image, import_missing
from tests.cluster.layers import ALONE
from tests.cluster.part import Part
from tools.building import cache_folder, only_one


def unpack(images: Sequence[Image], root: Path) -> None:
    """Makes `root` a containerd root that has these images."""
    store = cache_folder() / "cluster-images"
    with only_one(store):
        _update(store, images)
        _copy(store, root)


def _update(store: Path, images: Sequence[Image]) -> None:
    """The store is such a root too, in which no container ever runs; it changes only when an image does."""
    wanted = {image.name: image.digest for image in images}
    contents = store / "contents.json"
    if not contents.exists() or json.loads(contents.read_text()) != wanted:
        contents.unlink(missing_ok=True)
        _fill(store, images)
        contents.write_text(json.dumps(wanted))


def _copy(store: Path, root: Path) -> None:
    """Files are hard links: nothing writes into an image's files. Databases are written, so they are copies."""
    subprocess.run(["cp", "--archive", "--link", str(store), str(root)], check=True)
    for database in root.glob("*/*.db"):
        original = store / database.relative_to(root)
        database.unlink()
        shutil.copy2(original, database)


def _fill(store: Path, images: Sequence[Image]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        socket = folder / "containerd.sock"
        values = {"folder": folder, "containerd_root": store, "containerd_socket": socket}
        configuration = folder / "containerd.toml"
        configuration.write_text(filled("containerd-images.toml", values))
        command = [*ALONE, str(binary("containerd")), f"--config={configuration}"]
        containerd = Part("containerd", command, folder, socket.exists)
        containerd.start()
        try:
            import_missing(socket, images)
            _forget_unused(socket)
        finally:
            containerd.kill()


def _forget_unused(socket: Path) -> None:
    """Content and unpacked files of images that have been replaced."""
    ctr = [str(binary("ctr")), "-a", str(socket), "-n", "k8s.io"]
    subprocess.run([*ctr, "content", "prune", "references"], check=True, capture_output=True)
