"""The layers that the images of the cluster are made of: each a tar file in the cache, named after what is in it."""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.configuration import PARTS
from tests.ollama.store import seeded_store
from tests.tools import build_ollama
from tools.building import (
    CannotBuild,
    cache_folder,
    check_go,
    hash_of,
    install_debian,
    made_whole,
    only_one,
    run,
    timed,
)

CHECKOUT = Path(__file__).parents[2]
REQUIREMENTS = CHECKOUT / "requirements" / "runtime.txt"
CLIENT = CHECKOUT / "requirements" / "client.txt"
PAUSE = PARTS / "images" / "pause"
CODE = CHECKOUT / "src" / "ai_gateway"
SUITE = "bookworm"
PYTHON = "3.11"  # of that suite
PACKAGES = "python3,ca-certificates"
NOT_NEEDED = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "var/cache/apt",
    "var/lib/apt/lists",
)
OWNER = "65532"  # whom the images run as: what they may write belongs to it
ALONE = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")  # mounts end with the process


@dataclass(frozen=True, slots=True)
class Layer:
    """A tar file of a part of an image's file system. `digest` is of its bytes, `sha256:` and 64 digits."""

    file: Path
    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a layer is made: `key` changes with what is in it, `fill` writes that into an empty folder."""

    key: Callable[[], str]
    fill: Callable[[Path], None]
    owner: str = ""


def layer(name: str) -> Layer:
    """The layer of that name, made first if it is not in the cache."""
    recipe = RECIPES[name]
    folder = cache_folder() / f"layer-{name}-{hash_of([], recipe.key(), recipe.owner)}"
    with only_one(folder):
        if not folder.exists():
            with timed(f"image layer {name}"), made_whole(folder) as built:
                built.mkdir()
                _pack(recipe, built)
    file = folder / "layer.tar"
    return Layer(file, (folder / "digest").read_text(), file.stat().st_size)


def _pack(recipe: Recipe, built: Path) -> None:
    owner = [f"--owner={recipe.owner}", f"--group={recipe.owner}"] if recipe.owner else []
    with tempfile.TemporaryDirectory(dir=built) as root:
        Path(root).chmod(0o755)  # it becomes the image's root folder
        recipe.fill(Path(root))
        tar = ["tar", "--sort=name", "--numeric-owner", "--exclude=./dev/*", *owner]
        run([*tar, "-C", root, "-cf", str(built / "layer.tar"), "."])
    with (built / "layer.tar").open("rb") as file:
        (built / "digest").write_text(f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}")


def _fill_pause(root: Path) -> None:
    check_go()
    flags = ["-buildvcs=false", "-trimpath", "-ldflags", "-s -w"]
    run(["go", "build", *flags, "-o", f"{root}/pause", "."], cwd=PAUSE, env={**os.environ, "CGO_ENABLED": "0"})


def _fill_base(root: Path) -> None:
    install_debian({"debootstrap": Path("/usr/sbin/debootstrap")})
    run([*ALONE, "debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(root)])
    for folder in NOT_NEEDED:
        shutil.rmtree(root / folder, ignore_errors=True)


def _fill_ollama(root: Path) -> None:
    """The binary, and those of its libraries that the base lacks, as this machine has them."""
    binary = build_ollama.binary_path()
    if not binary.exists():
        raise CannotBuild("Ollama is not built; run: python tests/tools/build_ollama.py")
    (root / "usr/local/bin").mkdir(parents=True)
    shutil.copy2(binary, root / "usr/local/bin/ollama")
    linked = subprocess.run(["ldd", str(binary)], check=True, capture_output=True, text=True).stdout
    for line in linked.splitlines():
        name, _, place = line.partition("=>")
        if name.strip().startswith(("libstdc++", "libgcc_s")):
            (root / "usr/lib").mkdir(exist_ok=True)
            shutil.copy2(Path(place.split()[0]).resolve(), root / "usr/lib" / name.strip())


def _fill_models(root: Path) -> None:
    shutil.copytree(seeded_store(), root / "models")
    (root / "models").chmod(0o755)


def _fill_requirements(root: Path) -> None:
    _install(REQUIREMENTS, root / "app" / "requirements", root)


def _fill_client(root: Path) -> None:
    _install(CLIENT, root / "app" / "client", root)


def _install(lock: Path, target: Path, root: Path) -> None:
    uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--target", str(target)]
    only = ["--python-version", PYTHON, "--python-platform", f"{platform.machine()}-manylinux_2_36"]
    run([*uv, *only, "--only-binary", ":all:", "--link-mode", "copy", "--require-hashes", "-r", str(lock)])
    _compile_bytecode(target, root)


def _fill_code(root: Path) -> None:
    target = root / "app" / "code" / "ai_gateway"
    shutil.copytree(CODE, target, ignore=shutil.ignore_patterns("__pycache__"))
    _compile_bytecode(target, root)
    command = root / "usr/local/bin/ai-gateway"
    command.parent.mkdir(parents=True)
    command.write_text("#!/usr/bin/python3\nfrom ai_gateway.__main__ import main\n\nraise SystemExit(main())\n")
    command.chmod(0o755)


def _compile_bytecode(folder: Path, root: Path) -> None:
    """Spares every pod half a second of its start, where this Python is that of the base. The Kubernetes client is
    thousands of files, of which pods import few."""
    if f"{sys.version_info.major}.{sys.version_info.minor}" == PYTHON:
        options = ["-q", "--invalidation-mode", "unchecked-hash", "-x", "/kubernetes/", "-s", str(root), "-p", "/"]
        run([sys.executable, "-m", "compileall", *options, str(folder)])


def _files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _models_key() -> str:
    return build_ollama.binary_path().parent.name + seeded_store().name


RECIPES: Mapping[str, Recipe] = {
    "pause": Recipe(lambda: hash_of([PAUSE / "pause.go"]), _fill_pause),
    "base": Recipe(lambda: SUITE + PACKAGES + "".join(NOT_NEEDED), _fill_base),
    "ollama": Recipe(lambda: build_ollama.binary_path().parent.name, _fill_ollama),
    "models": Recipe(_models_key, _fill_models, OWNER),
    "requirements": Recipe(lambda: hash_of([REQUIREMENTS], PYTHON), _fill_requirements),
    "client": Recipe(lambda: hash_of([CLIENT], PYTHON), _fill_client),
    "code": Recipe(lambda: hash_of(_files_below(CODE), *map(str, _files_below(CODE))), _fill_code),
}
