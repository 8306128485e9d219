"""The programs that build images from a Dockerfile: each asks a base for its Python, builds, and writes an archive."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from tools.building import CannotBuild, install_debian, run
from tools.image.sources import CHECKOUT
from tools.image.wheels import Target

ASK = """
import platform, sys
libc = platform.libc_ver()
found = " ".join(libc) if libc[0] == "glibc" else "musl 1.2"
print("%d.%d" % sys.version_info[:2], platform.machine(), found, sep=";")
"""
TRIES = 5
Arguments = Mapping[str, str]


class _Busy(CannotBuild):
    """The next try may well succeed."""


class Builder(Protocol):
    """A base or an image is a reference as that program takes it."""

    is_one_layer: ClassVar[bool]  # whether all that stands above the base is one layer of an OCI archive

    def target(self, base: str) -> Target:
        """The base's Python and platform; the base is fetched if it is not there."""

    def build(self, reference: str, arguments: Arguments, seconds: int) -> None:
        """Builds the checkout's Dockerfile; `seconds` since 1970 is the time of all files, where that can be said."""

    def save(self, reference: str, archive: Path) -> None:
        """Writes an archive that `ctr images import` takes."""


@dataclass(frozen=True, slots=True)
class Buildah:
    """Keeps its images in a folder of its own, and isolates by chroot, which works in containers too."""

    is_one_layer: ClassVar[bool] = True
    storage: Path

    def target(self, base: str) -> Target:
        """Runs the base's Python in a container that is removed at once."""
        container = self._output("from", base)
        try:
            return _target(self._output("run", "--isolation=chroot", container, "--", "python3", "-c", ASK))
        finally:
            self._output("rm", container)

    def build(self, reference: str, arguments: Arguments, seconds: int) -> None:
        """In OCI's format, which has no health check. One layer above the base."""
        options = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        how = ["--isolation=chroot", f"--timestamp={seconds}", "--identity-label=false", "--quiet", "--tag", reference]
        alone = ["unshare", "--net"] if os.geteuid() == 0 else []  # chroot isolation leaves the network as it is
        self._output("bud", *how, *options, str(CHECKOUT), before=alone)
        self._output("rmi", "--prune")  # what had the name before

    def save(self, reference: str, archive: Path) -> None:
        """The name goes into the archive in full, so that it is imported under it."""
        archive.unlink(missing_ok=True)
        self._output("push", "--quiet", reference, f"oci-archive:{archive}:{reference}")

    def _output(self, *words: str, before: Sequence[str] = ()) -> str:
        """Buildah copies itself into memory to run a step, which on a busy machine fails now and then."""
        folders = [f"--root={self.storage / 'images'}", f"--runroot={self.storage / 'run'}"]
        command = [*before, "buildah", "--storage-driver=vfs", *folders, *words]
        for _ in range(TRIES - 1):
            with suppress(_Busy):
                return _output(command)
        return _output(command)


@dataclass(frozen=True, slots=True)
class Docker:
    """Docker, or podman, which takes the same words."""

    is_one_layer: ClassVar[bool] = False
    program: str

    def target(self, base: str) -> Target:
        """Runs the base's Python in a container that is removed at once."""
        return _target(_output([self.program, "run", "--rm", "--entrypoint=python3", base, "-c", ASK]))

    def build(self, reference: str, arguments: Arguments, seconds: int) -> None:
        """Without a network."""
        options = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        run([self.program, "build", "--network=none", "--tag", reference, *options, str(CHECKOUT)])

    def save(self, reference: str, archive: Path) -> None:
        """In the program's own kind of archive."""
        kind = ["--format=oci-archive"] if self.program == "podman" else []
        archive.unlink(missing_ok=True)
        run([self.program, "save", *kind, f"--output={archive}", reference])


def builder(name: str, storage: Path) -> Builder:
    """That one, or without a name the first that works; buildah is installed where there is none."""
    name = name or next(filter(_works, ("docker", "podman")), "buildah")
    if name == "buildah":
        install_debian({"buildah": Path(shutil.which("buildah") or "/usr/bin/buildah")})
        return Buildah(storage)
    if name not in ("docker", "podman") or shutil.which(name) is None:
        raise CannotBuild(f"BUILDER={name}: there is no such builder here; docker, podman and buildah are known")
    return Docker(name)


def _works(program: str) -> bool:
    """Docker's command is no use where its daemon does not run."""
    return (
        shutil.which(program) is not None
        and subprocess.run([program, "info"], capture_output=True, check=False).returncode == 0
    )


def _target(output: str) -> Target:
    return Target(*output.split(";"))


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    if done.returncode:
        raise (_Busy if "sealing memfd copy" in done.stderr else CannotBuild)(
            f"{command[0]} ended with status {done.returncode}: {done.stderr.strip()}"
        )
    return done.stdout.strip()
