"""A real Kubernetes with one node on this machine, for the tests and for whoever wants to look at one.

python -m tests.cluster up       # build what is not built, start, say what to do next
python -m tests.cluster status   # say whether it is well
python -m tests.cluster down     # end it and leave nothing
python -m tests.cluster images   # build tools and images only; list the images
"""

import argparse
import os
import sys
import time

from tests.cluster import starting
from tests.cluster.binaries import NotBuilt, binary
from tests.cluster.images import IMAGES, image
from tests.cluster.layout import Layout, this_machines
from tests.cluster.part import CannotStart
from tools.building import CannotBuild


def main() -> int:
    """Exit status 0 if the wish came true; else 1, and the reason on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wish", choices=("up", "down", "status", "images"))
    parser.add_argument("--number", type=int, default=0, help="another number is another cluster beside the first")
    wish = parser.parse_args()
    if os.geteuid() != 0:
        print("cluster: a node needs namespaces, mounts and cgroups: run this as root", file=sys.stderr)
        return 1
    try:
        return {"up": _up, "down": _down, "status": _status, "images": _images}[wish.wish](this_machines(wish.number))
    except (CannotBuild, CannotStart, NotBuilt) as reason:
        print(f"cluster: {reason}", file=sys.stderr)
        return 1


def _up(files: Layout) -> int:
    starting.build_everything()
    began = time.monotonic()
    starting.up(files)
    print(f"the cluster is ready after {time.monotonic() - began:.1f} s; logs are in {files.logs}", file=sys.stderr)
    print(f"export KUBECONFIG={files.kubeconfig}")
    print(f"{binary('kubectl')} get pods -A")
    return 0


def _down(files: Layout) -> int:
    left = starting.down(files)
    for line in left:
        print(f"left behind: {line}", file=sys.stderr)
    return 1 if left else 0


def _status(files: Layout) -> int:
    found = starting.reasons(files)
    print("\n".join(found) or "the cluster is well")
    return 1 if found else 0


def _images(_files: Layout) -> int:
    starting.build_everything()
    for name in IMAGES:
        made = image(name)
        print(f"{made.size_bytes / 1e6:6.0f} MB  {made.name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
