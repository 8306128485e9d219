"""The commands of docs/installation.md, one after the other as printed; those that need a node are for `make e2e`'s
cluster."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml
from tests.cluster.binaries import binary
from tests.cluster.control_plane import ControlPlane
from tests.docs.pages import blocks
from tests.helm.chart import ROOT
from tests.helm.releases import Release
from tests.helm.running import HELMS

pytestmark = pytest.mark.cluster

NEEDS_A_NODE = ("kubectl rollout status", "kubectl wait", "helm test")
JUDGED_ELSEWHERE = ("kubectl create namespace", "kubectl apply -k")  # test_plain_manifests; a namespace has one name


def _commands() -> list[str]:
    shown = [block.text for block in blocks(ROOT / "docs" / "installation.md") if block.language == "sh"]
    lines = "".join(shown).splitlines()
    return [line for line in lines if not line.startswith((*NEEDS_A_NODE, *JUDGED_ELSEWHERE))]


@pytest.mark.parametrize("version", HELMS)
def test_they_work_in_their_order(plane: ControlPlane, version: str, tmp_path: Path) -> None:
    release = Release(plane, version)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "helm").symlink_to(binary(version))
    (programs / "kubectl").symlink_to(binary("kubectl"))
    (tmp_path / "helm").symlink_to(ROOT / "helm")
    config = yaml.safe_load(plane.admin_kubeconfig.read_text())
    config["contexts"][0]["context"]["namespace"] = release.namespace
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    environment = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "KUBECONFIG": str(tmp_path / "kubeconfig"),
        "KUBE_EDITOR": "sed -i 's/limits: none/limits: {default: {rpm: 7}}/'",
    }
    limits: list[int | None] = []
    for command in _commands():
        shell = ["/bin/sh", "-c", command]
        ended = subprocess.run(shell, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, f"{command}: {ended.stderr}"
        if "uninstall" not in command:
            limits.append(release.rpm)
    assert (limits[0], limits[-1]) == (None, 7)
    assert release.kubectl("get", "configmap,deployment,service,role", "--output=name") == ""
