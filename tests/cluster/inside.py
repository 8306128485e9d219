"""The first process of the node: makes the inside of its namespaces, starts all parts, and notes when one ends.

    python -m tests.cluster.inside FOLDER NUMBER

`starting.py` runs this as process 1 of namespaces of its own for processes, mounts, network and IPC. Whatever is
started, mounted or written into tables in there ends with this process, however it ends: the kernel sees to it.
"""

import os
import shutil
import ssl
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import httpx
from tests.cluster import layout
from tests.cluster.binaries import binary
from tests.cluster.configuration import filled, flags
from tests.cluster.control_plane import kubectl
from tests.cluster.credentials import NODE_NAME, Credentials
from tests.cluster.dns import resolves
from tests.cluster.layout import Layout
from tests.cluster.part import CannotStart, Part
from tests.ollama.process import START_SECONDS

# The kubelet sets these for the whole machine unless it finds them set: it is shown files that say so.
KERNEL_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
CONFIGURATION = ("containerd.toml", "kubelet.yaml", "Corefile")
ASK_SECONDS = 0.05
# Each part says on loopback of the node whether it is ready; containerd by taking connections.
READY_URLS = {
    "etcd": "http://127.0.0.1:2379/health",
    "kube-apiserver": f"https://127.0.0.1:{layout.API_PORT}/readyz",
    "kube-controller-manager": "https://127.0.0.1:10257/healthz",
    "kube-scheduler": "https://127.0.0.1:10259/healthz",
    "kube-proxy": "http://127.0.0.1:10256/healthz",
    "kubelet": "http://127.0.0.1:10248/healthz",
    "coredns": "http://127.0.0.1:8181/ready",
}


def main(files: Layout) -> int:
    """Runs the node until it is killed. Exit status 1, and the reason in a file, if a part cannot start."""
    if sys.stdin.readline() != "go\n":
        return 1  # whoever starts us is gone, and has perhaps not noted whom to end
    try:
        _hide_what_is_written_elsewhere(files)
        _open_network(files)
        parts = _Node(files).start()
    except CannotStart as reason:
        files.failure.write_text(str(reason))
        return 1
    except Exception:
        files.failure.write_text(f"the node did not start:\n{traceback.format_exc()}")
        return 1
    files.ready.touch()
    _note_the_ended(files, parts)
    return 0


def _hide_what_is_written_elsewhere(files: Layout) -> None:
    for place in layout.HIDDEN:
        Path(place).mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "tmpfs", place)
    Path("/var/log/containers").mkdir()
    shown = files.state / "kernel"
    shown.mkdir()
    for number, (setting, value) in enumerate(KERNEL_SETTINGS.items()):
        (shown / str(number)).write_text(f"{value}\n")
        _run("mount", "--bind", str(shown / str(number)), f"/proc/sys/{setting}")
    _run("mount", "--make-rshared", "/")  # shared among pods as volumes may wish, still apart from the machine


def _open_network(files: Layout) -> None:
    """The machine has put the wire's end into our namespace. Nothing but the machine can be reached by it."""
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "address", "add", f"{files.node_address}/{layout.NODE_PREFIX}", "dev", "eth0")
    _run("ip", "link", "set", "eth0", "up")
    _run("ip", "route", "add", "unreachable", "default")
    _run("ip", "route", "add", files.service_subnet, "dev", "eth0")  # kube-proxy rewrites what has a route
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1\n")


