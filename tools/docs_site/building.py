"""From the pages in `docs/` to a site: staged, built by Debian's Jekyll, indexed for its search, checked."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from tools.building import install_debian
from tools.docs_site.checking import reasons
from tools.docs_site.sections import sections
from tools.docs_site.staging import stage

PROGRAMS = {
    "jekyll": Path(shutil.which("jekyll") or "/usr/bin/jekyll"),
    "ruby-jekyll-relative-links": Path("/usr/share/doc/ruby-jekyll-relative-links"),
    "nodejs": Path(shutil.which("node") or "/usr/bin/node"),
}


def build(staged: Path, site: Path) -> list[str]:
    """Makes both folders anew. A line for each thing that is wrong; CannotBuild where a program is missing."""
    install_debian(PROGRAMS)
    stage(staged)
    return _pages(staged, site) or _index(site) or reasons(site)


def _pages(staged: Path, site: Path) -> list[str]:
    """What Jekyll complains about, warnings too."""
    shutil.rmtree(site, ignore_errors=True)
    command = ["jekyll", "build", "--quiet", "--disable-disk-cache", f"--source={staged}", f"--destination={site}"]
    env = {**os.environ, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, cwd=staged, env=env, capture_output=True, text=True, check=False)
    said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return said or ([f"jekyll ended with status {done.returncode}"] if done.returncode else [])


def _index(site: Path) -> list[str]:
    """What Node.js complains about while it makes the index of the search."""
    library = site / "assets" / "minisearch.js"
    command = ["node", str(Path(__file__).with_name("index.cjs")), str(library)]
    done = subprocess.run(command, input=json.dumps(sections(site)), capture_output=True, text=True, check=False)
    (site / "assets" / "search-index.js").write_text(done.stdout)
    return done.stderr.splitlines() or ([f"node ended with status {done.returncode}"] if done.returncode else [])
