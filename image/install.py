"""Runs while the image is built, with the base's own Python and nothing else: installs the wheels into /opt/ai-gateway.

    python3 install.py WHEELS BYTECODE

No package index is asked: WHEELS holds a wheel for each line of its `requirements.txt`, and pip's own, since a base
may have no pip. What no request ever runs is removed, and the rest is compiled, so that a container that cannot write
starts as fast as one that can. Bases come without bytecode of the standard library, or with it: what is missing of
the modules that the gateway loads is written below BYTECODE, to be laid over the base's root.
"""

import importlib.util
import py_compile
import re
import shutil
import subprocess
import sys
import venv
from compileall import compile_dir
from pathlib import Path

HOME = Path("/opt/ai-gateway")
# Below kubernetes/: the asyncio twin, and a class for each kind of object. The gateway sends and reads plain JSON.
UNUSED_FOLDERS = ("kubernetes/aio", "kubernetes/client/api", "kubernetes/client/apis")
UNUSED_FILES = (
    "kubernetes/client/models/[!_]*.py",
    "kubernetes/**/*_test.py",
    "kubernetes/**/test_*.py",
    "kubernetes/leaderelection/example.py",
    "uvloop/_testbase.py",
    "**/py.typed",
    *(f"**/*.{kind}" for kind in ("c", "h", "pxd", "pyi", "pyx")),
)
TEST_FOLDERS = ("test", "tests")
# Never trusted to be newer or older than its source: layers and archives do not keep times.
MODE = py_compile.PycInvalidationMode.UNCHECKED_HASH
IMPORT_ALL = """
import importlib, pkgutil
import ai_gateway
for module in pkgutil.walk_packages(ai_gateway.__path__, "ai_gateway."):
    importlib.import_module(module.name)
from kubernetes.client import api_client, configuration, exceptions
from kubernetes.config import incluster_config, kube_config
import psycopg
import redis.asyncio
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
import jwt.algorithms
assert jwt.algorithms.has_crypto
"""
# Python needs some milliseconds before the command's first line hears a signal, and until then the kernel drops it: the
# process is a container's first. GNU's env, where the base has it, holds these back meanwhile.
ENV = Path("/usr/bin/env")
HELD_BACK = "--block-signal=TERM,INT"
COMMAND = """#!{interpreter}
import sys
from ai_gateway.__main__ import main
sys.exit(main())
"""
COMPILED = re.compile(r"^# code object from '?(/.+\.py)'?$", re.MULTILINE)  # what `python -v` says of such a module


def main(wheels: Path, bytecode: Path) -> None:
    """Leaves the gateway in HOME, whose `bin` holds its command and a `python3` that sees only its packages."""
    python = _install(wheels)
    packages = next(HOME.glob("lib/python*/site-packages"))
    prune(packages)
    if not compile_dir(packages, quiet=1, invalidation_mode=MODE):
        sys.exit("not everything could be compiled")
    bytecode.mkdir(parents=True)
    for source in COMPILED.findall(_run(python, "-B", "-v", "-c", IMPORT_ALL)):
        target = bytecode / importlib.util.cache_from_source(source).lstrip("/")
        py_compile.compile(source, str(target), source, doraise=True, invalidation_mode=MODE)


def _install(wheels: Path) -> Path:
    venv.EnvBuilder(symlinks=True, with_pip=False).create(HOME)
    python = HOME / "bin" / "python3"
    (pip,) = wheels.glob("pip-*.whl")
    offline = ("--isolated", "--disable-pip-version-check", "--no-cache-dir", "--no-index", "--find-links", wheels)
    exactly = ("--require-hashes", "--no-deps", "--no-compile", "-r", wheels / "requirements.txt")
    _run(python, "-B", pip / "pip", "install", "--quiet", *offline, *exactly)
    for script in (HOME / "bin").iterdir():
        if script.name != "ai-gateway" and not script.name.startswith("python"):
            script.unlink()
    shutil.rmtree(HOME / "include", ignore_errors=True)
    write_command(HOME / "bin" / "ai-gateway", python)
    return python


def write_command(command: Path, python: Path) -> None:
    """In place of pip's, which imports more than it needs before it calls the gateway's first line."""
    held_back = f"{ENV} -S {HELD_BACK} {python}"
    works = ENV.exists() and subprocess.run([ENV, "-S", f"{HELD_BACK} true"], capture_output=True, check=False)  # noqa: S603 - the words are ours
    command.write_text(COMMAND.format(interpreter=held_back if works and not works.returncode else python))


def prune(packages: Path) -> None:
    """Removes what is unused from an installed tree."""
    unused = [packages / name for name in UNUSED_FOLDERS]
    tests = [folder for name in TEST_FOLDERS for folder in packages.glob(f"*/**/{name}")]
    for folder in unused + tests:
        shutil.rmtree(folder, ignore_errors=True)
    for pattern in UNUSED_FILES:
        for file in packages.glob(pattern):
            file.unlink()


def _run(*words: str | Path) -> str:
    """What it writes to stderr."""
    done = subprocess.run(words, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603 - the words are ours
    if done.returncode:
        sys.exit(done.stderr)
    return done.stderr


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
