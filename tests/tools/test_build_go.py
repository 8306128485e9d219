"""Promises of the script that builds Go programs; building itself is what `make cluster` does."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.tools import build_go
from tools.building import CannotBuild


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI_GATEWAY_CACHE", str(tmp_path / "cache"))


def run_script(*groups: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, build_go.__file__, *groups], capture_output=True, text=True, check=False)


def test_what_is_built_already_is_not_built_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")  # nothing can be built
    folders = [build_go.folder_of(name) for name in ("containerd", "coredns")]
    for folder in folders:
        folder.mkdir(parents=True)
    ended = run_script("containerd", "coredns")
    assert (ended.returncode, ended.stdout.splitlines()) == (0, [str(folder) for folder in folders])


def test_without_go_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    ended = run_script("coredns")
    assert ended.returncode == 1
    assert "install Go" in ended.stderr


def test_an_unknown_group_is_refused_with_the_known_ones() -> None:
    ended = run_script("minikube")
    assert ended.returncode == 2
    assert "kubernetes, containerd, coredns" in ended.stderr


def test_a_build_that_fails_leaves_nothing_half_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = tmp_path / "bin" / "go"
    go.parent.mkdir()
    go.write_text("#!/bin/sh\nexit 1\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", str(go.parent))
    with pytest.raises(CannotBuild):
        build_go.build("coredns")
    assert not build_go.folder_of("coredns").exists()


@pytest.mark.parametrize("name", build_go.GROUPS)
def test_the_pins_and_the_version_belong_together(name: str) -> None:
    """The version in the table is that of the module which the group's programs, but for etcd, come from."""
    group, pins = build_go.GROUPS[name], (build_go.module_of(name) / "go.mod").read_text()
    package = list(group.programs.values())[-1]
    modules = re.findall(r"^\s*(?:require )?(\S+) v(\S+)", pins, re.MULTILINE)
    versions = [version for module, version in modules if package == module or package.startswith(f"{module}/")]
    assert group.version in versions
