"""The commands of docs/installation.md, one after the other as printed; those that need a node are for `make e2e`'s
cluster."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster.binaries import binary
from tests.cluster.control_plane import ControlPlane
from tests.docs.pages import blocks
from tests.helm.releases import MAP, Release
from tests.helm.running import HELMS, helm, kind, rendered
from tools.chart.files import CHART, ROOT

pytestmark = pytest.mark.cluster

NEEDS_A_NODE = ("kubectl rollout status", "kubectl wait", "helm test")
OTHER_CHART = "  - {name: gateway, version: 1.0.0, repository: file://../gateway}\n"
JUDGED_ELSEWHERE = ("kubectl create namespace", "kubectl apply -k")  # test_plain_manifests; a namespace has one name


def _commands() -> list[str]:
    shown = [block.text for block in blocks(ROOT / "docs" / "installation.md") if block.language == "sh"]
    lines = "".join(shown).splitlines()
    return [line for line in lines if not line.startswith((*NEEDS_A_NODE, *JUDGED_ELSEWHERE))]


def _shown(beginning: str) -> list[str]:
    """The page's YAML that begins so."""
    shown = [block.text for block in blocks(ROOT / "docs" / "installation.md") if block.language == "yaml"]
    return [text for text in shown if text.startswith(beginning)]


@pytest.mark.parametrize("version", HELMS)
def test_its_values_are_taken_as_shown(judge: ControlPlane, version: str) -> None:
    """An Ingress with annotations, and a pod without users and groups of its own, as OpenShift wants it."""
    shown = _shown("# values.yaml\n")
    assert len(shown) == 2
    values: dict[str, Any] = {}
    for text in shown:
        values |= yaml.safe_load(text)
    objects = rendered(version, values=values)
    judge.kubectl("apply", "--dry-run=server", "--validate=strict", "--filename=-", input=yaml.safe_dump_all(objects))
    (ingress,), (deployment,) = kind(objects, "Ingress"), kind(objects, "Deployment")
    assert ingress["metadata"]["annotations"] == values["ingress"]["annotations"]
    context = deployment["spec"]["template"]["spec"]["securityContext"]
    assert context.keys() == {"runAsNonRoot", "fsGroupChangePolicy", "seccompProfile"}


def test_its_overlay_leaves_the_models_to_a_config_map_of_your_own(plane: ControlPlane, tmp_path: Path) -> None:
    (shown,) = (text for text in _shown("# kustomization.yaml") if "kind: ConfigMap" in text)
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "kustomization.yaml").write_text(shown)
    shutil.copytree(ROOT / "k8s", tmp_path / "ai-gateway-ollama" / "k8s")
    made = list(yaml.safe_load_all(plane.kubectl("kustomize", str(folder))))
    all_of_it = list(yaml.safe_load_all(plane.kubectl("kustomize", str(ROOT / "k8s" / "gateway"))))
    assert len(made) == len(all_of_it) - 1
    assert kind(made, "ConfigMap") == []


@pytest.mark.parametrize("version", HELMS)
def test_its_chart_of_your_own_beside_one_with_templates_called_gateway_has_the_names_of_the_page(
    plane: ControlPlane, version: str, tmp_path: Path
) -> None:
    """As shown: the dependency is fetched, and what is installed is called as on the rest of the page."""
    release, parent = Release(plane, version), tmp_path / "platform"
    (shown,), (values,) = _shown("# Chart.yaml"), _shown("# values.yaml of that chart")
    parent.mkdir()
    (tmp_path / "ai-gateway-ollama").symlink_to(ROOT)
    (parent / "Chart.yaml").write_text(f"{shown}{OTHER_CHART}")
    (parent / "values.yaml").write_text(values)
    (tmp_path / "gateway" / "templates").mkdir(parents=True)
    (tmp_path / "gateway" / "Chart.yaml").write_text("apiVersion: v2\nname: gateway\nversion: 1.0.0\n")
    (tmp_path / "gateway" / "templates" / "_helpers.tpl").write_text(_templates_called_gateway())
    cache = [f"--repository-cache={tmp_path}", f"--repository-config={tmp_path / 'repositories.yaml'}"]
    helm(version, "dependency", "update", str(parent), *cache)
    inside = [f"--namespace={release.namespace}", "--render-subchart-notes"]
    said = helm(version, "install", "up", str(parent), *inside, kubeconfig=plane.admin_kubeconfig)
    assert f"kubectl edit configmap -n {release.namespace} {MAP}" in said
    assert release.models == ["llama3"]
    assert release.image()
    without = [f"--namespace={release.namespace}", "--set=llm.enabled=false"]
    helm(version, "upgrade", "up", str(parent), *without, kubeconfig=plane.admin_kubeconfig)
    assert release.kubectl("get", "deployment,service,role", "--output=name") == ""


def _templates_called_gateway() -> str:
    """All of this chart's under another chart's prefix."""
    texts = "".join(file.read_text() for file in (CHART / "templates").rglob("*.tpl"))
    names = re.findall(r'define "ai-gateway-ollama\.(\w+)"', texts)
    assert len(names) > 20
    return "".join(f'{{{{- define "gateway.{name}" }}}}of another chart{{{{ end }}}}\n' for name in names)


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
