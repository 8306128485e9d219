"""Builds the Go programs that the tests run, once, into cache folders outside the checkout; prints the folders.

    python tests/tools/build_go.py kubernetes containerd coredns

Each group is a Go module of its own beside this file, which pins its version and, by `go.sum`, the content of
everything it is made from. Building needs Go alone; Kubernetes takes ten minutes on two cores, the others one or two.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # run as a script, Python would look beside this file only

from tools.building import CannotBuild, cache_folder, check_go, hash_of, made_whole, only_one, run, timed

FLAGS = ("-mod=readonly", "-buildvcs=false", "-trimpath")


@dataclass(frozen=True, slots=True)
class Group:
    """Programs that are built together. `programs` maps a binary's name to its Go package; `stamps` are Go variables
    that tell a program its own version."""

    version: str
    programs: dict[str, str]
    stamps: tuple[str, ...] = ()

    @property
    def ldflags(self) -> str:
        """Without symbols: half the size, and half the time to load from a cold disk."""
        return " ".join(["-s -w", *(f"-X {stamp}" for stamp in self.stamps)])


KUBERNETES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")
KUBERNETES_STAMP = "k8s.io/component-base/version.git"
CONTAINERD = ("containerd", "containerd-shim-runc-v2", "ctr")
HELM_3 = "helm.sh/helm/v3"
OFFLINE = ("chartutil", "lint/rules")  # where Helm 3 keeps the Kubernetes that it assumes without a cluster
GROUPS = {
    "kubernetes": Group(
        "1.37.2",
        {"etcd": "go.etcd.io/etcd/server/v3"} | {name: f"k8s.io/kubernetes/cmd/{name}" for name in KUBERNETES},
        (f"{KUBERNETES_STAMP}Version=v1.37.2", f"{KUBERNETES_STAMP}Major=1", f"{KUBERNETES_STAMP}Minor=37"),
    ),
    "containerd": Group("2.2.1", {name: f"github.com/containerd/containerd/v2/cmd/{name}" for name in CONTAINERD}),
    "coredns": Group("1.14.7", {"coredns": "github.com/coredns/coredns"}),
    "registry": Group("3.1.0", {"registry": "github.com/distribution/distribution/v3/cmd/registry"}),
    "helm3": Group(
        "3.22.0",
        {"helm3": "helm.sh/helm/v3/cmd/helm"},
        (
            f"{HELM_3}/internal/version.version=v3.22.0",
            *(f"{HELM_3}/pkg/{room}.k8sVersionMinor=37" for room in OFFLINE),
        ),
    ),
    "helm4": Group(
        "4.3.1", {"helm4": "helm.sh/helm/v4/cmd/helm"}, ("helm.sh/helm/v4/internal/version.version=v4.3.1",)
    ),
}


def module_of(name: str) -> Path:
    """The folder of the Go module that pins a group."""
    return Path(__file__).parent / name


def folder_of(name: str) -> Path:
    """Where the programs of a group are, built already or not."""
    group, module = GROUPS[name], module_of(name)
    pins = hash_of([module / "go.mod", module / "go.sum"], *FLAGS, group.ldflags, *sorted(group.programs))
    return cache_folder() / f"{name}-{group.version}-{pins}"


def build(name: str) -> Path:
    """The folder of a group, built first if it is not there. Two runs at once: the second waits for the first."""
    folder = folder_of(name)
    if folder.exists():
        return folder
    with only_one(folder):
        if not folder.exists():
            check_go()
            with timed(f"{name} {GROUPS[name].version} (minutes, once) into {folder}"), made_whole(folder) as built:
                _compile(name, built)
    return folder


def _compile(name: str, built: Path) -> None:
    group = GROUPS[name]
    packages = group.programs.values()
    env = {**os.environ, "CGO_ENABLED": "0"}
    run(["go", "build", *FLAGS, "-ldflags", group.ldflags, "-o", f"{built}/", *packages], env=env, cwd=module_of(name))
    for program, package in group.programs.items():
        (built / _go_name(package)).rename(built / program)


def _go_name(package: str) -> str:
    """How `go build` names the binary: the last part of the path that is not a major version."""
    *parents, last = package.split("/")
    return parents[-1] if last.startswith("v") and last[1:].isdigit() else last


def main(names: list[str]) -> int:
    """Exit status 0 and a folder for each group on stdout, or 1 and the reason on stderr."""
    if not names or not set(names) <= GROUPS.keys():
        print(f"usage: build_go.py GROUP...; groups are {', '.join(GROUPS)}", file=sys.stderr)
        return 2
    try:
        for name in names:
            print(build(name))
    except CannotBuild as reason:
        print(f"cannot build: {reason}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
