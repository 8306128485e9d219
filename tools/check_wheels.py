"""Shows that every package of a lock has a wheel for each Python that the gateway supports.

Usage: check_wheels.py LOCK...   (asks the package index that pip is set up for; downloads into a temporary folder)
"""

import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

PYTHONS = ("3.11", "3.12", "3.13", "3.14")


def missing(python: str, locks: list[str]) -> str:
    """What pip says when a lock cannot be had as wheels for this Python; "" when it can."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        command += ["--only-binary=:all:", "--python-version", python, "--dest", folder]
        for lock in locks:
            command += ["-r", lock]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else ""


def main(locks: list[str]) -> int:
    """0 when all are there, 1 with a line for each Python that lacks something."""
    with ThreadPoolExecutor(2) as workers:
        reasons = dict(zip(PYTHONS, workers.map(lambda python: missing(python, locks), PYTHONS), strict=True))
    for python, reason in reasons.items():
        print(f"Python {python}: {reason or 'every package of the lock has a wheel'}")
    return 1 if any(reasons.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
