"""The image's bill of materials, CycloneDX JSON: what stands above the base, with licences, dependencies and hashes."""

import json
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

from tools.building import CannotBuild, cache_folder, hash_of, only_one, run
from tools.image.sources import CHECKOUT
from tools.image.wheels import PROJECT, Wheel, normalized

# What a wheel says in words of its own, which the tool leaves out.
LICENCES = {"protobuf": "BSD-3-Clause"}
LOCK = CHECKOUT / "requirements" / "sbom.txt"
VALIDATE = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
sys.exit(JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read()))
"""


def write(wheels: list[Wheel], file: Path, tools: Path | None = None) -> None:
    """Writes the bill of those wheels: the tool reads them as an environment, the hashes are ours.

    `tools` is an environment with the tool; without it one in the cache is used.
    """
    tools = tools or _tools()
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=False)
        (packages,) = Path(folder).glob("lib/python*/site-packages")
        for wheel in wheels:
            _lay_metadata(wheel, packages)
        command = [str(tools / "bin" / "cyclonedx-py"), "environment", "--output-reproducible", "--sv", "1.6", folder]
        output = _output(command, "")
    bill = json.dumps(_named(json.loads(output), wheels), indent=1, sort_keys=True)
    _output([str(tools / "bin" / "python"), "-c", VALIDATE], bill)
    file.write_text(bill + "\n")


def _named(bill: dict[str, object], wheels: list[Wheel]) -> dict[str, object]:
    """The gateway becomes what the bill is of; each other package gets the hash of the wheel it was installed from."""
    hashes = {wheel.name: wheel.sha256 for wheel in wheels}
    components = bill["components"]
    assert isinstance(components, list)
    for component in components:
        if component["name"] in LICENCES:
            component.setdefault("licenses", [{"license": {"id": LICENCES[component["name"]]}}])
        component["hashes"] = [{"alg": "SHA-256", "content": hashes[normalized(component["name"])]}]
    (own,) = (component for component in components if component["name"] == PROJECT)
    components.remove(own)
    metadata = bill["metadata"]
    assert isinstance(metadata, dict)
    metadata["component"] = {**own, "type": "application"}
    return bill


def _lay_metadata(wheel: Wheel, packages: Path) -> None:
    with zipfile.ZipFile(wheel.file) as archive:
        archive.extractall(packages, [name for name in archive.namelist() if ".dist-info/" in name])


def _tools() -> Path:
    """An environment of its own with the tool, in the cache."""
    folder = cache_folder() / f"sbom-tools-{hash_of([LOCK], sys.version, sys.executable)}"
    with only_one(folder):
        if not (folder / "complete").exists():
            venv.create(folder, with_pip=True, clear=True)
            pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            run([*pip, "--require-hashes", "--only-binary", ":all:", "-r", str(LOCK)])
            (folder / "complete").touch()
    return folder


def _output(command: list[str], given: str) -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotBuild(f"the bill of materials could not be made: {done.stderr.strip()}")
    return done.stdout
