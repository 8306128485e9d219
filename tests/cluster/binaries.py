"""Where the programs of a cluster are: built by `tests/tools/build_go.py`, or a contributor's own control plane."""

import os
from pathlib import Path

from tests.tools.build_go import GROUPS, folder_of

CONTROL_PLANE = ("etcd", "kube-apiserver", "kubectl")


class NotBuilt(Exception):
    """A program is not there; says what to run."""


def binary(name: str) -> Path:
    """The path of a program. `$KUBEBUILDER_ASSETS`, a folder, is asked first for etcd, kube-apiserver and kubectl."""
    if name in CONTROL_PLANE and (assets := os.environ.get("KUBEBUILDER_ASSETS")):
        return _existing(Path(assets) / name, f"KUBEBUILDER_ASSETS names a folder without {name}")
    group = next(group for group in GROUPS if name in GROUPS[group].programs)
    return _existing(folder_of(group) / name, f"{name} is not built; run: python tests/tools/build_go.py {group}")


def _existing(path: Path, otherwise: str) -> Path:
    if not path.exists():
        raise NotBuilt(otherwise)
    return path
