"""Builds the docs into `build/site`, with the index of their search, and checks every link. `make docs` runs this."""

import sys

from tools.building import CannotBuild
from tools.docs_site.building import build
from tools.docs_site.staging import CHECKOUT

SITE = CHECKOUT / "build" / "site"


def main() -> int:
    """0 when the site is built and nothing is wrong with it; else 1, with a line for each thing that is."""
    try:
        found = build(CHECKOUT / "build" / "site-source", SITE)
    except CannotBuild as reason:
        found = [str(reason)]
    print("\n".join(f"docs: {line}" for line in found) or f"the site is built and its links lead somewhere: {SITE}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
