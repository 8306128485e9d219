"""Builds the docs into `build/site` with Debian's Jekyll and checks every link. `make docs` runs this."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tools.building import CannotBuild, install_debian
from tools.docs_site.checking import complaints
from tools.docs_site.staging import CHECKOUT, stage

SITE = CHECKOUT / "build" / "site"
STAGED = CHECKOUT / "build" / "site-source"
JEKYLL = {
    "jekyll": Path(shutil.which("jekyll") or "/usr/bin/jekyll"),
    "ruby-jekyll-relative-links": Path("/usr/share/doc/ruby-jekyll-relative-links"),
}


def main() -> int:
    """0 when the site is built and nothing is wrong with it; else 1, with a line for each thing that is."""
    try:
        install_debian(JEKYLL)
        stage(STAGED)
        found = _build() or complaints(SITE)
    except CannotBuild as reason:
        found = [str(reason)]
    print("\n".join(f"docs: {line}" for line in found) or f"the site is built and its links lead somewhere: {SITE}")
    return 1 if found else 0


def _build() -> list[str]:
    """What Jekyll complains about, warnings too."""
    shutil.rmtree(SITE, ignore_errors=True)
    command = [
        "jekyll",
        "build",
        "--quiet",
        "--disable-disk-cache",
        "--source",
        str(STAGED),
        "--destination",
        str(SITE),
    ]
    done = subprocess.run(
        command, cwd=STAGED, env={**os.environ, "LC_ALL": "C.UTF-8"}, capture_output=True, text=True, check=False
    )
    said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return said or ([f"jekyll ended with status {done.returncode}"] if done.returncode else [])


if __name__ == "__main__":
    sys.exit(main())
