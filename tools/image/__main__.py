"""Builds the container image and writes it, and its bill of materials, below `build/`. `make image` runs this.

The base's Python is asked for its version and platform, the wheels for it are downloaded by the hashed locks, and the
Dockerfile then installs from them without a network.
"""

import argparse
import sys

from tools.building import CannotBuild
from tools.image.builders import builder
from tools.image.making import BUILD, DEFAULT_BASE, DEFAULT_NAME, SBOM, Wanted, make, sizes

from ai_gateway.version import __version__


def main() -> int:
    """0 when the archive is written, 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(prog="python -m tools.image", description=__doc__)
    parser.add_argument("--base", default=DEFAULT_BASE, help="any image with a python3, 3.11 to 3.14 (%(default)s)")
    parser.add_argument("--name", default=DEFAULT_NAME, help="of the image (%(default)s)")
    parser.add_argument("--tag", default=__version__, help="of the image (%(default)s)")
    parser.add_argument("--builder", default="", help="docker, podman or buildah; by default the first that is there")
    said = parser.parse_args()
    wanted = Wanted(said.base, said.name, said.tag)
    archive = BUILD / f"{wanted.name.rpartition('/')[2]}-{wanted.tag}.tar"
    try:
        chosen = builder(said.builder, BUILD / "buildah")
        make(wanted, chosen, archive)
    except CannotBuild as reason:
        print(f"image: {reason}", file=sys.stderr)
        return 1
    print(f"{wanted.reference}: {sizes(archive) if chosen.is_one_layer else 'built'}")
    print(f"archive: {archive}\nbill of materials: {SBOM}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