class _Node:
    """The parts while they start, in an order: each has what it needs when it begins."""

    def __init__(self, files: Layout) -> None:
        self._files = files
        self._values = files.values()
        self._credentials = Credentials(files.state, files.api_url)
        self._local = httpx.Client(verify=_trusting_all(), trust_env=False, timeout=5)
        self._began = time.monotonic()

    def start(self) -> list[Part]:
        self._write_configuration()
        etcd, containerd, apiserver = self._part("etcd"), self._part("containerd"), self._part("kube-apiserver")
        names = ("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "coredns")
        others = [self._part(name) for name in names]
        containerd.begin()
        etcd.start()
        apiserver.start()
        self._say("the API answers")
        containerd.wait_until_ready()
        for part in others:
            part.begin()
        kubectl(self._files.kubeconfig, "create", "--validate=ignore", "-f", "-", input=self._filled("kube-dns.yaml"))
        for part in others:
            part.wait_until_ready()
            self._say(f"{part.name} is ready")
        self._wait_until("the node is not ready", self._takes_pods)
        self._say("the node is ready")
        self._wait_until("the cluster's DNS does not answer", lambda: resolves(self._files.dns_address))
        self._say("DNS answers")
        return [etcd, containerd, apiserver, *others]

    def _write_configuration(self) -> None:
        state = self._files.state
        self._credentials.write(["127.0.0.1", self._files.node_address, self._files.api_service_address])
        for name in ("kube-controller-manager", "kube-scheduler", "kube-proxy", "coredns", f"node:{NODE_NAME}"):
            user = name if name == "coredns" else f"system:{name}"
            file = "kubelet" if name.startswith("node:") else name
            self._credentials.kubeconfig(f"{file}.kubeconfig", self._credentials.token(user))
        admin = self._credentials.kubeconfig("admin.kubeconfig", self._credentials.token("admin"))
        shutil.copy2(admin, self._files.kubeconfig)
        for name in CONFIGURATION:
            (state / name).write_text(self._filled(name))
        (state / "cni").mkdir()
        (state / "cni" / "pods.conflist").write_text(self._filled("pods.conflist"))

    def _part(self, name: str) -> Part:
        told = flags(f"{name}.flags", self._values)
        if name == "kube-apiserver":
            told += flags("kube-apiserver-node.flags", self._values)
        path = f"{binary('containerd').parent}:{os.environ['PATH']}"  # where containerd looks for its shim
        ready = self._is_ready(name)
        return Part(name, [str(binary(name)), *told], self._files.logs, ready, {"PATH": path})

    def _is_ready(self, name: str) -> Callable[[], bool]:
        if name == "containerd":
            return self._files.containerd_socket.exists
        return lambda: self._answers(READY_URLS[name])

    def _answers(self, url: str) -> bool:
        try:
            return self._local.get(url).status_code == 200
        except httpx.TransportError:
            return False

    def _takes_pods(self) -> bool:
        """The node is Ready and nothing keeps pods off it, and the first ServiceAccount is there."""
        node = self._ask(f"/api/v1/nodes/{NODE_NAME}")
        account = self._ask("/api/v1/namespaces/default/serviceaccounts/default")
        if node.status_code != 200 or account.status_code != 200:
            return False
        said = node.json()
        conditions = {condition["type"]: condition["status"] for condition in said["status"].get("conditions", ())}
        return conditions.get("Ready") == "True" and not said["spec"].get("taints")

    def _ask(self, path: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._credentials.token('admin')}"}
        return self._local.get(f"https://127.0.0.1:{layout.API_PORT}{path}", headers=headers)

    def _wait_until(self, otherwise: str, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not is_so():
            if time.monotonic() > deadline:
                raise CannotStart(f"{otherwise} after {START_SECONDS:.0f} s; logs are in {self._files.logs}")
            time.sleep(ASK_SECONDS)

    def _filled(self, name: str) -> str:
        return filled(name, self._values)

    def _say(self, what: str) -> None:
        print(f"{time.monotonic() - self._began:5.1f} s  {what}", flush=True)


def _note_the_ended(files: Layout, parts: list[Part]) -> None:
    """Process 1 buries every orphan of its namespace; a part among them is noted."""
    names = {part.pid: part.name for part in parts}
    while True:
        pid, status = os.wait()
        if pid in names:
            with files.ended.open("a") as ended:
                ended.write(f"{names[pid]} ended with {os.waitstatus_to_exitcode(status)}\n")


def _trusting_all() -> ssl.SSLContext:
    """For loopback of the node, where some parts make their own certificates."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _run(*command: str) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise CannotStart(f"{' '.join(command)}: {ended.stderr}")


if __name__ == "__main__":
    raise SystemExit(main(Layout(Path(sys.argv[1]), int(sys.argv[2]))))
