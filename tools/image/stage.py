"""The image's first stage: lays the wheels and the bill of materials into a folder, for the stages after it.

    python3 -m tools.image.stage FOLDER

`make image` has laid them into `build/` already; those are taken if they were made from these sources for this Python.
Else they are fetched by the hashed locks, which needs a base with pip, and a network.
"""

import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from tools.building import CannotBuild, run
from tools.image.sources import CHECKOUT, MADE_FROM, made_from, own_target

LOCKS = ("build", "pip", "sbom")  # setuptools, pip, and the tool that writes the bill, with what they need
BILL = "sbom.cdx.json"
ADVICE = "Run `make image` instead: it fetches the wheels on your machine and builds the image without a network."


def main(folder: Path) -> int:
    """0 when all is there, 1 with the reason and what to do on stderr."""
    try:
        if _is_laid(CHECKOUT / "build"):
            shutil.copytree(CHECKOUT / "build" / "wheels", folder / "wheels")
            shutil.copy2(CHECKOUT / "build" / BILL, folder)
        else:
            _fetch_with_tools(folder)
    except (CannotBuild, OSError, subprocess.CalledProcessError) as reason:
        print(f"image: the wheels cannot be fetched here: {reason}\nimage: {ADVICE}", file=sys.stderr)
        return 1
    return 0


def _is_laid(build: Path) -> bool:
    made = build / "wheels" / MADE_FROM
    return made.is_file() and (build / BILL).is_file() and made.read_text() == made_from(*own_target())


def _fetch_with_tools(folder: Path) -> None:
    """In an environment of its own, with what builds the project's wheel and writes the bill."""
    with tempfile.TemporaryDirectory() as tools:
        venv.create(tools, with_pip=False)
        python = str(Path(tools, "bin", "python3"))
        locks = [word for name in LOCKS for word in ("-r", str(CHECKOUT / "requirements" / f"{name}.txt"))]
        exactly = ["--quiet", "--require-hashes", "--no-deps", "--only-binary", ":all:", *locks]
        run([sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python, "install", *exactly])
        run([python, "-B", "-c", "from tools.image.stage import fetch; fetch()", str(folder)], cwd=CHECKOUT)


def fetch() -> None:
    """What the environment runs: fills the folder that is its argument."""
    from tools.image import sbom, wheels

    folder = Path(sys.argv[1])
    sbom.write(wheels.fill(folder / "wheels", wheels.Target(*own_target())), folder / BILL, Path(sys.prefix))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
