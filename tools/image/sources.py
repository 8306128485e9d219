"""What the image's wheels are made from, as one line: wheels that lie in `build/` are taken for these sources alone.

Nothing but the standard library is imported here: the image's first stage runs this with a base's bare Python.
"""

import platform
import sys
from pathlib import Path

from tools.building import hash_of

CHECKOUT = Path(__file__).parents[2]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "src")
LOCKS = ("requirements/runtime.txt", "requirements/pip.txt")
MADE_FROM = "made-from.txt"  # beside the wheels


def made_from(version: str, machine: str, libc: str) -> str:
    """For wheels of such a Python; `libc` as `Target` has it, of which the family counts."""
    files = sorted(file for name in (*SOURCES, *LOCKS) for file in _files(CHECKOUT / name))
    names = [file.relative_to(CHECKOUT).as_posix() for file in files]
    return f"{version} {machine} {libc.partition(' ')[0]} {hash_of(files, *names)}\n"


def own_target() -> tuple[str, str, str]:
    """Version, machine and C library of the Python that runs this."""
    name, version = platform.libc_ver()
    libc = f"{name} {version}" if name == "glibc" else "musl 1.2"
    return "{}.{}".format(*sys.version_info[:2]), platform.machine(), libc


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    kept = (file for file in path.rglob("*") if "__pycache__" not in file.parts and ".egg-info" not in str(file))
    return [file for file in kept if file.is_file()]
