"""What is in the image, and what is not: built for real, on the Debian of the tests."""

import json
import re
import subprocess
import sys

import pytest
from tests.image.built import Built
from tools.image.making import sizes
from tools.image.wheels import NOT_WANTED, RUNTIME_LOCK, normalized

from ai_gateway.version import __version__

pytestmark = pytest.mark.cluster
MOST_BYTES_ABOVE_THE_BASE = 95_000_000  # of which cryptography and psycopg, each with an OpenSSL, take 30, redis 6


def test_it_is_small(image: Built) -> None:
    assert sizes(image.archive).own_unpacked <= MOST_BYTES_ABOVE_THE_BASE


def test_its_config_is_that_of_the_dockerfile(image: Built) -> None:
    config = image.config()
    assert (config["User"], config["Entrypoint"], config["Cmd"]) == ("65532:65532", ["ai-gateway"], ["serve"])
    assert set(config["ExposedPorts"]) == {"8080/tcp", "9090/tcp"}
    assert config["Labels"]["org.opencontainers.image.version"] == __version__
    assert re.fullmatch("unknown|[0-9a-f]{40}", config["Labels"]["org.opencontainers.image.revision"])


def test_all_of_it_belongs_to_root_and_nobody_else_may_write_it(image: Built) -> None:
    ours = [image.root / "opt/ai-gateway", *(image.root / "opt/ai-gateway").rglob("*")]
    assert [path for path in ours if path.lstat().st_uid or path.lstat().st_gid] == []
    assert [path for path in ours if not path.is_symlink() and path.stat().st_mode & 0o6022] == []


def test_no_command_came_along_but_ours(image: Built) -> None:
    commands = {path.name for path in (image.root / "opt/ai-gateway/bin").iterdir()}
    assert {name for name in commands if not name.startswith("python")} == {"ai-gateway"}


def test_what_no_request_runs_is_not_there(image: Built) -> None:
    packages = image.packages
    for gone in ("kubernetes/aio", "kubernetes/client/api", "aiohttp", "pip", "setuptools"):
        assert not (packages / gone).exists(), gone
    assert [path.name for path in packages.glob("kubernetes/client/models/*.py")] == ["__init__.py"]
    kinds = {path.suffix for path in packages.rglob("*") if path.is_file()}
    assert kinds & {".c", ".h", ".pyx", ".pxd", ".pyi", ".whl"} == set()
    assert [path for path in packages.rglob("test*") if path.is_dir() and path.name in ("test", "tests")] == []


def test_every_module_has_bytecode_that_is_taken_as_it_is(image: Built) -> None:
    """Bits 0 and 1 of the second word: checked by hash, and not even that (PEP 552)."""
    sources = list(image.packages.rglob("*.py"))
    bytecode = [next(path.parent.glob(f"__pycache__/{path.stem}.cpython-*.pyc"), None) for path in sources]
    assert [source for source, found in zip(sources, bytecode, strict=True) if found is None] == []
    assert {found.read_bytes()[4:8] for found in bytecode if found} == {b"\x01\0\0\0"}


def test_the_bill_of_materials_lists_what_is_installed_with_the_hashes_of_the_lock(image: Built) -> None:
    text = (image.root / "opt/ai-gateway/sbom.cdx.json").read_text()
    bill = json.loads(text)
    assert text == image.bill.read_text()
    assert (bill["bomFormat"], bill["metadata"]["component"]["version"]) == ("CycloneDX", __version__)
    listed = {normalized(part["name"]): part for part in [*bill["components"], bill["metadata"]["component"]]}
    installed = {normalized(path.name.partition("-")[0]) for path in image.packages.glob("*.dist-info")}
    assert listed.keys() == installed
    assert all(part["licenses"] for part in listed.values())
    assert installed & NOT_WANTED == set()
    lock = RUNTIME_LOCK.read_text()
    assert [part["name"] for part in bill["components"] if part["hashes"][0]["content"] not in lock] == []


def test_the_vendors_licences_are_kept(image: Built) -> None:
    """One wheel comes without: its siblings bring the same text."""
    without = [path.name for path in image.packages.glob("*.dist-info") if not any(path.rglob("[LCN][IO][CPT]*"))]
    assert [name.partition("-")[0] for name in without] == ["opentelemetry_util_http"]


def test_no_place_of_this_machine_is_told(image: Built) -> None:
    places = [str(image.folder.parent), sys.prefix, "/build/wheels"]
    words = [word for place in places for word in ("-e", place)]
    found = subprocess.run(
        ["grep", "-rlF", *words, str(image.root / "opt")], capture_output=True, text=True, check=False
    )
    assert found.stdout == ""
