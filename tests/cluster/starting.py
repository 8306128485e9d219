"""Starts and ends a cluster from outside of it, and says what is left if anything is.

The node lives in namespaces of its own (processes, mounts, network, IPC), and a wire leads to it: its processes,
containers, mounts, interfaces, routes and firewall rules exist in there only, and end when its first process does.
So one process id is all there is to remember; it is noted before anything is begun.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from tests.cluster import layout
from tests.cluster.control_plane import kubectl
from tests.cluster.image_store import unpack
from tests.cluster.images import IMAGES, image, import_missing
from tests.cluster.layers import CHECKOUT
from tests.cluster.layout import Layout
from tests.cluster.part import CannotStart
from tests.tools import build_go, build_ollama
from tools.building import install_debian, only_one

DEBIAN = {
    "runc": Path("/usr/sbin/runc"),
    "containernetworking-plugins": Path("/usr/lib/cni/ptp"),
    "iptables": Path("/usr/sbin/iptables"),
    "conntrack": Path("/usr/sbin/conntrack"),
    "debootstrap": Path("/usr/sbin/debootstrap"),
    "iproute2": Path("/usr/sbin/ip"),
    "mount": Path("/usr/bin/mount"),
}
GROUPS = ("kubernetes", "containerd", "coredns")
NAMESPACES = ("--mount", "--pid", "--net", "--ipc", "--fork", "--kill-child", "--mount-proc")
START_SECONDS = 120.0
END_SECONDS = 30.0
ANSWER_SECONDS = 10
POLL_SECONDS = 0.02
CGROUPS = Path("/sys/fs/cgroup")


def build_everything() -> None:
    """Tools and images, each built first where it is not in the cache. CannotBuild says what is missing."""
    install_debian(DEBIAN)
    for group in GROUPS:
        build_go.build(group)
    build_ollama.build()
    for name in IMAGES:
        image(name)


def up(files: Layout) -> None:
    """A cluster that is ready: the running one if it is well, else a new one. CannotStart names the part that fails."""
    build_everything()
    images = [image(name) for name in IMAGES]
    with only_one(files.folder):
        if not reasons(files):
            import_missing(files.containerd_socket, images)
            return
        _down(files)
        shutil.rmtree(files.logs, ignore_errors=True)
        files.logs.mkdir(parents=True)
        files.state.mkdir()
        unpack(images, files.containerd_root)
        try:
            _start(files)
        except BaseException:
            _down(files)
            raise


def down(files: Layout) -> list[str]:
    """Ends the cluster, whatever state it is in. What is left, a line each: nothing, unless something is wrong."""
    with only_one(files.folder):
        _down(files)
        return leftovers(files)


def reasons(files: Layout) -> list[str]:
    """Why the cluster is not a running, healthy one, a line each."""
    if _recorded(files) is None:
        return ["no cluster is running"]
    if not files.ready.exists():
        return ["the cluster did not come up"]
    if files.ended.exists():
        return files.ended.read_text().splitlines()
    try:
        kubectl(files.kubeconfig, "get", "--raw", "/readyz", f"--request-timeout={ANSWER_SECONDS}s")
    except AssertionError as reason:
        return [f"the API does not answer: {reason}"]
    return []


def leftovers(files: Layout) -> list[str]:
    """What of a cluster that was taken down is still there."""
    mark = f"{layout.MARK}={files.folder}".encode()
    processes = [f"process {pid}" for pid in _processes() if mark in _environment(pid)]
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    mounts = [f"mount {place}" for place in mounts if place.startswith(f"{files.folder}/")]
    interfaces = [f"interface {files.interface}"] if _has_interface(files) else []
    return [*processes, *mounts, *interfaces, *(f"cgroup {path}" for path in _cgroups(files))]


def _start(files: Layout) -> None:
    pid, stdin = _spawn(files)
    files.record.write_text(json.dumps({"pid": pid, "started": _started(pid)}))
    with stdin:
        _wait(lambda: _has_network_of_its_own(pid) or _started(pid) is None, START_SECONDS)
        if _started(pid) is not None:
            _lay_wire(files, pid)
            with contextlib.suppress(BrokenPipeError):  # it has ended meanwhile, and its log says why
                stdin.write(b"go\n")  # it waits for this: were we killed before, it would find nobody and leave
    came = _wait(lambda: files.ready.exists() or _started(pid) is None, START_SECONDS)
    if not files.ready.exists():
        _bury(pid, os.WNOHANG)
        reason = files.failure.read_text() if files.failure.exists() else (files.logs / "node.log").read_text()
        raise CannotStart(reason if came else f"the cluster was not ready in {START_SECONDS:.0f} s:\n{reason}")


def _spawn(files: Layout) -> tuple[int, IO[bytes]]:
    """The process that holds the cluster, and its standard input. It is to outlive us, as no Popen likes to."""
    command = ["env", f"--chdir={CHECKOUT}", "unshare", *NAMESPACES]
    command += [sys.executable, "-m", "tests.cluster.inside", str(files.folder), str(files.number)]
    its_end, our_end = os.pipe()
    pid = os.posix_spawnp(
        command[0],
        command,
        {**os.environ, layout.MARK: str(files.folder)},
        file_actions=[
            (os.POSIX_SPAWN_DUP2, its_end, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(files.logs / "node.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    os.close(its_end)
    return pid, os.fdopen(our_end, "wb", buffering=0)


def _bury(pid: int, options: int = 0) -> None:
    """Where it is our child, as in tests that start and end a cluster, it would stay a zombie."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, options)


