"""What the gateway costs at rest, as users install it."""

import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.cost import TRIES, slowness
from tests.docs.program import ROOT
from tests.kubernetes.figures import tell
from tests.kubernetes.space import Space
from tests.ollama.gateway import Serving

pytestmark = pytest.mark.cluster

WITH_DISCOVERY_MB = 64
WITHOUT_MB = 45
READY_SECONDS = 1.0
SETTLE_SECONDS = 3.0

# httpx takes up what is installed: its own command line with `rich` and `pygments`, 6 MB, and two decoders. The test
# tools bring them along, and requirements/runtime.txt has none of them.
_TOOLS = ("rich", "pygments", "brotli", "zstandard")
_AS_INSTALLED = (
    f"import sys; sys.modules.update(dict.fromkeys({_TOOLS})); "
    "from ai_gateway.__main__ import main; sys.exit(main(sys.argv[1:]))"
)
CONFIG: dict[str, Any] = {"models": {"llama3": {}}}


class Lean(Serving):
    """The gateway without what only the tests install."""

    def __init__(self, folder: Path, config: dict[str, Any], *flags: str) -> None:
        super().__init__(folder, config, flags, {"PYTHONDONTWRITEBYTECODE": ""})  # compiled once, as in the image
        program = self._command.index(str(Path(sys.executable).with_name("ai-gateway")))
        self._command[program : program + 1] = [sys.executable, "-c", _AS_INSTALLED]


def rss_mb(pid: int) -> float:
    """Resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def at_rest(gateway: Lean, request: pytest.FixtureRequest, endpoints: int) -> float:
    """Resident megabytes a while after the start; it sees so many endpoints, and one of some starts is quick."""
    took: list[float] = []
    while not took or took[-1] > READY_SECONDS * slowness():
        assert len(took) < TRIES, f"it may take {READY_SECONDS:g} s to be ready, and has taken {took}"
        began = time.monotonic()
        gateway.start()
        took.append(time.monotonic() - began)
        try:
            assert len(httpx.get(f"{gateway.url}/v1/health", trust_env=False).json()["endpoints"]) == endpoints
            time.sleep(SETTLE_SECONDS)  # at rest means after what comes with a start
            used = rss_mb(gateway.pid)
        finally:
            gateway.stop()
            gateway.log.unlink()
    tell(request, f"RSS {used:.1f} MB, ready in {took[-1]:.2f} s")
    return used


def test_with_discovery_it_is_small_and_ready_at_once(
    space: Space, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Pods are followed through the API."""
    space.add_pods(3, 9)
    gateway = Lean(tmp_path, CONFIG, "--kubeconfig", str(space.kubeconfig(tmp_path)))
    assert at_rest(gateway, request, endpoints=3) <= WITH_DISCOVERY_MB


def test_without_discovery_it_is_smaller(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The library for Kubernetes is not even imported."""
    gateway = Lean(tmp_path, {**CONFIG, "discovery": {"static": ["http://127.0.0.1:9"]}})
    assert at_rest(gateway, request, endpoints=1) <= WITHOUT_MB


def test_what_is_hidden_is_what_users_do_not_install() -> None:
    lock = (ROOT / "requirements" / "runtime.txt").read_text()
    assert not [name for name in _TOOLS if f"\n{name}==" in f"\n{lock}".lower()]
