"""The wheels that the image is made from, for the base's Python and platform: downloaded by the hashed locks, once."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from pathlib import Path

from packaging.requirements import Requirement
from tools.building import CannotBuild, cache_folder, hash_of, made_whole, only_one, run
from tools.image.sources import CHECKOUT, MADE_FROM, SOURCES, made_from

RUNTIME_LOCK = CHECKOUT / "requirements" / "runtime.txt"
PIP_LOCK = CHECKOUT / "requirements" / "pip.txt"
PROJECT = "ai-gateway-ollama"
# The Kubernetes client requires these for its asyncio twin, which nothing here imports.
NOT_WANTED = {"aiohttp", "aiohttp-retry"}
OLDEST_EPOCH = "315532800"  # 1980: zip files know no earlier time; a fixed one makes the same wheel of the same sources


@dataclass(frozen=True, slots=True)
class Target:
    """The base's Python: `version` such as 3.13, `machine` such as x86_64, `libc` such as glibc 2.36."""

    version: str
    machine: str
    libc: str

    def platforms(self) -> list[str]:
        """The platform tags whose wheels run there, best first (PEP 600 and PEP 656)."""
        family, _, version = self.libc.partition(" ")
        newest = int(version.split(".")[1])
        if family == "glibc":
            names = [f"manylinux_2_{minor}" for minor in range(newest, 4, -1)] + ["manylinux2014"]
        else:
            names = [f"musllinux_1_{minor}" for minor in range(newest, -1, -1)]
        return [f"{name}_{self.machine}" for name in names]


Need = tuple[str, frozenset[str]]  # a package's normalized name, and the extras that are asked for


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel and what it says of itself. `name` is normalized (PEP 503)."""

    file: Path
    name: str
    version: str
    requires: tuple[Requirement, ...]

    def leads_to(self, extras: frozenset[str]) -> Iterator[Need]:
        """What it needs with these extras, on whatever platform."""
        for wanted in self.requires:
            condition = str(wanted.marker or "")
            named = set(re.findall(r"""extra\s*==\s*["']([^"']+)""", condition))
            if not named or {normalized(extra) for extra in named} & extras:
                yield normalized(wanted.name), frozenset(map(normalized, wanted.extras))

    @property
    def sha256(self) -> str:
        """Of the whole file, as locks have it."""
        return hashlib.sha256(self.file.read_bytes()).hexdigest()


def fill(folder: Path, target: Target) -> list[Wheel]:
    """Makes `folder` anew: the wheels that the image needs, pip's, `requirements.txt` with a hash for each, and what
    they were made from. Returns those that the image holds."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file in _downloaded(target).glob("*.whl"):
        shutil.copy2(file, folder)
    _build_own(folder)
    wheels = {wheel.name: wheel for wheel in map(read, sorted(folder.glob("*.whl")))}
    needed = _needed(wheels)
    for name in wheels.keys() - needed - {"pip"}:
        wheels[name].file.unlink()
    held = [wheels[name] for name in sorted(needed)]
    lines = [f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n" for wheel in held]
    (folder / "requirements.txt").write_text("".join(lines))
    (folder / MADE_FROM).write_text(made_from(target.version, target.machine, target.libc))
    return held


def read(file: Path) -> Wheel:
    """What the wheel's METADATA says."""
    with zipfile.ZipFile(file) as archive:
        (path,) = (name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
        head = BytesHeaderParser().parsebytes(archive.read(path))
    requires = tuple(map(Requirement, head.get_all("Requires-Dist", [])))
    return Wheel(file, normalized(head["Name"]), head["Version"], requires)


def normalized(name: str) -> str:
    """The one spelling of a package's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _needed(wheels: dict[str, Wheel]) -> set[str]:
    """What the project leads to, extras that are asked for too, but not through what is not wanted."""
    seen: set[Need] = set()
    waiting: list[Need] = [(PROJECT, frozenset())]
    while waiting:
        need = waiting.pop()
        name, extras = need
        if name in wheels and name not in NOT_WANTED and need not in seen:
            seen.add(need)
            waiting += wheels[name].leads_to(extras)
    return {name for name, _ in seen}


def _downloaded(target: Target) -> Path:
    folder = (
        cache_folder()
        / f"wheels-{target.version}-{hash_of([RUNTIME_LOCK, PIP_LOCK, Path(__file__)], *target.platforms())}"
    )
    with only_one(folder):
        if not folder.exists():
            with made_whole(folder) as unfinished:
                unfinished.mkdir()
                _download(unfinished, target)
    return folder


def _download(folder: Path, target: Target) -> None:
    platforms = [word for platform in target.platforms() for word in ("--platform", platform)]
    only = ["--only-binary", ":all:", "--python-version", target.version, "--implementation", "cp", *platforms]
    with tempfile.TemporaryDirectory() as written:
        lock = Path(written, "runtime.txt")
        lock.write_text(for_every_release(RUNTIME_LOCK.read_text(), target.version))
        exactly = ["--no-deps", "--require-hashes", "-r", str(lock), "-r", str(PIP_LOCK)]
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        run([*pip, *only, *exactly, "--dest", str(folder)])


def for_every_release(lock: str, version: str) -> str:
    """The lock with what only early releases of a Python need, such as 3.11.2: pip looks at the one that it runs on."""
    return re.sub(rf" ; python_full_version < '{re.escape(version)}\.\d+'", "", lock)


def _build_own(folder: Path) -> None:
    """From a copy, since setuptools leaves its work beside the sources and takes up what an earlier run left."""
    with tempfile.TemporaryDirectory() as copied:
        for name in SOURCES:
            source = CHECKOUT / name
            if source.is_dir():
                shutil.copytree(source, Path(copied, name), ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            else:
                shutil.copy2(source, copied)
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command = [*pip, "--no-build-isolation", "--no-index", "--wheel-dir", str(folder), copied]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": OLDEST_EPOCH}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CannotBuild(f"the project's own wheel could not be built: {done.stderr.strip()}")
