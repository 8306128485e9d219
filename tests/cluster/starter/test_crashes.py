"""Promises about endings: whatever is killed, and whenever, `down` leaves this machine as it was.

These use a cluster of their own, number 7, beside the one that other tests share.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.cluster import starting
from tests.cluster.layers import CHECKOUT
from tests.cluster.layout import Layout, this_machines
from tests.cluster.node import Cluster
from tests.cluster.part import CannotStart

pytestmark = pytest.mark.cluster

NUMBER = 7
EVENT_SECONDS = 60.0


@pytest.fixture
def files() -> Iterator[Layout]:
    """The layout of a cluster that is down before and after the test."""
    files = this_machines(NUMBER)
    starting.down(files)
    yield files
    starting.down(files)
    shutil.rmtree(files.folder)


@pytest.mark.parametrize("last_line", ["the API answers", "the node is ready"])
def test_nothing_is_left_of_a_start_that_was_killed_in_the_middle(files: Layout, last_line: str) -> None:
    before = _machine()
    with _starting() as start:
        _wait_for(lambda: last_line in _log(files))
        start.kill()
    assert _processes(files)
    assert starting.down(files) == []
    assert (_processes(files), _machine()) == ([], before)


def test_nothing_is_left_of_a_cluster_whose_parts_were_killed(files: Layout) -> None:
    before = _machine()
    starting.up(files)
    Cluster(files.kubeconfig, files).start_simulated("orphans", replicas=2)
    for name in ("kubelet", "containerd", "etcd"):
        os.kill(_process(files, name), signal.SIGKILL)
    _wait_for(lambda: len(starting.reasons(files)) == 3)
    assert starting.down(files) == []
    assert (_processes(files), _machine()) == ([], before)


def test_a_half_dead_cluster_is_started_anew_and_a_healthy_one_is_left_alone(files: Layout) -> None:
    starting.up(files)
    apiserver = _process(files, "kube-apiserver")
    starting.up(files)
    assert _process(files, "kube-apiserver") == apiserver
    os.kill(_process(files, "kube-scheduler"), signal.SIGKILL)
    _wait_for(lambda: starting.reasons(files) == ["kube-scheduler ended with -9"])
    starting.up(files)
    assert starting.reasons(files) == []
    assert _process(files, "kube-apiserver") != apiserver


def test_a_part_that_cannot_start_is_named_and_nothing_is_left(
    files: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _machine()
    for name in ("etcd", "kube-apiserver", "kubectl"):
        (tmp_path / name).write_text("#!/bin/sh\necho the disk is on fire\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    with pytest.raises(CannotStart, match="etcd did not start") as failure:
        starting.up(files)
    assert "the disk is on fire" in str(failure.value)
    assert (_processes(files), _machine()) == ([], before)


def _starting() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.cluster", "up", "--number", str(NUMBER)]
    return subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _log(files: Layout) -> str:
    log = files.logs / "node.log"
    return log.read_text() if log.exists() else ""


def _machine() -> dict[str, str]:
    """What a cluster could leave behind on this machine: interfaces, routes, firewall rules, mounts, settings."""
    shown = {
        "links": _said("ip", "-oneline", "link", "show", "type", "veth"),
        "routes": _said("ip", "route"),
        "rules": _said("iptables", "-S") + _said("iptables", "-t", "nat", "-S"),
        "mounts": Path("/proc/self/mounts").read_text(),
    }
    settings = ("net/ipv4/ip_forward", "vm/overcommit_memory", "kernel/panic")
    return shown | {name: Path(f"/proc/sys/{name}").read_text() for name in settings}


def _said(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _processes(files: Layout) -> list[int]:
    """Every process of the cluster, those in pods too: their cgroup has its name."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            places = (path / "cmdline").read_bytes() + (path / "cgroup").read_bytes()
        except OSError:
            continue  # it ended while we looked
        if f"{files.folder}/".encode() in places or f"/{files.cgroup}/".encode() in places:
            found.append(int(path.name))
    return found


def _process(files: Layout, name: str) -> int:
    named = [pid for pid in _processes(files) if Path(f"/proc/{pid}/comm").read_text().strip() == name[:15]]
    return named[0]


def _wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + EVENT_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)
