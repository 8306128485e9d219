"""The first stage of the Dockerfile, run without a container on what `.dockerignore` lets through."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest
from tools.image.sources import CHECKOUT, MADE_FROM, made_from, own_target

from ai_gateway.version import __version__

NO_INDEX = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
RULES = (CHECKOUT / ".dockerignore").read_text().split()
PASSING = [rule[1:] for rule in RULES if rule.startswith("!")]
NEVER = [rule.removeprefix("**/") for rule in RULES if rule.startswith("**/")]


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """What a builder gets of a fresh clone: no file of `build/`."""
    folder = tmp_path / "context"
    for name in PASSING:
        source, target = CHECKOUT / name, folder / name
        if name.startswith("build/"):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns(*NEVER))
        else:
            shutil.copy2(source, target)
    return folder


def _stage(context: Path, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Its RUN line, with this Python as the base's, and with a cache that is empty."""
    text = (CHECKOUT / "Dockerfile").read_text()
    (line,) = re.findall(r"AS wheels\nWORKDIR /build/context\nCOPY \. \.\nRUN (\[.+\])\n", text)
    words = [sys.executable if word == "python3" else word for word in json.loads(line)]
    assert words.pop() == "/build"
    folder.mkdir()
    env = {**os.environ, "AI_GATEWAY_CACHE": str(folder.with_name("cache")), **environment}
    return subprocess.run(
        [*words, str(folder)], cwd=context, env=env, capture_output=True, text=True, check=False, timeout=600
    )


def _lay(context: Path, sources: str) -> None:
    """What `make image` leaves, of those sources."""
    wheels = context / "build" / "wheels"
    wheels.mkdir(parents=True)
    (wheels / "one.whl").write_text("a wheel")
    (wheels / MADE_FROM).write_text(sources)
    (context / "build" / "sbom.cdx.json").write_text("{}")


def test_wheels_that_make_image_has_laid_there_are_taken_without_a_network(context: Path, tmp_path: Path) -> None:
    _lay(context, made_from(*own_target()))
    done = _stage(context, tmp_path / "out", **NO_INDEX)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out" / "wheels" / "one.whl").read_text() == "a wheel"
    assert (tmp_path / "out" / "sbom.cdx.json").is_file()


@pytest.mark.parametrize("change", ["older sources", "another Python"])
def test_wheels_that_are_of_something_else_are_not_taken(context: Path, tmp_path: Path, change: str) -> None:
    """Else an image would hold another gateway than the checkout that it is built from."""
    version, machine, libc = own_target()
    _lay(context, made_from(version if change == "older sources" else "3.99", machine, libc))
    if change == "older sources":
        (context / "src" / "ai_gateway" / "version.py").write_text('__version__ = "99"\n')
    done = _stage(context, tmp_path / "out", **NO_INDEX)
    assert done.returncode == 1
    assert not (tmp_path / "out" / "wheels" / "one.whl").exists()


def test_where_nothing_can_be_fetched_it_says_what_to_do(context: Path, tmp_path: Path) -> None:
    done = _stage(context, tmp_path / "out", **NO_INDEX)
    assert done.returncode == 1
    assert "Run `make image` instead" in done.stderr.splitlines()[-1]


def test_what_makes_the_wheels_names_them_after_all_sources(context: Path) -> None:
    """The same files in the context as in the checkout, whatever else lies beside them there."""
    code = "from tools.image.sources import made_from, own_target; print(made_from(*own_target()), end='')"
    told = subprocess.run([sys.executable, "-B", "-c", code], cwd=context, capture_output=True, text=True, check=True)
    assert told.stdout == made_from(*own_target())
    assert not any(fnmatch(file.name, pattern) for file in context.rglob("*") for pattern in NEVER)


@pytest.mark.cluster
def test_a_fresh_clone_fetches_what_the_locks_name(context: Path, tmp_path: Path) -> None:
    """From the package index, for real."""
    done = _stage(context, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    wheels = tmp_path / "out" / "wheels"
    named = dict(re.findall(r"^([\w-]+)==\S+ --hash=sha256:(\w+)$", (wheels / "requirements.txt").read_text(), re.M))
    hashes = {hashlib.sha256(file.read_bytes()).hexdigest(): file for file in wheels.glob("*.whl")}
    assert set(named.values()) <= hashes.keys()
    lock = (CHECKOUT / "requirements" / "runtime.txt").read_text()
    assert [name for name, digest in named.items() if digest not in lock] == ["ai-gateway-ollama"]
    with zipfile.ZipFile(hashes[named["ai-gateway-ollama"]]) as own:
        assert "ai_gateway/app.py" in own.namelist()
    bill = json.loads((tmp_path / "out" / "sbom.cdx.json").read_text())
    assert bill["metadata"]["component"]["version"] == __version__
    assert len(bill["components"]) == len(named) - 1
