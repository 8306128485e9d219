"""How the gateway reaches the Kubernetes API: with the ServiceAccount of its pod, or with a kubeconfig."""

from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from ai_gateway.config.reading import read, read_text

MOST_BYTES: Final = 1 << 20  # of a kubeconfig
SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class Access(msgspec.Struct, frozen=True):
    """Flags set `kubeconfig` and `context`. Without them it uses the ServiceAccount of the pod, if there is one.

    Otherwise it uses `usual_kubeconfig`, as `kubectl` does.
    """

    kubeconfig: str | None = None
    context: str | None = None
    service_account: Path = SERVICE_ACCOUNT
    usual_kubeconfig: str = "~/.kube/config"
    own_uid: str | None = None  # of the gateway's own pod, if Ollama runs in it too

    @property
    def is_in_cluster(self) -> bool:
        """Whether it uses the ServiceAccount of this pod."""
        return not self.is_named and (self.service_account / "token").exists()

    @property
    def is_named(self) -> bool:
        """Whether a flag names the cluster."""
        return self.kubeconfig is not None or self.context is not None

    def namespace(self) -> str:
        """The gateway's own namespace: the pod's, or the one of the kubeconfig's context. Reads a small file."""
        if self.is_in_cluster:
            try:
                return read_text(self.service_account / "namespace")
            except OSError:
                return "default"
        return _namespace_of_context(self.kubeconfig_files, self.context)

    @property
    def kubeconfig_files(self) -> list[Path]:
        """The files of the kubeconfig. As in `kubectl`, colons separate several files."""
        named = self.kubeconfig or self.usual_kubeconfig
        return [Path(part).expanduser() for part in named.split(":") if part]


def _namespace_of_context(files: list[Path], context: str | None) -> str:
    contents = [_content(file) for file in files]
    current = context or next((str(c["current-context"]) for c in contents if c.get("current-context")), None)
    for content in contents:
        contexts = content.get("contexts")
        for entry in contexts if isinstance(contexts, list) else ():
            if isinstance(entry, dict) and entry.get("name") == current:
                described = entry.get("context")
                return str((isinstance(described, dict) and described.get("namespace")) or "default")
    return "default"


def _content(file: Path) -> dict[str, Any]:
    """The content, {} for a file that is missing or not YAML. The library reports such a file when it connects."""
    try:
        content = yaml.safe_load(read(file, MOST_BYTES).data)
    except Exception:  # whatever it is
        return {}
    return content if isinstance(content, dict) else {}
