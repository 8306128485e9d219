"""Definitions of the kinds that are no part of Kubernetes, from their projects' Go modules; `tests/tools/crds` pins
them and their content."""

import json
import os
import subprocess
from pathlib import Path

from tools.chart.files import ROOT

FOLDERS = {
    "sigs.k8s.io/gateway-api": "config/crd/standard",
    "github.com/kedacore/keda/v2": "config/crd/bases",
    "github.com/prometheus-operator/prometheus-operator": "example/prometheus-operator-crd",
    "github.com/cert-manager/cert-manager": "deploy/crds",
}
NEEDED = (
    "backendtlspolicies",
    "httproutes",
    "keda.sh_scaledobjects",
    "podmonitors",
    "prometheusrules",
    "servicemonitors",
    "cert-manager.io_certificates",
)


def files() -> list[Path]:
    """The definitions that the chart's objects need, fetched first if they are not here."""
    module = ROOT / "tests" / "tools" / "crds"
    environment = {**os.environ, "GOFLAGS": "-mod=readonly"}
    command = ["go", "mod", "download", "-json", *FOLDERS]
    ended = subprocess.run(command, cwd=module, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    folders = [Path(one["Dir"]) / FOLDERS[one["Path"]] for one in _objects(ended.stdout)]
    return [file for folder in folders for file in sorted(folder.glob("*.yaml")) if _is_needed(file)]


def _is_needed(file: Path) -> bool:
    return any(file.stem.endswith(name) for name in NEEDED)


def _objects(text: str) -> list[dict[str, str]]:
    """JSON objects that follow one another."""
    found: list[dict[str, str]] = []
    decoder, at = json.JSONDecoder(), 0
    while (at := text.find("{", at)) >= 0:
        one, at = decoder.raw_decode(text, at)
        found.append(one)
    return found
