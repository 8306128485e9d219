"""Promises of the files that the parts are told by; they need neither root nor Go."""

import io
import json
import tarfile
import tomllib
from pathlib import Path

import pytest
import yaml
from tests.cluster.configuration import PARTS, filled, flags
from tests.cluster.images import IMAGES, Image, image_name, write_archive
from tests.cluster.layers import RECIPES, Layer
from tests.cluster.layout import Layout

VALUES = Layout(Path("/cluster")).values()
DIGEST = "sha256:" + 64 * "0"


@pytest.mark.parametrize("file", sorted(path.name for path in PARTS.glob("*.flags")))
def test_a_flags_file_is_flags_and_comments(file: str) -> None:
    assert all(flag.startswith("-") and "$" not in flag for flag in flags(file, VALUES))


def test_each_file_is_of_its_format() -> None:
    tomllib.loads(filled("containerd.toml", VALUES))
    json.loads(filled("pods.conflist", VALUES))
    for name in ("kubelet.yaml", "kube-dns.yaml"):
        list(yaml.safe_load_all(filled(name, VALUES)))


def test_clusters_of_one_machine_share_no_address_and_no_name() -> None:
    first, second = Layout(Path("/cluster")), Layout(Path("/cluster-1"), 1)
    shared = set(map(str, first.values().values())) & set(map(str, second.values().values()))
    assert shared == {"2379", "6443", "ai-gateway", image_name("pause")}  # these are apart by their network


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_has_a_full_name_and_known_layers(name: str) -> None:
    described = yaml.safe_load((PARTS / "images" / f"{name}.yaml").read_text())
    assert described["name"].startswith("docker.io/local/")  # the kubelet looks for no other form
    assert set(described["layers"]) <= RECIPES.keys()


def test_an_archive_holds_every_blob_under_its_digest(tmp_path: Path) -> None:
    (tmp_path / "layer.tar").write_bytes(b"a layer")
    image = Image("docker.io/local/x:test", (Layer(tmp_path / "layer.tar", DIGEST, 7),), b"manifest", b"config")
    stream = io.BytesIO()
    write_archive(image, stream)
    stream.seek(0)
    with tarfile.open(fileobj=stream) as archive:
        names = archive.getnames()
    assert {"oci-layout", "index.json", f"blobs/{image.digest.replace(':', '/')}"} <= set(names)
    assert f"blobs/{DIGEST.replace(':', '/')}" in names