def _lay_wire(files: Layout, pid: int) -> None:
    """Pods and Services are reached from this machine by the node, which forwards."""
    _run("ip", "link", "add", files.interface, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    _run("ip", "address", "add", f"{files.host_address}/{layout.NODE_PREFIX}", "dev", files.interface)
    _run("ip", "link", "set", files.interface, "up")
    for subnet in (files.pod_subnet, files.service_subnet):
        _run("ip", "route", "add", subnet, "via", files.node_address)


def _down(files: Layout) -> None:
    pid = _recorded(files)
    if pid is not None:
        os.kill(pid, signal.SIGKILL)  # its child, process 1 in there, is killed with it, and all others with that
        _bury(pid)
    _wait(lambda: not _has_interface(files), END_SECONDS if pid is not None else 2)
    if _has_interface(files):
        _run("ip", "link", "delete", files.interface)
    _wait(lambda: _remove_cgroups(files), END_SECONDS)
    files.record.unlink(missing_ok=True)
    shutil.rmtree(files.state, ignore_errors=True)
    shutil.rmtree(files.folder / "kubectl-cache", ignore_errors=True)
    files.kubeconfig.unlink(missing_ok=True)


def _recorded(files: Layout) -> int | None:
    """The id of the process that holds the cluster, if it lives: ids are used again, so the time of its start must be
    the noted one too."""
    try:
        record = json.loads(files.record.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return record["pid"] if _started(record["pid"]) == record["started"] else None


def _started(pid: int) -> int | None:
    """When a process began, in ticks since the machine did. None if there is none, or only its status is left."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])


def _has_network_of_its_own(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()
    except OSError:
        return False


def _has_interface(files: Layout) -> bool:
    return Path(f"/sys/class/net/{files.interface}").exists()


def _cgroups(files: Layout) -> list[Path]:
    """The cluster's own in each hierarchy; under version 2 there is one."""
    return [path for path in (CGROUPS / files.cgroup, *CGROUPS.glob(f"*/{files.cgroup}")) if path.exists()]


def _remove_cgroups(files: Layout) -> bool:
    """Whether all are gone; one that still has a dying process stays for now."""
    for top in _cgroups(files):
        for folder, _, _ in os.walk(top, topdown=False):
            try:
                Path(folder).rmdir()
            except OSError:
                break
    return not _cgroups(files)


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def _wait(is_so: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _run(*command: str) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise CannotStart(f"{' '.join(command)}: {ended.stderr}")
