"""Promises of the script that builds Ollama; building itself is what `make e2e` does."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.tools import build_ollama
from tools.building import CannotBuild


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI_GATEWAY_CACHE", str(tmp_path / "cache"))


def run_script() -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, build_ollama.__file__], capture_output=True, text=True, check=False)


def test_what_is_built_already_is_not_built_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")  # nothing can be built
    binary = build_ollama.binary_path()
    binary.parent.mkdir(parents=True)
    binary.touch()
    ended = run_script()
    assert (ended.returncode, ended.stdout) == (0, f"{binary}\n")


def test_without_go_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    ended = run_script()
    assert ended.returncode == 1
    assert "install Go" in ended.stderr


def test_a_build_that_fails_leaves_nothing_half_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("go", "g++", "apt-get"):
        tool = tmp_path / "bin" / name
        tool.parent.mkdir(exist_ok=True)
        tool.write_text("#!/bin/sh\nexit 1\n")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    build_ollama.headers_folder().mkdir(parents=True)
    with pytest.raises(CannotBuild):
        build_ollama.build()
    assert not build_ollama.binary_path().parent.exists()


def test_the_pins_and_the_version_belong_together() -> None:
    pinned = (build_ollama.MODULE / "go.mod").read_text()
    assert f"{build_ollama.PACKAGE} v{build_ollama.VERSION} " in pinned
