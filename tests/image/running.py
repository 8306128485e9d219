"""Runs the image's file system as a container runtime does: read-only, as its user, without any capability."""

import json
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Mounts = Mapping[str, Path]
ALL_ENDS_BY = 60.0


@dataclass(frozen=True, slots=True)
class Container:
    """A container that runs: `process` is runc, which passes its output on and ends with its exit status."""

    name: str
    process: subprocess.Popen[str]
    bundle: Path

    def pid(self) -> int:
        """Of its first process, as this machine sees it."""
        told = subprocess.run([*_runc(self.bundle), "state", self.name], capture_output=True, check=True).stdout
        number: int = json.loads(told)["pid"]
        return number

    def exec(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs another program in it, as `kubectl exec` and health checks do."""
        return subprocess.run(
            [*_runc(self.bundle), "exec", self.name, *words],
            capture_output=True,
            text=True,
            timeout=ALL_ENDS_BY,
            check=False,
        )


def run(root: Path, config: Mapping[str, Any], words: Sequence[str], **more: Any) -> subprocess.CompletedProcess[str]:
    """Runs the entrypoint with those arguments to its end. `more` as for `started`."""
    with started(root, config, words, **more) as container:
        out, err = container.process.communicate(timeout=ALL_ENDS_BY)
        return subprocess.CompletedProcess(words, container.process.returncode, out, err)


@contextmanager
def started(
    root: Path,
    config: Mapping[str, Any],
    words: Sequence[str],
    *,
    program: Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    mounts: Mounts | None = None,
) -> Iterator[Container]:
    """Starts the entrypoint, or `program`, on this machine's network. Nothing can be written but what is mounted."""
    with tempfile.TemporaryDirectory(dir=root.parent) as folder:
        bundle = Path(folder)
        subprocess.run(
            ["cp", "--archive", "--link", root, bundle / "root"], check=True
        )  # runc makes mount points in it
        entry = [*(program or config["Entrypoint"]), *words]
        (bundle / "config.json").write_text(json.dumps(_specification(config, entry, env or {}, mounts or {})))
        name = f"image-test-{uuid.uuid4().hex[:8]}"
        command = [*_runc(bundle), "run", "--bundle", folder, name]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                yield Container(name, process, bundle)
            finally:
                subprocess.run([*_runc(bundle), "delete", "--force", name], capture_output=True, check=False)
                process.communicate(timeout=ALL_ENDS_BY)


def _runc(bundle: Path) -> list[str]:
    return ["runc", "--root", str(bundle / "state")]


def _specification(
    config: Mapping[str, Any], entry: list[str], env: Mapping[str, str], mounts: Mounts
) -> dict[str, Any]:
    """runc's own example of a specification, with what a restricted pod has."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["runc", "spec"], cwd=folder, check=True)
        specification: dict[str, Any] = json.loads(Path(folder, "config.json").read_text())
    user, group = map(int, config["User"].split(":"))
    specification["root"] = {"path": "root", "readonly": True}
    specification["process"].update(
        terminal=False,
        user={"uid": user, "gid": group},
        args=entry,
        cwd=config["WorkingDir"],
        env=[*config["Env"], *(f"{name}={value}" for name, value in env.items())],
        capabilities={},
    )
    specification["mounts"] += [
        {"destination": place, "type": "bind", "source": str(source), "options": ["bind", "ro"]}
        for place, source in mounts.items()
    ]
    namespaces = specification["linux"]["namespaces"]
    specification["linux"]["namespaces"] = [space for space in namespaces if space["type"] != "network"]
    return specification
