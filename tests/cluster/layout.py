"""Where everything of a cluster is: its folder, its addresses, its names."""

from dataclasses import dataclass
from pathlib import Path

from tests.cluster.configuration import Values
from tests.cluster.credentials import NODE_NAME
from tests.cluster.images import image_name
from tools.building import cache_folder

API_PORT = 6443
NODE_PREFIX = 24
MARK = "AI_GATEWAY_CLUSTER_FOLDER"  # in the environment of every process of a cluster that is not in a pod
# What programs write outside of the folder, and would leave behind, goes into memory that ends with the namespace.
# Where a machine lacks the last two, empty ones stay: to remove one would unmount it in every other cluster too.
HIDDEN = ("/run", "/var/log", "/var/lib/cni", "/var/lib/kubelet")


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of a cluster. All that lives as long as it does is in `state`, which goes when it is taken down; the
    kubeconfig keeps its path, and the logs stay until the next start. `number` keeps clusters of one machine apart."""

    folder: Path
    number: int = 0

    @property
    def interface(self) -> str:
        """This machine's end of the wire to the node."""
        return f"aigw-cluster{self.number}"

    @property
    def cgroup(self) -> str:
        """What the cgroups of all pods are below."""
        return f"ai-gateway-cluster{self.number}"

    @property
    def host_address(self) -> str:
        """This machine, as pods and the node see it."""
        return f"{self._wire}.1"

    @property
    def node_address(self) -> str:
        """The node, which forwards to pods and Services."""
        return f"{self._wire}.2"

    @property
    def pod_subnet(self) -> str:
        """Whose addresses pods get."""
        return f"10.213.{3 * self.number + 101}.0/24"

    @property
    def service_subnet(self) -> str:
        """Whose addresses Services get; the first is that of the API."""
        return f"{self._services}.0/24"

    @property
    def api_service_address(self) -> str:
        """Where pods find the API."""
        return f"{self._services}.1"

    @property
    def dns_address(self) -> str:
        """Where pods find the cluster's DNS."""
        return f"{self._services}.10"

    @property
    def api_url(self) -> str:
        """Where everybody else finds the API."""
        return f"https://{self.node_address}:{API_PORT}"

    @property
    def state(self) -> Path:
        """Keys, data, pods."""
        return self.folder / "state"

    @property
    def logs(self) -> Path:
        """A file for each part, and the pods' logs below `pods`."""
        return self.folder / "logs"

    @property
    def kubeconfig(self) -> Path:
        """The admin's, for whoever wants to use the cluster."""
        return self.folder / "kubeconfig"

    @property
    def record(self) -> Path:
        """Which process to end, and how to know that it is the one."""
        return self.folder / "record.json"

    @property
    def ready(self) -> Path:
        """There as soon as the cluster has come up."""
        return self.state / "ready"

    @property
    def failure(self) -> Path:
        """There if it could not: the reason, for a person."""
        return self.state / "failure"

    @property
    def ended(self) -> Path:
        """A line for each part that ended although nobody asked it to."""
        return self.state / "ended"

    @property
    def containerd_root(self) -> Path:
        """Images and containers."""
        return self.state / "containerd"

    @property
    def containerd_socket(self) -> Path:
        """Where ctr and the kubelet find containerd."""
        return self.state / "containerd.sock"

    def values(self) -> Values:
        """What is filled into the files of `parts/`."""
        return {
            "folder": self.state,
            "logs": self.logs,
            "containerd_root": self.containerd_root,
            "containerd_socket": self.containerd_socket,
            "etcd_port": 2379,
            "api_port": API_PORT,
            "node_name": NODE_NAME,
            "node_address": self.node_address,
            "pod_subnet": self.pod_subnet,
            "service_subnet": self.service_subnet,
            "dns_address": self.dns_address,
            "pause_image": image_name("pause"),
            "cgroup": self.cgroup,
        }

    @property
    def _wire(self) -> str:
        return f"10.213.{3 * self.number + 100}"

    @property
    def _services(self) -> str:
        return f"10.213.{3 * self.number + 102}"


def this_machines(number: int = 0) -> Layout:
    """The layout of the cluster that `make cluster` starts; another number is another cluster beside it."""
    return Layout(cache_folder() / (f"cluster-{number}" if number else "cluster"), number)
